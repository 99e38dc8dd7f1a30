"""What differs between configurations, in words."""

import pytest

from snugnet.changes import differences, told

OLD = {
    "name": "a",
    "seed": 0,
    "model": {"classes": 10, "stages": [{"channels": 4}], "stem": {"kernel": 3}},
    "data": {"name": "cifar10", "memory": "auto"},
    "train": {"epochs": 10, "ema": {"decay": 0.9}, "optimizer": {"lr": 0.1, "nesterov": True}},
}
NEW = {
    "name": "b",
    "seed": 1,
    "model": {"classes": 2, "stages": [{"channels": 8}], "stem": {"kernel": 3}},
    "data": {"name": "images", "memory": "ram"},
    "train": {"epochs": 2, "optimizer": {"lr": 0.1, "nesterov": False}},
    "quantize": {"weights": 8},
}


def test_what_differs_and_shapes_a_result():
    paths = ["model.stages", "data.name", "train.epochs", "train.ema", "train.optimizer.nesterov", "quantize"]
    assert list(differences(OLD, NEW)) == paths
    words = ["stages", "data images", "epochs 2", "no ema", "optimizer.nesterov false", "quantize"]
    assert [told(path, NEW) for path in paths] == words
    assert list(differences(OLD, OLD | {"name": "b", "seed": 1, "budget": {"params": 1}})) == []


@pytest.mark.parametrize(("value", "shown"), [(0.5, "lr 0.5"), (None, "no lr"), ([], "lr"), ("auto", "lr auto")])
def test_a_value_in_words(value, shown):
    assert told("train.lr", {"train": {"lr": value}}) == shown
