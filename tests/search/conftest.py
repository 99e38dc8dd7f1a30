from __future__ import annotations

import pytest
from made_up_training import Trainings

from snugnet import pipeline


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """Every training of a search is made up."""
    pytest.importorskip("sqlalchemy")
    found = Trainings()
    monkeypatch.setattr(pipeline, "start", found.start)
    monkeypatch.setattr(pipeline, "resume", found.resume)
    return found
