"""Views: their weights, what they keep, and that the mean is the mean."""

import json
from typing import get_args

import pytest
import torch
from torch import nn

from small_runs import tiny
from snugnet import judging, pipeline, recipe
from snugnet.data.config import Normalization
from snugnet.data.images import Images
from snugnet.data.loader import EvalLoader
from snugnet.device import Compute
from snugnet.errors import RecipeError
from snugnet.evaluate.predict import predict
from snugnet.evaluate.tta import VIEWS, TtaConfig, TtaName, least_certain, look
from snugnet.pipeline import Controls

NAMES = get_args(TtaName)
COMPUTE = Compute(torch.device("cpu"), "fp32")
PIXELS = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LOADER = EvalLoader(
    Images(PIXELS, torch.zeros(6, dtype=torch.int64), None),
    Normalization(mean=(0.5,) * 3, std=(0.25,) * 3),
    batch_size=4,
    device=torch.device("cpu"),
)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


class Counting(nn.Module):
    """A net that knows how many images it was shown."""

    def __init__(self):
        super().__init__()
        self.inner, self.shown = net(), 0

    def forward(self, images):
        self.shown += len(images)
        return self.inner(images)


def averaged(model, config):
    return look(model, LOADER, COMPUTE, config).averaged


def test_every_name_has_its_views():
    assert set(VIEWS) == set(NAMES)
    assert [TtaConfig(name=name).passes for name in NAMES] == [2, 6, 10, 4]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("share", "images"), [(1.0, 6), (0.5, 3), (0.4, 3), (0.01, 1)])
def test_no_view_is_looked_at_twice(name, share, images):
    model, config = Counting(), TtaConfig(name=name, least_certain=share)
    seen = look(model, LOADER, COMPUTE, config)
    assert model.shown == 6 + images * (config.views - 1)
    assert config.passes == pytest.approx(1 + share * (config.views - 1))
    assert torch.equal(seen.plain, predict(model, LOADER, COMPUTE))


@pytest.mark.parametrize("name", NAMES)
def test_the_first_view_is_the_image(name):
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(VIEWS[name](images)[0][1], images)


@pytest.mark.parametrize("mean_of", ["logits", "probabilities"])
def test_only_the_least_certain_are_seen_again(mean_of):
    model = net()
    every = look(model, LOADER, COMPUTE, TtaConfig(name="mirror", mean_of=mean_of))
    some = look(model, LOADER, COMPUTE, TtaConfig(name="mirror", mean_of=mean_of, least_certain=0.5))
    top = every.plain.sort(1, descending=True).values
    again = (top[:, 0] - top[:, 1]).argsort()[:3]
    assert torch.equal(least_certain(every.plain, 0.5), again.sort().values)
    torch.testing.assert_close(some.averaged[again], every.averaged[again])
    others = [image for image in range(6) if image not in again]
    torch.testing.assert_close(some.averaged.softmax(1)[others], every.plain.softmax(1)[others])


def test_of_equally_certain_images_the_earlier_are_seen_again():
    assert least_certain(torch.zeros(5, 3), 0.5).tolist() == [0, 1, 2]
    assert least_certain(torch.zeros(5, 1), 0.5).tolist() == [0, 1, 2, 3, 4]


def test_a_chance_too_small_for_a_float_is_no_infinity():
    class Sure(nn.Module):
        def forward(self, images):
            return torch.tensor([[400.0, 0.0]]).expand(len(images), 2)

    logs = averaged(Sure(), TtaConfig(name="mirror", mean_of="probabilities"))
    torch.testing.assert_close(logs, torch.tensor([[0.0, -400.0]] * 6))


@pytest.mark.parametrize("name", NAMES)
def test_weights_sum_to_one_and_flat_images_stay(name):
    views = VIEWS[name](torch.full((2, 3, 8, 8), 0.3))
    assert sum(weight for weight, _ in views) == pytest.approx(1)
    assert all(torch.allclose(view, torch.full((2, 3, 8, 8), 0.3)) for _, view in views)


@pytest.mark.parametrize("name", ["mirror", "mirror_translate", "ten_crop"])
def test_a_mirrored_image_gives_the_same_answer(name):
    model, images = net().eval(), torch.rand(3, 3, 8, 8)

    def answer(batch):
        return sum(weight * model(view) for weight, view in VIEWS[name](batch))

    if name == "mirror_translate":  # its two shifts are mirrored with it, not exchanged
        answers = [answer(images), answer(images.flip(-1))]
        assert not torch.allclose(*answers)
    else:
        assert torch.allclose(answer(images), answer(images.flip(-1)), atol=1e-5)


def test_shifts_move_by_one_pixel():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 4, 4] = 1
    places = [tuple(map(int, view[0, 0].nonzero()[0])) for _, view in VIEWS["mirror_translate"](image)]
    assert places == [(4, 4), (4, 3), (5, 5), (5, 2), (3, 3), (3, 4)]


def test_mirror_is_the_mean_of_two_passes():
    model = net()
    said = averaged(model, TtaConfig(name="mirror"))
    images = torch.cat(list(LOADER))
    with torch.no_grad():
        assert torch.allclose(said, (model(images) + model(images.flip(-1))) / 2, atol=1e-6)
    probabilities = averaged(model, TtaConfig(name="mirror", mean_of="probabilities")).exp()
    with torch.no_grad():
        both = (model(images).softmax(1) + model(images.flip(-1)).softmax(1)) / 2
    assert torch.allclose(probabilities, both, atol=1e-6)


def test_patil25_blurs_as_a_gaussian_of_sigma_one():
    from PIL import Image, ImageFilter

    smooth = nn.functional.interpolate(torch.rand(1, 1, 5, 5), 32, mode="bicubic").clamp(0, 1)
    picture = Image.fromarray((smooth[0, 0] * 255).round().byte().numpy()).filter(ImageFilter.GaussianBlur(1))
    theirs = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(32, 32) / 255
    ours = VIEWS["patil25"](smooth)[2][1][0, 0]
    assert (ours - theirs)[4:-4, 4:-4].abs().max() < 3 / 255


def test_a_recipe_with_views_is_judged_with_and_without(tmp_path):
    found = tiny('tta={name="mirror"}', "train.epochs=1")
    summary = pipeline.start(found, tmp_path / "run", Controls())
    assert summary["tta"] == "mirror"
    again = judging.evaluate(tmp_path / "run", "test", tta=TtaConfig(name="mirror"))
    assert again["accuracy"] == summary["tta_test"]
    assert again["tta"] == {
        "name": "mirror", "mean_of": "logits", "least_certain": 1.0, "passes": 2, "accuracy_without": summary["test"]
    }  # fmt: skip
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["tta_test"] == summary["tta_test"]
    plain = pipeline.start(tiny("train.epochs=1"), tmp_path / "plain", Controls())
    assert (plain["tta"], plain["tta_test"], plain["test"]) == (None, None, summary["test"])
    assert found.experiment.sha256 == tiny("train.epochs=1").experiment.sha256  # how it is judged shapes no weight


def test_an_unknown_name():
    with pytest.raises(RecipeError, match=r"tta\.name: .*mirror"):
        recipe.parse(tiny().text, "tiny.toml", overrides=['tta.name="miror"'])


def test_predictions_agree_with_predict_for_one_view(monkeypatch):
    monkeypatch.setitem(VIEWS, "mirror", lambda images: [(1.0, images)])
    model = net()
    assert torch.equal(averaged(model, TtaConfig(name="mirror")), predict(model, LOADER, COMPUTE))


@pytest.mark.parametrize("share", ["0.0", "1.5"])
def test_a_share_that_is_none(share):
    with pytest.raises(RecipeError, match=r"tta\.least_certain: must be "):
        recipe.parse(tiny().text, "tiny.toml", overrides=['tta.name="mirror"', f"tta.least_certain={share}"])
