"""`python -m snugnet.report.tables`: fills the generated parts of documents from results/ledger.jsonl, and draws ours
beside what papers print."""

from __future__ import annotations

from pathlib import Path

from snugnet import files
from snugnet.report import landscape
from snugnet.report.ledger import read_ledger
from snugnet.report.ledger_page import ledger_page
from snugnet.report.markers import render_blocks

LEDGER = Path("results/ledger.jsonl")
DOCUMENTS = (Path("README.md"), Path("results/README.md"), Path("docs/tutorial.md"), Path("docs/papers.md"))
PAGE = Path("results/index.html")
LITERATURE = Path("results/literature.toml")
PICTURE = Path("docs/images/accuracy.png")


def rendered(root: Path = Path()) -> dict[Path, str]:
    """Each document as it should be. Raises DataError."""
    ledger = read_ledger(root / LEDGER)
    documents = {
        root / path: render_blocks((root / path).read_text(encoding="utf-8"), ledger, str(path)) for path in DOCUMENTS
    }
    return documents | {root / PAGE: ledger_page(ledger)}


if __name__ == "__main__":
    for document, text in rendered().items():
        files.write_text(document, text)
    known = landscape.points(read_ledger(LEDGER), LITERATURE)
    if not PICTURE.exists() or landscape.shown(PICTURE) != landscape.digest(known):
        landscape.save(known, PICTURE)
