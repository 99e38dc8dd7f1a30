"""A run's net for another runtime: written, read again, and held against the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snugnet import environment, files, judging, lineage, pipeline
from snugnet.artifact import Shipped
from snugnet.data import splits
from snugnet.data.images import Images
from snugnet.errors import ArtifactError, GateFailed, UsageError
from snugnet.evaluate.metrics import accuracy
from snugnet.export import emit, program, runtime
from snugnet.export.pixels import Reread
from snugnet.problems import nearest
from snugnet.runs import RunRecord
from snugnet.scoring import Net
from snugnet.ship.backends import runtime_way
from snugnet.ship.bench import READ_BACK, Protocol, Way, measure
from snugnet.ship.bench import Net as Timed
from snugnet.units import show_percent

FLOAT, INTEGER = 0.999, 0.99  # of the images must get the class that the run gives them
GLANCE = Protocol(warmup_s=0.2, windows=3, window_s=0.3, starts=0)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Wish:
    format: str = "onnx"
    output: Path | None = None  # else model.onnx or model.pt2, in the run or beside the file
    raw: bool = False  # pre-processing outside: normalised floats in, logits out
    count: int | None = None  # at most so many images of each split are shown to both
    data: str | None = None  # what a file is held against the run on


@dataclass(frozen=True)
class Agreement:
    """What two nets say of a split's images."""

    images: int
    agreement: float  # the share that gets the same class
    max_abs_diff: float  # between two logits
    accuracy: float
    run_accuracy: float


@dataclass(frozen=True)
class Exported:
    path: Path
    format: str
    raw: bool
    bytes: int
    run_bytes: int
    least: float  # agreement that is asked for
    splits: Mapping[str, Agreement]
    float_agreement: float | None  # with the float run that a quantised one was trained from, on the last split
    p50_ms: float  # one image, one thread, a few short windows
    run_p50_ms: float

    @property
    def split(self) -> str:
        """What counts: test, where there is one."""
        return list(self.splits)[-1]

    @property
    def is_true(self) -> bool:
        return all(each.agreement >= self.least for each in self.splits.values())

    def plain(self) -> dict[str, Any]:
        told = {name: asdict(each) for name, each in self.splits.items()}
        for each in told.values():
            if not isfinite(each["max_abs_diff"]):
                each["max_abs_diff"] = None
        counts = {"split": self.split, **told[self.split]}
        return asdict(self) | {"path": str(self.path), "ok": self.is_true, "splits": told} | counts


Writer = Callable[[Shipped, bool], bytes]
Reader = Callable[[Path, Shipped, bool], Shipped]
FORMATS: Mapping[str, tuple[str, Writer, Reader]] = {
    "onnx": (
        ".onnx",
        lambda shipped, raw: emit.onnx_bytes(shipped, raw=raw),
        lambda path, shipped, raw: runtime.read(path),
    ),
    "torch": (
        ".pt2",
        lambda shipped, raw: program.program_bytes(shipped, raw=raw),
        lambda path, shipped, raw: program.read_program(path, shipped, raw=raw),
    ),
}


def export(path: Path, wish: Wish) -> Exported:
    """Writes the file, which bears its name only once it has agreed with the run; else it stays NAME.unchecked.onnx,
    and `require` says so.

    Raises ArtifactError, DataError, MissingExtra, RecipeError, StorageError, UsageError.
    """
    if wish.format not in FORMATS:
        raise UsageError(f"--format {wish.format}: must be one of {', '.join(FORMATS)}{nearest(wish.format, FORMATS)}")
    suffix, write, read = FORMATS[wish.format]
    if path.suffix == runtime.SUFFIX:
        raise UsageError(f"{path}: is exported already; give the run it came from")
    shipped, config, record = judging.read(path)
    output = wish.output or (path / "model" if record else path).with_suffix(suffix)
    if output.suffix != suffix:
        raise UsageError(f"--output {output}: must end in {suffix}, as readers tell the format by it")
    if wish.data is not None:
        config = config.model_copy(update={"name": wish.data, "image_size": None, "memory": "auto"})
        record = None
    found = splits.open_splits(config)
    held = pipeline.held_out(found, config)
    for images in held.values():
        judging.check_compatible(shipped, images, found.info.classes, config.name)
    if not held:
        raise UsageError(f"{path}: {config.name} has neither val nor test images to hold an export against the run on")
    unchecked = output.with_suffix(f".unchecked{suffix}")
    files.write_bytes(unchecked, write(shipped, wish.raw))
    again = read(unchecked, shipped, wish.raw)
    exported = judged(path, wish, shipped, again, held, record)
    if not exported.is_true:
        return exported
    try:
        files.put(unchecked, output)
    except OSError as error:
        raise files.storage_error(output, error) from error
    return replace(exported, path=output)


def judged(
    path: Path, wish: Wish, shipped: Shipped, again: Shipped, held: Mapping[str, Images], record: RunRecord | None
) -> Exported:
    """The file against the run, and how long both take."""
    is_integer = shipped.card.quantization is not None and shipped.card.quantization.is_integer
    ours, theirs = Net.of(shipped, CPU), Net.of(again, CPU)
    seen, floats = {}, None
    for name, images in held.items():
        some = judging.first(images, wish.count)
        wanted = judging.stored_logits(ours, images, record, name) if record else None
        wanted = ours.look(some).plain if wanted is None else wanted[: len(some)]
        got = theirs.look(some).plain
        seen[name] = agreement(got, wanted, some.labels)
        floats = with_floats(record, got, some) if is_integer else None
    run_ms, own_ms = glance(path, shipped, again, raw=wish.raw)
    return Exported(
        path=again.path,
        format=wish.format,
        raw=wish.raw,
        bytes=again.size_bytes,
        run_bytes=shipped.size_bytes,
        least=INTEGER if is_integer else FLOAT,
        splits=seen,
        float_agreement=floats,
        p50_ms=own_ms,
        run_p50_ms=run_ms,
    )


def agreement(got: Tensor, wanted: Tensor, labels: Tensor) -> Agreement:
    """A logit that is no number differs infinitely, and its image gets no class."""
    finite = got.isfinite().all(1)
    same = (got.argmax(1) == wanted.argmax(1)) & finite
    return Agreement(
        images=len(labels),
        agreement=float(same.double().mean()),
        max_abs_diff=float((got - wanted).abs().max()) if bool(finite.all()) else float("inf"),
        accuracy=accuracy(got, labels),
        run_accuracy=accuracy(wanted, labels),
    )


def with_floats(record: RunRecord | None, got: Tensor, images: Images) -> float | None:
    """Agreement with the parent of a run, where that is the same net in floats and is still there."""
    parent = record.experiment.parent if record else None
    if record is None or parent is None:
        return None
    try:
        before = lineage.read(parent)
    except ArtifactError:
        return None
    if before.card.model != record.experiment.model or before.card.quantization is not None:
        return None
    wanted = Net.of(before, CPU).look(images).plain
    return float((got.argmax(1) == wanted.argmax(1)).double().mean())


def require(exported: Exported) -> None:
    """Raises GateFailed where the file disagrees with the run."""
    if exported.is_true:
        return
    name, worst = min(exported.splits.items(), key=lambda each: each[1].agreement)
    raise GateFailed(
        f"{exported.path}: gives {show_percent(worst.agreement)} of {worst.images:,} {name} images the class that the "
        f"run gives them, and at least {show_percent(exported.least)} must (logits differ by up to "
        f"{worst.max_abs_diff:.3g}); it is kept under this name to be looked at, and nothing else was written"
    )


def glance(path: Path, shipped: Shipped, again: Shipped, *, raw: bool) -> tuple[float, float]:
    """p50 of one image in ms, of the run's net in torch and of the file, windows taking turns: each from what it takes,
    which lies ready."""
    spec = shipped.card.model
    images = torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size)
    given = images if raw else images.to(torch.uint8)
    if again.path.suffix == runtime.SUFFIX:
        own = runtime_way(again.path, again.path.read_bytes(), again, GLANCE)
    else:
        assert isinstance(again.model, Reread)
        own = Way("torch.export", partial(again.model.logits, given))
    first, second = measure(
        [_timed(path, shipped, Way("torch", lambda: shipped.model(images))), _timed(path, again, own)],
        GLANCE,
        lambda window: None,
    )
    return first.p50_ms, second.p50_ms


def _timed(path: Path, shipped: Shipped, way: Way) -> Timed:
    return Timed(
        path=path,
        what=READ_BACK,
        backend=way.name,
        version=environment.torch_version(),
        how="",
        device="cpu",
        hardware=environment.processor(CPU),
        size_bytes=shipped.size_bytes,
        params=shipped.params,
        test=None,
        ways=(way,),
    )
