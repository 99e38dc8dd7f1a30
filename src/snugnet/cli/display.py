"""Progress of a training on stderr: a live table on a terminal, a plain line an epoch elsewhere."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.live import Live
from rich.table import Table

from snugnet import units
from snugnet.cli.console import errors, escape, is_live
from snugnet.errors import Interrupted

if TYPE_CHECKING:
    from snugnet.budget import Budget, Cost
    from snugnet.evaluate.robustness import Judged
    from snugnet.ship.bench import Window
    from snugnet.train.loop import Epoch, Step

SHOWN_EPOCHS = 12
REDRAW_S = 0.5
SIGN_OF_LIFE_S = 60.0  # off a terminal, within a long epoch
SILENT_S = 2.0  # what takes no longer is not announced
PIECE_BYTES = 2**20  # about what a download reports at once
STRENGTHS = 5  # of a corruption


def show_budget(cost: Cost, limits: Budget) -> None:
    """The budget bars, before a training."""
    from snugnet import budget

    for name, limit in limits.limits().items():
        used = getattr(cost, name)
        errors.print(f"{bar(used / limit)} {budget.show(name, used)} of {budget.show(name, limit)}", soft_wrap=True)
    if not limits.limits():
        errors.print(f"{cost.params:,} parameters, no budget")


MANY = 10  # times a limit, from where a percentage says less


def bar(share: float, width: int = 20) -> str:
    """A bar of the budget used, red where it is over."""
    filled = min(width, round(width * share))
    shown = f"{100 * share:.1f} %" if share < MANY else f"{share:,.0f} times"
    return f"[{'green' if share <= 1 else 'red'}]{'█' * filled}{'░' * (width - filled)}[/] {shown}"


def show_warning(message: str) -> None:
    errors.print(f"[yellow]Note[/]: {escape(message)}", soft_wrap=True)


def show_download(received: int, total: int) -> None:
    """A line for each tenth of a download."""
    tenth = total // 10
    if tenth and (received // tenth) > ((received - PIECE_BYTES) // tenth):
        errors.print(f"downloading: {units.show_bytes(received)} of {units.show_bytes(total)}")


@contextlib.contextmanager
def show_windows(files: int, planned_s: float) -> Iterator[Callable[[Window], None]]:
    """Says how long a timing takes and shows each window: a line redrawn on a terminal, else one of its own.

    A short timing is silent. Nothing is drawn while a window lasts.
    """
    if planned_s <= SILENT_S:
        yield lambda window: None
        return
    errors.print(f"timing {files} file{'s' if files > 1 else ''}: {units.show_seconds(planned_s)}")
    numbers = itertools.count(1)
    live = Live(console=errors, auto_refresh=False, transient=True) if is_live() else None

    def show(window: Window) -> None:
        left = units.show_seconds(planned_s * (1 - next(numbers) / (files * window.windows)))
        done = f"window {window.number}/{window.windows}  {window.median_ms:.3f} ms  {left} left"
        line = f"{escape(window.path)} {window.backend}  {done}"
        if live:
            live.update(line, refresh=True)
        else:
            errors.print(line, soft_wrap=True)

    with live or contextlib.nullcontext():
        yield show


@contextlib.contextmanager
def show_corrupted() -> Iterator[Callable[[Judged], None]]:
    """Says what judging corrupted images costs, and how far it is: a line redrawn on a terminal, else one for each
    corruption. Raises Interrupted where it is stopped."""
    started, last = time.monotonic(), 0
    live = Live(console=errors, auto_refresh=False, transient=True) if is_live() else None

    def show(judged: Judged) -> None:
        nonlocal last
        last = judged.total
        if not judged.done:
            errors.print(f"corrupted images: {judged.total} passes of {judged.images:,}", soft_wrap=True)
            if live:
                live.start()
            return
        spent = time.monotonic() - started
        left = units.show_seconds(spent / judged.done * (judged.total - judged.done))
        if live:
            live.update(f"{bar(judged.done / judged.total)}  {judged.name}  {left} left", refresh=True)
        elif judged.done % STRENGTHS == 0:
            errors.print(f"{judged.name}  {judged.done}/{judged.total}  {left} left", soft_wrap=True)

    try:
        yield show
    except KeyboardInterrupt as stop:
        if not last:
            raise
        raise Interrupted("evaluate: stopped, nothing of it is kept; --images or fewer names take less time") from stop
    finally:
        if live:
            live.stop()


class Display:
    """Observes a training of `epochs` epochs."""

    def __init__(self, epochs: int, title: str) -> None:
        self._epochs, self._title = epochs, title
        self._started = self._drawn = time.monotonic()
        self._first_done: float | None = None  # how far the training was when we began to watch
        self._rows: deque[Epoch] = deque(maxlen=SHOWN_EPOCHS)
        self._step: Step | None = None
        self._live = Live(console=errors, auto_refresh=False) if is_live() else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def __call__(self, progress: Any) -> None:
        from snugnet.train.loop import Epoch

        done = self._done(progress)
        if self._first_done is None:
            self._first_done = done
        if isinstance(progress, Epoch):
            self._rows.append(progress)
            self._step = None
            if self._live is None:
                self._say(self._line(progress, done))
        else:
            self._step = progress
            if self._live is None and time.monotonic() - self._drawn > SIGN_OF_LIFE_S:
                self._say(self._step_line(progress, done))
        if self._live and (isinstance(progress, Epoch) or time.monotonic() - self._drawn > REDRAW_S):
            self._drawn = time.monotonic()
            self._live.update(self._table(done), refresh=True)

    def _say(self, line: str) -> None:
        self._drawn = time.monotonic()
        errors.print(line, soft_wrap=True)

    def _done(self, progress: Any) -> float:
        """Epochs done, as a number with a fraction."""
        step = getattr(progress, "step", None)
        return float(progress.epoch) if step is None else progress.epoch - 1 + step / progress.steps

    def _left(self, done: float) -> str:
        gained = done - (self._first_done or 0.0)
        if gained <= 0:
            return "…"
        return units.show_seconds((self._epochs - done) * (time.monotonic() - self._started) / gained)

    def _line(self, epoch: Epoch, done: float) -> str:
        val = "" if epoch.val_accuracy is None else f"  val {units.show_percent(epoch.val_accuracy)}"
        return (
            f"epoch {epoch.epoch}/{self._epochs}  loss {epoch.train_loss:.4f}{val}"
            f"  {epoch.images_per_second:,.0f} images/s  {self._left(done)} left"
        )

    def _step_line(self, step: Step, done: float) -> str:
        of_epoch = f"epoch {step.epoch}/{self._epochs}  step {step.step}/{step.steps}"
        return f"{of_epoch}  loss {step.loss():.4f}  {self._left(done)} left"

    def _table(self, done: float) -> Table:
        table = Table(title=escape(self._title), caption=f"{self._left(done)} left · Ctrl-C stops, and can be resumed")
        for name in ("epoch", "loss", "val accuracy", "images/s"):
            table.add_column(name, justify="right")
        for row in self._rows:
            val = "–" if row.val_accuracy is None else units.show_percent(row.val_accuracy)
            table.add_row(f"{row.epoch}/{self._epochs}", f"{row.train_loss:.4f}", val, f"{row.images_per_second:,.0f}")
        if self._step:
            step = self._step
            table.add_row(
                f"{step.epoch}/{self._epochs}", f"{step.loss():.4f}", f"step {step.step}/{step.steps}", "", style="dim"
            )
        return table
