"""Files of others that were made to be believed: each was a traceback, or minutes of work, before."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from small_runs import tiny
from snugnet import artifact, checkpoint, runs
from snugnet.data import unlabelled, unpickle
from snugnet.data.table import list_table
from snugnet.device import Compute
from snugnet.errors import ArtifactError
from snugnet.models.resnet import build
from snugnet.runs import Run, RunRecord
from snugnet.train import loop
from specs import card, spec

EXPERIMENT = tiny().experiment
SOUND = {"epoch": 1, "step": 0, "history": [], "model": {}, "ema": None, "optimizer": {}, "random": 0, "losses": []}


def net_with_card(folder: Path, text: str) -> Path:
    path, found = folder / "model.safetensors", spec(image_size=8)
    artifact.write(path, card(found), build(found))
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["snugnet"] = text
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + data[8 + length :])
    return path


def test_a_card_of_lists_in_lists(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"its card cannot be read \(maximum recursion depth exceeded"):
        artifact.read(net_with_card(tmp_path, "[" * 50_000))


def test_a_card_that_asks_for_more_blocks_than_the_file_has_tensors(tmp_path: Path):
    body = json.loads(card(spec(image_size=8)).text())
    tensors = len(artifact.layout(card(spec(image_size=8))))
    body["model"]["stages"] = [["basic", tensors + 1, 4]]
    words = rf"its card names {tensors + 1} blocks, and it holds numbers of at most {tensors}$"
    with pytest.raises(ArtifactError, match=words):
        artifact.read(net_with_card(tmp_path, json.dumps(body)))
    body["model"]["stages"] = [["basic", tensors, 4]]
    with pytest.raises(ArtifactError, match=r"tensors do not fit its own specification"):
        artifact.read(net_with_card(tmp_path, json.dumps(body)))


@pytest.mark.parametrize(
    ("stamped", "words"),
    [
        (-1, "it has no training, or no time spent on it"),
        ({"elapsed_s": 1.0}, "it has no training, or no time spent on it"),
        ({"training": SOUND}, "it has no training, or no time spent on it"),
        ({"training": SOUND | {"epoch": -1}, "elapsed_s": 1}, "epoch and step must be whole numbers"),
        ({"training": SOUND | {"epoch": True}, "elapsed_s": 1}, "epoch and step must be whole numbers"),
        ({"training": SOUND | {"history": [[1]]}, "elapsed_s": 1}, "history must be pairs of numbers"),
        ({"training": {k: v for k, v in SOUND.items() if k != "ema"}, "elapsed_s": 1}, "it has no ema"),
    ],
)
def test_a_checkpoint_that_is_no_state_of_a_training(tmp_path: Path, stamped: object, words: str):
    if isinstance(stamped, dict):
        stamped = {"recipe_sha256": EXPERIMENT.sha256, "seed": EXPERIMENT.seed} | stamped
    checkpoint.write(tmp_path / "checkpoint" / "last.safetensors", stamped)
    with pytest.raises(ArtifactError, match=rf"is no state of a training \({words}\); restore it from a copy"):
        Run(tmp_path, EXPERIMENT).state()


def test_a_checkpoint_of_another_net():
    learner = loop.Learner(build(spec(image_size=8)), EXPERIMENT.train, Compute(torch.device("cpu"), "fp32"))
    with pytest.raises(ArtifactError, match=r"^the checkpoint does not fit the net of its recipe \(RuntimeError: "):
        loop.restore(learner, learner.state() | {"model": {"a": torch.zeros(1)}})


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), r"labels must be 0 to 1"),
        (torch.zeros(3, 2), torch.tensor([0, 1, -1]), r"labels must be 0 to 1"),
        (torch.zeros(3, 2), torch.tensor([0, 1]), r"it holds 3 rows of logits and labels of shape \(2,\)"),
        (torch.zeros(3), torch.tensor([0, 1, 1]), r"logits must be numbers of shape \(images, classes\)"),
        (torch.zeros(3, 2), torch.zeros(3), r"and labels int64"),
    ],
)
def test_predictions_that_are_none(tmp_path: Path, logits: torch.Tensor, labels: torch.Tensor, words: str):
    (tmp_path / "predictions").mkdir()
    save_file({"logits": logits, "labels": labels}, tmp_path / "predictions" / "test.safetensors")
    with pytest.raises(ArtifactError, match=rf"predictions cannot be read \(.*{words}"):
        RunRecord(tmp_path, {}, {}, {}, []).predictions("test")


def test_a_run_of_lists_in_lists_and_half_a_character(tmp_path: Path):
    (tmp_path / "config.json").write_text("[" * 50_000)
    with pytest.raises(ArtifactError, match=r"config\.json: damaged \(maximum recursion depth"):
        runs.read(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "\\ud800": 1}\n')
    Run(tmp_path, EXPERIMENT).rewind(1)
    assert (tmp_path / "metrics.csv").read_text() == "epoch,\\ud800\n1,1\n"


def test_an_archive_that_unpacks_to_more_than_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pixels = np.zeros((4, 4, 3), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", a=pixels)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        size = archive.infolist()[0].file_size
    monkeypatch.setattr(unpickle, "LARGEST_BYTES", size - 1)
    (bad,) = unlabelled.stream([tmp_path / "a.npz"])
    assert "a.npy unpacks to" in str(bad.image)
    monkeypatch.setattr(unpickle, "LARGEST_BYTES", size)
    (good,) = unlabelled.stream([tmp_path / "a.npz"])
    assert (good.image == pixels).all()


def test_a_name_in_a_table_that_no_file_can_have(tmp_path: Path):
    (tmp_path / "a.csv").write_text("path,label\n" + "n" * 5000 + ".png,cat\n")
    told = str(list_table(tmp_path / "a.csv").problems[0])
    assert "...' is no file: correct the line or remove it" in told
    assert len(told) < 600
