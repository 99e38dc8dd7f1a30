"""How long a net takes on this machine, by a stated protocol; docs/bench.md says it all.

A backend turns a file into a `Net` (ship/backends.py); everything after that is the same for each.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from snugnet import artifact, budget, environment, pipeline, recipe, runs
from snugnet.artifact import Card, Shipped
from snugnet.config import Frozen
from snugnet.device import available_bytes, threads
from snugnet.errors import OutOfMemory, UsageError
from snugnet.export import reading
from snugnet.models import resnet
from snugnet.ship.cold import OF_TORCH, Cold, Start, fresh_start
from snugnet.units import show_bytes

LAYOUTS = {"channels-first": torch.contiguous_format, "channels-last": torch.channels_last}
READ_BACK, UNTRAINED = "the shipped file as read back", "untrained weights"
EXPORTED = "exported from the shipped file"
ROUNDED = "rounded to int8 for the time alone"  # of a net whose accuracy so is not known
DISTURBED = 1.25  # p90 over the fastest window: beyond this other work ran beside; quiet, it is about 1.1

QUICK = {"windows": 3, "window_s": 1.0, "starts": 1}  # what `--quick` takes in place of the defaults
Positive = Annotated[float, Field(gt=0)]
Natural = Annotated[int, Field(ge=1)]


class Protocol(Frozen):
    """The defaults are those of MLPerf Tiny, on one thread."""

    batch: Natural = 1
    threads: Natural = 1
    warmup_s: Positive = 1.0  # of each way to run a net
    windows: Natural = 5
    window_s: Positive = 10.0  # of each window, at least
    starts: Annotated[int, Field(ge=0)] = 3  # fresh processes that cold start and memory are measured in


@dataclass(frozen=True)
class Way:
    """One way to run a net: `infer` takes the batch that lies ready, and returns once the answer is there."""

    name: str
    infer: Callable[[], object]


@dataclass(frozen=True)
class Net:
    """What is ready to be timed. Of its ways the fastest counts."""

    path: Path  # as the user gave it: a run, a file or a recipe
    what: str  # READ_BACK, EXPORTED or UNTRAINED, and ROUNDED
    backend: str
    version: str
    how: str  # in words
    device: str
    hardware: str
    size_bytes: int
    params: int
    test: float | None  # accuracy of this very file, where a run says it
    ways: tuple[Way, ...]
    cold: Cold | None = None  # how a fresh process comes to its first answer; None of what is no file


@dataclass(frozen=True)
class Window:
    """A window that has ended: its number of all that there are, and the median of its inferences."""

    path: Path
    backend: str
    number: int
    windows: int
    median_ms: float


@dataclass(frozen=True)
class Latency:
    """`p50_ms` is the median of the windows' medians; p90 and p99 are over all single inferences."""

    net: Net
    protocol: Protocol
    ways_ms: dict[str, float]  # the fastest inference of each in the warm-up
    way: str
    windows_ms: tuple[float, ...]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    inferences: int
    start: Start | None = None

    @property
    def images_per_second(self) -> float:
        return 1000 * self.protocol.batch / self.p50_ms

    @property
    def is_disturbed(self) -> bool:
        return self.p90_ms > DISTURBED * min(self.windows_ms)

    @property
    def words(self) -> str:
        """The protocol in a line."""
        net, protocol = self.net, self.protocol
        count = f"{protocol.threads} thread{'s' if protocol.threads > 1 else ''}"
        place = f"{count if net.device == 'cpu' else net.device} on {net.hardware}"
        version = net.version.partition("+")[0]
        windows = f"median of {protocol.windows} x {protocol.window_s:g} s"
        return f"batch {protocol.batch}, {place}, {net.backend} {version}, {windows}"

    @property
    def text(self) -> str:
        """What stands beside the number in the ledger."""
        weights = f", {UNTRAINED}" if self.net.what == UNTRAINED else ""
        return self.words + weights + (", other work beside it" if self.is_disturbed else "")

    def plain(self) -> dict[str, Any]:
        names = ("p50_ms", "p90_ms", "p99_ms", "images_per_second", "windows_ms", "inferences", "way", "ways_ms")
        of_net = ("backend", "version", "what", "how", "device", "hardware", "params", "test")
        start = dict.fromkeys(Start.__dataclass_fields__) if self.start is None else asdict(self.start)
        return {
            "path": str(self.net.path),
            **{name: getattr(self, name) for name in names},
            **self.protocol.plain(),
            **{name: getattr(self.net, name) for name in of_net},
            **start,
            "bytes": self.net.size_bytes,
            "disturbed": self.is_disturbed,
            "latency": self.text,
        }


def is_recipe(path: Path) -> bool:
    """Whether a recipe is meant by a path: a built-in name, or a TOML file."""
    return not path.is_dir() and (path.suffix == ".toml" or path.as_posix() in recipe.builtin_names())


def opened(path: Path) -> tuple[Shipped, str, float | None]:
    """The net of a run, a file or a recipe, what it is, and its accuracy on test where a run says it.

    Raises ArtifactError, RecipeError.
    """
    if is_recipe(path):
        return untrained(path), UNTRAINED, None
    if not path.is_dir():
        return reading.read(path), READ_BACK, None
    summary = runs.read_finished(path).summary
    return artifact.read(path / "model.safetensors"), READ_BACK, summary["test"]


def untrained(path: Path) -> Shipped:
    """The net of a recipe as it would ship, with weights that no training has seen. Raises RecipeError."""
    card = pipeline.planned_card(recipe.load(path.as_posix()).experiment)
    torch.manual_seed(0)
    model = resnet.build(card.model).eval().requires_grad_(False)
    return Shipped(path, artifact.predict_bytes(card), card, model)


def torch_net(path: Path, protocol: Protocol, where: torch.device) -> Net:
    """The net of a run, a file or a recipe, in both memory layouts. Raises ArtifactError, OutOfMemory, RecipeError."""
    shipped, what, test = opened(path)
    check_memory(path, shipped.card, protocol.batch, where)
    spec = shipped.card.model
    shape = (protocol.batch, spec.in_channels, spec.image_size, spec.image_size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return Net(
        path=path,
        backend="torch",
        version=environment.torch_version(),
        what=what,
        how=torch_how(shipped),
        device=str(where),
        hardware=environment.processor(where),
        size_bytes=shipped.size_bytes,
        params=shipped.params,
        test=test,
        ways=tuple(torch_way(name, shipped, noise.to(where)) for name in LAYOUTS),
        cold=None if what == UNTRAINED or where.type != "cpu" else Cold(OF_TORCH, shipped.path, protocol.batch),
    )


def torch_how(shipped: Shipped) -> str:
    if shipped.quantized is None:
        return "fp32, layer by layer: nothing is folded, fused or compiled"
    if not shipped.quantized.ranges:
        return "fp32, layer by layer, norms folded: nothing is fused or compiled"
    return "integers kept in floats, layer by layer: the exact reference, which is not made to be fast"


def check_memory(path: Path, card: Card, batch: int, where: torch.device) -> None:
    needed = batch * int(budget.measure(card, "peak_activation_bytes"))
    if needed > (free := available_bytes(where)):
        raise OutOfMemory(
            f"{path}: --batch {batch} takes about {show_bytes(needed)} of memory, and {show_bytes(free)} are free; "
            "give a smaller one"
        )


def torch_way(name: str, shipped: Shipped, images: Tensor) -> Way:
    """The answer is there when it has come back from the device."""
    laid_out = images.to(memory_format=LAYOUTS[name])
    model = copy.deepcopy(shipped.model).to(images.device, memory_format=LAYOUTS[name])  # type: ignore[call-overload]
    return Way(name, lambda: model(laid_out).cpu())


def planned_s(nets: Sequence[Net], protocol: Protocol) -> float:
    """How long it will take to time them."""
    return sum(len(net.ways) * protocol.warmup_s + protocol.windows * protocol.window_s for net in nets)


def measure(
    nets: Sequence[Net],
    protocol: Protocol,
    observe: Callable[[Window], None],
    clock: Callable[[], float] = time.perf_counter,
) -> list[Latency]:
    """Warms every way of each net up, and times the one that was fastest: a window of each net, then the next window of
    each, so that what disturbs the machine for a while disturbs all."""
    with threads(protocol.threads), torch.inference_mode():
        warm = [{way: min(window(way.infer, protocol.warmup_s, clock)) for way in net.ways} for net in nets]
        fastest = [min(each, key=lambda way: each[way]) for each in warm]
        windows: list[list[list[float]]] = [[] for _ in nets]
        for number in range(1, protocol.windows + 1):
            for net, way, times in zip(nets, fastest, windows, strict=True):
                times.append(window(way.infer, protocol.window_s, clock))
                observe(Window(net.path, net.backend, number, protocol.windows, 1000 * median(times[-1])))
    return [latency_of(*each, protocol) for each in zip(nets, warm, fastest, windows, strict=True)]


def latency_of(
    net: Net, warm: dict[Way, float], way: Way, windows: Sequence[Sequence[float]], protocol: Protocol
) -> Latency:
    medians = [median(times) for times in windows]
    return Latency(
        net=net,
        protocol=protocol,
        ways_ms={each.name: milliseconds(fastest) for each, fastest in warm.items()},
        way=way.name,
        windows_ms=tuple(milliseconds(each) for each in medians),
        p50_ms=milliseconds(median(medians)),
        p90_ms=milliseconds(quantile(windows, 0.90)),
        p99_ms=milliseconds(quantile(windows, 0.99)),
        inferences=sum(map(len, windows)),
    )


def started(latency: Latency) -> Latency:
    """With what a fresh process takes to the first answer, where that can be said."""
    net, protocol = latency.net, latency.protocol
    if net.cold is None or not protocol.starts:
        return latency
    return replace(latency, start=fresh_start(net.cold, protocol.threads, protocol.starts))


def ranks(found: Sequence[Latency]) -> list[float]:
    """p50 of each over the best one's: 1 is the best."""
    best = min(each.p50_ms for each in found)
    return [each.p50_ms / best for each in found]


def fastest_of_each(found: Sequence[Latency]) -> list[Latency]:
    """Of several backends of a net, the one that counts for it; what was rounded for the time alone does not."""
    counted = [each for each in found if ROUNDED not in each.net.what]
    paths = dict.fromkeys(each.net.path for each in counted)
    return [min((each for each in counted if each.net.path == path), key=lambda each: each.p50_ms) for path in paths]


def window(infer: Callable[[], object], least_s: float, clock: Callable[[], float]) -> list[float]:
    """Seconds of each inference, one behind the other until `least_s` have passed; at least one."""
    times: list[float] = []
    started = before = clock()
    while not times or before - started < least_s:
        infer()
        after = clock()
        times.append(after - before)
        before = after
    return times


def quantile(windows: Sequence[Sequence[float]], share: float) -> float:
    """The least time that a share of all single inferences does not exceed.

    Windows weigh alike, however many inferences they hold: else one quiet window of a busy machine outnumbers four slow
    ones, and p90 falls below the median of the windows.
    """
    weighted = sorted((time, 1 / len(times) / len(windows)) for times in windows for time in times)
    passed = 0.0
    for time_s, weight in weighted:
        passed += weight
        if passed >= share - 1e-9:  # sums of weights are rounded
            return time_s
    return weighted[-1][0]


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 4)


def record_in(ledger: Path, latency: Latency) -> None:
    """Adds the line of the timed run again, with its latency; of a recipe, that of its run recorded last.

    Raises ArtifactError, RecipeError, StorageError; UsageError where no run of the recipe is recorded.
    """
    path = latency.net.path
    summary = recorded(ledger, path) if is_recipe(path) else runs.read_finished(path).summary
    size_mb = budget.measure(opened(path)[0].card, "size_mb")
    runs.record_in_ledger(ledger, {**summary, "size_mb": size_mb, "p50_ms": latency.p50_ms, "latency": latency.text})


def recorded(ledger: Path, path: Path) -> dict[str, Any]:
    """The last line of the ledger that a run of this very recipe left. Raises UsageError."""
    wanted = pipeline.prepared(recipe.load(path.as_posix()).experiment)[0].sha256
    lines = ledger.read_text(encoding="utf-8").splitlines() if ledger.is_file() else []
    found = [entry for entry in map(json.loads, lines) if entry["recipe_sha256"] == wanted]
    if not found:
        raise UsageError(
            f"{path}: --record adds to what a run of this recipe left in {ledger}, and there is none; "
            f"train it first: snug train {path} --record"
        )
    return dict(found[-1])


def keep(latency: Latency) -> None:
    """Leaves the timing of one image in its run, where `snug compare` finds it; a file has no place for it, and larger
    batches are another measure. Raises StorageError."""
    if latency.net.path.is_dir() and latency.protocol.batch == 1:
        runs.save_timing(latency.net.path, {name: value for name, value in latency.plain().items() if name != "path"})
