import re
from html.parser import HTMLParser

import matplotlib as mpl
import pytest
import torch
from PIL import Image

from fakes import CIFAR, record
from snugnet.report import plots
from snugnet.report.page import run_plots, save_plots
from snugnet.report.style import CSS, STYLE


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def named(run):
    return {plot.name: plot for plot in run_plots(run)}


@pytest.fixture(scope="module")
def drawings():
    return named(record(images=200))


@pytest.fixture(scope="module")
def svgs(drawings):
    return {name: plot.svg() for name, plot in drawings.items()}


def test_svg_is_the_same_bytes_each_time(drawings, svgs):
    assert list(svgs) == ["budget", "loss", "lr", "accuracy", "confusion", "classes", "calibration"]
    again = named(record(images=200))
    for name in svgs:
        assert svgs[name] == again[name].svg()
    assert svgs["loss"] == drawings["loss"].svg()


def test_svg_refers_to_nothing_outside_and_ids_do_not_repeat(svgs):
    text = "".join(svgs.values())
    assert "http" not in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert ids
    assert len(ids) == len(set(ids))
    assert {*re.findall(r'(?:url\(|href=")#([^")]+)', text)} == set(ids)


def test_svg_follows_the_colours_of_the_page(svgs):
    for svg in svgs.values():
        assert not [color for color in CSS if color in svg]
        assert "#000000" not in svg


def test_plot_says_what_it_shows(drawings, svgs):
    for svg in svgs.values():
        assert svg.startswith('<svg role="img" aria-label="')
    assert drawings["budget"].alt == "Used of the budget: params 99.6 %, bytes 99.7 %"


def test_drawing_leaves_matplotlib_as_it_was():
    before = {key: mpl.rcParams[key] for key in STYLE}
    plots.loss_curves(record(images=10).metrics).svg()
    assert {key: mpl.rcParams[key] for key in STYLE} == before


@pytest.mark.parametrize("name", ["<script>", "$x$", "$\\frac$", "猫", "a" * 60, '"&'])
def test_any_class_name_can_be_drawn(name):
    plot = plots.confusion_matrix([[3, 1], [0, 4]], [name, "b"])
    parser = HTMLParser()
    seen = []
    parser.handle_data = seen.append
    parser.feed(plot.svg())
    assert plots.short(name) in [text.strip() for text in seen]
    assert "<script" not in plot.svg()


def test_confusion_in_percent_of_the_row():
    words = texts(plots.confusion_matrix([[3, 1], [0, 0]], ["cat", "dog"]).svg())
    assert {"75", "25", "cat", "dog"} <= set(words)


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_confusion_of_few_and_many_classes(classes):
    plot = plots.confusion_matrix(torch.eye(classes, dtype=torch.long).tolist(), [f"c{i}" for i in range(classes)])
    assert plot.alt == f"Confusion matrix of {classes} classes, 0.00 % off it"
    assert ("c0" in texts(plot.svg())) == (classes <= plots.MOST_NUMBERS)


def test_class_bars_worst_first_and_only_so_many():
    per_class = [{"class": f"c{i}", "support": 1, "accuracy": 1 - i / 100} for i in range(100)]
    plot = plots.class_accuracy([*per_class, {"class": "empty", "support": 0, "accuracy": 0.0}])
    shown = [text for text in texts(plot.svg()) if text.startswith("c")]
    assert shown == [f"c{i}" for i in range(99, 69, -1)]
    assert plot.alt == "Accuracy by class, lowest c99 with 1.0 %"


def test_over_budget_is_seen():
    usual, over = (plots.budget_bars({"params": used}, {"params": 100}).svg() for used in (100, 101))
    assert "var(--orange)" not in usual
    assert "var(--orange)" in over
    assert "params: 101 of 100 (101.0 %)" in over


def test_curves_of_a_run_without_val():
    run = record(images=200)
    for line in run.metrics:
        line["val_loss"] = line["val_accuracy"] = None
    assert list(named(run)) == ["budget", "loss", "lr", "confusion", "classes", "calibration"]
    run.metrics.clear()
    assert list(named(run)) == ["budget", "confusion", "classes", "calibration"]


def test_saved_as_png(tmp_path):
    paths = save_plots(record(images=200, classes=CIFAR), tmp_path / "plots")
    assert len(paths) == 7
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) > 200
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(path.name for path in paths)


@pytest.mark.parametrize(("epochs", "lines"), [(plots.AVERAGED_FROM - 1, 2), (plots.AVERAGED_FROM, 4)])
def test_long_trainings_have_raw_values_and_their_average(epochs, lines):
    drawn = plots.loss_curves(record(images=10, epochs=epochs).metrics)
    assert len(drawn.figure.axes[0].lines) == lines
    assert ("epoch (thick: mean of 5 epochs)" in texts(drawn.svg())) == (lines == 4)


def test_cost_by_part():
    names = ["stem.conv", "stages.0.0.body.conv1", "stages.0.1.body.conv1", "stages.1.0.body.conv1", "head.classifier"]
    layers = [
        {"name": name, "params": params, "macs": 10} for name, params in zip(names, (5, 10, 20, 60, 5), strict=True)
    ]
    assert plots.by_part(layers, "params") == {"stem": 5, "stage 1": 30, "stage 2": 60, "head": 5}
    drawn = plots.cost_bars(layers)
    words = "most parameters in stage 2, 60.0 %; most multiply-adds in stage 1, 40.0 %"
    assert drawn.alt == f"Cost by part of the net: {words}"
    assert {" 60.0 %", " 40.0 %"} <= {f" {text.strip()}" for text in texts(drawn.svg())}
    assert plots.cost_bars([{"name": "head", "params": 0, "macs": 0}]).svg()
