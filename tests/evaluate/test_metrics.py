import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk

from snugnet.errors import DataError, Diverged
from snugnet.evaluate import metrics

RANDOM = torch.Generator().manual_seed(0)
CLASSES = [f"c{i}" for i in range(7)]


def random_case(images=300):
    labels = torch.randint(7, (images,), generator=RANDOM)
    return torch.randn(images, 7, generator=RANDOM) + 1.5 * torch.eye(7)[labels], labels


def never_predicted():
    logits, labels = random_case()
    logits[:, 3] = -20
    return logits, labels


def one_class_only():
    return random_case()[0], torch.full((300,), 2)


def ties():
    return torch.randn(300, 7, generator=RANDOM).round(), random_case()[1]


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@pytest.mark.parametrize("case", [random_case, never_predicted, one_class_only, ties, lambda: random_case(1)])
def test_equal_to_scikit_learn(case):
    logits, labels = case()
    got = metrics.scores(logits, labels, CLASSES)
    predicted, every = logits.argmax(1), list(range(7))
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0
    )
    assert got.images == len(labels)
    assert got.accuracy == pytest.approx(sk.accuracy_score(labels, predicted))
    assert got.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert got.loss == pytest.approx(sk.log_loss(labels, logits.double().softmax(1), labels=every))
    assert (got.macro_precision, got.macro_recall, got.macro_f1) == pytest.approx(
        (precision.mean(), recall.mean(), f1.mean())
    )
    assert [list(row) for row in got.confusion] == sk.confusion_matrix(labels, predicted, labels=every).tolist()
    for i, entry in enumerate(got.per_class):
        want = {
            "class": CLASSES[i],
            "support": support[i],
            "accuracy": recall[i],
            "recall": recall[i],
            "precision": precision[i],
            "f1": f1[i],
        }
        assert {name: entry[name] for name in want} == pytest.approx(want)
    if case is not ties:  # scikit-learn counts ties by the last class
        top5 = sk.top_k_accuracy_score(labels, logits, k=5, labels=every)
        assert got.top5 == pytest.approx(top5)


def test_of_equal_logits_the_first_class_wins():
    logits = torch.zeros(7, 7)
    labels = torch.arange(7)
    assert metrics.rank_of_label(logits, labels).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert metrics.top_k(logits, labels, 5) == pytest.approx(5 / 7)
    assert metrics.accuracy(logits, labels) == pytest.approx(1 / 7)


def test_top5_is_one_with_five_classes_or_fewer():
    assert metrics.scores(torch.randn(9, 2), torch.zeros(9, dtype=torch.long), ["a", "b"]).top5 == 1


@pytest.mark.parametrize(("hits", "images"), [(90, 100), (0, 10), (10, 10), (1, 1), (9_131, 10_000)])
def test_wilson_interval(hits, images):
    want = binomtest(hits, images).proportion_ci(method="wilson")
    assert metrics.wilson(hits, images) == pytest.approx((want.low, want.high), abs=1e-12)


def test_calibration_error_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    labels = torch.tensor([0, 1, 0, 1])  # at 0.9: one of two right; at 0.6: both right
    assert metrics.calibration_error(probabilities.log(), labels) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_a_confidence_on_a_border_belongs_to_the_bin_below():
    count, _, _ = metrics.calibration(torch.tensor([[0.0, 0.0]]), torch.tensor([0]), bins=2)
    assert count.tolist() == [1, 0]


def test_certain_predictions_fall_in_the_last_bin():
    count, confidence, hits = metrics.calibration(torch.tensor([[0.0, 1000.0]]), torch.tensor([1]))
    assert (count[-1], confidence[-1], hits[-1]) == (1, 1, 1)


def test_low_precision_and_strided_logits_score_as_float():
    logits, labels = random_case()
    assert metrics.scores(logits.bfloat16(), labels, CLASSES) == metrics.scores(
        logits.bfloat16().float(), labels, CLASSES
    )


def test_plain_and_back():
    got = metrics.scores(*random_case(), CLASSES)
    assert metrics.Scores.parse(got.plain()) == got
    names = {"class", "support", "accuracy", "recall", "precision", "f1", "confidence", "calibration_gap"}
    assert set(got.plain()["per_class"][0]) == names


@st.composite
def degenerate(draw):
    """Logits and labels with whatever may be missing: images, classes without images, without predictions, ties."""
    images, classes = draw(st.integers(1, 40)), draw(st.integers(2, 8))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = random.normal(size=(images, classes)) * draw(st.sampled_from([0.01, 1.0, 30.0]))
    logits = logits.round() if draw(st.booleans()) else logits
    logits[:, draw(st.lists(st.integers(0, classes - 1), max_size=classes - 1))] = -40
    present = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes))
    return torch.tensor(logits), torch.tensor(random.choice(present, images))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(degenerate())
def test_equal_to_scikit_learn_on_whatever_comes(case):
    logits, labels = case
    every = list(range(logits.shape[1]))
    got = metrics.scores(logits, labels, [str(c) for c in every])
    predicted, chances = logits.argmax(1), logits.softmax(1)
    each = sk.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    rows = [[entry[name] for entry in got.per_class] for name in ("precision", "recall", "f1", "support")]
    np.testing.assert_allclose(rows, each, atol=1e-12)
    assert (got.macro_precision, got.macro_recall, got.macro_f1) == pytest.approx([part.mean() for part in each[:3]])
    assert got.accuracy == pytest.approx(sk.accuracy_score(labels, predicted))
    assert got.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert np.array_equal(got.confusion, sk.confusion_matrix(labels, predicted, labels=every))
    kept = chances.clamp(min=np.finfo(float).eps)  # scikit-learn cuts chances off there
    if kept.equal(chances):
        assert got.loss == pytest.approx(sk.log_loss(labels, chances, labels=every))
    ranked = np.argsort(-logits.numpy(), axis=1, kind="stable")[:, :5]  # of equal ones the first class
    assert got.top5 == pytest.approx(
        np.mean([label in row for label, row in zip(labels.tolist(), ranked, strict=True)])
    )
    if logits.shape[1] > 5 and all(len(set(row)) == len(row) for row in logits.tolist()):
        assert got.top5 == pytest.approx(sk.top_k_accuracy_score(labels, logits, k=5, labels=every))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(degenerate())
def test_calibration_as_a_loop_has_it(case):
    logits, labels = case
    chances = logits.softmax(1).numpy()
    sure, predicted = chances.max(1), logits.argmax(1).numpy()
    right = predicted == labels.numpy()
    error = 0.0
    for low in range(15):
        here = (sure > low / 15) & (sure <= (low + 1) / 15)
        if here.any():
            error += here.mean() * abs(sure[here].mean() - right[here].mean())
    got = metrics.scores(logits, labels, [str(c) for c in range(logits.shape[1])])
    if not np.isclose(sure * 15, np.round(sure * 15), atol=1e-9).any() or (sure == 1).all():
        assert got.ece == pytest.approx(error, abs=1e-9)
    for number, row in enumerate(got.per_class):
        taken = predicted == number
        assert row["confidence"] == pytest.approx(sure[taken].mean() if taken.any() else 0)
        assert row["calibration_gap"] == pytest.approx(row["confidence"] - row["precision"])


@pytest.mark.parametrize(
    ("logits", "labels", "error", "words"),
    [
        (
            torch.zeros(0, 2),
            torch.zeros(0).long(),
            DataError,
            "scores need logits [images, classes] for one image or more; got logits [0, 2], labels [0], 2 classes: "
            "check the split",
        ),
        (
            torch.zeros(3, 2),
            torch.tensor([0, 1, 2]),
            DataError,
            "labels must be 0 to 1; got 0 to 2: check that the data has the run's classes",
        ),
        (
            torch.tensor([[0.0, float("nan")], [0.0, 1.0]]),
            torch.tensor([0, 1]),
            Diverged,
            "logits must be finite; those of 1 of 2 images are not: train with a lower lr",
        ),
    ],
)
def test_input_without_a_score(logits, labels, error, words):
    with pytest.raises(error) as caught:
        metrics.scores(logits, labels, ["a", "b"])
    assert str(caught.value) == words
