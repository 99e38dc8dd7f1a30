from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from command import snug
from snugnet import recipe
from snugnet.report import diagram
from snugnet.report.architecture import parts, words
from specs import SPECS, spec


def lines(model_spec):
    return [line for part in parts(model_spec) for box in part.boxes for line in box.lines]


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_every_recipe_is_drawn(name):
    model_spec = recipe.load(name).experiment.model
    shown = texts(diagram.svg(model_spec))
    assert f"linear, {model_spec.classes}" in shown
    assert (
        f"image 3 × {model_spec.image_size} × {model_spec.image_size}".replace("3", str(model_spec.in_channels), 1)
        in shown
    )
    assert [part.name for part in parts(model_spec)][-1] == "Head"


@settings(max_examples=60, deadline=None)
@given(SPECS)
def test_any_net_is_drawn_as_xml_with_its_own_colours(model_spec):
    root = ElementTree.fromstring(diagram.svg(model_spec, alone=True))
    assert root.get("aria-label") == words(model_spec)
    _, _, width, height = map(float, root.get("viewBox").split())
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        if rect.get("x"):
            assert 0 <= float(rect.get("x")) <= width - float(rect.get("width"))
            assert float(rect.get("y")) + float(rect.get("height")) <= height
    assert "var(--blue)" in diagram.svg(model_spec)


def test_a_stage_as_the_papers_write_it():
    stages = [["basic", 2, 64], ["bottleneck", 3, 128, 0.1], {"block": "fire", "blocks": 1, "channels": 20, "inner": 8}]
    found = parts(spec(*stages, head={"hidden": [100], "dropout": 0.2}))
    assert [(part.name, part.shape, part.note) for part in found] == [
        ("Stem", "64 × 32 × 32", ""),
        ("Stage 1", "64 × 32 × 32", "basic"),
        ("Stage 2", "128 × 16 × 16", "bottleneck, dropout 0.1"),
        ("Stage 3", "20 × 8 × 8", "fire"),
        ("Head", "10 classes", "dropout 0.2"),
    ]
    first, rest = found[2].boxes
    assert (first.lines, first.shortcut, first.times) == (("1×1, 32", "3×3, 32, /2", "1×1, 128"), "1×1", 1)
    assert (rest.lines, rest.shortcut, rest.times) == (("1×1, 32", "3×3, 32", "1×1, 128"), "identity", 2)
    assert found[1].boxes[0].times == 2
    assert found[3].boxes[0].lines == ("1×1, 8, /2", "1×1 beside 3×3, 20")
    assert [box.lines for box in found[4].boxes] == [("global average pool, 20",), ("linear, 100",), ("linear, 10",)]


def test_what_stands_around_blocks():
    stage = {
        "block": "depthwise", "blocks": 1, "channels": 8, "entry": {"pool": {}}, "pool": {"kind": "avg", "kernel": 4},
        "se": {"reduction": 2}, "shortcut": {"kind": "always", "kernel": 3},
    }  # fmt: skip
    stem = {"kernel": 2, "padding": 0, "channels": 24, "whiten": True}
    drawn = spec(stage, stem=stem, head={"pool": "flatten"})
    assert lines(drawn) == [
        "2×2 whitening, 24", "3×3, 8", "max pool 2×2, /2", "3×3 each channel, 8", "1×1, 8", "squeeze-excite, /2",
        "average pool 4×4, /4", "flatten, 72", "linear, 10",
    ]  # fmt: skip
    assert parts(drawn)[1].boxes[2].shortcut == "3×3"
    assert "shortcut: 3×3 convolution" in texts(diagram.svg(drawn))
    assert "shortcut: identity" not in texts(diagram.svg(drawn))


def test_blocks_that_skips_touch_stand_alone():
    several = spec(["basic", 5, 8], skips=[{"from": 2, "to": 4}])
    assert [box.times for box in parts(several)[1].boxes] == [1, 1, 1, 1, 1]
    assert [box.times for box in parts(spec(["basic", 6, 8], skips=[{"from": 1, "to": 2}]))[1].boxes] == [1, 1, 4]
    assert diagram.svg(several).count('r="2.4"') == 1
    assert "skip: 1×1 convolution and norm" in texts(diagram.svg(several))


def test_dense_skips_have_a_line_for_each_start_until_they_are_too_many():
    width = {}
    for blocks in (1, 4, diagram.MOST_LANES + 1, diagram.MOST_LANES + 2):
        drawn = diagram.svg(spec(["basic", blocks, 4], skips="dense"))
        assert drawn.count('r="2.4"') == blocks * (blocks - 1) / 2
        width[blocks] = float(drawn.split('viewBox="0 0 ')[1].split()[0])
    assert width[1] < width[4] < width[diagram.MOST_LANES + 1] > width[diagram.MOST_LANES + 2]


def test_words_say_what_is_drawn():
    assert words(spec(["basic", 3, 4], skips=[{"from": 2, "to": 3}], image_size=8)) == (
        "Architecture. Image 3 × 8 × 8; Stem: 3×3, 4, to 4 × 8 × 8; Stage 1: block of 3×3, 4 then 3×3, 4, "
        "block of 3×3, 4 then 3×3, 4, block of 3×3, 4 then 3×3, 4, to 4 × 8 × 8; "
        "Head: global average pool, 4, linear, 10, to 10 classes; 1 skips past blocks"
    )


def test_plan_draws_the_net_that_it_prices(tmp_path):
    answer = snug(
        "plan", "snugnet/digits", "--set", "model.stages.1.channels=48", "--diagram", tmp_path / "net.svg", "--json"
    )
    assert answer.json["diagram"] == str(tmp_path / "net.svg")
    text = (tmp_path / "net.svg").read_text()
    assert {"image 1 × 8 × 8", "3×3, 48, /2", "48 × 4 × 4"} <= set(texts(text))
    assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert "prefers-color-scheme:dark" in text
