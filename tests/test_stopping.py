from __future__ import annotations

import signal
import threading

import pytest

from snugnet.stopping import Stopper


def test_nothing_happened():
    with Stopper() as stopper:
        assert (stopper.reason, stopper.only_deadline) == ("", False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish(number: signal.Signals):
    with Stopper() as stopper:
        signal.raise_signal(number)
        assert stopper.reason == number.name


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_interrupts_at_once(first: signal.Signals):
    with Stopper():
        signal.raise_signal(first)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_second_sigterm_stays_a_wish():
    with Stopper() as stopper:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stopper.reason == "SIGTERM"


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Stopper():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_deadline(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("snugnet.stopping.time.monotonic", lambda: now)
    stopper = Stopper(after_s=60.0)
    now = 160.0
    assert stopper.reason == ""
    now = 160.1
    assert stopper.reason == "--stop-after 1 min 00 s has passed"
    assert stopper.only_deadline
    with stopper:
        signal.raise_signal(signal.SIGTERM)
    assert not stopper.only_deadline


def test_a_signal_comes_before_a_deadline():
    with Stopper(after_s=0) as stopper:
        signal.raise_signal(signal.SIGTERM)
        assert stopper.reason == "SIGTERM"


def test_outside_the_main_thread_only_the_deadline_counts():
    seen = []

    def work() -> None:
        with Stopper(after_s=0) as stopper:
            seen.append(stopper.reason)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["--stop-after 0 s has passed"]


def test_the_code_around_it_may_wish_too():
    wish = ["", "the rung is reached"]
    stopper = Stopper(also=lambda: wish[-1])
    assert (stopper.reason, stopper.own_reason) == ("the rung is reached", "")
    wish.pop()
    assert stopper.reason == ""


def test_entered_within_itself_it_listens_until_the_outer_end():
    before = signal.getsignal(signal.SIGTERM)
    with Stopper() as stopper:
        with stopper:
            pass
        signal.raise_signal(signal.SIGTERM)
        assert stopper.reason == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before
