"""Small networks for tests."""

from hypothesis import strategies as st
from pydantic import ValidationError

from snugnet.artifact import Card
from snugnet.data.config import Normalization
from snugnet.models.spec import ModelSpec


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
STAGES = st.fixed_dictionaries(
    {
        "block": st.sampled_from(["basic", "bottleneck", "single"]),
        "blocks": st.integers(0, 2),
        "channels": st.integers(1, 9),
    },
    optional={
        "stride": st.integers(1, 3),
        "kernel": _odd(5),
        "dropout": st.sampled_from([0.0, 0.25]),
        "reduction": st.integers(1, 5),
        "entry": st.fixed_dictionaries({"kernel": _odd(5), "pool": POOLS}),
        "shortcut": st.fixed_dictionaries({"kind": st.sampled_from(["projection", "none"]), "kernel": _odd(3)}),
        "pool": POOLS,
    },
)
PLAIN = st.fixed_dictionaries(
    {"stages": st.lists(STAGES, min_size=1, max_size=3), "image_size": st.integers(4, 24)},
    optional={
        "in_channels": st.integers(1, 4),
        "classes": st.integers(2, 12),
        "width": st.sampled_from([0.25, 0.5, 1.0, 1.7]),
        "activation": st.sampled_from(["relu", "gelu", "silu", "hardswish", "leaky_relu"]),
        "stem": st.fixed_dictionaries(
            {"kernel": st.integers(1, 7)},
            optional={
                "channels": st.integers(1, 6),
                "stride": st.integers(1, 3),
                "padding": st.integers(0, 3),
                "pool": POOLS,
                "pool_first": st.booleans(),
                "whiten": st.booleans(),
            },
        ),
        "head": st.fixed_dictionaries(
            {"pool": st.sampled_from(["avg", "max"])},
            optional={
                "kernel": st.integers(1, 3),
                "hidden": st.lists(st.integers(1, 7), max_size=2),
                "dropout": st.sampled_from([0.0, 0.5]),
            },
        ),
    },
)


def _possible(plain):
    try:
        return ModelSpec.parse(plain)
    except ValidationError:
        return None


SPECS = PLAIN.map(_possible).filter(lambda found: found is not None)
