"""Where a net looks: of its answers alone, and of what its last map adds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx_nets import CLASSES, write
from picture_files import KINDS
from servers import Server, serving

from snugnet_runtime import looking
from snugnet_runtime.images import pixels
from snugnet_runtime.model import read

PNG = KINDS["rgb.png"]


@pytest.fixture(scope="module")
def mapped_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("net") / "net.onnx", maps=True)


@pytest.fixture(scope="module")
def server(mapped_file: Path) -> Iterator[Server]:
    with serving(mapped_file) as running:
        yield running


@pytest.mark.parametrize("size", [1, 4, 8, 28, 30, 32, 224])
def test_patches_cover_every_pixel(size: int):
    patch, stride = looking.patch_and_stride(size)
    covered = np.zeros((size, size), int)
    for top, left in looking.places(size):
        covered[top : top + patch, left : left + patch] += 1
    assert covered.min() >= 1
    assert len(looking.places(size)) <= 81
    assert patch <= size
    assert stride <= patch


def test_what_is_hidden_has_the_mean_colour_and_the_rest_stays():
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    copies = looking.hidden(image, (1, 2, 3))
    (top, left), copy = looking.places(8)[10], copies[10]
    assert copy[:, top, left].tolist() == [1, 2, 3]
    changed = (copy != image).any(0)
    changed[top : top + 2, left : left + 2] = False
    assert not changed.any()


def test_a_class_that_hangs_on_one_place_loses_there_alone():
    """A net whose class is the pixel at (5, 2): patches over it cost all its probability, others nothing."""
    after = [0.0 if top <= 5 < top + 2 and left <= 2 < left + 2 else 0.8 for top, left in looking.places(8)]
    found = looking.lost(0.8, after, 8)
    assert found.shape == (8, 8)
    assert np.unravel_index(found.argmax(), found.shape) == (5, 2)
    assert found[5, 2] == pytest.approx(0.8)
    assert found[0, 7] == 0


def test_class_maps_and_occlusion_of_one_net_agree(mapped_file: Path, model_file: Path):
    """The mean of a class's map is its logit, for this net has no bias."""
    net, plain = read(mapped_file), read(model_file)
    assert (net.has_maps, plain.has_maps) == (True, False)
    image = pixels(PNG, net.card, "")
    (logits,) = net.session.run(["logits"], {"images": image[None]})[0]
    assert net.class_maps(image).mean((1, 2)) == pytest.approx(logits, abs=1e-4)
    assert net.shares(image[None]) == pytest.approx(plain.shares(image[None]))


def test_the_service_explains(server: Server, mapped_file: Path):
    net = read(mapped_file)
    image = pixels(PNG, net.card, "")
    (shares,) = net.shares(image[None])
    reply = server.ask("POST", "/explain", PNG, Content_Type="image/png")
    label = int(shares.argmax())
    assert (reply.status, reply.json["class"], reply.json["method"]) == (200, CLASSES[label], "class map")
    assert reply.json["probability"] == pytest.approx(shares[label], abs=1e-6)
    maps = net.class_maps(image)
    maps -= maps.mean(0)
    assert np.array(reply.json["map"]) == pytest.approx(maps[label], rel=1e-3, abs=1e-5)
    other = server.ask("POST", "/explain?class=ship", PNG, Content_Type="image/png")
    assert other.json["class"] == "ship"
    assert np.array(other.json["map"]) == pytest.approx(maps[3], rel=1e-3, abs=1e-5)


def test_a_net_without_maps_is_asked_with_parts_hidden(model_file: Path):
    net = read(model_file)
    image = pixels(PNG, net.card, "")
    with serving(model_file) as server:
        found = server.ask("POST", "/explain", PNG, Content_Type="image/png").json
        counts = server.ask("GET", "/metrics").body.decode()
    (shares,) = net.shares(image[None])
    label = int(shares.argmax())
    after = net.shares(np.stack(looking.hidden(image, net.card.mean)))[:, label]
    assert found["method"] == "occlusion"
    assert np.array(found["map"]) == pytest.approx(looking.lost(shares[label], after, 32), abs=1e-3)
    assert 'path="/explain"' in counts


@pytest.mark.parametrize(
    ("path", "kind", "status", "words"),
    [
        ("/explain?class=cow", "image/png", 400, "class: must be one of the net's 4 classes; got 'cow'"),
        ("/explain", "multipart/form-data; boundary=x", 415, "explain: takes one image, as the body with a Content-Ty"),
        ("/explain", "text/plain", 415, "Content-Type: must be multipart/form-data or an image's"),
    ],
)
def test_what_cannot_be_explained(server: Server, path: str, kind: str, status: int, words: str):
    reply = server.ask("POST", path, PNG, Content_Type=kind)
    assert (reply.status, reply.json["error"][: len(words)]) == (status, words)


def test_the_mean_colour_is_the_card_s(model_file: Path):
    assert read(model_file).card.mean == (128, 128, 128)
