"""Who trains on."""

import random

import pytest

from snugnet.search.rungs import Rungs, dominates, fronts, ranked

HALVES = Rungs((1, 2, 4), 0.5)
THIRDS = Rungs((1, 3, 9), 1 / 3)


def one(*values):
    """Results of trials with one objective, at the first rung."""
    return {trial: [(value,)] for trial, value in enumerate(values)}


def vectors(seed, count=40, objectives=2):
    draw = random.Random(seed)
    return [tuple(float(draw.randint(0, 12)) for _ in range(objectives)) for _ in range(count)]


def finish(rungs, results, closing=False):
    """Trains every promotion owed, each trial keeping its value; the promotions in order."""
    results, done = {trial: list(seen) for trial, seen in results.items()}, []
    while owed := rungs.rung_ready(results, closing=closing):
        done.append(owed[0])
        results[owed[0][0]].append(results[owed[0][0]][-1])
    return done


def test_the_best_share_goes_on_best_first():
    assert HALVES.rung_ready(one(0.1, 0.4, 0.3, 0.2)) == [(1, 1), (2, 1)]


@pytest.mark.parametrize(("count", "owed"), [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (9, 3), (30, 10)])
def test_a_third_is_a_third(count, owed):
    assert len(THIRDS.rung_ready(one(*range(count)))) == owed


def test_it_waits_for_nobody():
    results = one(0.5, 0.6) | {2: [], 3: []}  # two still train for the first rung
    assert HALVES.rung_ready(results) == [(1, 1)]


def test_the_highest_rung_comes_first():
    results = {0: [(0.5,), (0.6,)], 1: [(0.4,), (0.5,)], 2: [(0.45,)], 3: [(0.9,)]}
    assert HALVES.rung_ready(results) == [(0, 2), (3, 1)]


def test_ranks_are_those_of_the_rung_and_not_of_an_earlier_one():
    results = {0: [(0.9,), (0.1,)], 1: [(0.8,), (0.2,)], 2: [(0.0,)], 3: [(0.0,)]}
    assert HALVES.rung_ready(results) == [(1, 2)]


def test_what_runs_is_not_owed():
    assert HALVES.rung_ready(one(0.1, 0.4, 0.3, 0.2), running={(1, 1)}) == [(2, 1)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_no_trial_is_promoted_twice_and_the_best_goes_all_the_way(seed, objectives):
    values = vectors(seed, 27, objectives)
    done = finish(THIRDS, {trial: [value] for trial, value in enumerate(values)})
    assert len(done) == len(set(done)) == 9 + 3
    first = ranked(values)[0]
    assert {(first, 1), (first, 2)} <= set(done)
    best = set(fronts(values)[0])
    went_on = {trial for trial, rung in done if rung == 1}
    assert best <= went_on or went_on <= best  # nobody from a later front while one of the first stays


def test_closing_takes_the_best_to_the_end():
    few = one(0.3, 0.5)
    assert finish(THIRDS, few) == []
    assert finish(THIRDS, few, closing=True) == [(1, 1), (1, 2)]
    assert THIRDS.rung_ready({}, closing=True) == []


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_trials_does_not_matter(seed):
    draw = random.Random(seed)
    results = {trial: [value] for trial, value in enumerate(vectors(seed))}
    shuffled = dict(draw.sample(list(results.items()), len(results)))
    assert HALVES.rung_ready(results) == HALVES.rung_ready(shuffled)


def test_neither_do_their_numbers_where_no_two_are_equal():
    results = {0: [(1.0, 5.0)], 1: [(2.0, 4.5)], 2: [(3.0, 1.0)], 3: [(0.5, 0.5)]}
    renamed = {9 - trial: seen for trial, seen in results.items()}
    assert {9 - trial for trial, _ in HALVES.rung_ready(renamed)} == {t for t, _ in HALVES.rung_ready(results)}


def test_a_scale_does_not_matter():
    values = vectors(3)
    results = {trial: [value] for trial, value in enumerate(values)}
    scaled = {trial: [(value[0] * 0.25 + 8, value[1] * 1024)] for trial, value in enumerate(values)}
    assert HALVES.rung_ready(results) == HALVES.rung_ready(scaled)


def test_of_equal_trials_the_earlier_goes_on():
    assert HALVES.rung_ready(one(0.5, 0.5, 0.5, 0.5)) == [(0, 1), (1, 1)]


def test_a_training_that_diverged_stays_but_counts():
    nan = float("nan")
    assert HALVES.rung_ready(one(nan, 0.1)) == [(1, 1)]
    assert HALVES.rung_ready(one(nan, nan)) == []
    assert HALVES.rung_ready(one(float("inf"), 0.1)) == [(1, 1)]


def test_a_front_is_not_lost_to_one_objective():
    """Small and middling, large and good: neither dominates, and a third that is beaten by one stays."""
    results = {0: [(0.9, -100.0)], 1: [(0.7, -10.0)], 2: [(0.65, -20.0)], 3: [(0.89, -100.0)]}
    assert HALVES.rung_ready(results) == [(0, 1), (1, 1)]


def test_ends_of_a_front_come_first_then_who_has_most_room():
    front = [(0.0, 10.0), (1.0, 9.0), (2.0, 8.9), (6.0, 5.0), (10.0, 0.0)]
    assert ranked(front) == [0, 4, 3, 2, 1]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_fronts_are_what_is_left_undominated(seed, objectives):
    values = vectors(seed, 60, objectives)
    left = set(range(len(values)))
    for front in fronts(values):
        undominated = {a for a in left if not any(dominates(values[b], values[a]) for b in left)}
        assert set(front) == undominated
        left -= undominated
    assert not left


@pytest.mark.parametrize("epochs", [(), (0, 1), (3, 3), (4, 2)])
def test_rungs_must_rise(epochs):
    with pytest.raises(ValueError, match=r"^the epochs of the rungs must be above 0 and rise; got \["):
        Rungs(epochs, 0.5)


@pytest.mark.parametrize("keep", [0, 1, 1.5, -0.1, float("nan")])
def test_keep_is_a_share(keep):
    with pytest.raises(ValueError, match=r"^keep must be above 0 and below 1, the share that goes on; got "):
        Rungs((1, 2), keep)


def test_results_that_fit_no_rung():
    with pytest.raises(ValueError, match=r"^trial 5 has 4 results; there are 3 rungs$"):
        HALVES.rung_ready({5: [(0.1,)] * 4})
    with pytest.raises(ValueError, match=r"^every result must have the same objectives, .* got \[1, 2\] of them$"):
        HALVES.rung_ready({0: [(0.1,)], 1: [(0.1, 0.2)]})
