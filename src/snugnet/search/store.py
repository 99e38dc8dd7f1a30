"""Where a study's trials and jobs stand: SQLite on one machine, PostgreSQL for many.

A trial is a point of the space with its price. A job is its training to one rung; other methods have a single rung, 0.
Every change is one transaction that names what it expects to find, so of several workers exactly one succeeds: a number
is given to one trial, a job is taken by one worker, and only who holds a job can finish it.

Who takes a job holds it for a lease, and renews that while it works. A lease that has run out is a worker that died:
the next one takes the job over. Time is the database's, so that clocks of several machines need not agree.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from snugnet.errors import StorageError, UsageError
from snugnet.search.extra import needed

TrialState = Literal["open", "same", "over", "invalid"]
JobState = Literal["waiting", "running", "done", "failed"]
WAIT_S = 60  # for another process to let go of an SQLite file


@dataclass(frozen=True)
class Trial:
    """A point and what it costs. `same_as`: the earlier trial with the very net and training; its results count."""

    number: int
    point: dict[str, Any]
    state: TrialState
    sha256: str = ""
    costs: dict[str, float] = field(default_factory=dict)
    excess: dict[str, float] = field(default_factory=dict)  # over the budget, of each measure
    memory: dict[str, Any] = field(default_factory=dict)  # what the method wants to know of it later
    note: str = ""
    same_as: int | None = None


@dataclass(frozen=True)
class Job:
    """The training of a trial to a rung. `values` are its objectives once it is done."""

    trial: int
    rung: int
    state: JobState
    worker: str = ""
    attempts: int = 0
    values: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    run: str = ""
    note: str = ""


class Store:
    """A study in a database. Raises StorageError for whatever the database does not do."""

    def __init__(self, url: str, study: str) -> None:
        self.url, self.study = url, study
        self._sql = needed("sqlalchemy")
        self._engine = self._opened(url)
        self._tables()

    def _opened(self, url: str) -> Any:
        sql = self._sql
        try:
            parsed = sql.engine.make_url(url)
        except sql.exc.ArgumentError as error:
            raise UsageError(f"--storage {url}: must be a URL, as postgresql://user:password@host/database") from error
        kind = parsed.drivername.partition("+")[0]
        if kind not in ("sqlite", "postgresql"):
            raise UsageError(f"--storage {kind}: must be postgresql://... or sqlite:///FILE")
        if kind == "postgresql":
            needed("psycopg")
            parsed = parsed.set(drivername="postgresql+psycopg")
            options: dict[str, Any] = {"connect_timeout": 10, "client_encoding": "utf8"}  # ASCII gives bytes
        else:
            options = {"timeout": WAIT_S}
        self.shown = parsed.render_as_string(hide_password=True).replace("+psycopg", "")
        self._now = (
            sql.text("extract(epoch from clock_timestamp())")
            if kind == "postgresql"
            else sql.text("(julianday('now') - 2440587.5) * 86400.0")
        )
        return sql.create_engine(parsed, connect_args=options, pool_pre_ping=kind == "postgresql")

    def _tables(self) -> None:
        sql = self._sql
        text, whole, real = sql.Text, sql.Integer, sql.Double
        tables = sql.MetaData()
        self._studies = sql.Table(
            "snug_studies", tables, sql.Column("study", text, primary_key=True), sql.Column("digest", text),
            sql.Column("text", text),
        )  # fmt: skip
        self._trials = sql.Table(
            "snug_trials", tables, sql.Column("study", text, primary_key=True),
            sql.Column("number", whole, primary_key=True, autoincrement=False), sql.Column("state", text),
            sql.Column("sha256", text), sql.Column("same_as", whole), sql.Column("facts", text),
        )  # fmt: skip
        self._jobs = sql.Table(
            "snug_jobs", tables, sql.Column("study", text, primary_key=True),
            sql.Column("trial", whole, primary_key=True, autoincrement=False),
            sql.Column("rung", whole, primary_key=True, autoincrement=False), sql.Column("state", text),
            sql.Column("worker", text), sql.Column("lease", real), sql.Column("attempts", whole),
            sql.Column("facts", text),
        )  # fmt: skip
        with contextlib.suppress(sql.exc.SQLAlchemyError), self._engine.begin() as connection:
            tables.create_all(connection)
            return
        with self._begun() as connection:  # what failed because another made them at the same time succeeds now
            tables.create_all(connection)

    @contextlib.contextmanager
    def _begun(self) -> Iterator[Any]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except self._sql.exc.IntegrityError:
            raise
        except self._sql.exc.SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())
            raise StorageError(
                f"{self.shown}: the study's storage does not answer ({reason}); check the address, the server and the "
                "disk, then repeat the command: what is stored is kept"
            ) from error

    def close(self) -> None:
        self._engine.dispose()

    def join(self, digest: str, text: str) -> None:
        """Begins the study, or takes part in it. Raises UsageError where another one has its name."""
        with contextlib.suppress(self._sql.exc.IntegrityError), self._begun() as connection:
            connection.execute(self._studies.insert().values(study=self.study, digest=digest, text=text))
            return
        with self._begun() as connection:
            found = connection.execute(
                self._sql.select(self._studies.c.digest).where(self._studies.c.study == self.study)
            ).scalar_one()
        if found != digest:
            raise UsageError(
                f"{self.shown}: holds another study called {self.study!r}; go on with the file it began with (trials, "
                "time and purpose may change), or give this one another name"
            )

    def trials(self) -> list[Trial]:
        """In the order of their numbers."""
        table = self._trials
        with self._begun() as connection:
            rows = connection.execute(table.select().where(table.c.study == self.study).order_by(table.c.number)).all()
        return [
            Trial(number=row.number, state=row.state, sha256=row.sha256, same_as=row.same_as, **json.loads(row.facts))
            for row in rows
        ]

    def jobs(self) -> list[Job]:
        """By trial, then by rung."""
        table = self._jobs
        order = (table.c.trial, table.c.rung)
        with self._begun() as connection:
            return [
                _job(row)
                for row in connection.execute(table.select().where(table.c.study == self.study).order_by(*order))
            ]

    def add(self, trial: Trial) -> bool:
        """Stores a trial under its number; False where that is taken.

        One that is open waits to be trained from now on, unless an earlier trial is the very same: then it is "same".
        All lower numbers are there, for each was seen before the next was given.
        """
        table = self._trials
        facts = {name: getattr(trial, name) for name in ("point", "costs", "excess", "memory", "note")}
        key = {"study": self.study, "number": trial.number}
        row = {**key, "state": trial.state, "sha256": trial.sha256, "facts": json.dumps(facts)}
        try:
            with self._begun() as connection:
                connection.execute(table.insert().values(**row))
                if trial.state != "open":
                    return True
                of_study = table.c.study == self.study
                alike = of_study & (table.c.sha256 == trial.sha256) & (table.c.number < trial.number)
                first = connection.execute(
                    self._sql.select(self._sql.func.min(table.c.number)).where(alike & (table.c.state == "open"))
                ).scalar_one()
                if first is None:
                    connection.execute(self._new_job(trial.number, 0))
                else:
                    connection.execute(
                        table.update()
                        .where(of_study & (table.c.number == trial.number))
                        .values(state="same", same_as=first)
                    )
        except self._sql.exc.IntegrityError:
            return False
        return True

    def promote(self, trial: int, rung: int) -> bool:
        """Has a trial wait for its next rung; False where it does, or did, already."""
        try:
            with self._begun() as connection:
                connection.execute(self._new_job(trial, rung))
        except self._sql.exc.IntegrityError:
            return False
        return True

    def _new_job(self, trial: int, rung: int) -> Any:
        return self._jobs.insert().values(
            study=self.study, trial=trial, rung=rung, state="waiting", worker="", attempts=0, facts="{}"
        )

    def claim(self, worker: str, lease_s: float) -> Job | None:
        """A job that waits, or whose worker died, the highest rung first; None where there is none."""
        table = self._jobs
        free = (table.c.state == "waiting") | ((table.c.state == "running") & (table.c.lease < self._now))
        of_study = table.c.study == self.study
        with self._begun() as connection:
            order = (table.c.rung.desc(), table.c.trial)
            found = [_job(row) for row in connection.execute(table.select().where(of_study & free).order_by(*order))]
        for job in found:
            attempts = job.attempts + 1
            with self._begun() as connection:
                taken = connection.execute(
                    table.update()
                    .where(self._is(job) & free & (table.c.attempts == job.attempts))
                    .values(state="running", worker=worker, lease=self._until(lease_s), attempts=attempts)
                )
            if taken.rowcount == 1:
                return replace(job, state="running", worker=worker, attempts=attempts)
        return None

    def renew(self, job: Job, lease_s: float) -> bool:
        """Holds a job for longer; False where another worker has it."""
        return self._changed(job, lease=self._until(lease_s))

    def finish(self, job: Job) -> bool:
        """Stores what came of a job, done or failed; False where another worker has it, whose result counts."""
        facts = {name: getattr(job, name) for name in ("values", "seconds", "run", "note")}
        return self._changed(job, state=job.state, lease=None, facts=json.dumps(facts))

    def give_back(self, job: Job) -> bool:
        """Has a job wait again."""
        return self._changed(job, state="waiting", lease=None, worker="")

    def give_back_all(self, worker: str) -> int:
        """The same for all jobs of a worker that is known to be dead; how many there were."""
        table = self._jobs
        held = (table.c.study == self.study) & (table.c.worker == worker) & (table.c.state == "running")
        with self._begun() as connection:
            freed = connection.execute(table.update().where(held).values(state="waiting", lease=None, worker=""))
        return int(freed.rowcount)

    def _changed(self, job: Job, **values: Any) -> bool:
        """Changes a job that is still held; a job taken over has had one more attempt."""
        held = (self._jobs.c.state == "running") & (self._jobs.c.worker == job.worker)
        mine = held & (self._jobs.c.attempts == job.attempts)
        with self._begun() as connection:
            changed = connection.execute(self._jobs.update().where(self._is(job) & mine).values(**values))
        return bool(changed.rowcount == 1)

    def _is(self, job: Job) -> Any:
        table = self._jobs
        return (table.c.study == self.study) & (table.c.trial == job.trial) & (table.c.rung == job.rung)

    def _until(self, lease_s: float) -> Any:
        return self._sql.literal_column(f"({self._now.text}) + {float(lease_s)!r}")


def _job(row: Any) -> Job:
    return Job(
        trial=row.trial, rung=row.rung, state=row.state, worker=row.worker, attempts=row.attempts,
        **json.loads(row.facts),
    )  # fmt: skip


def default_url(folder: Path) -> str:
    """A file in the study's directory."""
    return f"sqlite:///{folder.absolute() / 'study.db'}"


def pending(jobs: Sequence[Job]) -> bool:
    """Whether a job waits or is worked on."""
    return any(job.state in ("waiting", "running") for job in jobs)
