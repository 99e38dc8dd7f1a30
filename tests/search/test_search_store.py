"""Trials and jobs in a database: of several that ask at once exactly one gets what there is."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import postgres
import pytest

from snugnet.errors import MissingExtra, StorageError, UsageError
from snugnet.search import extra
from snugnet.search.store import Job, Store, Trial, default_url

pytest.importorskip("sqlalchemy")
NUMBERS = itertools.count()
OVER = -1.0  # a lease that has run out a second ago


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("server")) if request.param == "postgresql" else default_url(tmp_path)


@pytest.fixture
def name() -> str:
    """Of a study that no other test has."""
    return f"study {next(NUMBERS)}"


@pytest.fixture
def opened(url: str, name: str) -> Iterator[Store]:
    found = Store(url, name)
    found.join("digest", "text")
    yield found
    found.close()


def added(opened: Store, count: int) -> None:
    for number in range(count):
        assert opened.add(Trial(number, {"x": number}, "open", sha256=f"sha {number}"))


def test_a_trial_comes_back_as_it_was_stored(opened: Store):
    trial = Trial(
        0, {"a": [1, {"b": 0.5}]}, "over", "sha", {"params": 9.0}, {"params": 1.0}, {"x:generation": 2}, "a note"
    )
    assert opened.add(trial)
    assert opened.trials() == [trial]
    assert opened.jobs() == []


def test_a_number_is_given_once(opened: Store):
    assert opened.add(Trial(0, {}, "open", "one"))
    assert not opened.add(Trial(0, {}, "open", "other"))
    assert [trial.sha256 for trial in opened.trials()] == ["one"]


def test_the_very_same_design_waits_for_no_training(opened: Store):
    for number, sha in enumerate(["a", "b", "a", "a"]):
        opened.add(Trial(number, {}, "open", sha))
    assert [(trial.state, trial.same_as) for trial in opened.trials()] == [
        ("open", None), ("open", None), ("same", 0), ("same", 0),
    ]  # fmt: skip
    assert [job.trial for job in opened.jobs()] == [0, 1]


def test_a_job_is_of_one_worker_until_it_gives_it_back(opened: Store):
    added(opened, 1)
    job = opened.claim("first", 60)
    assert job == Job(0, 0, "running", "first", attempts=1)
    assert opened.claim("second", 60) is None
    assert opened.give_back(job)
    assert opened.claim("second", 60) == Job(0, 0, "running", "second", attempts=2)
    assert not opened.finish(replace(job, state="done"))


def test_a_worker_that_died_loses_its_job_and_what_it_still_says(opened: Store):
    added(opened, 1)
    dead = opened.claim("dead", OVER)
    assert dead is not None
    heir = opened.claim("heir", 60)
    assert heir is not None
    assert not opened.renew(dead, 60)
    assert not opened.finish(replace(dead, state="done", values={"accuracy": 0.1}))
    assert not opened.give_back(dead)
    assert opened.finish(replace(heir, state="done", values={"accuracy": 0.9}, run="here", seconds=2.5))
    assert opened.jobs() == [Job(0, 0, "done", "heir", 2, {"accuracy": 0.9}, 2.5, "here")]
    assert opened.claim("third", 60) is None


def test_a_lease_that_is_renewed_holds(opened: Store):
    added(opened, 1)
    job = opened.claim("slow", OVER)
    assert job is not None
    assert opened.renew(job, 60)
    assert opened.claim("other", 60) is None


def test_the_highest_rung_first(opened: Store):
    added(opened, 2)
    for trial in (0, 1):
        job = opened.claim("w", 60)
        assert job is not None
        assert job.trial == trial
        opened.finish(replace(job, state="done"))
    opened.add(Trial(2, {}, "open", "sha 2"))
    assert opened.promote(1, 1)
    assert not opened.promote(1, 1)
    claimed = [opened.claim("w", 60) for _ in range(2)]
    assert [(job.trial, job.rung) for job in claimed if job] == [(1, 1), (2, 0)]


def test_all_of_a_dead_worker_at_once(opened: Store):
    added(opened, 3)
    for worker in ("dead", "alive", "dead"):
        opened.claim(worker, 60)
    assert opened.give_back_all("dead") == 2
    assert [job.state for job in opened.jobs()] == ["waiting", "running", "waiting"]


def test_many_at_once_get_each_job_once(opened: Store, url: str, name: str):
    """Four workers with connections of their own; every second claim is given back, as if its worker had stopped."""
    added(opened, 24)
    finished: list[int] = []

    def worker(number: int) -> None:
        own, turn = Store(url, name), 0
        while job := own.claim(f"worker {number}", 60):
            turn += 1
            if turn % 2:
                own.give_back(job)
            elif own.finish(replace(job, state="done")):
                finished.append(job.trial)
        own.close()

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(finished) == list(range(24))


def test_a_name_is_of_one_study(opened: Store, url: str, name: str):
    opened.join("digest", "text with another trials")
    other = Store(url, name)
    with pytest.raises(UsageError, match=f"holds another study called '{name}'; go on with the file it began with"):
        other.join("other digest", "text")
    other.close()
    beside = Store(url, f"beside {name}")
    beside.join("other digest", "text")
    assert beside.trials() == []
    beside.close()


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("sqlite:////nowhere/at/all.db", StorageError, "all.db: the study's storage does not answer (unable to open"),
        ("mysql://host/db", UsageError, "--storage mysql: must be postgresql://... or sqlite:///FILE"),
        ("nonsense", UsageError, "--storage nonsense: must be a URL, as postgresql://user:password@host/database"),
    ],
)
def test_a_storage_that_is_none(url: str, error: type[Exception], words: str):
    with pytest.raises(error) as caught:
        Store(url, "study")
    assert words in str(caught.value)


def test_an_unreachable_server_is_said_without_its_password():
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError) as caught:
        Store("postgresql://me:secret@127.0.0.1:1/db", "study")
    assert str(caught.value).startswith("postgresql://me:***@127.0.0.1:1/db: the study's storage does not answer (")
    assert "secret" not in str(caught.value)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"^search: needs psycopg, .*: pip install 'snugnet\[postgres\]'$"):
        extra.needed("psycopg")
