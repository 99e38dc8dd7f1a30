"""The C of a net as a backend of `snug bench`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from snugnet import artifact, environment
from snugnet.artifact import Shipped
from snugnet.compress.config import Quantization, QuantizeConfig
from snugnet.compress.graph import folded, structure
from snugnet.compress.quantize import Quantized, quantized
from snugnet.errors import UsageError
from snugnet.export_c.native import Native, compiler, number
from snugnet.export_c.program import program
from snugnet.ship.bench import ROUNDED, Net, Protocol, Way, opened


def c_net(path: Path, protocol: Protocol, where: torch.device) -> Net:
    """The net of a run, a file or a recipe, as C that is compiled here. One that computes in floats is rounded to int8
    first: the time and size are those of such a net, whose accuracy is not known.

    Raises UsageError for several threads, MissingExtra without a compiler, ArtifactError, RecipeError, StorageError.
    """
    if where.type != "cpu":
        raise UsageError(f"--device {where}: C runs on the CPU; give --device cpu, or another backend")
    if protocol.threads > 1:
        raise UsageError(f"bench: --backend c computes on one thread; got --threads {protocol.threads}")
    name = compiler()
    shipped, what, test = opened(path)
    kept = shipped.card.quantization
    is_own = kept is not None and kept.is_integer
    native = Native(program(integers(shipped), shipped.card.normalization))
    images = np.random.default_rng(0).integers(0, 256, (protocol.batch, *native.shape), np.uint8)
    places = [image.ctypes.data for image in images]

    def infer(held: object = images) -> None:  # noqa: ARG001, the images are kept as long as their places are read
        for place in places:
            native.run(place)

    return Net(
        path=path,
        backend="c",
        version=f"{Path(name).name} {number(name)}",
        what=what if is_own else f"{what}, {ROUNDED}",
        how=f"int8, {'convolutions by vectors of 256 bits' if native.is_fast else 'portable C'}",
        device="cpu",
        hardware=environment.processor(torch.device("cpu")),
        size_bytes=shipped.size_bytes if is_own else _bytes_int8(shipped),
        params=shipped.params,
        test=test if is_own else None,
        ways=(Way("channels-last", infer),),
    )


def _bytes_int8(shipped: Shipped) -> int:
    return artifact.predict_bytes(shipped.card.model_copy(update={"quantization": Quantization()}))


def integers(shipped: Shipped) -> Quantized:
    """As its file has it; else weights in int8, and maps calibrated on noise, which no time depends on."""
    spec, own = shipped.card.model, shipped.quantized
    if own is not None and own.ranges:
        return own
    graph = structure(spec)
    if own is None:
        weights = folded(graph, shipped.model.state_dict())
    else:
        weights = {name: (codes.values(), own.biases[name]) for name, codes in own.codes.items()}
    shape = (2, spec.in_channels, spec.image_size, spec.image_size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return quantized(graph, weights, [noise], QuantizeConfig(calibrate="minmax"))
