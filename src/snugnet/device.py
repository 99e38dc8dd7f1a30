"""Which device trains, and in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from snugnet.errors import UsageError
from snugnet.launch import place

Precision = Literal["fp32", "bf16", "fp16"]
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """A device and a precision. `autocast()` is the context that forward passes run in."""

    device: torch.device
    precision: Precision

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, HALVES[self.precision])


def find_device(name: str) -> torch.device:
    """`auto` is cuda, mps or cpu, the first there is. Raises UsageError for a device that is not there."""
    present: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if name == "auto":
        name = next(kind for kind, there in present.items() if there())
    kind, colon, number = name.partition(":")
    if kind not in present or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f"--device {name}: unknown device; give auto, cpu, cuda, cuda:1 or mps")
    if not present[kind]():
        raise UsageError(f"--device {name}: torch sees no {kind} device here; give --device auto")
    if number and int(number) >= (count := torch.cuda.device_count()):
        raise UsageError(f"--device {name}: torch sees {count} cuda devices, counted from 0; give one of them")
    return _own_card(number) if kind == "cuda" and place().count > 1 else torch.device(name)


def _own_card(number: str) -> torch.device:
    """Of several processes each takes the card of its place on the machine."""
    here, cards = place(), torch.cuda.device_count()
    if number:
        raise UsageError(f"--device cuda:{number}: each process takes a card of its own; give --device cuda")
    if here.local_count > cards:
        raise UsageError(
            f"--device cuda: {here.local_count} processes need as many cards, but torch sees {cards}; "
            f"give --nproc-per-node {cards}"
        )
    return torch.device("cuda", here.local_rank)


@lru_cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of this CPU as Linux names them; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return frozenset(next((line.split(":")[1] for line in lines if line.startswith("flags")), "").split())


def has_fast_bf16(device: torch.device) -> bool:
    """Whether convolutions in bf16 are faster than in fp32: by instruction set on a CPU, by generation on a card."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def choose(device: str, precision: Literal["auto"] | Precision) -> Compute:
    """The device of that name; "auto" is bf16 where that is fast, else fp16 on cards of NVIDIA, which had it first."""
    found = find_device(device)
    if precision != "auto":
        return Compute(found, precision)
    if has_fast_bf16(found):
        return Compute(found, "bf16")
    return Compute(found, "fp16" if found.type == "cuda" else "fp32")


def available_bytes(device: torch.device) -> int:
    """Free memory of the device, as the system tells it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)
    return free or 4 * 10**9


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for each operation on the CPU, and those of before again behind it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> contextlib.AbstractContextManager[None]:
    """For hundreds of operations too short to share: each would wait for every thread to be given a core.

    Measured with AutoAugment, crop, flip and perspective on 512 CIFAR images, two cores: where other processes want
    them too, 1,600 ms with two threads and 25 ms with one; where nothing else runs, 11 ms with two.
    """
    return threads(1)
