"""`snug push` against a local stand-in of the Hub; tests/stand_in_hub.py says what that leaves out."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command import fails, snug
from snugnet import runs
from snugnet.cli import handing
from snugnet.report.own_paths import shortened
from stand_in_hub import TOKEN, StandIn, stand_in

SENT = ["model.safetensors", "README.md", "recipe.toml", "config.json", "summary.json", "report.html"]
HOME = "/home/some.one"
pytestmark = pytest.mark.filterwarnings("ignore:::(?!snugnet)")  # of packages that are not ours


@pytest.fixture
def run(finished: Path, elsewhere: Path) -> Path:
    shutil.copytree(finished, elsewhere / "run")
    return Path("run")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    pytest.importorskip("huggingface_hub")
    with stand_in() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)  # read at import
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "SNUG_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "none")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True, raising=False)
        yield server


def test_one_commit_of_what_others_need_and_nothing_else(run: Path, hub: StandIn):
    answer = snug("push run me/digits --json")
    assert answer.code == 0, answer.err
    (files,) = hub.commits
    assert sorted(files) == sorted(SENT)
    assert hub.private == {"me/digits": False}
    assert answer.json["url"] == f"{hub.url}/me/digits/commit/c0ffee"
    assert {each["name"]: each["bytes"] for each in answer.json["files"]} == {k: len(v) for k, v in files.items()}
    for name in ("model.safetensors", "recipe.toml", "config.json", "summary.json"):
        own = (run / name).read_bytes()
        assert files[name] == (own if name.endswith("safetensors") else shortened(own.decode())[0].encode())
    assert b"hf download me/digits model.safetensors --local-dir ." in files["README.md"]
    summary = runs.read(run).summary
    assert hub.messages == [f"snugnet/digits, seed 0: test accuracy {100 * summary['test']:.2f} %, 83,176 B"]
    assert not (run / "README.md").exists()
    again = snug("push run me/digits --private")  # a public repository does not become a private one
    words = "--private: me/digits is there already and is public; make it private in its settings on the Hub, or leave "
    fails(again, 2, words + "--private out. Nothing was sent")
    assert len(hub.commits) == 1


def test_a_private_one_and_a_net_in_another_format(run: Path, hub: StandIn):
    (run / "model.onnx").write_bytes(b"onnx")
    answer = snug("push run me/hidden --private")
    assert (answer.code, hub.private) == (0, {"me/hidden": True}), answer.err
    assert sorted(hub.commits[0]) == sorted([*SENT, "model.onnx"])
    assert f" in one commit: {hub.url}/me/hidden/commit/c0ffee\n" in answer.out
    assert answer.out.startswith("model.safetensors   83,176 B\n")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses to write to me/digits (401); log in by `hf auth login`, with a token that may write to me\n"),
        (403, "refuses to write to me/digits (403); log in by `hf auth login`, with a token that may write to me\n"),
        (500, "answers 500 ("),
        (200, "gives no answer that a Hub gives ("),
    ],
)
def test_what_the_hub_refuses(run: Path, hub: StandIn, status: int, words: str):
    hub.refuses = status
    answer = snug(f"push {run} me/digits")
    fails(answer, 4, f"StorageError: push: {hub.url} {words}")
    assert hub.asked[0] == "/api/repos/create"
    assert hub.commits == []


def test_without_token_network_or_leave(run: Path, hub: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNUG_OFFLINE", "1")
    fails(
        snug(f"push {run} me/digits"), 4, "push: SNUG_OFFLINE=1 forbids the network; unset it, or look at what would "
    )
    monkeypatch.delenv("SNUG_OFFLINE")
    monkeypatch.delenv("HF_TOKEN")
    words = "push: no token of the Hugging Face Hub is known here; log in by `hf auth login`, with a token that may "
    fails(snug(f"push {run} me/digits"), 4, words + "write to me, or set HF_TOKEN\n")
    assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    answer = snug(f"push {run} me/digits")
    fails(answer, 4, f"push: {url} cannot be reached (")
    assert answer.err.endswith("; check the network and repeat the command\n")


def test_a_dry_run_sends_and_writes_nothing(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(handing, "_upload", None)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    answer = snug("push run me/digits --dry-run")
    assert answer.code == 0, answer.err
    assert [line.split()[0] for line in answer.out.splitlines()[:6]] == SENT
    assert answer.out.endswith("; nothing was sent (--dry-run)\n")
    assert snug("push run me/digits --dry-run --json").json["url"] is None
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_paths_of_this_machine_stay_here(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", HOME)
    for name in ("config.json", "summary.json"):
        values: dict[str, Any] = json.loads((run / name).read_text())
        parent = {"path": f"{HOME}/old/model.safetensors", "sha256": "ab", "recipe_sha256": None}
        values |= {"parent": parent} | ({"command": f"snug train {HOME}/a.toml"} if name == "summary.json" else {})
        (run / name).write_text(json.dumps(values))
    (run / "report.html").unlink()
    answer = snug("push run me/digits --dry-run --json")
    assert answer.code == 0, answer.err
    assert "run: has no report.html, which would go with it; `snug report run` writes it\n" in answer.err
    cut = {each["name"]: each["shortened"] for each in answer.json["files"]}
    assert cut["config.json"] == [f"{HOME}/old/model.safetensors"]
    assert cut["summary.json"] == [f"{HOME}/old/model.safetensors", f"{HOME}/a.toml"]
    assert f"config.json: {HOME}/old/model.safetensors is cut to its last part\n" in snug("push run a/b --dry-run").out
    text = snug("card run").out and (run / "README.md").read_text()
    assert HOME not in text
    assert "snug train a.toml\n" in text
    assert "| began with | `model.safetensors`, SHA-256 `ab` |\n" in text
    (run / "model.onnx").write_bytes(b"\x08" + f"{HOME}/venv/net.py".encode())
    words = f"run/model.onnx: holds the path {HOME}, which would tell others of this machine, and cannot be shortened"
    fails(snug("push run me/digits --dry-run"), 4, words)


def test_an_edited_card_goes_as_it_is(run: Path):
    snug("card run --license mit")
    own = run / "README.md"
    own.write_text(own.read_text() + "\nSaid by its author.\n")
    size = {each["name"]: each["bytes"] for each in snug("push run me/digits --dry-run --json").json["files"]}
    assert size["README.md"] == own.stat().st_size
    assert snug("push run me/digits --dry-run --license mit").code == 0
    words = "--license cc0-1.0: run/README.md says mit; `snug card run --license cc0-1.0` writes it anew"
    fails(snug("push run me/digits --dry-run --license cc0-1.0"), 2, words)
    own.write_text("Of another net.\n")
    words = "run/README.md: names another SHA-256 than model.safetensors has; `snug card run` writes it anew"
    fails(snug("push run me/digits --dry-run"), 4, words)


@pytest.mark.parametrize(
    "name", ["digits", "me/", "/digits", "a/b/c", "me/a--b", "me/a.git", "me/a b", "me/a.", "-me/a"]
)
def test_a_name_that_is_no_repository(run: Path, name: str):
    words = "push: the repository must be OWNER/NAME, of letters, digits and single - _ . between; got "
    fails(snug("push", "--dry-run", "--", run, name), 2, words + repr(name))


def test_the_extra_is_asked_for_by_name(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("snugnet.track.is_installed", lambda package: False)
    words = "MissingExtra: push: needs huggingface_hub, not installed here: pip install 'snugnet[hub]'\n"
    fails(snug(f"push {run} me/digits"), 6, words)


def test_what_cannot_be_pushed(run: Path):
    (run / "recipe.toml").unlink()
    fails(snug("push run me/digits --dry-run"), 4, "run/recipe.toml: is not there; a finished run has it: restore it ")
    (run / "summary.json").unlink()
    fails(snug("push run me/digits --dry-run"), 4, "run: is not finished; finish it with `snug resume run`")
    fails(snug("push nowhere me/digits --dry-run"), 4, "nowhere: no run here (there is no config.json)")
