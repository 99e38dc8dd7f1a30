"""A PostgreSQL server of a test's own, from Debian's package `postgresql`, on a socket and a free port."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

USER = "postgres"  # the server refuses to be root's


def programs() -> Path | None:
    """Where initdb and pg_ctl lie; None where there is no server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    here = shutil.which("initdb")
    return found[-1].parent if found else Path(here).parent if here else None


def needed() -> Path:
    """Skips the test without a server, unless SNUG_POSTGRES=required."""
    found = programs()
    if found is None and os.environ.get("SNUG_POSTGRES") == "required":
        pytest.fail("SNUG_POSTGRES=required, but there is no PostgreSQL here: apt-get install postgresql")
    if found is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    pytest.importorskip("psycopg")
    return found


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The URL of a fresh database, gone afterwards."""
    bin_folder, as_root = needed(), os.geteuid() == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="snug-postgres-"))
    if as_root:
        os.chown(folder, *pwd.getpwnam(USER)[2:4])

    def run(program: str, *words: str) -> None:
        before = ["runuser", "-u", USER, "--"] if as_root else []
        with (folder / f"{program}.log").open("ab") as log:
            done = subprocess.run(
                [*before, str(bin_folder / program), "-D", str(folder / "data"), *words], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, check=False, cwd="/", env=os.environ | {"LC_ALL": "C"},
            )  # fmt: skip
        assert done.returncode == 0, (folder / f"{program}.log").read_text()

    try:
        run("initdb", "-U", "me", "--auth=trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-w", "-o", options, "-l", str(folder / "server.log"), "start")
        try:
            yield f"postgresql://me@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
