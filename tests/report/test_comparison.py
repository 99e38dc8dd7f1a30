"""The page and the pictures of a comparison."""

import re

import pytest
from PIL import Image
from test_page import EVIL, Page
from test_plots import texts

from fakes import record
from snugnet.compare import choosing_among, compare
from snugnet.compare.choosing import parse_requirements
from snugnet.compare.tables import shown_speed
from snugnet.report import comparison, comparison_plots
from snugnet.report.comparison import write_comparison
from snugnet.report.comparison_plots import save_figures, staircase
from snugnet.report.style import CSS, axes


def some(seeds=2, **changes):
    return [
        record(f"runs/{name}-{seed}", name, accuracy + seed / 100, seed, images=200, params=params, **changes)
        for name, accuracy, params in [("small", 0.8, 1000), ("snugnet/large", 0.9, 9000)]
        for seed in range(seeds)
    ]


@pytest.fixture(scope="module")
def drawn():
    return {plot.name: plot for plot in comparison_plots.comparison_plots(compare(some()))}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    required = parse_requirements("params<5k,accuracy>=0.8")
    found = choosing_among(compare(some()), required, pick=True)
    return write_comparison(found, tmp_path_factory.mktemp("page") / "compare.html").read_text()


def test_one_page_without_outside_references(text):
    page = Page(text)
    assert page.references == []
    assert page.open == []
    assert "http" not in text
    assert len(page.named("svg")) == 7
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.named("svg"))
    assert len(page.named("table")) == 3
    assert [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)] == ["h1"] + 6 * ["h2"]


@pytest.mark.parametrize(
    "words",
    [
        "<h1>Comparison of 2 recipes, 4 runs</h1>",
        '<p class="headline"><strong>small</strong></p>',
        "small: the only one that fits. Its file: <code>runs/small-1/model.safetensors</code>",
        "Of its 2 runs the one with the best val accuracy, 80.90 %. ",
        ">1.5 PFLOP, which all runs reached</text>",
        "<li>snugnet/large does not fit: params is 9,000, 4,000 over 5,000</li>",
        "90.50 % ± 0.71",
        'data-value="9000"',
        "snugnet/large leads small by 10.00 points",
        ">epochs to 80\u00a0%</th>",
        "the largest training FLOPs that all runs reached",
    ],
)
def test_what_the_page_says(text, words):
    assert words in text


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without pictures: drawing takes most of the time."""
    monkeypatch.setattr(comparison, "comparison_plots", lambda _: [])


def test_a_disturbed_timing_is_marked(tmp_path):
    runs = some(seeds=1)
    facts = {"batch": 1, "threads": 1, "device": "cpu", "hardware": "EPYC", "backend": "torch", "version": "2.9.0"}
    for run, p50_ms, disturbed in ((runs[0], 0.5, True), (runs[1], 0.7, False)):
        run.bench.update(facts, p50_ms=p50_ms, disturbed=disturbed)
    page = write_comparison(compare(runs), tmp_path / "c.html").read_text()
    assert ">0.500 †</td>" in page
    assert ">0.700</td>" in page
    assert "† Other work ran beside the timing of small; repeat" in page
    (plot,) = (plot for plot in comparison_plots.comparison_plots(compare(runs)) if plot.name == "pareto_p50_ms")
    shown = texts(plot.svg())
    assert {"1 †  small", "2  snugnet/large (ours)", "latency of one image, ms († beside other work)"} <= set(shown)


@pytest.mark.usefixtures("undrawn")
def test_targets_that_nobody_reached_take_no_column(tmp_path):
    found = compare(some(seeds=1))
    text = write_comparison(found, tmp_path / "c.html").read_text()
    assert ">to 80 %</th>" in text
    assert "94 %</th>" not in text
    assert "94" not in "".join(shown_speed(found).columns)


@pytest.mark.usefixtures("undrawn")
def test_other_data_is_told_above_the_table(tmp_path):
    runs = [record("runs/a", "a", images=100), record("runs/b", "b", images=100, data=1)]
    text = write_comparison(compare(runs), tmp_path / "c.html").read_text()
    assert text.index("ot compared") < text.index("<table")
    assert "Is it more than luck?" not in text


@pytest.mark.usefixtures("undrawn")
def test_nothing_fits_is_said(tmp_path):
    found = choosing_among(compare(some()), parse_requirements("params<1"), pick=True)
    text = write_comparison(found, tmp_path / "c.html").read_text()
    assert "<strong>Nothing fits.</strong>" in text


def test_a_stranger_s_text_is_escaped(tmp_path):
    run = record(images=100, recipe=EVIL, path=f"runs/{EVIL}", hardware=EVIL)
    text = write_comparison(compare([run]), tmp_path / "c.html").read_text()
    assert text.count("<script") == 1  # our own, which sorts the tables
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 3


@pytest.mark.usefixtures("undrawn")
def test_runs_without_val_have_no_curves_of_it(tmp_path):
    runs = some(seeds=1)
    for run in runs:
        for line in run.metrics:
            line["val_loss"] = line["val_accuracy"] = None
    found = compare(runs)
    names = [plot.name for plot in comparison_plots.comparison_plots(found)]
    assert names == ["pareto_params", "pareto_bytes", "pareto_macs", "compare_train_loss"]
    assert "Epochs and seconds" not in write_comparison(found, tmp_path / "c.html").read_text()


def test_a_picture_for_each_cost_and_curve(drawn):
    assert list(drawn) == [
        "pareto_params", "pareto_bytes", "pareto_macs", "compare_train_loss", "compare_val_loss",
        "compare_val_accuracy", "compare_flops",
    ]  # fmt: skip
    assert drawn["pareto_bytes"].alt == ("Accuracy against bytes of the shipped file; not beaten: small, snugnet/large")
    assert drawn["compare_flops"].alt.startswith("Validation accuracy by training FLOPs; at 1.5 PFLOP: small ")


def test_ours_are_labelled(drawn):
    legend = [words for words in texts(drawn["pareto_params"].svg()) if words[:1] in ("1", "2") and "  " in words]
    assert legend == ["1  small", "2  snugnet/large (ours)"]


def test_runs_of_one_recipe_share_a_line_in_the_legend(drawn):
    for name in ("compare_train_loss", "compare_val_accuracy", "compare_flops"):
        shown = [words for words in texts(drawn[name].svg()) if words in ("small", "snugnet/large")]
        assert shown == ["small", "snugnet/large"]


def test_pictures_follow_the_colours_of_the_page(drawn):
    for plot in drawn.values():
        svg = plot.svg()
        assert not [color for color in CSS if color in svg]
        assert svg == plot.svg()


def test_a_moving_average_is_laid_over_the_raw_line():
    few, many = (
        comparison_plots.curves_plot(compare([record(images=50, epochs=epochs)]), "train_loss") for epochs in (10, 11)
    )
    assert len(few.figure.axes[0].lines) == 1
    raw, smooth = many.figure.axes[0].lines
    assert raw.get_alpha() < smooth.get_alpha() == 1.0
    assert smooth.get_ydata()[8] == pytest.approx(raw.get_ydata()[6:].mean())
    assert "Training loss, mean of 5 epochs" in texts(many.svg())


def test_front_line_by_hand():
    runs = [
        record(f"runs/{name}", name, accuracy, images=100, params=params)
        for name, accuracy, params in [("c", 0.7, 30), ("a", 0.5, 10), ("b", 0.9, 20), ("d", 0.95, 40)]
    ]
    assert staircase(compare(runs).groups, "params") == [(10, 0.5), (20, 0.9), (40, 0.95)]


def test_figures_as_pdf_and_png(tmp_path):
    paths = save_figures(compare(some(seeds=1)), tmp_path / "figures")
    assert len(paths) == 14
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        if path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF-")
            assert b"CreationDate" not in path.read_bytes()
        else:
            with Image.open(path) as image:
                assert image.format == "PNG"
                assert min(image.size) > 200


def test_ticks_that_would_read_alike_are_whole():
    ax = axes()
    for ticks, shown in (([551_600, 552_000], ["551,600", "552,000"]), ([1000, 2000], ["1k", "2k"])):
        ax.set_xticks(ticks)
        assert [
            comparison_plots.tick(ax, value, lambda v: f"{v / 1e3:.0f}k" if v < 1e4 else "552k") for value in ticks
        ] == shown
