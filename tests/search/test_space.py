"""What a point of a space may be, whoever asks for it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from snugnet.errors import RecipeError
from snugnet.search import space
from snugnet.search.space import Dimension, Space


def dimension(**said: object) -> Dimension:
    return Dimension.parse(said)


def built(**said: dict[str, object]) -> Space:
    return space.build({key.replace("__", "."): dimension(**each) for key, each in said.items()}, {"stages": 2}.get)


WHOLE = {"from": 8, "to": 17, "step": 4}
CONDITIONAL = {
    "momentum": {"choices": [0.8, 0.9], "when": {"name": ["sgd", "muon"]}},
    "name": {"choices": ["sgd", "adam", "muon"]},
}


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ({"choices": [1, [2], {"a": 3}]}, [1, [2], {"a": 3}]),
        ({"from": 2, "to": 5}, [2, 3, 4, 5]),
        (WHOLE, [8, 12, 16]),
        ({"from": 0.1, "to": 0.5, "step": 0.2}, [0.1, 0.3, 0.5]),
        ({"from": 0.001, "to": 1.0, "points": 4, "log": True}, [0.001, 0.01, 0.1, 1.0]),
        ({"from": 8, "to": 64, "points": 4, "log": True}, [8, 16, 32, 64]),
        ({"from": 1, "to": 3, "points": 9}, [1, 2, 3]),
    ],
)
def test_values_of_a_key(said: dict[str, object], values: list[object]):
    found = dimension(**said).values()
    assert found is not None
    assert list(found) == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_a_range_of_numbers_has_no_end_of_values():
    assert dimension(**{"from": 0.0, "to": 1}).values() is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"choices": [1, 2], "from": 3}, "has choices, and so no from; leave either out"),
        ({"choices": [1, 2, 1]}, "each choice must differ from the others; got [1, 2, 1]"),
        ({"from": 3}, "must be a list of choices, or have from and to; got neither"),
        ({"from": 3, "to": 3}, "from must be below to, or there is nothing to choose; got from 3 to 3"),
        ({"from": 0, "to": 3, "log": True}, "from must be above 0 where log is true; got 0"),
        ({"from": 1, "to": 3, "step": 3}, "step must be at most to - from, 2; got 3"),
        ({"from": 1, "to": 9, "step": 2, "log": True}, "step goes neither with log nor with points"),
    ],
)
def test_what_is_no_dimension(said: dict[str, object], words: str):
    with pytest.raises(ValidationError) as caught:
        dimension(**said)
    assert words in str(caught.value)


def test_a_grid_has_every_point_once_and_no_value_without_its_condition():
    points = list(built(**CONDITIONAL).grid())
    assert points == [
        {"name": "sgd", "momentum": 0.8},
        {"name": "sgd", "momentum": 0.9},
        {"name": "adam"},
        {"name": "muon", "momentum": 0.8},
        {"name": "muon", "momentum": 0.9},
    ]


def test_a_star_is_each_item_of_the_base_on_its_own():
    found = built(
        **{
            "stages.*.block": {"choices": ["basic", "fire"]},
            "stages.*.expand": {"choices": [1], "when": {"stages.*.block": "fire"}},
        }
    )
    assert [axis.key for axis in found.axes] == [
        "stages.0.block", "stages.1.block", "stages.0.expand", "stages.1.expand",
    ]  # fmt: skip
    assert {"stages.0.block": "fire", "stages.1.block": "basic", "stages.0.expand": 1} in list(found.grid())
    assert len(list(found.grid())) == 4


def test_a_random_point_is_of_its_number_and_in_the_space():
    found = built(**CONDITIONAL, width={"from": 3, "to": 500, "log": True}, lr={"from": 1e-4, "to": 1.0, "log": True})
    points = [found.drawn(0, number) for number in range(200)]
    assert points == [found.drawn(0, number) for number in range(200)]
    assert points[:5] != [found.drawn(1, number) for number in range(5)]
    assert all(3 <= point["width"] <= 500 and 1e-4 <= point["lr"] <= 1 for point in points)
    assert all(("momentum" in point) == (point["name"] != "adam") for point in points)
    assert 60 < sum(point["lr"] < 0.01 for point in points) < 140  # by proportion half of the range
    assert 60 < sum(point["width"] < 39 for point in points) < 140


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"a": {"choices": [1], "when": {"b": 1}}}, "space.a.when: b is no other key of the space"),
        (
            {"lr": {"choices": [1], "when": {"nam": 1}}, "name": {"choices": [1]}},
            "space.lr.when: nam is no other key of the space, did you mean 'name'?",
        ),
        (
            {"a": {"choices": [1], "when": {"b": "y"}}, "b": {"choices": ["x"]}},
            "space.a.when: b is never 'y'; it is one of 'x'",
        ),
        (
            {"a": {"choices": [1], "when": {"b": 0.5}}, "b": {"from": 0.0, "to": 1.0}},
            "space.a.when: b is any number of a range; a condition needs choices, step or points",
        ),
        (
            {"a": {"choices": [1], "when": {"b": 1}}, "b": {"choices": [1], "when": {"a": 1}}},
            "space: the conditions of a, b wait for each other; take one of them away",
        ),
        ({"blocks.*.x": {"choices": [1]}}, "space.blocks.*.x: blocks must be a list in the base for * to stand for"),
    ],
)
def test_conditions_that_cannot_be_met(said: dict[str, dict[str, object]], words: str):
    with pytest.raises(RecipeError) as caught:
        built(**said)
    assert words in str(caught.value)


def test_a_grid_wants_an_end():
    with pytest.raises(RecipeError, match=r"^space\.lr: a grid needs step or points"):
        list(built(lr={"from": 0.0, "to": 1.0}).grid())
