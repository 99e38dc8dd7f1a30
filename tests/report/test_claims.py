"""The papers' claims: effect, interval and verdict from a made-up ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from made_up import entry
from snugnet.errors import DataError
from snugnet.report import claims
from snugnet.report.claims import Claim

CLAIM = Claim(paper="tu24", says="x", better="tu24/v6", worse="tu24/base", points=7.58)


def verdict(better: list[float], worse: list[float]) -> list[str]:
    entries = [entry(recipe="tu24/v6", test=test, seed=seed) for seed, test in enumerate(better)]
    entries += [entry(recipe="tu24/base", test=test, seed=seed) for seed, test in enumerate(worse)]
    return claims.table([CLAIM], entries).splitlines()[2].strip("| ").split(" | ")[2:]


def test_of_one_seed_each_the_interval_is_that_of_images():
    assert verdict([0.80], [0.74]) == ["+7.58", "+6.00", "+4.84 to +7.16", "1", "holds"]
    assert verdict([0.74], [0.80])[-1] == "fails"
    assert verdict([0.74], [0.735])[-1] == "undecided"


def test_over_seeds_it_is_welch_s():
    better, worse = [81.0, 80.0, 80.4], [74.0, 73.1, 74.4, 73.9]
    reach = stats.ttest_ind(better, worse, equal_var=False).confidence_interval()
    found = claims.half_width(better, worse)
    assert (2 * found) == pytest.approx(reach.high - reach.low)
    shown = verdict([value / 100 for value in better], [value / 100 for value in worse])
    assert shown[1:] == ["+6.62", f"{reach.low:+.2f} to {reach.high:+.2f}", "3, 4", "holds"]
    assert claims.half_width([80.0, 80.0], [74.0, 74.0]) == 0


def test_what_was_not_run_says_so():
    assert verdict([0.8], []) == ["+7.58", "–", "–", "0", "not run: `tu24/base`"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[claim]]\npaper="a"\nsays="b"\nbetter="tu24/v9"\nworse="tu24/base"\npoints=1', "tu24/v9: no such recipe, "),
        ('[[claim]]\npaper="a"\n', r"claim\.0\.says: Field required: restore"),
        ("[[claim", "cannot be read"),
    ],
)
def test_a_damaged_list(tmp_path: Path, text: str, words: str):
    (tmp_path / "claims.toml").write_text(text)
    with pytest.raises(DataError, match=words):
        claims.read(tmp_path / "claims.toml")
