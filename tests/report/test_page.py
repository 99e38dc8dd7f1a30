import io
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from fakes import CIFAR, record, unfinished
from small_runs import tiny
from snugnet import pipeline, runs
from snugnet.errors import ArtifactError
from snugnet.pipeline import Controls
from snugnet.report import diagram
from snugnet.report.mistakes import Mistake, Mistakes, confident_mistakes, png
from snugnet.report.page import calibrated, run_plots, write_report
from specs import spec

EVIL = "<script>alert(1)</script>"
LAYERS = [
    {"name": "conv", "kind": "conv 3x3", "output": [64, 32, 32], "params": 1728, "macs": 1_769_472},
    {"name": "head", "kind": "linear", "output": [10], "params": 650, "macs": 640},
]


class Page(HTMLParser):
    """Tags in order, references to elsewhere, and balance."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.references, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.references += [
            v for k, v in attrs if k in ("src", "href", "xlink:href") and not v.startswith(("#", "data:"))
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def test_whether_it_is_calibrated_and_how_to_mend_it():
    run = record(images=300)
    scores = run.summary["scores"]["test"]
    verdict, sure, remedy = calibrated(run, "test", scores)
    assert verdict == "Well calibrated: an error of up to 5.16 % would be luck."
    assert sure.endswith("% sure, and right in 90.00 %.")
    assert ": T = " in remedy
    run.summary.update(val=None, trained_on="all")
    assert calibrated(run, "test", scores)[2:] == [
        "No temperature is fitted: the val split is empty because the recipe trains on it (--set data.train_on=train)."
    ]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    run = record(images=300)
    mistakes = confident_mistakes(*run.predictions("test"))
    images = torch.randint(256, (len(mistakes), 3, 8, 8), dtype=torch.uint8)
    path = tmp_path_factory.mktemp("page") / "report.html"
    samples = png(images[0])
    shown = Mistakes(images, mistakes, torch.rand(len(mistakes), 2, 8, 8), "stages.1.0")
    drawing = diagram.svg(spec(["basic", 2, 64]))
    assert write_report(run, path=path, images=shown, samples_png=samples, layers=LAYERS, diagram=drawing) == path
    return path.read_text()


def test_one_page_without_outside_references(text):
    page = Page(text)
    assert page.references == []
    assert page.open == []
    assert "http" not in text
    assert page.named("script") == []
    assert [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)] == ["h1"] + 8 * ["h2"]


def test_every_picture_has_words(text):
    page = Page(text)
    assert len(page.named("svg")) == 9
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.named("svg"))
    assert len(page.named("img")) == 1 + 3 * 24
    assert all(image["alt"] for image in page.named("img"))


@pytest.mark.parametrize(
    "words",
    [
        "<strong>90.00 %</strong> test accuracy",
        "95 % interval 86.08 % to 92.91 %\nover 300 images",
        "<dd>4,978,810</dd>",
        "<dd>19,936,472 B</dd>",
        "<dd>5 min 12 s</dd>",
        "<dd>last, epoch 10 of 10</dd>",
        '<span class="word">snugnet/quickstart</span> <span class="word">--seed</span> <span class="word">0</span>',
        "<dt>cpu flags</dt><dd>avx2, avx512f, avx512_bf16, amx_tile</dd>",
        "64 × 32 × 32",
        "<td>2,378</td><td>1,770,112</td>",
        "&#34;label_smoothing&#34;: 0.1",
        "Grad-CAM of stages.1.0",
        'aria-label="Architecture. Image 3 × 32 × 32; Stem: 3×3, 64, to 64 × 32 × 32; Stage 1: 2 × block of ',
        'style="--share: 37.6%">650<',
    ],
)
def test_what_the_page_says(text, words):
    assert words in text


def test_a_stranger_s_text_is_escaped(tmp_path):
    run = record(images=100, classes=(EVIL, *CIFAR[1:]), recipe=EVIL, command=EVIL)
    run.config["data"]["name"] = EVIL
    run.environment["cpu"] = EVIL
    found = [Mistake(0, 0, 1, 0.5)]
    layers = [{**LAYERS[0], "name": EVIL}]
    images = Mistakes(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), found)
    text = write_report(run, path=tmp_path / "r.html", images=images, layers=layers).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5


def test_val_stands_in_for_test(tmp_path):
    text = write_report(record(images=100, test=None), path=tmp_path / "r.html").read_text()
    assert "val accuracy" in text
    assert "Most confident mistakes" not in text


def test_a_run_without_scores(tmp_path):
    run = record(images=100, test=None, val=None, scores={}, budget={}, trained_on="all")
    text = write_report(run, path=tmp_path / "r.html").read_text()
    assert "Not scored: the data has neither a test nor a val split." in text
    assert "train and val" in text


def test_an_unfinished_run_has_no_page(tmp_path):
    words = r"^runs/half: the run is not finished: finish it with `snug resume runs/half`$"
    with pytest.raises(ArtifactError, match=words):
        write_report(unfinished(), path=tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_most_confident_mistakes_by_hand():
    logits = torch.tensor([[0.0, 1.0], [0.0, 3.0], [5.0, 0.0], [0.0, 3.0], [0.0, 9.0]])
    labels = torch.tensor([0, 0, 0, 0, 1])
    got = confident_mistakes(logits, labels, count=2)
    assert [(m.index, m.true, m.predicted) for m in got] == [(1, 0, 1), (3, 0, 1)]
    assert got[0].probability == pytest.approx(0.952574, abs=1e-6)
    assert [m.index for m in confident_mistakes(logits, labels)] == [1, 3, 0]
    assert confident_mistakes(logits[4:], labels[4:]) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_png_keeps_every_pixel(channels):
    image = torch.randint(256, (channels, 5, 7), dtype=torch.uint8)
    with Image.open(io.BytesIO(png(image))) as read:
        assert read.size == (7, 5)
        pixels = torch.tensor(list(read.tobytes()), dtype=torch.uint8).view(5, 7, channels)
    assert torch.equal(pixels.permute(2, 0, 1), image)


def test_every_measure_of_a_budget_has_its_bar(tmp_path):
    limits = ["params=5000", "macs=1000000", "bytes=50000", "size_mb=0.5", "peak_activation_bytes=90000"]
    floors = ["budget.floor={size_mb=0.001}"]  # a window is an upper limit and a floor
    recipe = tiny("train.epochs=1", *(f"budget.{limit}" for limit in limits), *floors)
    pipeline.start(recipe, tmp_path / "run", Controls())
    drawn = {plot.name: plot for plot in run_plots(runs.read(tmp_path / "run"))}
    for limit in limits:
        assert limit.partition("=")[0] in drawn["budget"].alt


def test_an_older_run_shows_the_measures_that_it_kept():
    drawn = {plot.name: plot for plot in run_plots(record(budget={"params": 2_000_000, "size_mb": 0.5}))}
    assert drawn["budget"].alt.startswith("Used of the budget: params ")
    assert "size_mb" not in drawn["budget"].alt


def test_a_timing_and_corrupted_images_that_lie_in_the_run_are_shown(tmp_path):
    run = record(images=50, budget={"size_mb": 20.0}, size_mb=19.0)
    facts = {"batch": 1, "threads": 1, "device": "cpu", "hardware": "EPYC", "backend": "torch", "version": "2.9.0"}
    run.bench.update(facts, p50_ms=0.5, p90_ms=0.61, p99_ms=0.7, disturbed=True)
    picture = png(torch.zeros(3, 8, 8, dtype=torch.uint8))
    text = write_report(run, path=tmp_path / "r.html", corruption_png=picture).read_text()
    assert "<dd>0.500 ms †</dd>" in text
    assert "Latency: batch 1, 1 thread on EPYC, torch 2.9.0; p90 0.610 ms, p99 0.700 ms." in text
    assert "† Other work ran beside it; repeat" in text
    assert "<h2>Corrupted images</h2>" in text
    assert "size_mb is tu24's formula" in text


def test_one_epoch_has_no_curve():
    drawn = {plot.name for plot in run_plots(record(images=50, epochs=1))}
    assert not drawn & {"loss", "accuracy", "lr"}
    assert "loss" in {plot.name for plot in run_plots(record(images=50, epochs=2))}


def test_what_was_changed_stands_under_the_title(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "changed", lambda path, config: ["epochs 2", "no ema"])
    text = write_report(record(images=50), path=tmp_path / "r.html").read_text()
    assert '<p class="soft">Changed in its recipe: epochs 2, no ema.</p>' in text
    assert "test accuracy on cifar10" in text


def test_the_environment_says_what_is_known_once(tmp_path):
    run = record(images=50)
    run.environment.update(hardware="a desk", foreign_code={}, deterministic=False)
    text = write_report(run, path=tmp_path / "r.html").read_text()
    assert "<dt>deterministic</dt><dd>False</dd>" in text
    assert "a desk" not in text
    assert text.count("<dt>hardware</dt>") == 1
    assert "foreign code" not in text
