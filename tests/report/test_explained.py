"""`snug explain` on nets that were never trained: what is asked, drawn and measured."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from command import fails, snug
from small_runs import tiny
from snugnet import artifact, pipeline, runs
from snugnet.artifact import Shipped
from snugnet.errors import ArtifactError, DataError, UsageError
from snugnet.models.resnet import build
from snugnet.pipeline import Controls
from snugnet.report import heat, questions
from snugnet.report.explained import How, explain
from specs import card, spec


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Two runs of the smallest net."""
    root = tmp_path_factory.mktemp("runs")
    for name, augment in (("a", "[]"), ("b", '[{op="crop", padding=2}]')):
        pipeline.start(tiny("train.epochs=1", f"train.augment={augment}"), root / name, Controls())
    return root


@pytest.fixture
def colored(tmp_path) -> Shipped:
    """A net for 16x16 images in RGB, of classes cat and dog."""
    model_spec = spec(["basic", 1, 4], image_size=16, classes=2)
    size = artifact.write(tmp_path / "net.safetensors", card(model_spec, ("cat", "dog")), build(model_spec))
    assert size
    return artifact.read(tmp_path / "net.safetensors")


def save(path: Path, mode: str = "RGB", size: tuple[int, int] = (16, 16), color: object = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


def test_the_most_confident_mistakes_are_explained(trained, tmp_path):
    answer = snug("explain", trained / "a", "--count", "3", "-o", tmp_path / "out", "--json")
    assert answer.code == 0, answer.err
    found = answer.json
    logits, labels = runs.read(trained / "a").predictions("test")
    confidence, predicted = logits.softmax(1).max(1)
    place = int((confidence * (predicted != labels)).argmax())
    first = found["images"][0]
    assert len(found["images"]) == 3
    assert (first["split"], first["index"]) == ("test", place)
    assert (first["true"], first["predicted"]) == (str(int(labels[place])), str(int(predicted[place])))
    assert first["probability"] == pytest.approx(float(confidence[place]), abs=1e-4)
    assert {(each["method"], each["class"]) for each in first["maps"]} == {
        (method, first[key]) for method in ("grad_cam", "occlusion") for key in ("true", "predicted")
    }
    assert (found["patch"], found["stride"], found["agreement"]) == (2, 1, None)
    assert found["layers"] == [{"run": str(trained / "a"), "layer": "stages.0.0", "map_size": 4}]
    for path in (*(each["path"] for each in found["images"]), *found["filters"]):
        with Image.open(path) as image:
            image.load()
    assert image.size == (4 * 100 + 4, 120 + 2 * 16)  # the four filters of the stem, and what they are


def test_a_net_agrees_with_itself_and_less_with_another(trained, tmp_path):
    how = How(count=2, patch=4, stride=4)
    copy = Path(shutil.copytree(trained / "a", tmp_path / "copy"))
    same = explain(trained / "a", output=tmp_path / "same", other=copy, how=how)
    assert same["agreement"]["occlusion"] == pytest.approx(1)
    found = explain(trained / "a", output=tmp_path / "two", other=trained / "b", how=how)
    assert found["agreement"]["occlusion"] < 1 - 1e-6
    assert [each["run"] for each in found["images"][0]["said"]] == [str(trained / "a"), str(trained / "b")]
    with Image.open(tmp_path / "two" / Path(found["images"][0]["path"]).name) as two:
        assert two.height > 2 * 192
    assert (tmp_path / "two" / "filters-2.png").is_file()


def test_words_on_a_terminal(trained, tmp_path):
    answer = snug(
        "explain", trained / "a", "--with", trained / "b", "--count", "1", "-o", tmp_path / "out", "--layer", "stem"
    )
    assert answer.code == 0, answer.err
    assert "Grad-CAM of stem, a map of 4×4; half of it lies on " in answer.out
    assert "occlusion hides 2×2 pixels, every 1" in answer.out
    assert "agreement of the two nets' maps (mean correlation): grad-cam " in answer.out
    assert answer.out.endswith(f"Pictures: {tmp_path}/out\n")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--layer stages.1.0", 2, "has no such map, did you mean 'stages.0.0'?; give one of stem, stages.0.0"),
        ("--patch 9", 2, "--patch 9: must be at most the images' side of 8; give a smaller one"),
        ("--patch 3 --stride 4", 2, "--stride 4: must be at most the patch of 3, or pixels are never hidden"),
        ("x.png", 4, "its net takes images of 1 channels, but files are read as RGB, 3; leave IMAGES out"),
        ("--with nowhere", 4, "nowhere: no run here"),
    ],
)
def test_what_cannot_be_explained(trained, options, code, words):
    fails(snug(f"explain {trained}/a {options}"), code, words)


def test_nets_of_other_images_are_not_compared(trained, tmp_path):
    wide = tiny("train.epochs=1")
    pipeline.start(wide, tmp_path / "c", Controls())
    other = card(spec(["basic", 1, 4], image_size=16, in_channels=1))
    artifact.write(tmp_path / "c" / "model.safetensors", other, build(other.model))
    with pytest.raises(
        ArtifactError, match=r"c: takes images \(1, 16, 16\), but .*a takes \(1, 8, 8\); compare nets of one"
    ):
        explain(trained / "a", other=tmp_path / "c")
    renamed = artifact.read(trained / "a" / "model.safetensors").card.model_copy(
        update={"classes": tuple("abcdefghij")}
    )
    artifact.write(
        tmp_path / "c" / "model.safetensors", renamed, artifact.read(trained / "a" / "model.safetensors").model
    )
    with pytest.raises(ArtifactError, match=r"c: knows other classes than .*a; compare nets of one data set$"):
        explain(trained / "a", other=tmp_path / "c")


def test_files_become_inputs_as_the_data_path_makes_them(colored, tmp_path):
    save(tmp_path / "in" / "cat" / "wide.png", "RGBA", (40, 20), (255, 0, 0, 255))
    save(tmp_path / "in" / "other" / "same.png", color=(1, 2, 3))
    save(tmp_path / "in" / "dog" / "grey one.png", "L", (8, 8), 7)
    found = questions.of_files(colored, [tmp_path / "in", tmp_path / "in" / "other" / "same.png"])
    assert [(each.name, each.true, each.converted) for each in found.each] == [
        ("wide", 0, "RGBA to RGB; 40×20 to 16×16, cut to its centre"),
        ("grey_one", 1, "L to RGB; 8×8 to 16×16"),
        ("same", None, None),
        ("same", None, None),
    ]
    assert found.pixels.shape == (4, 3, 16, 16)
    assert found.pixels[:, :, 3, 3].tolist() == [[255, 0, 0], [7, 7, 7], [1, 2, 3], [1, 2, 3]]


def test_files_are_explained_and_what_was_changed_is_said(trained, colored, tmp_path):
    run = Path(shutil.copytree(trained / "a", tmp_path / "run"))
    shutil.copy(colored.path, run / "model.safetensors")
    file = save(tmp_path / "in" / "cat" / "wide.png", "RGBA", (40, 20), (255, 0, 0, 255))
    answer = snug("explain", run, file, "--layer", "stem", "--patch", "5", "--json")
    assert answer.code == 0, answer.err
    (image,) = answer.json["images"]
    assert (image["image"], image["true"], image["index"]) == (str(file), "cat", None)
    assert image["path"] == str(run / "plots" / "explain" / "01-wide.png")
    assert f"{file}: RGBA to RGB; 40×20 to 16×16, cut to its centre" in answer.err.replace("\n", " ")
    assert (answer.json["patch"], answer.json["stride"], answer.json["layers"][0]["map_size"]) == (5, 2, 16)
    tiny_maps = spec(["basic", 1, 4], ["basic", 1, 4], ["basic", 1, 4], image_size=4, classes=2)
    artifact.write(run / "model.safetensors", card(tiny_maps, ("cat", "dog")), build(tiny_maps))
    answer = snug("explain", run, file)
    words = f"{run}: the map of stages.2.0 is 1×1 and says nothing of where; give an earlier --layer"
    assert words in answer.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken.png", r"broken\.png: cannot be read as an image \(it is no image that Pillow knows\)"),
        ("missing.png", r"missing\.png: no such file or folder; give images$"),
        ("empty", r"empty: holds no image; give a folder with some, or images$"),
    ],
)
def test_files_that_are_no_images(colored, tmp_path, name, words):
    (tmp_path / "broken.png").write_text("no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=words):
        questions.of_files(colored, [tmp_path / name])


def test_a_map_colours_what_speaks_for_and_against():
    image = torch.full((1, 2, 2), 255, dtype=torch.uint8)
    shown = heat.overlay(image, torch.tensor([[2.0, -2.0], [0.0, 1.0]]))
    brightest = sum(heat.GREYS)
    full = [round(0.15 * brightest + 0.85 * part) for part in heat.FOR]
    assert shown[:, 0, 0].tolist() == full
    assert shown[2, 0, 1] > shown[0, 0, 1]  # blue
    assert shown[:, 1, 0].tolist() == [brightest] * 3
    assert torch.equal(heat.overlay(image, torch.zeros(2, 2)), torch.full((3, 2, 2), brightest, dtype=torch.uint8))


def test_a_sheet_holds_its_panels():
    image = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
    rows = [
        ("first", [("a", heat.enlarged(image, 40))] * 2),
        ("second", [("a caption that is far too long", heat.enlarged(image, 40))]),
    ]
    with Image.open(io.BytesIO(heat.sheet(["heading"], rows))) as page:
        assert page.height > 2 * 40
        assert page.width >= 10 + 2 * 50
        assert page.getpixel((10, 24 + 2 * 17)) == tuple(image[:, 0, 0].tolist())
        assert page.getpixel((12, 22 + 8)) == heat.FOR  # what the colours mean, below the heading


def test_sizes_of_what_is_hidden():
    assert How().sizes(32) == (8, 4)
    assert How().sizes(4) == (1, 1)
    assert How(patch=5).sizes(32) == (5, 2)
    with pytest.raises(UsageError):
        How(patch=4, stride=5).sizes(32)
