"""Small networks for tests."""

from typing import get_args

from hypothesis import strategies as st
from pydantic import ValidationError

from snugnet.artifact import Card
from snugnet.data.config import Normalization
from snugnet.models.spec import BLOCKS, ActivationName, Init, ModelSpec


def spec(*stages, **options):
    return ModelSpec.parse({"stages": stages or [["basic", 1, 4]], **options})


def card(model=None, classes=None, mean=0.5, std=0.25):
    model = model or spec(image_size=8)
    names = tuple(classes or (f"class {k}" for k in range(model.classes)))
    constants = Normalization(mean=(mean,) * model.in_channels, std=(std,) * model.in_channels)
    return Card(model=model, classes=names, normalization=constants)


def _odd(largest):
    return st.integers(0, (largest - 1) // 2).map(lambda half: 2 * half + 1)


POOLS = st.none() | st.fixed_dictionaries(
    {"kind": st.sampled_from(["max", "avg"]), "kernel": st.integers(1, 4)},
    optional={"stride": st.integers(1, 3), "padding": st.integers(0, 2)},
)
EVEN = st.fixed_dictionaries(
    {
        "block": st.just("basic"),
        "blocks": st.integers(1, 2),
        "channels": st.integers(1, 9),
        "kernel": st.sampled_from([2, 4]),
        "even": st.sampled_from(["padding", "pool"]),
    }
)
INNER = st.fixed_dictionaries(
    {
        "block": st.just("fire"),
        "blocks": st.integers(1, 2),
        "channels": st.integers(1, 9),
        "inner": st.integers(1, 4),
        "expand": st.tuples(st.integers(1, 3), st.integers(1, 3)).map(list),
    }
)
STAGES = st.fixed_dictionaries(
    {
        "block": st.sampled_from(BLOCKS),
        "blocks": st.integers(0, 2),
        "channels": st.integers(1, 9),
    },
    optional={
        "stride": st.integers(1, 3),
        "kernel": _odd(5),
        "dropout": st.sampled_from([0.0, 0.25]),
        "reduction": st.integers(1, 5),
        "conv": st.sampled_from(
            [{"kind": kind} for kind in ("bsconv-u", "repvgg", "merged")]
            + [{"kind": "bsconv-s", "norm": True}, {"kind": "low-rank", "share": 0.6}]
        ),
        "groups": st.sampled_from([1, 2]),
        "blur": st.sampled_from([3, 5]),
        "repeat": st.sampled_from([1, 1, 3]),
        "entry": st.fixed_dictionaries({"kernel": _odd(5), "pool": POOLS}),
        "shortcut": st.fixed_dictionaries(
            {"kind": st.sampled_from(["projection", "always", "none"]), "kernel": _odd(3)}
        ),
        "se": st.fixed_dictionaries({"reduction": st.integers(1, 4)}),
        "eca": st.fixed_dictionaries({}, optional={"kernel": _odd(5)}),
        "cbam": st.fixed_dictionaries({"reduction": st.integers(1, 4), "kernel": _odd(7)}),
        "drop_path": st.sampled_from([0.0, 0.25]),
        "pool": POOLS,
    },
)
PLAIN = st.fixed_dictionaries(
    {"stages": st.lists(STAGES | EVEN | INNER, min_size=1, max_size=3), "image_size": st.integers(4, 24)},
    optional={
        "in_channels": st.integers(1, 4),
        "classes": st.integers(2, 12),
        "width": st.sampled_from([0.25, 0.5, 1.0, 1.7]),
        "activation": st.sampled_from(get_args(ActivationName)),
        "conv_bias": st.booleans(),
        "init": st.sampled_from(get_args(Init)),
        "drop_path": st.sampled_from([0.0, 0.25]),
        "zero_last_norm": st.booleans(),
        "skips": st.just("dense")
        | st.lists(st.fixed_dictionaries({"from": st.integers(1, 3), "to": st.integers(2, 4)}), max_size=2),
        "stem": st.just("none")
        | st.fixed_dictionaries(
            {"kernel": st.integers(1, 7)},
            optional={
                "channels": st.integers(1, 6),
                "stride": st.integers(1, 3),
                "padding": st.integers(0, 3),
                "pool": POOLS,
                "pool_first": st.booleans(),
                "whiten": st.booleans(),
                "se": st.just({}),
            },
        ),
        "head": st.fixed_dictionaries(
            {"pool": st.sampled_from(["avg", "max", "flatten"])},
            optional={
                "kernel": st.integers(1, 3),
                "hidden": st.lists(st.integers(1, 7), max_size=2),
                "norm": st.booleans(),
                "dropout": st.sampled_from([0.0, 0.5]),
            },
        ),
    },
)


def possible(plain):
    try:
        return ModelSpec.parse(plain)
    except ValidationError:
        return None


SPECS = PLAIN.map(possible).filter(lambda found: found is not None)
