"""Nothing is fetched or sent that was not asked for: the main commands with every socket blocked."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from command import fails, snug


@pytest.fixture
def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Who was asked for. Downloads are not forbidden: no command may want one."""
    monkeypatch.setenv("SNUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SNUG_OFFLINE", raising=False)
    monkeypatch.delenv("SNUG_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    asked: list[object] = []

    def refuse(*values: object, **_: object) -> None:
        asked.append(values[-1])
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return asked


@pytest.mark.parametrize(
    "line",
    [
        "recipes",
        "show snugnet/quickstart",
        "plan snugnet/quickstart",
        "design --budget params=20k",
        "data check digits",
        "train snugnet/digits --set train.epochs=1 --run new",
        "evaluate run",
        "compare run",
        "report run",
        "verify run",
        "compress run --to 30kB --run small",
        "predict run run/images",
    ],
)
def test_no_command_asks_for_a_connection(line: str, finished: Path, tmp_path: Path, blocked: list[object]):
    shutil.copytree(finished, tmp_path / "run")
    if "images" in line:
        from PIL import Image

        (tmp_path / "run" / "images").mkdir()
        Image.new("L", (8, 8)).save(tmp_path / "run" / "images" / "a.png")
    answer = snug(line)
    assert blocked == []
    assert answer.code in (0, 5), answer.err


def test_a_data_set_that_is_named_and_missing_is_asked_for(blocked: list[object]):
    fails(snug("data check cifar10"), 4, "cannot be reached")
    assert blocked
