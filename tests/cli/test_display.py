from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from command import snug
from snugnet.cli import console, display
from snugnet.cli.display import Display
from snugnet.ship.bench import Window
from snugnet.train.loop import Epoch, Step


def epoch(number: int, val: float | None = 0.5) -> Epoch:
    return Epoch(number, 1.25, val and 1.0, val, 0.1, 1234.0, 1.0, [1.25], dict)


def step(number: int) -> Step:
    return Step(1, number, 10, 64 * number, lambda: 2.5, dict)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns in place of stderr."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    text = io.StringIO()
    fake = Console(file=text, force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr(console, "errors", fake)
    monkeypatch.setattr(display, "errors", fake)
    return text


def watch(*progress: Epoch | Step, epochs: int = 2, title: str = "digits") -> None:
    with Display(epochs, title) as shown:
        for each in progress:
            shown(each)


def test_a_plain_line_an_epoch(capsys: pytest.CaptureFixture[str]):
    watch(step(1), epoch(1), step(1), epoch(2, val=None))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("epoch 1/2  loss 1.2500  val 50.00 %  1,234 images/s  ")
    assert first.endswith(" left")
    assert second.startswith("epoch 2/2  loss 1.2500  1,234 images/s  0 s left")


def test_a_live_table_on_a_terminal(terminal: io.StringIO):
    watch(epoch(1), epoch(2), title="digits · runs/[/odd]")
    text = terminal.getvalue()
    assert "digits · runs/[/odd]" in text
    assert "\x1b[?25l" in text  # the cursor is hidden while the table is redrawn
    assert text.count("\x1b[?25h") == 1  # and shown again
    assert "2/2" in text
    assert "Ctrl-C stops, and can be resumed" in text


def test_steps_are_drawn_now_and_then(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(display, "REDRAW_S", -1.0)
    watch(step(3))
    assert "step 3/10" in terminal.getvalue()
    terminal.truncate(0)
    monkeypatch.setattr(display, "REDRAW_S", 1e9)
    watch(step(3))
    assert "step 3/10" not in terminal.getvalue()


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_no_redrawing_where_it_would_be_a_mess(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    watch(epoch(1))
    assert "\x1b[?25l" not in terminal.getvalue()
    assert "epoch 1/2" in terminal.getvalue()


def test_an_error_leaves_the_cursor_visible(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(display, "REDRAW_S", -1.0)

    def broken() -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(epoch(1), Step(2, 1, 10, 64, broken, dict))
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")


def test_what_is_left_is_estimated_from_what_was_watched(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    shown = Display(10, "resumed")
    assert shown._left(0.0) == "…"
    shown(step(1))
    now = 60.0
    shown._first_done = 4.0
    assert shown._left(6.0) == "2 min 00 s"


def test_a_long_epoch_gives_a_sign_of_life_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = 0.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    shown = Display(2, "slow")
    for second, number in ((0.0, 1), (60.0, 2), (64.0, 3), (124.0, 4), (128.0, 5)):
        now = second
        shown(step(number))
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1/2  step 3/10  loss 2.5000  9 min 04 s left",
        "epoch 1/2  step 5/10  loss 2.5000  8 min 00 s left",
    ]


GONE = """
import sys
from snugnet.cli.console import out, print_json
for _ in range(2):
    out.print("x" * 100_000)
    print_json("y" * 100_000)
sys.exit(5)
"""


def test_a_reader_of_stdout_that_has_gone_changes_nothing_but_what_it_reads():
    with subprocess.Popen([sys.executable, "-c", GONE], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 5


def windows(planned_s: float, files: int = 1) -> None:
    with display.show_windows(files, planned_s) as show:
        show(Window(Path("runs/[a]"), "torch", 1, 5, 0.3124))


def test_a_plain_line_a_window(capsys: pytest.CaptureFixture[str]):
    windows(104.0, files=2)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "timing 2 files: 1 min 44 s"
    assert second == "runs/[a] torch  window 1/5  0.312 ms  1 min 34 s left"


def test_a_short_timing_is_silent(capsys: pytest.CaptureFixture[str]):
    windows(2.0)
    assert capsys.readouterr().err == ""
    windows(2.01)
    assert capsys.readouterr().err.startswith("timing 1 file: 2 s\n")


def test_a_window_is_redrawn_on_a_terminal(terminal: io.StringIO):
    windows(52.0)
    assert "runs/[a] torch  window 1/5  0.312 ms  42 s left" in terminal.getvalue()
    assert terminal.getvalue().count("\x1b[?25h") == 1


def test_a_user_s_text_is_no_markup():
    answer = snug("evaluate [red]nowhere:x:[/]")
    assert "[red]nowhere:x:[/]: no run here" in answer.err
