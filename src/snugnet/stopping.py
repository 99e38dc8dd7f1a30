"""A wish to stop, from a signal, a deadline or the code around it, that training asks for between two batches."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from snugnet import units


def no_wish() -> str:
    return ""


class Stopper:
    """While entered, the first SIGINT or SIGTERM becomes a wish; the second SIGINT interrupts at once.

    It may be entered within itself. `also` gives another reason to stop, or "".
    """

    def __init__(self, after_s: float | None = None, also: Callable[[], str] = no_wish) -> None:
        self._also, self._entered = also, 0
        self._deadline = None if after_s is None else time.monotonic() + after_s
        self._after = "" if after_s is None else units.show_seconds(after_s)
        self._signal = ""
        self._previous: dict[int, Any] = {}

    @property
    def only_deadline(self) -> bool:
        """Whether nothing but --stop-after can have stopped this process, or those that train with it."""
        return self._deadline is not None and not self._signal

    @property
    def reason(self) -> str:
        """Why to stop, or "" to go on."""
        return self.own_reason or self._also()

    @property
    def own_reason(self) -> str:
        """The same, of signal and deadline alone."""
        if self._signal:
            return self._signal
        late = self._deadline is not None and time.monotonic() > self._deadline
        return f"--stop-after {self._after} has passed" if late else ""

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name

    def __enter__(self) -> Self:
        self._entered += 1
        is_heard = threading.current_thread() is threading.main_thread()  # Python hears signals there alone
        if self._entered == 1 and is_heard:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if not self._entered:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
