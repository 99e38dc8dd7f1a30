"""Runs whose images stay in files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from small_runs import TINY, outcome
from snugnet import pipeline, recipe, scoring
from snugnet.data import listing
from snugnet.data.config import Normalization
from snugnet.data.images import Images
from snugnet.errors import Interrupted
from snugnet.pipeline import Controls
from snugnet.recipe import Recipe
from snugnet.stopping import Stopper

CONSTANTS = Normalization(mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture
def pets(elsewhere: Path) -> Path:
    for split, count in (("train", 20), ("test", 3)):
        for k, name in enumerate(("cat", "dog")):
            (elsewhere / "pets" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng([k, i, count]).integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(elsewhere / "pets" / split / name / f"{i}.png")
    return elsewhere / "pets"


def on(pets: Path, memory: str) -> Recipe:
    text = TINY.replace('name = "digits"', f'name = "{pets}"\nmemory = "{memory}"').replace("512", "8")
    return recipe.parse(text, "tiny.toml", "tiny", [])


def test_a_run_keeps_its_place_and_its_order_through_every_stop(pets: Path, monkeypatch: pytest.MonkeyPatch):
    pipeline.start(on(pets, "map"), Path("whole"), Controls())
    with monkeypatch.context() as patch:
        patch.setattr(listing, "available_bytes", lambda device: 0)
        with pytest.raises(Interrupted):
            pipeline.start(on(pets, "auto"), Path("run"), Controls(stopper=Stopper(after_s=0)))
    assert json.loads(Path("run/config.json").read_text())["data"]["memory"] == "map"
    stops = 0
    while True:
        try:
            pipeline.resume(Path("run"), Controls(stopper=Stopper(after_s=0)))
            break
        except Interrupted:
            stops += 1
    assert stops == 2 * 5 - 1
    assert outcome(Path("run")) == outcome(Path("whole"))


def test_another_order_is_another_experiment(pets: Path):
    digests = {memory: on(pets, memory).experiment.sha256 for memory in ("auto", "ram", "map")}
    assert digests["auto"] == digests["ram"] != digests["map"]
    kept, mapped = (pipeline.start(on(pets, memory), Path(memory), Controls()) for memory in ("ram", "map"))
    assert kept["recipe_sha256"] != mapped["recipe_sha256"]
    assert kept["scores"]["test"]["images"] == mapped["scores"]["test"]["images"] == 6


@pytest.mark.parametrize(("side", "batch"), [(8, 125), (32, 125), (33, 117), (64, 31), (224, 2), (1024, 1)])
def test_large_images_are_judged_in_small_batches(side: int, batch: int):
    some = Images(torch.zeros(1, 3, side, side, dtype=torch.uint8).expand(501, 3, side, side), torch.zeros(501), None)
    assert len(next(iter(scoring.eval_loader(some, CONSTANTS, torch.device("cpu"))))) == batch
