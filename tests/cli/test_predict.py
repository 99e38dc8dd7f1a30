"""`snug predict`: every kind of input, the answers' forms, Kaggle's files against `snug evaluate`, what goes wrong."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from command import Answer, fails, snug
from snugnet.cli.console import out

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECIPE = """
[model]
stages = [["basic", 1, 8]]
stem = { stride = 4 }
norm = { momentum = 0.3 }
[train]
epochs = 8
batch_size = 50
optimizer = { lr = 0.05 }
"""

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory: a little CIFAR-10 whose classes can be half told, `run` trained on it, its test split as
    `test.npy` (N, 32, 32, 3) and `test.csv` of true labels, in an order of its own."""
    root = tmp_path_factory.mktemp("cifar")
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    random = np.random.default_rng(0)
    names = [f"data_batch_{k}" for k in range(1, 6)]
    for name, count in [*((name, 80) for name in names), ("test_batch", 520)]:  # more than a batch of evaluate's
        labels = np.arange(count) % 10
        pixels = random.integers(0, 256, (count, 3072)) * 3 // 4 + 6 * labels[:, None]
        held = {b"data": pixels.astype(np.uint8), b"labels": labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(held, 2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [name.encode() for name in CLASSES]}, 2))
    order = random.permutation(520)
    np.save(root / "test.npy", held[b"data"][order].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    np.savetxt(root / "test.csv", labels[order], "%d")
    (root / "little.toml").write_text(RECIPE + f"[data]\nname = {json.dumps(str(folder))}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        answer = snug("train little.toml --run run")
    assert answer.code == 0, answer.err
    return root


@pytest.fixture
def here(cifar: Path, tmp_path: Path) -> Path:
    """A copy of it to work in; the images as a.png (the first), more/2.png and more/10.png."""
    shutil.copytree(cifar, tmp_path, dirs_exist_ok=True)
    pixels = np.load(tmp_path / "test.npy")
    for number, name in enumerate(("a.png", "more/2.png", "more/10.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[number]).save(tmp_path / name)
    (tmp_path / "more" / "notes.txt").write_text("not an image")
    (tmp_path / "more" / ".hidden.png").write_text("nor this")
    return tmp_path


def kaggle(path: Path, year: int) -> None:
    """The competition's file of that year, of the images in test.npy; its IDs are from 7 on."""
    pixels = np.load(path / "test.npy")
    if year == 2024:
        pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(-1, 3072)
    held = {b"data": pixels, b"ids": np.arange(7, 7 + len(pixels))}
    (path / f"{year}.pkl").write_bytes(pickle.dumps(held, 4))


def answered(answer: Answer) -> list[tuple[str, float]]:
    return [(each["class"], each["probability"]) for each in answer.json]


@pytest.mark.parametrize("year", [2024, 2025])
def test_kaggle_s_answer_scores_what_evaluate_says(here: Path, year: int):
    kaggle(here, year)
    answer = snug(f"predict run {year}.pkl --csv answers.csv --format kaggle")
    assert answer.code == 0, answer.err
    assert answer.out.endswith("Answers: answers.csv\n")
    header, *rows = (here / "answers.csv").read_text().splitlines()
    assert header == "ID,Labels"
    ids, labels = np.array([row.split(",") for row in rows], int).T
    assert ids.tolist() == list(range(7, 527))
    true = np.loadtxt(here / "test.csv", dtype=int)
    assert (labels == true).mean() == snug("evaluate run --json").json["accuracy"] > 0.15


def test_probabilities_are_those_that_the_run_stored(here: Path):
    """Whatever the images came in."""
    kaggle(here, 2024)
    expected = snug("predict run 2024.pkl --json")
    stored = load_file(here / "run" / "predictions" / "test.safetensors")["logits"].double().softmax(1).amax(1)
    assert sorted(share for _, share in answered(expected)) == pytest.approx(stored.sort().values.tolist(), abs=1e-6)
    pixels = np.load(here / "test.npy")
    np.savez(here / "test.npz", one=pixels[0], rest=pixels[1:])
    rows = np.concatenate([np.zeros((520, 1), np.uint8), pixels.transpose(0, 3, 1, 2).reshape(520, -1)], 1)
    rows.tofile(here / "test_batch.bin")
    for file in ("test.npy", "test.npz", "test_batch.bin"):
        assert answered(snug(f"predict run {file} --json")) == answered(expected), file
    shown = snug("predict run/model.safetensors a.png more --json")
    assert [each["image"] for each in shown.json] == ["a.png", "more/2.png", "more/10.png"]
    assert [name for name, _ in answered(shown)] == [name for name, _ in answered(expected)[:3]]
    assert [p for _, p in answered(shown)] == pytest.approx([p for _, p in answered(expected)[:3]], abs=1e-5)
    assert [each["image"] for each in expected.json[:2]] == ["2024.pkl[7]", "2024.pkl[8]"]
    official = snug("predict run cifar-10-batches-py/test_batch --json").json
    assert (len(official), official[0]["image"]) == (520, "cifar-10-batches-py/test_batch[0]")


def test_lines_a_table_and_a_csv(here: Path, monkeypatch: pytest.MonkeyPatch):
    answer = snug("predict run a.png more --top 2")
    assert answer.code == 0
    name, first, share, second, other = answer.out.splitlines()[0].split("\t")
    assert (name, {first, second} <= set(CLASSES), 1 > float(share) >= float(other)) == ("a.png", True, True)
    assert snug("predict run a.png more --top 2 --csv answers.csv").out == (
        f"3 images answered: {_counts(answer)}\nAnswers: answers.csv\n"
    )
    rows = list(csv.DictReader((here / "answers.csv").read_text().splitlines()))
    assert list(rows[0]) == ["image", "class", "probability", "class_2", "probability_2"]
    assert [row["image"] for row in rows] == ["a.png", "more/2.png", "more/10.png"]
    assert (rows[0]["class"], rows[0]["class_2"]) == (first, second)
    monkeypatch.setattr(type(out), "is_terminal", True)
    table = snug("predict run test.npy").out
    assert "test.npy[19]" in table
    assert "test.npy[20]" not in table
    assert "and 500 images more; --csv FILE writes all" in table


def _counts(answer: Answer) -> str:
    found = [line.split("\t")[1] for line in answer.out.splitlines()]
    often = sorted(set(found), key=lambda name: (-found.count(name), found.index(name)))
    return ", ".join(f"{name} {found.count(name)}" for name in often)


def test_an_image_on_stdin(here: Path, monkeypatch: pytest.MonkeyPatch):
    def given(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    given((here / "a.png").read_bytes())
    found = snug("predict run - --json").json
    assert found == [{**snug("predict run a.png --json").json[0], "image": "-"}]
    given(b"no image")
    fails(snug("predict run -"), 4, "-: cannot be read as an image (it is no image that Pillow knows)")
    fails(snug("predict run - -"), 2, "-: stdin holds one image; give - once")


@pytest.mark.usefixtures("here")
def test_more_views():
    both = [snug(f"predict run a.png --json {views}").json[0]["probability"] for views in ("", "--tta mirror")]
    assert both[0] != both[1]
    fails(snug("predict run a.png --tta miror"), 2, "--tta miror: must be one of mirror, ")


def test_what_cannot_be_read_is_told_and_the_rest_answered(here: Path):
    (here / "more" / "3.png").write_bytes(b"torn")
    answer = snug("predict run a.png more --csv answers.csv")
    fails(answer, 4, "DataError: 1 of 4 images cannot be read, see above; the others are answered\n")
    assert "Note: more/3.png: cannot be read as an image (it is no image that Pillow knows): replace" in answer.err
    assert [row["image"] for row in csv.DictReader((here / "answers.csv").read_text().splitlines())] == [
        "a.png", "more/2.png", "more/10.png",
    ]  # fmt: skip
    for number in range(12):
        (here / "more" / f"torn{number}.png").write_bytes(b"torn")
    many = snug("predict run more")
    assert many.err.count("cannot be read as an image") == 10
    assert "Note: and 3 images more that cannot be read\n" in many.err
    assert len(many.out.splitlines()) == 2


def test_kaggle_wants_every_image(here: Path):
    kaggle(here, 2025)
    (here / "torn.pkl").write_bytes((here / "2025.pkl").read_bytes()[:1000])
    (here / "answers.csv").write_text("as it was")
    words = "1 of 521 images cannot be read, see above; Kaggle wants every image, so answers.csv was not written"
    fails(snug("predict run 2025.pkl torn.pkl --csv answers.csv --format kaggle"), 4, words)
    assert (here / "answers.csv").read_text() == "as it was"


class Evil:
    def __reduce__(self) -> object:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("a.pkl", lambda path: path.write_bytes(pickle.dumps({"data": Evil()})), "a.pkl: wants to run code ("),
        ("a.pkl", lambda path: path.write_bytes(pickle.dumps({"labels": [1]})),
         "a.pkl: must hold data, uint8 (images, 3072) or (images, H, W, C), as CIFAR and Kaggle have it; it has no "
         "data: give such a file, or images"),
        ("a.pkl", lambda path: path.write_bytes(pickle.dumps({"data": np.zeros((2, 9), np.uint8)})),
         "it; its data is uint8 (2, 9): give such a file, or images"),
        ("a.pkl", lambda path: path.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "ids": [1]})),
         "a.pkl: ids must be a whole number for each of 2 images: get the file again"),
        ("a.npy", lambda path: np.save(path, np.array([Evil()]), allow_pickle=True),
         "a.npy: cannot be read as arrays ("),
        ("a.npy", lambda path: np.save(path, np.zeros((32, 32, 3))), "a.npy: must be uint8, 0 to 255, for the net's"),
        ("a.npy", lambda path: np.save(path, np.zeros((2, 8, 8, 1), np.uint8)),
         "a.npy[0]: the net takes 3 channels, an array as (H, W, 3)"),
        ("a.npz", lambda path: path.write_bytes(b"PK\x03\x04"), "a.npz: cannot be read as arrays ("),
        ("a.bin", lambda path: path.write_bytes(bytes(3074 * 2 + 1)),
         "a.bin: is 6,149 B, and whole images of 3,073 or 3,074 B are expected, as CIFAR's binary version has them: "),
        ("a.bin", lambda path: path.write_bytes(b""), "a.bin: is 0 B, and whole images"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_images(here: Path, name: str, write: object, words: str):
    write(here / name)  # type: ignore[operator]
    answer = snug(f"predict run {name}")
    fails(answer, 4, " images cannot be read, see above; the others are answered")
    assert f"Note: {words}" in answer.err or words in answer.err
    assert not (here / "ran").exists()


def test_empty_arrays_hold_no_image(here: Path):
    np.save(here / "none.npy", np.zeros((0, 32, 32, 3), np.uint8))
    fails(snug("predict run none.npy"), 4, "IMAGES: hold no image; give files that do")


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("run nowhere.png", 4, "nowhere.png: no such file or folder; give images"),
        ("run run/predictions", 4, "run/predictions: holds no image; give a folder with some, or images"),
        ("nowhere a.png", 4, "nowhere: no such file; a finished run has its net in model.safetensors"),
        ("run a.png --format kaggle", 2, "--format kaggle: says how the CSV is written; give --csv FILE as well"),
        ("run a.png --csv a.csv --format kagle", 2, "--format kagle: must be one of plain, kaggle, did you mean "),
        ("run a.png --csv a.csv --format kaggle", 2,
         "--format kaggle: a.png has no ID, as images of a pickle or an array have; leave --format out"),
        ("run test.npy test.npy --csv a.csv --format kaggle", 2,
         "--format kaggle: ID 0 is of test.npy[0] and of test.npy[0]; give one of them"),
        ("run test.npy --csv a.csv --format kaggle --top 2", 2,
         "--format kaggle: has one class for every image; leave --abstain and --top out"),
        ("run a.png --top 11", 2, "--top 11: run knows 10 classes; give at most that"),
        ("run a.png --abstain much", 2, "--abstain much: a share must be a number, or a number with one of %; got"),
        ("run a.png --abstain 99", 2, "--abstain 99: must be above 0 and at most 1; got 99"),
        ("run a.png --abstain cover=0.9", 2,
         "--abstain cover=0.9: must be SHARE, or accuracy=SHARE or coverage=SHARE, did you mean 'coverage'?"),
        ("run a.png --abstain 0.5 --tta mirror", 2,
         "--abstain: its threshold is chosen on val at one look an image; leave --tta out"),
        ("run/model.safetensors a.png --abstain 0.5", 2,
         "run/model.safetensors: --abstain needs the run, which keeps what was said of val; give its directory"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("here")
def test_what_cannot_be_meant(line: str, code: int, words: str):
    fails(snug(f"predict {line}"), code, words)
    assert not Path("a.csv").exists()


def test_it_says_when_it_is_not_sure(here: Path):
    sure = snug("predict run test.npy --json --abstain coverage=0.5")
    threshold = float(
        re.search(r"unsure below a probability of (0\.\d+): on val \(40 images\) (\S+) % are ", sure.err)[1]
    )
    assert "It was chosen on these very images, so expect less of others" in sure.err
    share = np.mean([each["class"] is not None for each in sure.json])
    assert 0.2 < share < 0.8
    assert all((each["class"] is None) == (each["probability"] < threshold - 1e-4) or
               abs(each["probability"] - threshold) < 1e-4 for each in sure.json)  # fmt: skip
    lines = snug("predict run test.npy --abstain coverage=0.5 --csv answers.csv")
    assert "unsure " in lines.out
    rows = list(csv.DictReader((here / "answers.csv").read_text().splitlines()))
    assert [row["class"] == "" for row in rows] == [each["class"] is None for each in sure.json]
    config = json.loads((here / "run" / "summary.json").read_text())
    (here / "run" / "summary.json").write_text(json.dumps(config | {"val": None}))
    fails(
        snug("predict run a.png --abstain 0.5"), 2, "run: --abstain chooses its threshold on val, and this run has none"
    )
