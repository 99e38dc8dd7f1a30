import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snugnet import recipe, toml_text

SCALARS = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = SCALARS | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["a", "b", "c-1", "d_e"]), VALUES, max_size=4))
def test_any_document_is_read_back(data):
    text = toml_text.document(data, lambda path: "remark")
    assert tomllib.loads(text) == data, text


def test_values_come_before_tables_and_remarks_behind_values():
    data = {"model": {"stem": {"pool": {"kernel": 2}}, "head": {"dropout": 0.5}, "width": 1.0}, "seed": 0}
    data["stages"] = [["basic", 1, 64], {"block": "single", "é": 'a "b"'}]
    remarks = {"model.head.dropout": "line 3", "stages.1": "--set", "seed": "default"}
    assert toml_text.document(data, lambda path: remarks.get(path, "")) == (
        "seed = 0  # default\n"
        "stages = [\n"
        '  ["basic", 1, 64],\n'
        '  { block = "single", "é" = "a \\"b\\"" },  # --set\n'
        "]\n"
        "\n"
        "[model]\n"
        "width = 1.0\n"
        "\n"
        "[model.stem]\n"
        "\n"
        "[model.stem.pool]\n"
        "kernel = 2\n"
        "\n"
        "[model.head]\n"
        "dropout = 0.5  # line 3"
    )


def test_values_in_an_item_that_were_set_elsewhere_are_named():
    data = {"stages": [{"channels": 8, "kernel": 3, "pool": {"kernel": 2, "padding": 0}}, [1, 2]]}
    remarks = {"stages.0": "line 2", "stages.0.channels": "--set", "stages.0.pool.kernel": "line 2"}
    assert toml_text.document(data, lambda path: remarks.get(path, "default")) == (
        "stages = [  # default\n"
        "  { channels = 8, kernel = 3, pool = { kernel = 2, padding = 0 } },"
        "  # line 2; --set: channels; default: kernel, pool.padding\n"
        "  [1, 2],  # default\n"
        "]"
    )


def test_empty_tables_and_lists():
    assert toml_text.inline([{}, {"a": {}, "b": []}]) == "[{}, { a = {}, b = [] }]"


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_what_show_prints_is_the_same_experiment(name):
    stem = [] if recipe.load(name).experiment.model.stem == "none" else ["model.stem.pool={ kernel = 1 }"]
    loaded = recipe.load(name, [*stem, "train.schedule.warmup_epochs=2"])
    text = toml_text.document(loaded.experiment.plain(), loaded.origin)
    again = recipe.parse(text, "shown.toml")
    assert again.experiment == loaded.experiment
    assert again.experiment.sha256 == loaded.experiment.sha256
    assert "warmup_epochs = 2.0  # --set\n" in text
    assert "seed = 0  # default\n" in text
