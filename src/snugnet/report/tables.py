"""`python -m snugnet.report.tables`: fills the generated parts of documents from results/ledger.jsonl, draws ours
beside what papers print, and writes docs/errors.md from the code."""

from __future__ import annotations

from pathlib import Path

from snugnet import files
from snugnet.report import claims, landscape
from snugnet.report.errors_page import errors_page
from snugnet.report.ledger import read_ledger
from snugnet.report.ledger_page import ledger_page
from snugnet.report.markers import render_blocks

LEDGER = Path("results/ledger.jsonl")
DOCUMENTS = (
    Path("README.md"),
    Path("results/README.md"),
    Path("docs/tutorial.md"),
    Path("docs/papers.md"),
    Path("docs/speed.md"),
)
PAGE = Path("results/index.html")
LITERATURE = Path("results/literature.toml")
CLAIMS, CLAIMED = Path("results/claims.toml"), Path("docs/claims.md")
PICTURE = Path("docs/images/accuracy.png")
ERRORS = Path("docs/errors.md")

CLAIMS_HEAD = """# What the papers claim, and what came of it here

Each claim is a difference between two published runs; generated from results/claims.toml and results/ledger.jsonl by
`make tables`. Ours is the difference of mean test accuracies, by the recipes that train as the papers did. The interval
is Welch's over seeds; of one seed each it is that of 10,000 images alone, which knows nothing of the luck of seeds. A
claim holds, or fails, where the interval leaves zero on one side; else it is undecided.

"""


def rendered(root: Path = Path()) -> dict[Path, str]:
    """Each document as it should be. Raises DataError."""
    ledger = read_ledger(root / LEDGER)
    documents = {
        root / path: render_blocks((root / path).read_text(encoding="utf-8"), ledger, str(path)) for path in DOCUMENTS
    }
    table = claims.table(claims.read(root / CLAIMS), ledger)
    return documents | {root / PAGE: ledger_page(ledger), root / CLAIMED: CLAIMS_HEAD + table}


if __name__ == "__main__":
    for document, text in (rendered() | {ERRORS: errors_page()}).items():
        files.write_text(document, text)
    known = landscape.points(read_ledger(LEDGER), LITERATURE)
    if not PICTURE.exists() or landscape.shown(PICTURE) != landscape.digest(known):
        landscape.save(known, PICTURE)
