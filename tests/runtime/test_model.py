"""Files that are nets of ours, and files that are not; and that none of it needs torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from onnx_nets import CLASSES, card, write
from picture_files import KINDS
from servers import environment

from snugnet_runtime.cli import main
from snugnet_runtime.errors import ModelError, UsageError
from snugnet_runtime.limits import size_bytes
from snugnet_runtime.model import Card, read


def test_a_card_names_what_is_not_usual(tmp_path: Path):
    colour, grey = (128, 128, 128), (128,)
    assert read(write(tmp_path / "a.onnx")).card == Card(32, 3, tuple(CLASSES), colour)
    assert read(write(tmp_path / "b.onnx", size=8, channels=1)).card == Card(8, 1, tuple(CLASSES), grey)


def test_shares_are_the_files_probabilities(model_file: Path):
    net = read(model_file)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)
    (expected,) = net.session.run(["probabilities"], {"images": images})
    assert np.abs(net.shares(images) - expected).max() < 1e-6
    assert np.abs(net.shares(images).sum(axis=1) - 1).max() < 1e-12


def test_of_equal_shares_the_first_class_is_the_larger(model_file: Path):
    assert [name for name, _ in read(model_file).top([0.2, 0.3, 0.3, 0.2], 4)] == ["cat", "dog", "airplane", "ship"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"text": "{}"}, "its card is damaged; export it again"),
        ({"text": "["}, "its card is damaged; export it again"),
        ({"text": card(32, 3, [])}, "its card must name classes and the side of an image; export it again"),
        ({"text": card(64, 3, CLASSES)}, "does not take the images, or does not give the classes, that its card names"),
        ({"text": card(32, 3, CLASSES[:3])}, "does not take the images, or does not give the classes"),
        ({"text": card(32, 4, CLASSES)}, "pictures have 1 or 3 channels, but the net takes 4"),
        ({"kind": TensorProto.FLOAT}, "takes images that are normalised already; export it without --raw"),
    ],
)
def test_a_file_at_odds_with_its_card_is_refused(tmp_path: Path, how: dict, words: str):
    path = write(tmp_path / "net.onnx", **how)
    with pytest.raises(ModelError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: {words}")


def test_what_is_no_net_is_refused(tmp_path: Path, model_file: Path):
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(model_file.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"torn.onnx: ONNX Runtime cannot run it \(.*\); export it again$"):
        read(torn)
    with pytest.raises(ModelError, match=r"none.onnx: cannot be read \(No such file or directory\)"):
        read(tmp_path / "none.onnx")


def test_numbers_that_are_not_finite_are_no_answer(tmp_path: Path):
    net = read(write(tmp_path / "net.onnx", scale=np.inf))
    with pytest.raises(ModelError, match=r"its logits must be finite, but are not; train it again$"):
        net.shares(net.blank(1))


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["snug-runtime", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


def test_predict(tmp_path: Path, model_file: Path, monkeypatch, capsys):
    (tmp_path / "deeper").mkdir()
    for name in ("a.png", "deeper/b.jpg"):
        (tmp_path / name).write_bytes(KINDS["rgb.png"])
    (tmp_path / "notes.txt").write_text("no image")
    assert run(monkeypatch, "predict", model_file, tmp_path, "--json", "--top", 2) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [each["image"] for each in answers] == [str(tmp_path / "a.png"), str(tmp_path / "deeper" / "b.jpg")]
    assert [each["class"] for each in answers[0]["top"]] == [answers[0]["class"], answers[0]["top"][1]["class"]]
    (tmp_path / "c.png").write_text("no image")
    assert run(monkeypatch, "predict", model_file, tmp_path) == 4
    seen = capsys.readouterr()
    assert [len(line.split("\t")) for line in seen.out.splitlines()] == [3, 3]
    assert seen.err.startswith(f"{tmp_path / 'c.png'}: is no image of a known format")
    assert run(monkeypatch, "predict", model_file, tmp_path, "--top", 5) == 2
    assert capsys.readouterr().err == "UsageError: --top: must be 1 to 4, the classes of the net; got 5\n"
    assert run(monkeypatch, "predict", model_file, tmp_path / "none") == 2


def test_bench(model_file: Path, monkeypatch, capsys):
    assert run(monkeypatch, "bench", model_file, "--windows", 2, "--window-s", 0.01, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backend"] == "onnxruntime"
    assert 0 < found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"]
    assert len(found["windows_ms"]) == 2
    assert run(monkeypatch, "bench", model_file, "--batch", 0) == 2


def test_nothing_of_it_needs_torch_or_pydantics_models(model_file: Path):
    code = (
        "import sys, pathlib, snugnet_runtime.cli as cli\n"
        f"net = cli.model.read(pathlib.Path({str(model_file)!r})); net.shares(net.blank(1))\n"
        "print([name for name in ('torch', 'snugnet', 'pydantic', 'fastapi', 'onnx') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert ended.stdout.strip() == "[]"


def test_a_missing_extra_is_named(model_file: Path, monkeypatch, capsys):
    monkeypatch.setattr("snugnet_runtime.extra.SERVE", ("fastapi", "no_such_package"))
    assert run(monkeypatch, "serve", model_file) == 6
    words = "MissingExtra: serve: needs no_such_package, not installed here: pip install 'snugnet-runtime[serve]'"
    assert capsys.readouterr().err.startswith(words)


def test_sizes():
    assert [size_bytes(text) for text in ("10MB", "500 kB", "4096", "7b")] == [10_000_000, 500_000, 4096, 7]
    for text in ("", "MB", "-1", "1.5MB", "²"):
        with pytest.raises(UsageError, match=r"^--max-bytes: must be a number of bytes, such as 10MB; got "):
            size_bytes(text)
