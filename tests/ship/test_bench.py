"""Timing by a clock that does not run by itself: no assertion here is about real speed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from itertools import chain, cycle, groupby
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snugnet import artifact, budget, runs
from snugnet.errors import ArtifactError, OutOfMemory
from snugnet.ship import backends, bench
from snugnet.ship.bench import Latency, Net, Protocol, Way, Window, measure, quantile, torch_net, window
from snugnet.ship.cold import Cold, fresh_start

CPU = torch.device("cpu")


class Clock:
    """Time passes in inferences alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def way(self, name: str, seconds: Iterable[float]) -> Way:
        each = cycle(seconds)

        def infer() -> None:
            self.now += next(each)

        return Way(name, infer)


def net(*ways: Way, **changes: Any) -> Net:
    facts = Net(Path("a"), "as it is", "torch", "2.15.0+cu132", "fp32", "cpu", "AMD EPYC", 4_000, 1_000, 0.9, ways)
    return dataclasses.replace(facts, **changes)


def timed(clock: Clock, *ways: Way, observe: Callable[[Window], None] = lambda window: None, **changes: Any) -> Latency:
    return measure([net(*ways)], Protocol.parse(changes), observe, clock)[0]


def test_a_window_ends_with_the_inference_that_fills_it():
    clock = Clock()
    assert window(clock.way("", [0.25]).infer, 1.0, clock) == [0.25] * 4
    assert window(clock.way("", [0.3]).infer, 1.0, clock) == pytest.approx([0.3] * 4)
    assert window(clock.way("", [7.0]).infer, 1.0, clock) == pytest.approx([7.0])


def test_the_way_that_was_fastest_in_the_warm_up_is_timed():
    clock = Clock()
    slow, fast = clock.way("slow", [0.125]), clock.way("fast", [0.25, 0.0625])
    found = timed(clock, slow, fast, windows=1)
    assert (found.way, found.ways_ms) == ("fast", {"slow": 125.0, "fast": 62.5})
    assert clock.now == pytest.approx(1.0 + 1.0 + 10.0, abs=0.25)


def test_the_median_is_of_the_windows_medians():
    clock = Clock()
    warm_up = [0.5, 0.5]
    windows = [[0.5] * 20, [0.25] * 40, [1.0] * 10, [0.1, 0.1, 9.8], [2.0] * 5]
    found = timed(clock, clock.way("only", chain(warm_up, *windows)))
    assert found.windows_ms == (500.0, 250.0, 1000.0, 100.0, 2000.0)
    assert (found.p50_ms, found.inferences, found.images_per_second) == (500.0, 78, 2.0)


def test_each_window_is_told():
    clock, seen = Clock(), []
    timed(clock, clock.way("only", [0.5]), observe=seen.append, windows=2)
    assert seen == [Window(Path("a"), "torch", number, 2, 500.0) for number in (1, 2)]


def test_nets_take_turns_so_that_a_disturbance_meets_all():
    clock, seen, order = Clock(), [], []

    def way(name: str, seconds: float) -> Way:
        def infer() -> None:
            order.append(name)
            clock.now += seconds * (10 if 100 < clock.now < 150 else 1)

        return Way(name, infer)

    nets = [net(way(name, seconds), path=Path(name)) for name, seconds in (("a", 1.0), ("b", 2.0))]
    first, second = measure(nets, Protocol(windows=10), seen.append, clock)
    assert [(str(each.path), each.number) for each in seen[:4]] == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert "".join(name for name, _ in groupby(order)) == "ab" * 11
    assert (first.p50_ms, second.p50_ms) == (1000.0, 2000.0)
    assert max(first.windows_ms) == 10_000.0
    assert max(second.windows_ms) == 20_000.0
    assert bench.ranks([first, second]) == [1.0, 2.0]


def test_of_several_backends_the_fastest_counts():
    clock = Clock()
    slow, fast = (timed(clock, clock.way("", [seconds])) for seconds in (1.0, 0.5))
    other = dataclasses.replace(slow, net=net(path=Path("b")))
    assert bench.fastest_of_each([slow, other, fast]) == [fast, other]


def test_a_fresh_process_and_its_memory(finished: Path):
    file, asked = finished / "model.safetensors", 4 << 20
    script = f"before = imported()\nheld = b'1' * {asked}\nassert open(file, 'rb').read(8)\nanswered(before)"
    found = fresh_start(Cold(script, file, 1), 1, 2)
    assert 0 < found.load_ms < found.cold_start_ms
    assert found.memory_bytes is None or asked < found.memory_bytes < 2 * asked
    assert found.process_bytes is None or found.process_bytes > asked
    with pytest.raises(ArtifactError, match=r"a fresh process could not run it \(ValueError: no\); give --starts 0 to"):
        fresh_start(Cold("raise ValueError('no')", file, 1), 1, 1)


def test_a_fresh_process_answers_with_the_file(finished: Path):
    pytest.importorskip("onnxruntime")
    protocol = Protocol(starts=1, windows=1, window_s=0.01, warmup_s=0.01)
    for make in (backends.torch_net, backends.runtime_net):
        (latency,) = measure([make(finished, protocol, CPU)], protocol, lambda window: None)
        document = bench.started(latency).plain()
        assert document["cold_start_ms"] > document["load_ms"] > 0
        assert dataclasses.replace(latency, protocol=Protocol(starts=0)).plain()["load_ms"] is None


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1), (0.5, 50), (0.9, 90), (0.901, 91), (0.99, 99), (1, 100)])
def test_a_quantile_is_the_least_time_that_so_many_do_not_exceed(share: float, expected: int):
    assert quantile([range(100, 0, -1)], share) == expected
    assert quantile([range(1, 101, 2), range(2, 101, 2)], share) == expected


def test_a_quiet_window_does_not_outnumber_the_slow_ones():
    windows = [[1.0] * 1000, [50.0] * 20, [50.0] * 20]
    assert quantile(windows, 0.9) == median(map(median, windows)) == 50.0
    assert sorted(chain(*windows))[round(0.9 * 1040)] == 1.0


@given(st.lists(st.floats(1e-5, 10.0), min_size=1, max_size=40), st.integers(1, 6), st.integers(1, 9))
def test_percentiles_are_in_order(seconds: list[float], windows: int, batch: int):
    clock = Clock()
    found = timed(clock, clock.way("only", seconds), windows=windows, window_s=0.01, warmup_s=0.01, batch=batch)
    assert found.p50_ms <= found.p90_ms <= found.p99_ms
    assert found.p99_ms <= max(found.windows_ms[0], 1000 * max(seconds) + 1e-4)
    assert len(found.windows_ms) == windows
    assert found.images_per_second * found.p50_ms == pytest.approx(1000 * batch)


def test_the_protocol_in_a_line():
    clock = Clock()
    assert timed(clock, clock.way("", [1.0])).words == (
        "batch 1, 1 thread on AMD EPYC, torch 2.15.0, median of 5 x 10 s"
    )
    several = timed(clock, clock.way("", [1.0]), batch=8, threads=2, windows=3, window_s=0.5)
    assert several.words == "batch 8, 2 threads on AMD EPYC, torch 2.15.0, median of 3 x 0.5 s"
    on_card = dataclasses.replace(several, net=net(device="cuda", hardware="NVIDIA H200"))
    assert on_card.words == "batch 8, cuda on NVIDIA H200, torch 2.15.0, median of 3 x 0.5 s"


def test_the_time_it_will_take():
    ways = [Clock().way("", [1.0])] * 2
    assert bench.planned_s([net(*ways), net(ways[0])], Protocol()) == 52 + 51


@pytest.mark.parametrize(("last", "is_disturbed"), [(1.25, False), (1.26, True)])
def test_a_disturbed_timing_is_known(last: float, is_disturbed: bool):
    clock = Clock()
    found = timed(clock, clock.way("", [1.0] * 7 + [last]), warmup_s=1.0, windows=1, window_s=7.0)
    assert found.is_disturbed == is_disturbed
    assert found.text.endswith("x 7 s, other work beside it" if is_disturbed else "x 7 s")


def test_threads_are_those_of_the_protocol_and_given_back():
    seen, before = [], torch.get_num_threads()

    def infer() -> None:
        seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure([net(Way("", infer))], Protocol(threads=2), lambda window: None, lambda: 0.0)
    assert (set(seen), torch.get_num_threads()) == ({(2, True)}, before)


def test_every_way_is_the_shipped_net(finished: Path):
    shipped = artifact.read(finished / "model.safetensors")
    found = torch_net(finished, Protocol(batch=3), CPU)
    assert (found.params, found.size_bytes) == (shipped.params, shipped.size_bytes)
    assert found.test == runs.read(finished).summary["test"]
    assert torch_net(shipped.path, Protocol(), CPU).test is None
    noise = torch.randn((3, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    expected = shipped.model(noise)
    assert [way.name for way in found.ways] == ["channels-first", "channels-last"]
    for way in found.ways:
        torch.testing.assert_close(way.infer(), expected)


def test_a_batch_beyond_memory(finished: Path, monkeypatch: pytest.MonkeyPatch):
    peak = budget.price(artifact.read(finished / "model.safetensors").card).peak_activation_bytes
    monkeypatch.setattr(bench, "available_bytes", lambda device: 2 * peak)
    assert torch_net(finished, Protocol(batch=2), CPU).ways
    with pytest.raises(OutOfMemory, match=r"digits: --batch 3 takes about .* of memory, and .* are free; give a sma"):
        torch_net(finished, Protocol(batch=3), CPU)
