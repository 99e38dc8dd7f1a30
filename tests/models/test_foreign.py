"""Blocks of a user's own: nothing is imported without permission, and they are priced, trained and shipped as ours."""

import sys

import pytest
import torch

from snugnet import artifact, budget, recipe
from snugnet.errors import ArtifactError, RecipeError
from snugnet.foreign import code_allowed
from snugnet.models.resnet import build, build_meta
from specs import card, spec

CODE = """
from torch import nn

def Plain(block):
    conv = block.conv(block.channels_in, block.channels_out, block.stage.kernel, block.stride)
    return nn.Sequential(conv, block.batch_norm(block.channels_out))

def Narrow(block):
    return nn.Conv2d(block.channels_in, block.channels_out + 1, 1, block.stride)

def Deaf(block):
    return nn.Conv2d(block.channels_in + 1, block.channels_out, 1)

def Broken(block):
    raise KeyError("width")

def Number(block):
    return 3

value = 3
"""


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    (tmp_path / "my_blocks.py").write_text(CODE)
    (tmp_path / "bad_import.py").write_text("raise RuntimeError('no')")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("my_blocks", None)


def net(block, **options):
    return spec(["basic", 1, 4], {"block": block, "blocks": 1, "channels": 8}, image_size=8, **options)


def test_nothing_is_imported_without_permission():
    found = net("my_blocks:Plain")
    with pytest.raises(RecipeError) as caught:
        budget.price(card(found))
    assert str(caught.value) == (
        "block my_blocks:Plain: runs foreign code, which needs permission; read it, then add --allow-code"
    )
    with code_allowed():
        build_meta(found)
        with code_allowed(False), pytest.raises(RecipeError):
            build_meta(found)
    with pytest.raises(RecipeError):
        build_meta(found)  # the permission ends


def test_it_is_priced_trained_and_shipped(tmp_path):
    found = net("my_blocks:Plain", skips="dense")
    with code_allowed():
        cost = budget.price(card(found))
        assert cost.params == budget.count_params(build_meta(net("single", skips="dense")))
        model = build(found)
        torch.nn.functional.cross_entropy(model(torch.randn(4, 3, 8, 8)), torch.arange(4)).backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        size = artifact.write(tmp_path / "x", card(found), model)
        assert size == cost.bytes_fp32
        images = torch.randn(2, 3, 8, 8)
        with torch.no_grad():
            assert torch.equal(artifact.read(tmp_path / "x").model(images), model.eval()(images))
    sys.modules.pop("my_blocks")
    with pytest.raises(ArtifactError, match=r"x: block my_blocks:Plain: runs foreign code, .* add --allow-code$"):
        artifact.read(tmp_path / "x")
    assert "my_blocks" not in sys.modules


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("my_blocks:Plane", "block my_blocks:Plane: my_blocks has nothing to call of the name 'Plane', "
         "did you mean 'Plain'?"),
        ("my_blocks:value", "block my_blocks:value: my_blocks has nothing to call of the name 'value'"),
        ("my_blocs:Plain", "block my_blocs:Plain: my_blocs cannot be imported (ModuleNotFoundError: No module named "
         "'my_blocs'); install it, or name its folder in PYTHONPATH"),
        ("bad_import:X", "block bad_import:X: bad_import cannot be imported (RuntimeError: no); install it, or name "
         "its folder in PYTHONPATH"),
        ("my_blocks:Broken", "block my_blocks:Broken: failed to build (KeyError: 'width'); correct it"),
        ("my_blocks:Number", "block my_blocks:Number: must return a torch.nn.Module; got int"),
        ("my_blocks:Narrow", "block my_blocks:Narrow: must map (1, 4, 8, 8) to (1, 8, 4, 4); got (1, 9, 4, 4)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_block_is_said(block, words):
    with code_allowed(), pytest.raises(RecipeError) as caught:
        build_meta(net(block))
    assert str(caught.value) == words


def test_a_block_that_cannot_read_its_map():
    with (
        code_allowed(),
        pytest.raises(RecipeError, match=r"^block my_blocks:Deaf: cannot read a map of \(1, 4, 8, 8\)"),
    ):
        build_meta(net("my_blocks:Deaf"))


@pytest.mark.parametrize("block", ["my_blocks", "my blocks:X", "a:b:c", "os.system('x'):y", ":X", "a:", "../a:b"])
def test_what_is_no_import_path(block):
    text = f'[model]\nstages = [{{ block = "{block}", blocks = 1, channels = 4 }}]\n[train]\nepochs = 1\n'
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text, "r.toml")
    known = "basic, bottleneck, single, preact, wide, depthwise, fire, shuffle, transformer or 'package.module:Name'"
    assert str(caught.value).startswith(f"r.toml:2: model.stages.0.block: must be one of {known}; got {block!r}")
