"""Our pages in a browser. Skipped where Chromium or axe is missing, unless SNUG_BROWSER says that they must be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import chromium
from fakes import record
from made_up import entry
from snugnet.compare import compare
from snugnet.report import diagram
from snugnet.report.comparison import write_comparison
from snugnet.report.ledger_page import ledger_page
from snugnet.report.mistakes import Mistakes, confident_mistakes, png
from snugnet.report.page import write_report
from specs import spec

AXE = Path(os.environ.get("SNUG_AXE") or Path(__file__).parents[2] / ".venv" / "axe.min.js")  # .ci/run puts it there
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
PAGES = ["report", "comparison", "ledger"]
LAYERS = [
    {"name": f"stages.{k // 4}.{k % 4}.body.conv1", "kind": "Conv2d", "output": [64, 32, 32], "params": k, "macs": 9}
    for k in range(12)
]


def missing(what: str) -> None:
    if os.environ.get("SNUG_BROWSER"):
        pytest.fail(f"SNUG_BROWSER is set, but {what}")
    pytest.skip(what)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """One of each kind, with text that is long and class names that are not words."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [
        record(f"runs/{name}-{seed}", name, accuracy + seed / 100, seed, images=300, params=params, epochs=20)
        for name, accuracy, params in [("small", 0.8, 1000), ("large", 0.9, 9_000_000)]
        for seed in range(2)
    ]
    mistakes = confident_mistakes(*runs[0].predictions("test"))
    images = torch.randint(256, (len(mistakes), 3, 32, 32), dtype=torch.uint8)
    maps = torch.rand(len(mistakes), 2, 32, 32)
    fire = {"block": "fire", "blocks": 2, "channels": 20, "pool": {}}
    drawn = diagram.svg(spec(["basic", 2, 64], fire, skips="dense"))
    write_report(
        runs[0], path=folder / "report.html", images=Mistakes(images, mistakes, maps, "stages.1.1"),
        samples_png=png(images[0]), layers=LAYERS, diagram=drawn,
    )  # fmt: skip
    write_comparison(compare(runs), folder / "comparison.html")
    recorded = [("b", None, 0), ("a", 0.5, 10), ("c", 0.91, 9)]
    entries = [entry(recipe=name, test=test, seed=seed) for name, test, seed in recorded]
    (folder / "ledger.html").write_text(ledger_page(entries))
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    program = chromium.find()
    if program is None:
        missing("no Chromium is installed (Debian's package is chromium)")
    with chromium.browser(program, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_alone_and_fits_a_phone(tab, pages, name):
    tab.open(pages[name], width=360)
    assert tab.complaints() == []
    assert tab.requests() == [pages[name].as_uri()]
    assert tab.run("document.documentElement.scrollWidth") <= 360
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.alt)"
    assert tab.run(broken) == []
    rights = "[...document.querySelectorAll('svg, img')].map(each => each.getBoundingClientRect().right)"
    assert max(tab.run(rights), default=0) <= 360


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(tab, pages, name):
    if not AXE.is_file():
        missing(f"axe is not at {AXE} (`npm pack axe-core` has axe.min.js; SNUG_AXE says where it is)")
    options = json.dumps({"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]})
    for dark in (False, True):
        tab.open(pages[name], dark=dark)
        tab.run(AXE.read_text() + ";0")
        found = tab.run(f"axe.run(document, {options})")
        assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == [], f"dark: {dark}"


def column(tab, number):
    rows = "[...document.querySelector('table.sortable').tBodies[0].rows]"
    return tab.run(f"{rows}.map(row => row.cells[{number}].innerText)")


def test_the_ledger_sorts(tab, pages):
    tab.open(pages["ledger"])
    press = "document.querySelectorAll('th button')[{}].click()"
    assert column(tab, 0) == ["b", "a", "c"]
    tab.run(press.format(0))
    assert column(tab, 0) == ["a", "b", "c"]
    assert tab.run("document.querySelector('th').ariaSort") == "ascending"
    tab.run(press.format(1))
    assert column(tab, 1) == ["0", "9", "10"]  # as numbers
    assert tab.run("document.querySelectorAll('[aria-sort]').length") == 1
    for _ in range(2):
        tab.run(press.format(3))
        shown = column(tab, 3)
        assert shown[2] == "–"  # not tested: below, whichever way
    assert shown[:2] == ["91.00 %", "50.00 %"]
    assert tab.run("document.querySelectorAll('th')[3].ariaSort") == "descending"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_without_scripts(tab, pages, name):
    tab.open(pages[name], scripts=False)
    document = tab.call("DOM.getDocument")["root"]["nodeId"]
    assert tab.call("DOM.querySelectorAll", nodeId=document, selector="button")["nodeIds"] == []
    assert tab.call("DOM.querySelectorAll", nodeId=document, selector="tbody tr")["nodeIds"]


def test_light_and_dark_differ(tab, pages):
    seen = []
    for dark in (False, True):
        tab.open(pages["report"], dark=dark)
        seen.append(tab.run("getComputedStyle(document.body).backgroundColor"))
    assert seen == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]


def test_print_opens_what_is_folded_and_leaves_dark_behind(tab, pages):
    tab.open(pages["report"], dark=True)
    tab.media(dark=True, kind="print")
    assert tab.run("getComputedStyle(document.documentElement).getPropertyValue('--paper')").strip() == "#ffffff"
    assert tab.run("document.querySelector('details:not([open]) > pre').getBoundingClientRect().height") > 50
