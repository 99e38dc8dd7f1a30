"""Extra copies of some classes, and normalisation in its place: what the loader makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures import photos
from tiny_data import CLASSES, TinyCifar

from snugnet.data import splits
from snugnet.data.augment import Augment, Draw, Erase, Flip, Normalize, Rotate
from snugnet.data.config import DataConfig, ExtraCopies, Normalization
from snugnet.data.copies import NO_COPIES, Copies, extra_copies
from snugnet.data.images import DataInfo, Images
from snugnet.data.loader import TrainLoader
from snugnet.errors import RecipeError

INFO = DataInfo("pets", ("cat", "dog", "newt"), 3, 32)
LABELS = torch.tensor([0, 1, 2, 0, 1, 0])
TRAIN = Images(photos(6), LABELS, None)
CPU = torch.device("cpu")
PLAIN = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


def copies(**options: object) -> Copies:
    return extra_copies(ExtraCopies.parse(options), INFO, TRAIN)


class TestWhich:
    def test_none(self) -> None:
        assert extra_copies(None, INFO, TRAIN) is NO_COPIES

    def test_all_of_a_class_once(self) -> None:
        assert copies(classes=["cat", "newt"]).sources.tolist() == [0, 3, 5, 2]

    def test_a_number_of_each_goes_round(self) -> None:
        assert copies(classes=["dog", "cat"], each=4).sources.tolist() == [1, 4, 1, 4, 0, 3, 5, 0]
        assert copies(classes=["cat"], each=2).sources.tolist() == [0, 3]

    def test_only(self) -> None:
        assert copies(classes=["cat"], augment="copies").only
        assert not copies(classes=["cat"]).only

    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            (["cat", "dgo"], "data.extra_copies.classes: 'dgo' is no class of pets; did you mean 'dog'?"),
            (["x"], "data.extra_copies.classes: 'x' is no class of pets; its classes are cat, dog, newt"),
            (["cat", "cat"], "data.extra_copies.classes: cat: named twice; name each class once"),
        ],
    )
    def test_what_is_no_class(self, classes: list[str], message: str) -> None:
        with pytest.raises(RecipeError) as caught:
            copies(classes=classes)
        assert str(caught.value) == message

    def test_splits_carry_them_and_count_nothing_twice(self, tmp_path: Path) -> None:
        folder = TinyCifar(tmp_path).write_python()
        config = DataConfig(name=str(folder))
        extra = ExtraCopies(classes=("bird", "cat"))
        bare, found = (splits.open_splits(c) for c in (config, config.replaced(extra_copies=extra.plain())))
        assert found.normalization == bare.normalization
        assert len(found.train) == len(bare.train) == 180
        labels = found.train.labels[found.copies.sources]
        assert torch.bincount(labels, minlength=10).tolist() == [18 * (name in extra.classes) for name in CLASSES]
        assert len(bare.copies.sources) == 0


def loader(*augment: Augment, count: int = 64, batch_size: int = 16, copies: Copies = NO_COPIES) -> TrainLoader:
    images = Images(photos(count), torch.arange(count), None)  # labels tell images apart
    return TrainLoader(
        images, PLAIN, classes=10, batch_size=batch_size, augment=augment, seed=0, device=CPU, copies=copies
    )  # fmt: skip


def epoch(of: TrainLoader, number: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(of.epoch(number))
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


class TestLoader:
    EXTRA = Copies(torch.tensor([3, 4, 5, 3]))

    def test_an_epoch_shows_all_and_the_copies(self) -> None:
        of = loader(copies=self.EXTRA)
        _, labels = epoch(of)
        assert of.steps == 5
        assert of.seen(5) == len(labels) == 68
        assert torch.bincount(labels).tolist() == [1, 1, 1, 3, 2, 2] + [1] * 58

    def test_only_the_copies_are_augmented(self) -> None:
        plain, plain_labels = epoch(loader())
        by_label = plain[plain_labels.argsort()]
        images, labels = epoch(loader(Flip(op="flip", p=1.0), copies=Copies(self.EXTRA.sources, only=True)))
        flipped = (images == by_label[labels].flip(3)).flatten(1).all(1)
        kept = (images == by_label[labels]).flatten(1).all(1)
        assert sorted(labels[flipped].tolist()) == [3, 3, 4, 5]
        assert int(kept.sum()) == 64

    def test_alternating_flip_shows_both_sides(self) -> None:
        of = loader(Flip(op="flip", alternate=True))
        (first, order), (second, other) = epoch(of, 4), epoch(of, 5)
        assert torch.equal(first[order.argsort()], second[other.argsort()].flip(3))

    def test_behind_normalize_0_is_the_mean(self) -> None:
        erase = Erase(op="erase", p=1.0)
        behind, _ = epoch(loader(Normalize(op="normalize"), erase))
        before, _ = epoch(loader(erase))
        black = torch.tensor([-m / s for m, s in zip(PLAIN.mean, PLAIN.std, strict=True)]).view(1, 3, 1, 1)
        hole = behind == 0
        assert hole.float().mean() > 0.05
        assert torch.allclose(before[hole], black.expand_as(before)[hole])
        assert torch.equal(before[~hole], behind[~hole])

    def test_normalize_at_the_end_is_the_default(self) -> None:
        rotate = Rotate(op="rotate", degrees=10)
        marked = loader(rotate, Normalize(op="normalize"))
        assert torch.equal(epoch(loader(rotate))[0], epoch(marked)[0])

    def test_samples_are_the_pixels(self) -> None:
        images, labels = loader(batch_size=64).samples()
        assert torch.equal(images, photos(64)[labels])
        assert images.dtype == torch.uint8


def test_augmentation_runs_on_one_thread_and_gives_the_others_back() -> None:
    seen: list[int] = []

    class Watched(Flip):
        def apply(self, images: torch.Tensor, draw: Draw | torch.Generator) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().apply(images, draw)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        epoch(loader(Watched(op="flip")))
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
