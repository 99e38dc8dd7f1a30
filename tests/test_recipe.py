import re

import pytest

from snugnet import recipe
from snugnet.errors import RecipeError

DIGITS = recipe.find("snugnet/digits")[1]

STAGES = 'stages = [["basic", 1, 16], ["basic", 1, 32]]'

WRONG = """\
seed = -1
purpos = "x"
sed = 3

[model]
width = "1"
stages = [
  ["basic", 3, 64, 0.1],
  ["basic", 2],
]
shortcut = { kernal = 3 }
stem = 3

[data]
normalize = { mean = [0.1], std = [0.0], x = 1 }
train_on = "trian"

[train]
epoch = 5
batch_size = 3.0
augment = [{ op = "flip", prob = 0.5 }, { op = "flap" }, { p = 1 }, { op = "crop", padding = 0, fill = "zeros" }]
optimizer = { name = "sdg", lr = nan, betas = [0.9], momentum = 1.0, nesterov = 1 }
ema = { decay = true }
schedule = { name = "step" }
keep = "bst"

[budget]
params = "5X"
bytes = true
macs = 0
floor = { parms = 3 }

[published]
accuracy = 91.4
"""
PROBLEMS = """\
r.toml:1: seed: must be greater than or equal to 0; got -1
r.toml:2: purpos: unknown key, did you mean 'purpose'?
r.toml:3: sed: unknown key, did you mean 'seed'?
r.toml:6: model.width: must be a number; got '1'
r.toml:9: model.stages.1: a stage as a list is [block, blocks, channels, dropout, kernel], the last two optional; \
got ['basic', 2]
r.toml:11: model.shortcut.kernal: unknown key, did you mean 'kernel'?
r.toml:12: model.stem: must be one of none or a table; got 3
r.toml:15: data.normalize.std.0: must be greater than 0; got 0.0
r.toml:15: data.normalize.x: unknown key; known are mean, std
r.toml:16: data.train_on: must be one of train, all; got 'trian', did you mean 'train'?
r.toml:19: train.epoch: unknown key, did you mean 'epochs'?
r.toml:20: train.batch_size: must be a whole number; got 3.0
r.toml:21: train.augment.0.prob: unknown key; known are alternate, axis, op, p
r.toml:21: train.augment.1: must be one of flip, crop, rotate, affine, perspective, color_jitter, blur, cutout, erase, \
auto_augment, rand_augment, trivial_augment, aug_mix, normalize; got 'flap', did you mean 'flip'?
r.toml:21: train.augment.2: must have the key 'op'
r.toml:21: train.augment.3.fill: must be one of zero, reflect; got 'zeros', did you mean 'zero'?
r.toml:21: train.augment.3.padding: must be greater than or equal to 1; got 0
r.toml:22: train.optimizer.betas.1: missing; it must be given
r.toml:22: train.optimizer.lr: must be a finite number; got nan
r.toml:22: train.optimizer.momentum: must be less than 1; got 1.0
r.toml:22: train.optimizer.name: must be one of sgd, adam, adamw, adadelta, rmsprop, muon; got 'sdg', \
did you mean 'sgd'?
r.toml:22: train.optimizer.nesterov: must be true or false; got 1
r.toml:23: train.ema.decay: must be a number; got True
r.toml:24: train.schedule: 'every' (epochs between two drops) belongs to name = 'step', and it needs it
r.toml:25: train.keep: must be one of last, best; got 'bst', did you mean 'best'?
r.toml:28: budget.params: a count must be a number, or a number with one of k, K, M, G, T; got '5X'
r.toml:29: budget.bytes: a budget must be a number or a text like '5M' or '64kB'; got True
r.toml:30: budget.macs: must be greater than 0; got 0
r.toml:31: budget.floor: 'parms' is no measure, did you mean 'params'?
r.toml:34: published.accuracy: must be less than or equal to 1; got 91.4
"""


def problems(text, *overrides):
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text, "r.toml", "r", overrides)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def in_order(line):
    return int(re.match(r"r\.toml:(\d+)", line)[1]), line


def test_all_problems_at_once_each_with_its_line_and_the_nearest_name():
    assert sorted(problems(WRONG), key=in_order) == PROBLEMS.splitlines()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["r.toml: model: missing; it must be given", "r.toml: train: missing; it must be given"]),
        (
            "[model]\nstages = []\n[train]\noptimizer = { lr = 0 }",
            [
                "r.toml:2: model.stages: must have at least 1 item; got 0",
                "r.toml:3: train.epochs: missing; it must be given",
                "r.toml:4: train.optimizer.lr: must be greater than 0; got 0",
            ],
        ),
        (
            "[train]\nepochs = 3\n[data]\nnormalize = 'trian'\n[model]\n",
            [
                "r.toml:5: model.stages: missing; it must be given",
                "r.toml:4: data.normalize: must be one of train or a table; got 'trian', did you mean 'train'?",
            ],
        ),
        (
            "[train]\nepochs=3\n[[model.stages]]\nblocks = 1\nchannels = 2\n[[model.stages]]\nblocks = 1\n\nchannel=1",
            ["r.toml:9: model.stages.1.channel: unknown key, did you mean 'channels'?"],
        ),
        ("a = \n", ["r.toml: not TOML: Invalid value (at line 1, column 5)"]),
        (DIGITS.replace("image_size = 8", "image_size = 8\nhead = { kernel = 9 }"),
         ["r.toml:7: model: head.kernel shrinks a 4x4 map to nothing; use smaller strides, pools or kernels"]),
    ],
)  # fmt: skip
def test_each_problem_in_its_words(text, lines):
    assert problems(text) == lines


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("trian.epochs=3", "--set: trian: unknown key, did you mean 'train'?"),
        ("train.epochs=3x", "--set: train.epochs: must be a whole number; got '3x'"),
        ("train.epochs=", "--set: train.epochs: must be a whole number; got ''"),
        ("train.ema.decy=0.5", "--set: train.ema.decy: unknown key, did you mean 'decay'?"),
        ("model.stages.0.chanels=5", "--set: model.stages.0.chanels: unknown key, did you mean 'channels'?"),
        ("train=3", "--set: train: must be a table; got 3"),
        ("train.epochs", "--set train.epochs: must be section.key=value, for example --set train.epochs=5"),
        ("=3", "--set =3: must be section.key=value, for example --set train.epochs=5"),
        ("train..epochs=3", "--set train..epochs=3: must be section.key=value, for example --set train.epochs=5"),
        ("train.epochs.x=3", "--set train.epochs.x=3: train.epochs is a value, it has no key 'x'"),
        ("model.stages.x=1", "--set model.stages.x=1: 'x' must be the number of an item, 0 to 1"),
        ("model.stages.2.blocks=1", "--set model.stages.2.blocks=1: '2' must be the number of an item, 0 to 1"),
        ("model.stages.-1.blocks=1", "--set model.stages.-1.blocks=1: '-1' must be the number of an item, 0 to 1"),
        ("train.augment.1={op='flip'}",
         "--set train.augment.1={op='flip'}: '1' must be the number of an item, 0 to 0"),
    ],
)  # fmt: skip
def test_bad_overrides(override, line):
    assert problems(DIGITS, override) == [line]


def test_overrides_reach_values_items_and_stages_as_lists():
    sets = [
        "train.epochs=3", "data.name=cifar100", "train.augment.0.padding=2", "model.stages.0.channels=5",
        "model.stages.0.stride=2", "model.stages.1.shortcut.norm=false", "train.ema.decay=0.5",
        'purpose="a = b"', "seed=1", "seed=2", "budget.params=1M",
    ]  # fmt: skip
    found = recipe.parse(DIGITS, "r.toml", "r", sets).experiment
    first, second = found.model.stages
    assert (found.train.epochs, found.data.name, found.train.augment[0].padding) == (3, "cifar100", 2)
    assert (first.block, first.blocks, first.channels, first.stride) == ("basic", 1, 5, 2)
    assert (second.channels, second.shortcut.norm, second.stride) == (32, False, None)
    assert (found.train.ema.decay, found.purpose, found.seed, found.budget.params) == (0.5, "a = b", 2, 1_000_000)
    assert found.budget.bytes == 100_000
    assert recipe.parse(DIGITS, "r", "r", ["model.stages.1.2=7"]).experiment.model.stages[1].channels == 7


def test_no_item_of_a_stage_is_lost_to_an_override():
    text = DIGITS.replace('["basic", 1, 16]', '["basic", 1, 16, 0.0, 3, 9]')
    assert problems(text, "model.stages.0.channels=5") == [
        "--set model.stages.0.channels=5: 'channels' must be the number of an item, 0 to 5"
    ]


def test_every_value_has_its_origin():
    loaded = recipe.parse(
        DIGITS, "r.toml", "r", ["model.stem.kernel=5", "train.optimizer.lr=0.2", "data={val_fraction=0.2}"]
    )
    lines = DIGITS.splitlines()
    assert loaded.origin("train.epochs") == f"line {lines.index('epochs = 15') + 1}"
    assert loaded.origin("train.optimizer.momentum") == loaded.origin("train.optimizer")
    assert loaded.origin("train.optimizer.lr") == loaded.origin("model.stem.kernel") == "--set"
    assert (
        loaded.origin("model.stages.1") == loaded.origin("model.stages.1.channels") == f"line {lines.index(STAGES) + 1}"
    )
    assert loaded.origin("model.stages.1.kernel") == "default"
    assert loaded.origin("model.width") == loaded.origin("model.stem.stride") == loaded.origin("seed") == "default"
    assert loaded.origin("data.val_fraction") == loaded.origin("data.name") == "--set"  # the whole table is


def test_what_the_command_line_changes_says_so():
    loaded = recipe.load("snugnet/digits")
    assert loaded.with_data(None) is loaded
    other = loaded.with_data("cifar10").with_seed(7).with_budget(loaded.experiment.budget.replaced(params="1k"))
    assert (other.experiment.data.name, other.origin("data.name")) == ("cifar10", "--data")
    assert (other.experiment.seed, other.origin("seed")) == (7, "--seeds")
    assert (other.experiment.budget.params, other.origin("budget.params")) == (1000, "--budget")
    assert (loaded.experiment.seed, loaded.origin("seed")) == (0, "default")
    assert other.text == loaded.text


def test_names_and_files_that_are_none(tmp_path):
    with pytest.raises(RecipeError) as caught:
        recipe.load("snugnet/digit")
    assert str(caught.value) == (
        "snugnet/digit: neither a built-in recipe nor a file, did you mean 'snugnet/digits'?; "
        "`snug recipes` lists the built-in ones"
    )
    with pytest.raises(RecipeError, match=r"^.*: neither a built-in recipe nor a file; `snug recipes` lists"):
        recipe.load(str(tmp_path))
    (tmp_path / "r.toml").write_bytes(b"seed = \xff")
    with pytest.raises(
        RecipeError, match=r"r\.toml: cannot be read as UTF-8 text \(.*0xff.*\); a recipe is a TOML file$"
    ):
        recipe.load(str(tmp_path / "r.toml"))
    (tmp_path / "mine.toml").write_text(DIGITS, encoding="utf-8")
    assert recipe.load(str(tmp_path / "mine.toml")).experiment.name == "mine"
    (tmp_path / "bad.toml").write_text("seed = 'x'\n" + DIGITS.replace("epochs", "epoch"), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        recipe.load(str(tmp_path / "bad.toml"))
    assert all(line.startswith(f"{tmp_path}/bad.toml:") for line in caught.value.problems)


def test_the_digest_is_of_what_shapes_the_result():
    base = recipe.load("snugnet/digits").experiment
    for same in ("seed=3", "purpose=x", "budget.params=1M", "published.accuracy=0.5", "expect.params=3", "name=x"):
        assert recipe.load("snugnet/digits", [same]).experiment.sha256 == base.sha256, same
    for other in ("train.epochs=3", "model.width=2.0", "data.val_fraction=0.2"):
        assert recipe.load("snugnet/digits", [other]).experiment.sha256 != base.sha256, other


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 5000, r"^x\.toml: not TOML: it is nested too deep$"),
        ("a = " + "9" * 5000, r"^x\.toml: not TOML: Exceeds the limit"),
        (".".join("a" * 300) + " = 1", r"^x\.toml: a line must have at most 200 dots; break it up$"),
        (".".join("a" * 40) + " = 1", r"^x\.toml: tables and lists must be at most 32 deep"),
        ("#" * 100_001, r"^x\.toml: must be at most 100,000 characters; a recipe holds no data$"),
        ("".join(f"k{n} = 1\n" for n in range(150)), r"\nx\.toml: 52 problems more$"),
    ],
)
def test_what_would_take_the_parser_hours_is_refused(text, words):
    with pytest.raises(RecipeError, match=words):
        recipe.parse(text, "x.toml")


def test_a_recipe_of_the_most_depth_and_dots_is_read():
    deep = ".".join("a" * 31) + " = 1"
    with pytest.raises(RecipeError, match=r"unknown key"):
        recipe.parse(deep, "x.toml")
    dotted = DIGITS.replace('source = "snugnet"', f'source = "{"." * 200}"')
    assert recipe.parse(dotted, "x.toml").experiment.source == "." * 200
    with pytest.raises(RecipeError, match=r"at most 200 dots"):
        recipe.parse(dotted.replace("." * 200, "." * 201), "x.toml")
