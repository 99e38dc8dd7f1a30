import pytest
from pydantic import ValidationError

from snugnet.train.range_test import Point, RangeConfig, suggest


@pytest.mark.parametrize(("rise", "middle"), [("exponential", 0.02), ("linear", 0.2005)])
def test_the_rates_go_from_low_to_high(rise, middle):
    plan = RangeConfig(low=1e-3, high=0.4, steps=529, rise=rise)
    assert [plan.lr(step) for step in (0, 264, 528)] == pytest.approx([1e-3, middle, 0.4])


def test_the_range_is_that_of_the_fall():
    losses = [2.0, 2.0, 1.9, 1.5, 1.2, 1.05, 1.0, 3.0]
    points = [Point(lr=float(place), loss=0.0, smoothed=loss) for place, loss in enumerate(losses)]
    assert vars(suggest(points)) == {"base": 2.0, "highest": 5.0}
    assert suggest(points[:2]) is None
    assert suggest([]) is None


def test_low_must_be_below_high():
    with pytest.raises(ValidationError, match=r"low must be below high; got 1 and 1"):
        RangeConfig(low=1.0, high=1.0)
