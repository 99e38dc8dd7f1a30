import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snugnet import recipe, toml_text
from snugnet.toml_lines import locate

LEAVES = (
    st.integers()
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8
)
DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b", "c-1", "d_e"]), VALUES, max_size=4)

TEXT = '''# a = 1
a = 1
"b" = "[not] a = header"  # [nor] = this
'c'.d = """
e = 5
[f]
\\""" still inside
"""

[model]  # comment
width = 0.5
stages = [  # two
  ["basic", 1, 64],  # ]
  { blocks = 2, name = 'a ] b' },
]
text = """one "" line"""
path = 'C:\\'
last = { x = [1,
  2], y = "\\" ]" }
after = 1
[ train . optimizer ]
lr = 1
[[runs]]
x = 1
[[runs]]
x = 2
[runs.sub]
z = 3
'''


def test_lines_of_keys_and_headers():
    tomllib.loads(TEXT)
    keys, headers = locate(TEXT)
    lines = TEXT.split("\n")
    assert keys == {
        "a": 2, "b": 3, "c.d": 4, "model.width": 11, "model.stages": 12, "model.text": 16, "model.path": 17,
        "model.last": 18, "model.after": 20, "train.optimizer.lr": 22, "runs.0.x": 24, "runs.1.x": 26,
        "runs.1.sub.z": 28,
        "model.stages.0": 13, "model.stages.0.0": 13, "model.stages.0.1": 13, "model.stages.0.2": 13,
        "model.stages.1": 14, "model.stages.1.blocks": 14, "model.stages.1.name": 14,
        "model.last.x": 18, "model.last.x.0": 18, "model.last.x.1": 19, "model.last.y": 19,
    }  # fmt: skip
    assert headers == {"model": 10, "train.optimizer": 21, "runs.0": 23, "runs.1": 25, "runs.1.sub": 27}
    assert all(path.split(".")[-1] in lines[line - 1] for path, line in keys.items() if not path[-1].isdecimal())


def test_windows_line_ends_and_none():
    assert locate(TEXT.replace("\n", "\r\n")) == locate(TEXT)
    assert locate("") == ({}, {})


def test_only_toml_s_own_line_ends_count():
    text = "# a\u2028b\u0085c\na = 1\n"
    assert tomllib.loads(text) == {"a": 1}
    assert locate(text)[0] == {"a": 2}


def test_quotes_at_the_end_of_a_triple_quoted_text():
    text = 'a = """x [\n""""\nb = 1\nc = \'\'\'{\'\'\'\nd = 1\n'
    assert tomllib.loads(text) == {"a": 'x [\n"', "b": 1, "c": "{", "d": 1}
    assert locate(text)[0] == {"a": 1, "b": 3, "c": 4, "d": 5}


def paths(value, above=()):
    """Of every value in parsed TOML but tables that are not items of lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield ".".join((*above, str(key)))
        yield from paths(item, (*above, str(key)))


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_every_value_of_a_recipe_is_located(name):
    text = recipe.find(name)[1]
    keys, headers = locate(text)
    assert set(paths(tomllib.loads(text))) == set(keys) | set(headers)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(DOCUMENTS)
def test_every_value_of_any_document_is_located(data):
    text = toml_text.document(data, lambda path: "x = [ # {")
    keys, headers = locate(text)
    assert set(paths(tomllib.loads(text))) <= set(keys) | set(headers)
