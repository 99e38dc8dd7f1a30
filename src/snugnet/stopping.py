"""A wish to stop, from a signal or a deadline, that training asks for between two batches."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from snugnet import units


class Stopper:
    """While entered, the first SIGINT or SIGTERM becomes a wish; the second SIGINT interrupts at once."""

    def __init__(self, after_s: float | None = None) -> None:
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
        if self._signal:
            return self._signal
        late = self._deadline is not None and time.monotonic() > self._deadline
        return f"--stop-after {self._after} has passed" if late else ""

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python hears signals there alone
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
