import contextlib
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from snugnet import artifact, checkpoint, files
from snugnet.errors import ArtifactError, StorageError
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


def test_every_flipped_bit_is_told(tmp_path):
    path = tmp_path / "state"
    checkpoint.write(path, {"epoch": 3, "model": {"weight": torch.randn(40)}})
    whole, chance = path.read_bytes(), random.Random(0)
    for place in [*range(0, len(whole), 7), *chance.sample(range(len(whole)), 60)]:
        forged = bytearray(whole)
        forged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(forged)
        with pytest.raises(ArtifactError, match=r"state: not a readable checkpoint \("):
            checkpoint.read(path)
    path.write_bytes(whole)
    assert checkpoint.read(path)["epoch"] == 3


def test_a_flipped_weight_is_told_in_words(tmp_path):
    path = tmp_path / "state"
    checkpoint.write(path, {"weight": torch.zeros(4)})
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(
        ArtifactError, match=r"checkpoint \(its bytes are not those that were written\); restore it from"
    ):
        checkpoint.read(path)


def test_one_from_before_there_were_seals_is_read(tmp_path):
    tree = '{"$items":[["epoch",3],["weight",{"$tensor":"0"}]]}'
    (tmp_path / "state").write_bytes(save({"0": torch.ones(2)}, {"state": tree}))
    same(checkpoint.read(tmp_path / "state"), {"epoch": 3, "weight": torch.ones(2)})


def test_what_stood_there_is_kept(tmp_path):
    path, before = tmp_path / "state", tmp_path / "before"
    checkpoint.write(path, {"epoch": 1})
    checkpoint.write(path, {"epoch": 2}, before)
    assert (checkpoint.read(path), checkpoint.read(before)) == ({"epoch": 2}, {"epoch": 1})


def test_a_disk_that_gives_back_other_bytes(tmp_path, monkeypatch):
    """The last good checkpoint goes only when the next is proven to be readable."""
    path, write = tmp_path / "state", files.os.write
    checkpoint.write(path, {"epoch": 1})
    monkeypatch.setattr(files.os, "write", lambda handle, data: write(handle, bytes(data)[:-1] + b"?"))
    words = r"state: the disk must give back the [\d,]+ bytes that were written, and does not from byte 0 on; what was"
    with pytest.raises(StorageError, match=words):
        checkpoint.write(path, {"epoch": 2}, tmp_path / "before")
    assert checkpoint.read(path) == {"epoch": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["state"]
