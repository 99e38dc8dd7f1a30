"""`python -m snugnet.report.tables`: fills the generated parts of README.md and results/ from results/ledger.jsonl, and
writes docs/errors.md from the code."""

from __future__ import annotations

from pathlib import Path

from snugnet import files
from snugnet.report.errors_page import errors_page
from snugnet.report.ledger import read_ledger
from snugnet.report.ledger_page import ledger_page
from snugnet.report.markers import render_blocks

LEDGER = Path("results/ledger.jsonl")
DOCUMENTS = (Path("README.md"), Path("results/README.md"), Path("docs/tutorial.md"))
PAGE = Path("results/index.html")
ERRORS = Path("docs/errors.md")


def rendered(root: Path = Path()) -> dict[Path, str]:
    """Each document as it should be. Raises DataError."""
    ledger = read_ledger(root / LEDGER)
    documents = {
        root / path: render_blocks((root / path).read_text(encoding="utf-8"), ledger, str(path)) for path in DOCUMENTS
    }
    return documents | {root / PAGE: ledger_page(ledger)}


if __name__ == "__main__":
    for document, text in (rendered() | {ERRORS: errors_page()}).items():
        files.write_text(document, text)
