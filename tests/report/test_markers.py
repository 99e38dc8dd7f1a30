import json

import pytest

from made_up import LINE, body, entry
from snugnet.errors import DataError
from snugnet.report import tables
from snugnet.report.markers import render_blocks


def test_a_pattern_selects_recipes():
    assert len(body("snugnet/*", entry(), entry(recipe="tu24/alpha"))) == 3
    assert body("all") == ["No run is recorded yet."]


def test_text_outside_the_blocks_stays_and_rendering_is_stable():
    text = "# Title\n\n<!-- ledger: all -->\n<!-- /ledger -->\nend without a newline"
    once = render_blocks(text, [entry()])
    assert once.startswith("# Title\n\n<!-- ledger: all -->\n| recipe ")
    assert once.endswith("<!-- /ledger -->\nend without a newline")
    assert render_blocks(once, [entry()]) == once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "\n<!-- ledger: all -->\n",
            "README.md:2: the ledger block is not closed: write `<!-- /ledger -->` below it",
        ),
        (
            "<!-- ledger: all -->\n<!-- ledger: all -->\n<!-- /ledger -->\n",
            "README.md:1: the ledger block is not closed: write `<!-- /ledger -->` below it",
        ),
        (
            "<!-- /ledger -->\n",
            "README.md:1: `<!-- /ledger -->` closes nothing: write `<!-- ledger: NAME -->` above it",
        ),
        (
            "<!-- ledger: resnet/* -->\n<!-- /ledger -->\n",
            "README.md:1: no recorded recipe matches `resnet/*`: use `all` or one of snugnet/tiny",
        ),
        (
            "<!-- ledger all -->\n",
            "README.md:1: a marker must be `<!-- ledger: NAME -->`; got `<!-- ledger all -->`: mend it",
        ),
        (
            "<!-- papers: all -->\n<!-- /ledger -->\n",
            "README.md:1: the papers block is not closed: write `<!-- /papers -->` below it",
        ),
        (
            "<!-- /papers -->\n",
            "README.md:1: `<!-- /papers -->` closes nothing: write `<!-- papers: NAME -->` above it",
        ),
        (
            "<!-- papers: tu24/* -->\n<!-- /papers -->\n",
            "README.md:1: no recorded recipe matches `tu24/*`: use `all` or one of snugnet/tiny",
        ),
        (
            "<!-- papers:tu24/* -->\n",
            "README.md:1: a marker must be `<!-- papers: NAME -->`; got `<!-- papers:tu24/* -->`: mend it",
        ),
    ],
)
def test_markers_that_cannot_be_filled(text, words):
    with pytest.raises(DataError) as caught:
        render_blocks(text, [entry()])
    assert str(caught.value) == words


@pytest.mark.parametrize("kind", ["ledger", "papers"])
def test_a_document_goes_stale_with_the_ledger(tmp_path, kind):
    for path in tables.DOCUMENTS:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(f"<!-- {kind}: all -->\n<!-- /{kind} -->\n")
    (tmp_path / tables.LEDGER).write_text(json.dumps(LINE) + "\n")
    claim = '[[claim]]\npaper = "x"\nsays = "y"\nbetter = "tu24/v6"\nworse = "tu24/base"\npoints = 1'
    (tmp_path / tables.CLAIMS).write_text(claim)
    fresh = tables.rendered(tmp_path)
    for path, text in fresh.items():
        path.write_text(text)
    assert tables.rendered(tmp_path) == fresh
    (tmp_path / tables.LEDGER).write_text(json.dumps({**LINE, "test": 0.92}) + "\n")
    stale = {path: text for path, text in tables.rendered(tmp_path).items() if path != tmp_path / tables.CLAIMED}
    assert all("92.00" in text and text != fresh[path] for path, text in stale.items())
