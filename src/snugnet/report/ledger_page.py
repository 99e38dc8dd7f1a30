"""results/index.html: every recorded run in one table that can be sorted.

No pictures, whose bytes would change with the version of what draws them: the same ledger gives the same page.
"""

from __future__ import annotations

from collections.abc import Sequence

from snugnet.report.ledger import Entry
from snugnet.report.pages import render


def ledger_page(entries: Sequence[Entry]) -> str:
    """The page, the latest run first."""
    newest_first = sorted(entries, key=lambda entry: entry.date, reverse=True)
    return render("ledger.html.j2", {"entries": newest_first})
