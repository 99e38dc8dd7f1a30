"""What every corruption keeps, and each against another way to make it."""

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import nn

from snugnet.evaluate import corrupt as corruptions
from snugnet.evaluate.corrupt import CORRUPTIONS, FAMILIES, STRENGTHS, blur, corrupt, digital, jpeg, named, noise
from snugnet.evaluate.corrupt.draws import Draws
from snugnet.evaluate.corrupt.fields import clouds, gaussian, moved, streaked, zoomed

PLACES = torch.arange(6)
UNSTEADY = {"saturate", "elastic", "snow", "frost", "motion_blur", "occlusion"}  # stronger is not further away


def pictures(side=32, channels=3):
    """uint8, smooth with some grain, as photos are."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, channels, 6, 6, generator=random)
    smooth = nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 1)
    grain = 0.02 * torch.randn(smooth.shape, generator=random)
    return ((smooth + grain).clamp(0, 1) * 255).round().to(torch.uint8)


PICTURES = pictures()


def draws(name="gaussian_noise", strength=1, places=PLACES):
    return Draws(places, name, strength, torch.device("cpu"))


def made(name, strength):
    """Of PICTURES, as floats in levels, before rounding."""
    return CORRUPTIONS[name].change(PICTURES.float() / 255, draws(name, strength), strength - 1) * 255


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_the_same_in_any_batch(name):
    before = PICTURES.clone()
    whole = corrupt(PICTURES, PLACES, name, 3)
    assert (whole.dtype, whole.shape) == (torch.uint8, PICTURES.shape)
    assert torch.equal(corrupt(PICTURES[2:4], PLACES[2:4], name, 3), whole[2:4])
    assert torch.equal(PICTURES, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_strength_does_something_and_none_destroys(name):
    away = [(corrupt(PICTURES, PLACES, name, s).float() - PICTURES.float()).abs().mean().item() for s in STRENGTHS]
    assert all(0.2 < each < 75 for each in away), away
    assert name in UNSTEADY or away == sorted(away), away


@pytest.mark.parametrize("name", [name for name, each in CORRUPTIONS.items() if not each.needs_colour])
@pytest.mark.parametrize(("side", "channels"), [(8, 1), (45, 3)])
def test_other_sizes_and_grey(name, side, channels):
    images = pictures(side, channels)
    changed = corrupt(images, PLACES, name, 5)
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)


def test_names_families_and_all():
    assert named(["jpeg", "noise"], 3) == ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "jpeg")
    assert named(["all"], 3) == tuple(CORRUPTIONS)
    assert set(CORRUPTIONS) - set(named(["all"], 1)) == {"saturate"}
    assert FAMILIES == ("noise", "blur", "weather", "digital", "occlusion")
    assert len(CORRUPTIONS) == 19
    assert corruptions.STRENGTHS == (1, 2, 3, 4, 5)


def through_pillow(image, quality):
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=quality)
    back = np.array(Image.open(file))
    return torch.tensor(back).view(pixels.shape).permute(2, 0, 1)


@pytest.mark.parametrize("quality", [30, *jpeg.QUALITY])
@pytest.mark.parametrize(("side", "channels"), [(32, 3), (27, 3), (32, 1)])
def test_jpeg_is_pillow_s(quality, side, channels):
    images = pictures(side, channels)
    theirs = torch.stack([through_pillow(image, quality) for image in images]).float()
    away = (jpeg.compressed(images.float(), quality) - theirs).abs()
    assert (away <= 1).float().mean() > 0.95  # a coefficient that is rounded the other way changes its block
    assert away.mean() < 0.25


@pytest.mark.parametrize("strength", STRENGTHS)
def test_pixelate_is_pillow_s(strength):
    small = int(32 * digital.PIXELATE[strength - 1])
    for ours, image in zip(corrupt(PICTURES, PLACES, "pixelate", strength), PICTURES, strict=True):
        box = Image.Resampling.BOX
        theirs = (
            Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
            .resize((small,) * 2, box)
            .resize((32,) * 2, box)
        )
        assert np.array_equal(ours.permute(1, 2, 0), theirs)


@pytest.mark.parametrize(("name", "strength"), [("brightness", 3), ("saturate", 1), ("saturate", 5)])
def test_colours_are_those_of_hsv(name, strength):
    def changed(h, s, v):
        if name == "brightness":
            return h, s, min(1, v + 0.15)
        times, plus = digital.SATURATE[strength - 1]
        return h, min(1, s * times + plus), v

    got = made(name, strength)
    for n, y, x in ((0, 3, 4), (1, 20, 9), (5, 31, 0)):
        pixel = (PICTURES[n, :, y, x] / 255).tolist()
        want = [255 * value for value in colorsys.hsv_to_rgb(*changed(*colorsys.rgb_to_hsv(*pixel)))]
        assert got[n, :, y, x].tolist() == pytest.approx(want, abs=0.01)


def test_grey_stays_grey_when_saturated():
    grey = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    assert torch.equal(corrupt(grey, PLACES[:1], "saturate", 5), grey)


def test_contrast_keeps_the_mean_of_each_channel():
    got, old = made("contrast", 5), PICTURES.float()
    torch.testing.assert_close(got.mean((2, 3)), old.mean((2, 3)))
    torch.testing.assert_close(got.std((2, 3)), old.std((2, 3)) * 0.15)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
def test_gaussian_is_scipy_s(sigma):
    ours = gaussian(PICTURES.double(), sigma)
    theirs = ndimage.gaussian_filter(PICTURES.double().numpy(), (0, 0, sigma, sigma), mode="nearest")
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_defocus_is_a_soft_point_at_first_and_a_disk_at_last():
    point = torch.zeros(1, 1, 32, 32)
    point[0, 0, 16, 16] = 1
    mild, strong = (blur.defocus_blur(point, draws(), strength)[0, 0] for strength in (0, 4))
    taps = torch.exp(-0.5 * (torch.arange(-1.0, 2) / 0.4) ** 2)
    torch.testing.assert_close(mild[15:18, 15:18], torch.outer(taps, taps) / taps.sum() ** 2)
    torch.testing.assert_close(strong[15:18, 15:18], torch.full((3, 3), 1 / 9))


def test_a_streak_falls_off_to_one_side():
    point = torch.zeros(2, 1, 11, 11)
    point[:, 0, 5, 5] = 1
    level, steep = streaked(point, torch.tensor([0.0, 90.0]), 6, 1.0)[:, 0]
    weights = torch.tensor([np.exp(-0.5 * k**2) for k in range(5)], dtype=torch.float32)
    torch.testing.assert_close(level[5, 1:6], (weights / weights.sum()).flip(0))
    torch.testing.assert_close(steep[1:6, 5], (weights / weights.sum()).flip(0))
    assert level.sum() == pytest.approx(1)


def test_zoom_enlarges_about_the_middle():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    torch.testing.assert_close(zoomed(ramp, 2.0)[0, 0, 0], 3.5 + (torch.arange(8) - 3.5) / 2)
    assert torch.equal(zoomed(ramp, 1.0), ramp)


def test_moved_takes_from_below_and_right():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert moved(image, torch.tensor([1]), torch.tensor([1]))[0, 0].tolist() == [[4, 5, 5], [7, 8, 8], [7, 8, 8]]


def test_clouds_fill_their_range_and_roughen_as_they_should():
    smooth, rough = (clouds(draws(), torch.Size((32, 32)), decay) for decay in (3.0, 1.2))
    for each in (smooth, rough):
        assert each.shape == (6, 1, 32, 32)
        assert (each.amin((1, 2, 3)) == 0).all()
        assert (each.amax((1, 2, 3)) == 1).all()
    slopes = [each.diff(dim=3).abs().mean() for each in (smooth, rough)]
    assert slopes[0] < slopes[1] / 2
    seam = (smooth[..., :1] - smooth[..., -1:]).abs().mean()  # its edges meet: half of a cloud of 31 gaps
    assert seam < 3 * slopes[0]


@pytest.mark.parametrize("strength", STRENGTHS)
def test_noise_has_its_spread(strength):
    grey = torch.full((6, 3, 32, 32), 0.5)
    spread = {
        noise.gaussian_noise: noise.GAUSSIAN[strength - 1],
        noise.speckle_noise: noise.SPECKLE[strength - 1] / 2,
        noise.shot_noise: (0.5 / noise.PHOTONS[strength - 1]) ** 0.5,
    }
    for change, deviation in spread.items():
        got = change(grey, draws(), strength - 1)
        assert got.mean().item() == pytest.approx(0.5, abs=0.005)
        assert got.std().item() == pytest.approx(deviation, rel=0.05)
    impulses = noise.impulse_noise(grey, draws(), strength - 1)
    for value in (0.0, 1.0):
        share = (impulses == value).float().mean().item()
        assert share == pytest.approx(noise.IMPULSES[strength - 1] / 2, rel=0.4)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_occlusion_hides_one_square(strength):
    black = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    hidden = (corrupt(black, PLACES, "occlusion", strength) > 0).any(1)
    side = round(digital.HIDDEN[strength - 1] ** 0.5 * 32)
    for each in hidden:
        rows, columns = each.any(1), each.any(0)
        assert (rows.sum(), columns.sum(), each.sum()) == (side, side, side**2)
    assert len({tuple(each.nonzero()[0].tolist()) for each in hidden}) > 1


def test_elastic_at_its_mildest_is_an_affine_map():
    ramp = torch.arange(32.0).view(1, 1, 1, 32).expand(1, 1, 32, 32) / 31
    middle = digital.elastic(ramp, draws("elastic", 1, PLACES[:1]), 0)[0, 0, 10:22, 10:22]
    assert middle.diff(dim=0).diff(dim=0).abs().max() < 1e-4
    assert middle.diff(dim=1).diff(dim=1).abs().max() < 1e-4
    assert middle.diff(dim=1).mean() > 0.3 / 31
