"""The model card: its front matter, its words, and that a stranger's text is no markup in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from command import fails, snug
from snugnet import artifact, runs
from snugnet.compress.config import Quantization
from snugnet.report import card, licences
from snugnet.report.own_paths import named_in, shortened
from snugnet.report.pages import code, words


@pytest.fixture
def run(finished: Path, elsewhere: Path) -> Path:
    return Path(shutil.copytree(finished, elsewhere / "run")).relative_to(elsewhere)


def changed(run: Path, name: str, **values: Any) -> None:
    file = run / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def front(text: str) -> Any:
    return pytest.importorskip("yaml").safe_load(text.split("---\n")[1])


def test_the_front_matter_is_what_the_hub_reads(run: Path):
    assert snug("card run").out == "run/README.md\n"
    summary = runs.read(run).summary
    head = front((run / "README.md").read_text())
    assert head["library_name"] == "snugnet"
    assert head["license"] == "apache-2.0"
    assert (head["tags"], head["metrics"]) == (["image-classification", "snugnet"], ["accuracy"])
    assert "datasets" not in head  # scikit-learn's digits are no data set of the Hub
    (model,) = head["model-index"]
    (result,) = model["results"]
    assert result["dataset"] == {"type": "digits", "name": "digits", "split": "test"}
    assert result["metrics"][0] == {"type": "accuracy", "name": "Accuracy", "value": round(summary["test"], 6)}


def test_what_the_card_says(run: Path):
    text = card.card_text(run)
    summary = runs.read(run).summary
    test = summary["scores"]["test"]
    low, high = (f"{100 * bound:.2f} %" for bound in test["accuracy_interval"])
    sha256 = card.file_sha256(run / "model.safetensors")
    for line in (
        f"**{100 * summary['test']:.2f} %** (95 % interval {low} to {high}, 359 images, one training).\n",
        f"| file | `model.safetensors`, 83,176 B, SHA-256 `{sha256}` |\n",
        "| parameters | 19,706 |\n",
        "| numbers | float32 |\n",
        "| input | 1 × 8 × 8; pixel / 255, less 0.30",
        "| epochs | 2, 1,295 images each |\n",
        "| split | trained on train; val is the data's own, or else 10 % of each class, by a hash of the pixels; test",
        f"| loss, nats | {test['loss']:.4f} |",
        "\nsnug train snugnet/digits --set train.epochs=2 --run digits\n",
        "Its latency was not measured.\n",
        "- One training, seed 0. Another seed gives another net;",
        "- The test split chose nothing in this run. Whether test accuracies were looked at",
        "- Weights: apache-2.0.\n- Code that trained and runs it, snugnet: Apache-2.0.\n",
        "UCI gives them under CC BY 4.0.\n",
    ):
        assert line in text
    worst = min(test["per_class"], key=lambda each: each["accuracy"])
    assert f"Worst classes on test: {worst['class']} ({100 * worst['accuracy']:.2f} % of {worst['support']})" in text
    assert "\n\n\n" not in text


def test_its_lines_of_python_run(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from PIL import Image

    (code,) = (block.split("```")[0] for block in card.card_text(run).split("```python\n")[1:])
    monkeypatch.chdir(run)
    Image.new("L", (8, 8)).save("photo.png")
    exec(code)
    assert "tensor(0." in capsys.readouterr().out


def test_cifar_10_says_that_it_has_no_licence(run: Path):
    config = json.loads((run / "config.json").read_text())
    changed(run, "config.json", data=config["data"] | {"name": "cifar10"})
    text = card.card_text(run)
    assert front(text)["datasets"] == ["uoft-cs/cifar10"]
    assert (
        "- Data, CIFAR-10, which is not part of this: Its authors publish no explicit licence, and the rights" in text
    )
    assert "- CIFAR-10: 3.3 % of its test images have a near duplicate among the training images" in text


def test_what_else_a_run_may_hold(run: Path):
    latency = {"p50_ms": 0.1304, "batch": 1, "threads": 1, "device": "cpu", "hardware": "a desk", "backend": "torch"}
    (run / "bench.json").write_text(json.dumps(latency | {"version": "2", "latency": "batch 1 on a desk"}))
    teacher = {"path": "runs/t/model.safetensors", "sha256": "cd"}
    changed(run, "summary.json", teachers=[teacher], weights="best", tta="mirror", tta_test=0.5, trained_on="all")
    text = card.card_text(run)
    assert "One image takes 0.130 ms: batch 1 on a desk.\n" in text
    assert "| learned from | `runs/t/model.safetensors`, SHA-256 `cd` |\n" in text
    assert "| weights | the best on val, epoch 2 of 2 |\n" in text
    assert "chose nothing in this run; val chose the epoch, so its accuracy on val flatters it. " in text
    assert "With several views an image (`mirror`) its accuracy on test is 50.00 %.\n" in text
    assert "| split | trained on train and val together; test apart |\n" in text
    assert "They come from those of other nets, named above, whose terms hold too.\n" in text
    (run / "bench.json").write_text(json.dumps(latency | {"version": "2", "latency": "", "bytes": 1}))
    assert "Its latency was not measured.\n" in card.card_text(run)  # that was another file


def test_a_run_without_test(run: Path):
    scores = runs.read(run).summary["scores"]
    changed(run, "summary.json", test=None, scores={"val": scores["val"]})
    text = card.card_text(run)
    assert "It was not tested: the data has no test split.\n" in text
    assert "| | val |\n|---|--:|\n| images | 143 |\n" in text
    assert "Worst classes on val: " in text
    assert "model-index" not in front(text)
    changed(run, "summary.json", val=None, scores={})
    assert "Nothing: the data has neither a test nor a val split.\n" in card.card_text(run)


def test_a_stranger_s_text_is_no_markup(run: Path):
    scores = runs.read(run).summary["scores"]
    for split in scores.values():
        for each in split["per_class"]:
            each["class"] = "<b>|*x*"
    changed(run, "summary.json", recipe="---\n# <i>", scores=scores, command="snug\n```\n# x")
    text = card.card_text(run)
    assert front(text)["model-index"][0]["name"] == "---\n# <i>"
    assert "# --- \\# &lt;i>\n" in text
    assert "&lt;b>\\|\\*x\\* (" in text
    assert "\nsnug ``` # x\n" in text
    assert "<b>" not in text.split("---\n", 2)[2]


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ({"weights": "float16"}, "float16 in the file, float32 in computing"),
        ({"weights": "int8"}, "int8 weights, int8 activations, computed in integers"),
        ({"weights": "int4", "group": 32, "activations": "float"},
         "int4 weights in groups of 32, activations in floating point"),
    ],
)  # fmt: skip
def test_numbers_of_a_file(run: Path, kept: dict[str, Any], told: str):
    shipped = artifact.read(run / "model.safetensors").card
    quantized = shipped.model_copy(update={"quantization": Quantization.parse(kept)})
    assert card.format_of(quantized) == {"kind": kept["weights"], "words": told}


def test_a_file_that_is_not_the_run_s(run: Path):
    changed(run, "summary.json", bytes=83_175)
    words = "run/model.safetensors: must be the file that summary.json judges, of 83,175 B, but has 83,176 B; put back "
    fails(snug("card run"), 4, words)


def test_what_has_no_card(run: Path):
    words = "--license apache2: must be an identifier of the Hugging Face Hub, such as apache-2.0, mit, cc-by-4.0, or "
    fails(snug("card run --license apache2"), 2, words + "other, did you mean 'apache-2.0'?")
    (run / "summary.json").unlink()
    fails(snug("card run -o card.md --json"), 4, "run: is not finished; finish it with `snug resume run`")
    assert not Path("card.md").exists()


def test_own_images_are_told_by_the_name_of_their_folder():
    assert licences.data_of("/home/me/pets/").title == licences.data_of("C:\\me\\pets").title == "pets"
    assert licences.data_of("cifar100").hub == "uoft-cs/cifar100"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"path": "/home/me/runs/a"}', '{"path": "a"}'),
        ('{"path": "/home/jos\\u00e9/runs/a"}', '{"path": "a"}'),
        ('{"path": "/media/jos\\u00e9"}', '{"path": "jos\\u00e9"}'),
        ("snug train /data/x.toml --run=/tmp/r,file:///srv/y", "snug train x.toml --run=/tmp/r,y"),
        ("<code>&#39;/home/my name/a b&#39;</code>", "<code>&#39;a b&#39;</code>"),
        ('"C:\\\\Users\\\\me\\\\a.csv" D:/x/b', '"a.csv" b'),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("data:image/png;base64,iVBO/R0/KG==", "data:image/png;base64,iVBO/R0/KG=="),
        *((text, text) for text in ("tu24/v6 runs/a ../b", "~/c 3×3, 64, /2", "</p> images/s 1 / 2")),
    ],
)  # fmt: skip
def test_absolute_paths_are_cut(text: str, expected: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/my name")
    assert shortened(text)[0] == expected.replace("--run=/tmp/r", "--run=r")


def test_a_path_is_told_once():
    assert shortened("/a/b, /a/b and /c/d")[1] == ("/a/b", "/c/d")


def test_a_binary_file_is_searched_for_folders_of_the_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert named_in(b"\x00/home/me/net.py") == "/home/me"
    assert named_in(b"\x00/home/meadow") is None


def test_text_as_markdown():
    assert words("a_b\n|<&>") == "a\\_b \\|&lt;&amp;>"
    assert code("a`|\nb") == "`a'\\| b`"
