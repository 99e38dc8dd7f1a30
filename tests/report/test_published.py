"""Our results beside those of a paper, by a made-up ledger."""

import pytest

from made_up import body, entry

ONE_THREAD = "batch 1, 1 thread on AMD EPYC, torch 2.15.0, median of 5 x 10 s"
TWO_THREADS = "batch 1, 2 threads on AMD EPYC, torch 2.15.0, median of 5 x 10 s"
PAIRS = "Pairs are ours / the paper's. Points: our accuracy less the paper's. MB: parameters and buffers, over 2^20."


def run(name, test, **changes):
    facts = {"params": 136_380, "size_mb": 0.521751, "p50_ms": 0.312, "latency": ONE_THREAD, "recipe_sha256": name}
    return entry(recipe=f"tu24/{name}", test=test, **{**facts, **changes})


def table(*entries):
    return body("tu24/*", *entries, kind="papers")


def cells(*entries):
    """Of the first row."""
    return table(*entries)[2].strip("| ").split(" | ")


def test_the_whole_table():
    found = table(
        run("base", 0.74),
        run("v6", 0.8, seed=0, p50_ms=0.7),
        run("v6", 0.82, seed=1, p50_ms=0.8, seconds=10.0),
        run("v6-2", 0.815, params=136_960, size_mb=0.526787, p50_ms=0.766),
        run("v6-delay", 0.79),
        entry(),
    )
    assert found == [
        "| recipe | paper's rank | n | test accuracy, % | points | ms | MB | parameters | epochs | time |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        "| `tu24/v6-2` | 2 | 1 | 81.50 / 80.67 | +0.83 | 0.766 / 0.848 | 0.5268 / 0.5268 | 137k | 10 | 1 min 40 s |",
        "| `tu24/v6` | 2 | 2 | 81.00 ± 1.41 / 80.67 | +0.33 | 0.750 / 0.848 | 0.5218 / 0.5268 | 136k | 10 | 55 s |",
        "| `tu24/v6-delay` | – | 1 | 79.00 / – | – | 0.312 / – | 0.5218 / – | 136k | 10 | 1 min 40 s |",
        "| `tu24/base` | 4 | 1 | 74.00 / 73.09 | +0.91 | 0.312 / 0.408 | 0.5218 / 0.5218 | 136k | 10 | 1 min 40 s |",
        "",
        f"{PAIRS} Our ms: {ONE_THREAD}. The paper's are of its own machine.",
    ]


@pytest.mark.parametrize(
    ("name", "rank"), [("alpha", "1"), ("alpha-2", "1"), ("v6", "2"), ("v2", "3"), ("v5", "8"), ("v3-delay", "–")]
)
def test_the_papers_rank_counts_each_of_its_nets_once(name, rank):
    assert cells(run(name, 0.5))[1] == rank


def test_the_rank_is_among_the_same_paper():
    (row,) = body("durga25/*", entry(recipe="durga25/narrow-resnet18", test=0.95), kind="papers")[2:3]
    assert "| `durga25/narrow-resnet18` | 1 | 1 | 95.00 / 95.53 | -0.53 | – / – | – / – |" in row


def test_a_net_that_no_paper_has_stands_alone():
    assert cells(run("mine", 0.5))[1:7] == ["–", "1", "50.00 / –", "–", "0.312 / –", "0.5218 / –"]


def test_an_untested_run_stands_last():
    found = table(run("alpha", None), run("v5", 0.3))
    assert found[3].startswith("| `tu24/alpha` | 1 | 1 | – / 81.04 | – |")


def test_a_seed_recorded_again_with_its_latency_counts_once():
    found = cells(run("base", 0.7, p50_ms=None, size_mb=None, latency=""), run("base", 0.7))
    assert (found[2], found[5], found[6]) == ("1", "0.312 / 0.408", "0.5218 / 0.5218")


def test_a_size_that_one_seed_lacks_is_that_of_another():
    old = run("base", 0.7, size_mb=None, p50_ms=None, latency="", date="2026-11-30")
    assert cells(old, run("base", 0.7, seed=1))[5:7] == ["0.312 / 0.408", "0.5218 / 0.5218"]


def test_times_by_two_protocols_are_not_averaged():
    seeds = [run("base", 0.7), run("base", 0.7, seed=1, p50_ms=0.5, latency=TWO_THREADS), run("base", 0.7, seed=2)]
    assert cells(*seeds)[5] == "0.312 / 0.408"
    assert cells(*seeds[:2])[5] == "0.500 / 0.408"


def test_two_protocols_are_told_apart():
    found = table(run("v6", 0.8), run("base", 0.7, latency=TWO_THREADS), run("v5", 0.6, p50_ms=None, latency=""))
    assert found[-1] == (
        f"{PAIRS} Our ms: `tu24/v6`: {ONE_THREAD}; `tu24/base`: {TWO_THREADS}. The paper's are of its own machine."
    )


def test_without_times_nothing_is_said_of_them():
    found = table(run("base", 0.7, p50_ms=None, latency=""))
    assert (found[2].split(" | ")[5], found[-1]) == ("– / 0.408", PAIRS)


def test_the_points_are_those_of_the_figures_shown():
    thirds = [run("base", test, seed=seed) for seed, test in enumerate([0.7400, 0.7401, 0.7401])]
    assert cells(*thirds)[3:5] == ["74.01 ± 0.01 / 73.09", "+0.92"]
    assert cells(run("base", 0.7309 - 1e-9))[3:5] == ["73.09 / 73.09", "+0.00"]
