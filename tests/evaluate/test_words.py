"""What is said of calibration, exactly."""

from __future__ import annotations

from typing import Any

import pytest

from snugnet.cli.scores import calibration_lines
from snugnet.evaluate.words import remedy, verdict

FITTED: dict[str, Any] = {
    "ece": 0.10, "loss": 1.0, "temperature": 1.5, "temperature_images": 5000, "temperature_note": None,
    "ece_scaled": 0.02, "loss_scaled": 0.9,
}  # fmt: skip


def calibration(calibrated: str) -> dict[str, Any]:
    worst = {"low": 0.8, "high": 0.9, "images": 40, "confidence": 0.85, "accuracy": 0.5}
    found = {"calibrated": calibrated, "direction": "overconfident", "ece_by_chance": 0.012, "confidence": 0.9}
    return found | {"worst_bin": worst}


@pytest.mark.parametrize(
    ("calibrated", "words"),
    [
        ("yes", "well calibrated: an error of up to 1.20 % would be luck"),
        ("nearly", "nearly calibrated (it is overconfident): luck explains an error of up to 1.20 %"),
        ("no", "not calibrated (it is overconfident): luck explains an error of up to 1.20 %"),
    ],
)
def test_the_verdict(calibrated: str, words: str):
    assert verdict(calibration(calibrated)) == words


def test_the_way_to_a_calibrated_net():
    assert remedy(FITTED) == [
        "to calibrate it, divide its logits by T before the softmax (no prediction changes): T = 1.500, fitted on "
        "5,000 val images, makes the calibration error 2.00 %, the loss 0.9000"
    ]


@pytest.mark.parametrize("ece_scaled", [0.10, 0.11])
def test_a_temperature_that_makes_nothing_better_is_not_advised(ece_scaled: float):
    assert remedy(FITTED | {"ece_scaled": ece_scaled}) == [
        f"a temperature has nothing to gain: T = 1.500, fitted on 5,000 val images, would make the calibration error "
        f"{100 * ece_scaled:.2f} %"
    ]


def test_why_there_is_none():
    nothing = dict.fromkeys(FITTED) | {"temperature_note": "no temperature is fitted: the val split is empty"}
    assert remedy(nothing) == ["no temperature is fitted: the val split is empty"]


def judged(calibrated: str) -> dict[str, Any]:
    rows = [("cat", 0.9, 0.5, 0.4), ("dog", 0.7, 0.7, 0.0), ("[0]", 0.0, 0.0, 0.0)]
    classes = [
        {"class": name, "confidence": sure, "precision": right, "calibration_gap": gap}
        for name, sure, right, gap in rows
    ]
    confusion = [[3, 1, 0], [2, 4, 0], [1, 1, 0]]
    facts = {"accuracy": 0.58, "per_class": classes, "confusion": confusion, "calibration": calibration(calibrated)}
    return FITTED | facts


def test_the_worst_classes_are_those_that_it_said():
    assert calibration_lines(judged("no"))[-1] == (
        "worst calibrated: where it is 80 to 90 % sure (40 images) it is right in 50.00 %; by class said: "
        "cat (6 images, 90.0 % sure, 50.0 % right)"
    )


def test_a_calibrated_net_has_no_worst():
    assert not [line for line in calibration_lines(judged("yes")) if line.startswith("worst")]
