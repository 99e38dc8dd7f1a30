import contextlib
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snugnet import artifact, checkpoint
from snugnet.errors import ArtifactError
from snugnet.models.resnet import build
from specs import card, spec

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def tensor(draw):
    shape, dtype, seed = draw
    random_bits = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2**8, shape, generator=random_bits, dtype=torch.uint8).to(dtype)


TENSORS = st.tuples(
    st.lists(st.integers(0, 3), max_size=3), st.sampled_from(DTYPES), st.integers(0, 9)
).map(tensor)  # fmt: skip
KEYS = st.integers(-2, 2) | st.sampled_from(["1", "a", "a/b", "b", "", "$tensor", "$items", "é"])
LEAVES = TENSORS | st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=4)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def same(one, two):
    if isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert list(one) == list(two)
        assert [type(key) for key in one] == [type(key) for key in two]
        for key in one:
            same(one[key], two[key])
    elif isinstance(one, list):
        assert len(one) == len(two)
        for first, second in zip(one, two, strict=True):
            same(first, second)
    else:
        assert type(one) is type(two)
        assert one == two or (one != one and two != two)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_tree_is_read_back_bitwise(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "state"
    checkpoint.write(path, tree)
    same(checkpoint.read(path), tree)


def test_numbers_to_their_last_bit_and_nan(tmp_path):
    values = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45, 1 / 3])
    tree = {"x": [1 / 3, 5e-324, 2**70], "t": values}
    checkpoint.write(tmp_path / "state", tree)
    back = checkpoint.read(tmp_path / "state")
    assert back["x"] == tree["x"]
    assert torch.equal(back["t"].view(torch.int32), values.view(torch.int32))


def test_layouts_and_views_are_kept_by_value(tmp_path):
    base = torch.randn(2, 3, 4, 4)
    tree = {"last": base.to(memory_format=torch.channels_last), "part": base[:, 1], "empty": base[:0]}
    checkpoint.write(tmp_path / "state", tree)
    same(checkpoint.read(tmp_path / "state"), tree)


def test_a_file_that_is_cut_anywhere_or_is_no_checkpoint(tmp_path):
    path = tmp_path / "state"
    remedy = r"; restore it from a copy, or train again in another directory$"
    with pytest.raises(ArtifactError, match=rf"state: not a readable checkpoint \(.*No such file.*\){remedy}"):
        checkpoint.read(path)
    checkpoint.write(path, {"epoch": 3, "model": {"weight": torch.randn(20)}})
    whole = path.read_bytes()
    for cut in range(0, len(whole), 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(ArtifactError, match=rf"state: not a readable checkpoint \(.*\){remedy}"):
            checkpoint.read(path)
    artifact.write(path, card(), build(spec(image_size=8)))
    with pytest.raises(
        ArtifactError, match=rf"state: not a readable checkpoint \(it holds no training state\){remedy}"
    ):
        checkpoint.read(path)


def test_damage_raises_nothing_but_artifact_errors(tmp_path):
    path = tmp_path / "state"
    checkpoint.write(path, {"a": [1, {"b": torch.zeros(3)}], 2: "x"})
    whole = path.read_bytes()
    chance = random.Random(0)
    for _ in range(150):
        forged = bytearray(whole)
        for _ in range(3):
            forged[chance.randrange(len(forged))] = chance.randrange(256)
        path.write_bytes(forged)
        with contextlib.suppress(ArtifactError):
            checkpoint.read(path)
