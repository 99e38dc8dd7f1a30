"""What `snug evaluate` says to a reader, and the options that cannot be meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from command import fails, snug
from snugnet.evaluate.corrupt import CORRUPTIONS

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_a_reader_learns_whether_it_is_calibrated(finished: Path):
    answer = snug("evaluate", finished, "--gap", "--tta", "mirror", "--tta-mean", "probabilities", "--tta-share", "0.5")
    assert answer.code == 0, answer.err
    for words in (
        "test accuracy ",
        "with mirror at the least certain 50 % (1.5 passes an image, the mean of probabilities); without it ",
        "train accuracy ",
        " images, not augmented): ",
        " calibrated (it is ",
        "on average it is ",
        "to calibrate it, divide its logits by T before the softmax (no prediction changes): T = ",
        "worst calibrated: where it is ",
        "most often confused: ",
        " taken for ",
        "most confident mistakes: image ",
        ": true ",
        ", said ",
        " % on digits (95 % interval ",
    ):
        assert words in answer.out, words


def test_corrupted_images(finished: Path, tmp_path: Path):
    run = shutil.copytree(finished, tmp_path / "run")
    answer = snug("evaluate run --corrupt contrast,noise --images 50")
    assert answer.code == 0, answer.err
    assert "50 of 359 images, a fixed random sample" in answer.out
    assert "a relative drop of " in answer.out
    assert "corrupted images: 25 passes of 50" in answer.err
    assert "contrast  25/25  0 s left" in answer.err
    assert (run / "plots" / "corruption.png").read_bytes().startswith(b"\x89PNG")
    document = snug(
        "evaluate run/model.safetensors --data digits --corrupt contrast --images 50 --plots here --json"
    ).json
    assert [row["name"] for row in document["corruption"]["corruptions"]] == ["contrast"]
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["corruption.png", "corruption.svg"]


def test_all_but_what_grey_images_cannot_bear(finished: Path):
    found = snug("evaluate", finished, "--corrupt", "all", "--images", "20", "--plots", "here", "--json").json[
        "corruption"
    ]
    assert {row["name"] for row in found["corruptions"]} == set(CORRUPTIONS) - {"saturate"}
    assert set(found["families"]) == {"noise", "blur", "weather", "digital", "occlusion"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--tta-share 0.5", "--tta-share 0.5: says how views are used; give --tta as well"),
        ("--tta-mean logits", "--tta-mean logits: says how views are used; give --tta as well"),
        ("--tta mirror --tta-share 0", "--tta-share 0: must be above 0 and at most 1"),
        (
            "--tta mirror --tta-mean logit",
            "--tta-mean logit: must be one of logits, probabilities, did you mean 'logits'?",
        ),
        ("--precision fp8", "--precision fp8: must be fp32 or bf16"),
        ("--split train --gap", "--gap: holds another split against train; give --split val or test"),
        ("--plots here", "--plots here: is where the picture of corrupted images goes; give --corrupt as well"),
        ("--corrupt jpg", "--corrupt jpg: must be one of all, "),
        ("--images 1000", "--images 1,000: digits: its test split has 359 images; give at most that"),
        ("--images 0", "Invalid value for '--images'"),
    ],
)
def test_options_that_cannot_be_meant(finished: Path, options: str, words: str):
    fails(snug("evaluate", finished, *options.split()), 2, words)


def test_a_stop_says_that_nothing_is_kept(finished: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("snugnet.evaluate.robustness.predict", stop)
    fails(snug("evaluate", finished, "--corrupt", "contrast"), 130, "evaluate: stopped, nothing of it is kept; ")
