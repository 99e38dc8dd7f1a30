import pytest

from fakes import FakeRecord, record
from snugnet.compare import choosing_among, compare
from snugnet.compare.choosing import CHOSEN_ON_TEST, MEASURES, miss, nothing_fits, parse_requirements
from snugnet.errors import UsageError

TIMED = {
    "p50_ms": 0.5, "batch": 1, "threads": 1, "device": "cpu", "hardware": "AMD EPYC", "backend": "torch",
    "version": "2.9.0+cpu",
}  # fmt: skip
COST = {"params": 1000, "bytes": 4000, "macs": 10_000}


def group(name, accuracies, p50_ms=None, **changes):
    runs = [
        record(f"runs/{name}-{seed}", name, accuracy, seed, images=500, **{**COST, **changes})
        for seed, accuracy in enumerate(accuracies)
    ]
    return [FakeRecord(**{**vars(run), "bench": {**TIMED, "p50_ms": p50_ms} if p50_ms else {}}) for run in runs]


def chosen(runs, text="", *, pick=True):
    return choosing_among(compare(runs), parse_requirements(text) if text else (), pick=pick)


def test_requirements_are_read_with_their_units():
    found = parse_requirements("p50_ms<1, bytes <= 550kB,accuracy>=90%, params>1,000,seconds<2h")
    assert [(each.measure, each.operator, each.limit) for each in found] == [
        ("p50_ms", "<", 1), ("bytes", "<=", 550_000), ("accuracy", ">=", pytest.approx(0.9)), ("params", ">", 1000),
        ("seconds", "<", 7200),
    ]  # fmt: skip
    assert [each.text for each in found] == ["p50_ms<1", "bytes<=550kB", "accuracy>=90%", "params>1,000", "seconds<2h"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("byts<1", "--require 'byts<1': 'byts' is no measure, did you mean 'bytes'?"),
        ("zzz<1", f"--require 'zzz<1': 'zzz' is no measure; known are {', '.join(MEASURES)}"),
        ("bytes", "--require 'bytes': must be MEASURE<VALUE, with <, <=, > or >=, as in bytes<550kB"),
        ("bytes=1", "--require 'bytes=1': must be MEASURE<VALUE, with <, <=, > or >=, as in bytes<550kB"),
        ("bytes<1,", "--require '': must be MEASURE<VALUE, with <, <=, > or >=, as in bytes<550kB"),
        ("accuracy>90", "--require 'accuracy>90': an accuracy is at most 1; for percent give accuracy>90%"),
        ("bytes<1M", "--require 'bytes<1M': a size must be a number, or a number with one of "),
        (
            "p50_ms<fast",
            "--require 'p50_ms<fast': a latency in ms must be a number, or a number with one of ms, us, s;",
        ),
    ],
)
def test_requirements_that_cannot_be_meant(text, words):
    with pytest.raises(UsageError) as caught:
        parse_requirements(text)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("bytes<4001", True), ("bytes<4000", False), ("bytes<=4000", True), ("bytes<=3999", False),
        ("bytes>3999", True), ("bytes>4000", False), ("bytes>=4000", True), ("bytes>=4001", False),
        ("accuracy>=0.9", True), ("accuracy>0.9", False), ("accuracy>=90.01%", False),
    ],
)  # fmt: skip
def test_a_limit_is_exact(text, fits):
    assert chosen(group("a", [0.91, 0.89, 0.9]), text).choice.fitting == (("a",) if fits else ())


def test_what_fails_is_listed_with_how_far_it_is_off():
    runs = [
        *group("a", [0.9], p50_ms=0.5),
        *group("b", [0.8], p50_ms=2.0, bytes=600_000),
        *group("c", [0.85], p50_ms=1.0),
    ]
    got = chosen(runs, "p50_ms<1,bytes<550kB,accuracy>=0.9")
    assert got.choice.fitting == ("a",)
    assert got.picked == got.plain()["picked"] == "a"
    assert [(each.group, each.requirement, each.words) for each in got.choice.misses] == [
        ("b", "p50_ms<1", "p50_ms is 2 ms, 1 ms over 1 ms"),
        ("b", "bytes<550kB", "bytes is 600,000 B, 50,000 B over 550,000 B"),
        ("b", "accuracy>=0.9", "accuracy is 80 %, 10 points under 90 %"),
        ("c", "p50_ms<1", "p50_ms is 1 ms, which must be below 1 ms"),
        ("c", "accuracy>=0.9", "accuracy is 85 %, 5 points under 90 %"),
    ]


def test_nothing_fits_names_the_nearest():
    runs = [*group("a", [0.9], bytes=9000), *group("b", [0.8], bytes=5500)]
    got = chosen(runs, "bytes<5000,accuracy>=0.85")
    assert (got.picked, got.choice.fitting) == (None, ())
    assert nothing_fits(got.choice, 2) == (
        "--require bytes<5000, accuracy>=0.85: none of 2 meets all; the nearest is b: bytes is 5,500 B, 500 B over "
        "5,000 B; accuracy is 80 %, 5 points under 85 %; ask for less, or design a net to it with `snug design`"
    )


def test_the_most_accurate_is_picked_and_its_seed_by_val():
    runs = [*group("a", [0.80, 0.82]), *group("b", [0.90, 0.91], bytes=9000)]
    runs[2].summary["val"], runs[3].summary["val"] = 0.95, 0.94
    got = chosen(runs)
    assert (got.picked, got.choice.run, got.choice.file) == ("b", "runs/b-0", "runs/b-0/model.safetensors")
    assert got.choice.words == "b: the most accurate of 2 there are"
    assert chosen(runs, pick=False).picked is None


def test_of_equals_the_cheapest_is_picked():
    assert chosen([*group("a", [0.9], bytes=5000), *group("b", [0.9])]).picked == "b"


def test_a_cheaper_one_that_may_be_as_good_is_said():
    runs = [*group("large", [0.91, 0.93, 0.92], bytes=8000), *group("small", [0.90, 0.92, 0.925])]
    got = chosen(runs)
    assert got.choice.cheaper == ("small",)
    assert got.choice.words == (
        "large: the highest mean (92.00 %) of 2 there are, but not told apart from small (91.47 %, p = 0.371); "
        "small costs less (bytes -50.0 %)"
    )


def test_the_only_one():
    runs = [*group("a", [0.9]), *group("b", [0.8], bytes=9000)]
    assert chosen(runs, "bytes<5000").choice.words == "a: the only one that fits"
    assert chosen(runs[:1]).choice.words == "a: the only one that there is"
    assert chosen(runs[:1]).choice.notes == ()


def test_the_highest_mean_that_costs_less_too():
    runs = [*group("small", [0.91, 0.93, 0.92]), *group("large", [0.90, 0.92, 0.925], bytes=8000)]
    assert chosen(runs, "bytes<1MB").choice.words == (
        "small: the highest mean (92.00 %) of 2 that fit, but not told apart from large (91.47 %, p = 0.371); "
        "it also costs less than that"
    )


def test_how_it_was_chosen_is_said():
    runs = [*group("a", [0.80, 0.82]), *group("b", [0.90, 0.91])]
    for run, val in zip(runs, (0.7, 0.7, 0.95, 0.94), strict=True):
        run.summary["val"] = val
    by_val = "of its 2 runs the one with the best val accuracy, 95.00 %"
    assert chosen(runs).choice.notes == (by_val, CHOSEN_ON_TEST)
    assert choosing_among(compare(runs, "val"), (), pick=True).choice.notes == (by_val,)
    runs[3].summary["val"] = None
    assert chosen(runs).choice.notes[0] == "the first of its 2 runs: not all were judged on val"


def test_a_lucky_single_seed_is_said():
    got = chosen([*group("lucky", [0.93]), *group("steady", [0.91, 0.92], bytes=9000)])
    assert got.choice.words == (
        "lucky: the highest mean (93.00 %) of 2 there are, but not told apart from steady (91.50 %, p = 0.268); "
        "it also costs less than that; it is one net, and another seed of it may be worse"
    )


def test_a_cheaper_one_that_is_worse_is_not():
    runs = [*group("large", [0.91, 0.93, 0.92], bytes=8000), *group("small", [0.80, 0.83, 0.81])]
    assert (chosen(runs).picked, chosen(runs).choice.cheaper) == ("large", ())


def test_one_that_is_cheaper_here_and_dearer_there_is_not_cheaper():
    runs = [*group("a", [0.91]), *group("b", [0.905], bytes=2000, params=2000)]
    assert chosen(runs).choice.cheaper == ()


def test_latency_must_have_been_measured():
    with pytest.raises(UsageError) as caught:
        chosen(group("a", [0.9]), "p50_ms<1")
    assert str(caught.value) == "a: p50_ms is not known: time it first with `snug bench runs/a-0`"


def test_all_that_must_be_timed_are_named_at_once():
    with pytest.raises(UsageError) as caught:
        chosen([*group("a", [0.9]), *group("b", [0.9], p50_ms=1.0), *group("c", [0.9])], "p50_ms<1")
    assert str(caught.value) == "a, c: p50_ms is not known: time them first with `snug bench runs/a-0 runs/c-0`"


def test_a_disturbed_timing_is_to_be_repeated_before_it_decides():
    runs = [*group("a", [0.9], p50_ms=1.8146), *group("b", [0.9], p50_ms=3.0)]
    runs[0].bench.update(disturbed=True, ways_ms={"channels-first": 0.898, "channels-last": 1.2})
    found = chosen(runs, "p50_ms<1").choice
    doubt = "timed while other work ran; its fastest inference took 0.898 ms: repeat `snug bench runs/a-0`"
    assert [each.told for each in found.misses] == [
        f"p50_ms is 1.815 ms, 0.8146 ms over 1 ms ({doubt})", "p50_ms is 3 ms, 2 ms over 1 ms",
    ]  # fmt: skip
    assert nothing_fits(found, 2).endswith(
        f"the nearest is a: p50_ms is 1.815 ms, 0.8146 ms over 1 ms ({doubt}); time it again on a quiet machine before "
        "you ask for less, or design a net to it with `snug design`"
    )
    assert [each.doubt for each in chosen(runs, "bytes<1").choice.misses] == [None, None]


def test_nets_on_different_data_are_not_chosen_between():
    other = record("runs/b", "b", 0.9, images=500, data=1)
    with pytest.raises(
        UsageError, match=r"^--pick: a and b were scored on different images: compare runs on the same "
    ):
        chosen([*group("a", [0.9]), other])


def test_a_miss_of_zero():
    (group_,) = compare(group("a", [0.9])).groups
    (requirement,) = parse_requirements("seconds<=0")
    assert miss(group_, requirement, 2.0).share == 2.0
