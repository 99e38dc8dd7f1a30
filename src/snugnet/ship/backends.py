"""What can run a net: PyTorch, ONNX Runtime, C. Each makes a `Net` of a run, a file or a recipe, to be timed alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from snugnet import environment
from snugnet.artifact import Shipped
from snugnet.errors import MissingExtra, UsageError
from snugnet.export import runtime
from snugnet.export.emit import INPUT, onnx_bytes
from snugnet.export.extra import needed
from snugnet.problems import nearest
from snugnet.ship.bench import EXPORTED, READ_BACK, UNTRAINED, Net, Protocol, Way, check_memory, opened, torch_net
from snugnet.ship.c_timing import c_net
from snugnet.ship.cold import OF_RUNTIME, Cold

Maker = Callable[[Path, Protocol, torch.device], Net]


def runtime_net(path: Path, protocol: Protocol, where: torch.device) -> Net:
    """In ONNX Runtime: an ONNX file as it is, its own pre-processing included; of all else, what exporting it `--raw`
    gives, which computes what torch does. Raises ArtifactError, MissingExtra, OutOfMemory, RecipeError, UsageError."""
    if where.type != "cpu":
        raise UsageError(f"--device {where}: ONNX Runtime is timed on the CPU alone; give --device cpu")
    package = needed("onnxruntime")
    shipped, what, test = opened(path)
    check_memory(path, shipped.card, protocol.batch, where)
    is_own = path.suffix == runtime.SUFFIX
    exported = what == READ_BACK and not is_own
    data = path.read_bytes() if is_own else onnx_bytes(shipped, raw=True)
    return Net(
        path=path,
        backend="onnxruntime",
        version=str(package.__version__),
        what=EXPORTED if exported else what,
        how=_how(data),
        device=str(where),
        hardware=environment.processor(where),
        size_bytes=len(data),
        params=shipped.params,
        test=None if exported else test,
        ways=(runtime_way(path, data, shipped, protocol),),
        cold=None if what == UNTRAINED else Cold(OF_RUNTIME, path if is_own else data, protocol.batch),
    )


def _how(data: bytes) -> str:
    return ("integers (QDQ)" if b"QuantizeLinear" in data else "fp32") + ", norms folded, fused as it sees fit"


def runtime_way(path: Path, data: bytes, shipped: Shipped, protocol: Protocol) -> Way:
    """The answer is numbers in memory as soon as the call returns."""
    session, spec = runtime.session(path, data, protocol.threads), shipped.card.model
    noise = torch.Generator().manual_seed(0)
    shape = (protocol.batch, spec.in_channels, spec.image_size, spec.image_size)
    if session.get_inputs()[0].type == "tensor(uint8)":
        images = torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8)
    else:
        images = torch.randn(shape, generator=noise)
    given: dict[str, Any] = {INPUT: images.numpy()}
    return Way("onnx", lambda: session.run(None, given))


BACKENDS: Mapping[str, Maker] = {"torch": torch_net, "onnxruntime": runtime_net, "c": c_net}
ALL = "all"


def named(text: str | None, path: Path) -> Sequence[str]:
    """The backends that `--backend` means for a path; without it the one a file is made for. Raises UsageError."""
    if text is not None and text not in (known := (*BACKENDS, ALL)):
        raise UsageError(f"--backend {text}: must be one of {', '.join(known)}{nearest(text, known)}")
    if path.suffix == runtime.SUFFIX:
        if text not in (None, ALL, "onnxruntime"):
            raise UsageError(f"{path}: --backend {text} does not read ONNX files; leave it out, or give the run")
        return ("onnxruntime",)
    if text == ALL:
        return tuple(BACKENDS)
    return (text or "torch",)


def nets_of(
    paths: Sequence[Path], backend: str | None, protocol: Protocol, where: torch.device, warn: Callable[[str], None]
) -> list[Net]:
    """Every net in every backend that was asked for; of "all", those that are installed and run on the device.

    Raises ArtifactError, MissingExtra, OutOfMemory, RecipeError, UsageError.
    """
    found: list[Net] = []
    wanted = [(path, name) for path in paths for name in named(backend, path)]
    for path, name in wanted:
        if backend == ALL and where.type != "cpu" and name != "torch":
            continue
        try:
            found.append(BACKENDS[name](path, protocol, where))
        except (MissingExtra, UsageError) as missing:
            if backend != ALL or name == "torch" or path.suffix == runtime.SUFFIX:
                raise
            warn(f"{name} is left out: {missing}")
    return found
