import pytest
from hypothesis import given
from hypothesis import strategies as st

from snugnet import units


@pytest.mark.parametrize(
    ("text", "count"),
    [("5M", 5_000_000), ("64k", 64_000), ("4,978,810", 4_978_810), ("4_978_810", 4_978_810), ("1.5G", 1_500_000_000),
     (" 5 M ", 5_000_000), (7, 7), (5e6, 5_000_000), ("2T", 2 * 10**12), ("137K", 137_000), (5e20, 5 * 10**20)],
)  # fmt: skip
def test_counts(text, count):
    assert units.parse_count(text) == count


@pytest.mark.parametrize(
    ("text", "size"), [("64kB", 64_000), ("64KiB", 65_536), ("1MB", 10**6), ("1MiB", 2**20), ("12", 12), ("12 B", 12)]
)
def test_sizes(text, size):
    assert units.parse_bytes(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("50m", 3000), ("1.5h", 5400), ("2d", 172800)])
def test_durations(text, seconds):
    assert units.parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "M", "-5M", "5MB", "1,5M", "5 000", "1e6", "5.5.5", "nan", "½", "5__0,", "5,0000"]
)
def test_what_is_no_count(text):
    with pytest.raises(
        ValueError, match=r"^a count must be a number, or a number with one of k, K, M, G, T; got '"
    ) as e:
        units.parse_count(text)
    assert str(e.value).endswith(f"got {text!r}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, -0.5])
def test_numbers_that_are_no_quantity(value):
    with pytest.raises(ValueError, match=r"^a size must be a number, or a number with one of B, kB"):
        units.parse_bytes(value)


@given(st.integers(0, 10**15))
def test_any_whole_number_is_read_back(number):
    assert units.parse_count(number) == units.parse_count(f"{number:,}") == units.parse_count(str(number)) == number


@pytest.mark.parametrize(
    ("value", "shown"),
    [(4_978_810, "4.98M"), (999, "999"), (1000, "1k"), (999_499, "999k"), (999_500, "1M"), (999_999, "1M"), (0, "0"),
     (999.6, "1k"), (1e15, "1e+03T"), (137_000, "137k")],
)  # fmt: skip
def test_shown_counts_have_three_digits(value, shown):
    assert units.show_count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(19_915_240, "19.9 MB"), (999, "999 B"), (999_999, "1 MB"), (999.7, "1 kB"), (64_001, "64 kB")]
)
def test_shown_sizes(value, shown):
    assert units.show_bytes(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (42, "42 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (312, "5 min 12 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_shown_durations(value, shown):
    assert units.show_seconds(value) == shown


def test_shown_percent():
    assert units.show_percent(0.91456) == "91.46 %"
    assert units.show_percent(0.5, 0) == "50 %"
