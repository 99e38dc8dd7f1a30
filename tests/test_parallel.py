"""One training in several processes: what they learn, who writes, and how they end."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from command import fails, snug
from small_runs import TINY, outcome
from snugnet import artifact, checkpoint, environment, lineage, nets, pipeline, recipe
from snugnet.data import splits
from snugnet.device import Compute, find_device
from snugnet.errors import UsageError
from snugnet.launch import place
from snugnet.models import resnet
from snugnet.parallel import ALONE, share
from snugnet.pipeline import Controls
from snugnet.recipe import Experiment
from snugnet.train import losses, mix, optim
from snugnet.train.ema import Ema
from specs import card, spec
from teams import Fate, snug_together

# 1,294 training images: the last batch is of 3, which are for the first process alone, or of 7
FULL = "mix={name='cutmix'}", "optimizer.sam={rho=0.1}", "label_smoothing=0.1", "clip_norm=0.5", "batch_size=429"
CASES = {
    "2 processes, sgd, ema, a teacher": (
        2,
        [
            "train.batch_size=1291",
            "train.ema.decay=0.2",
            "train.optimizer.nesterov=true",
            "distill.teachers=['TEACHER']",
        ],
    ),
    "3 processes, cutmix, dropout, sam": (3, ["model.head.dropout=0.3", *(f"train.{each}" for each in FULL)]),
}


@pytest.mark.parametrize("count", range(1, 9))
def test_rows_are_shared_without_a_rest_and_never_one_alone(count: int):
    for rows in range(2, 40):
        parts = [share(rows, rank, count) for rank in range(count)]
        assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
        sizes = [part.stop - part.start for part in parts]
        assert 1 not in sizes
        assert max(sizes) - min(size for size in sizes if size) <= 1
        assert sizes == sorted(sizes, key=bool, reverse=True), "the idle ones are the last"


def halves(model: nn.Module, images: Tensor, targets: tuple[Tensor, ...], criterion: Any, count: int) -> Tensor:
    """The mean gradients, statistics and loss over a batch of which each part has batch norms of its own."""
    seed = int(torch.randint(2**62, ()))
    before, outside = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    gradients = [torch.zeros_like(weight) for weight in model.parameters()]
    statistics = {name: torch.zeros_like(value) for name, value in model.named_buffers() if "running" in name}
    total = torch.zeros(())
    for rank in range(count):
        rows = share(len(images), rank, count)
        part = (rows.stop - rows.start) / len(images)
        if not part:
            continue
        model.load_state_dict(before)
        torch.manual_seed(seed + rank)
        model.zero_grad()
        loss = criterion(model(images[rows]), *(each[rows] for each in targets))
        loss.backward()
        total += part * loss.detach()
        for mean, weight in zip(gradients, model.parameters(), strict=True):
            mean += part * weight.grad
        for name, mean in statistics.items():
            mean += part * model.get_buffer(name)
    torch.set_rng_state(outside)
    for mean, weight in zip(gradients, model.parameters(), strict=True):
        weight.grad = mean
    for name, mean in statistics.items():
        model.get_buffer(name).copy_(mean)
    return total


def in_one_process(experiment: Experiment, count: int) -> tuple[dict[str, Tensor], list[float]]:
    """The same training as its definition has it: the weights that ship, and the loss of each epoch."""
    experiment, _ = pipeline.prepared(experiment)
    config, data = experiment.train, splits.open_splits(experiment.data)
    loader, _ = pipeline.loaders(experiment, data, torch.device("cpu"))
    experiment = pipeline.descended(experiment, None, lineage.teachers(experiment), data, Controls())
    teaching = nets.taught(experiment, data, loader, Compute(torch.device("cpu"), "fp32"), ALONE)
    model = nets.initial_model(experiment, data).to(memory_format=torch.channels_last).train()
    criterion = teaching.criterion(losses.build(config, torch.device("cpu")))
    update = optim.build(model, config.optimizer)
    ema = Ema(model, config.ema) if config.ema else None
    mixed = mix.build(config.mix, loader.seed, loader.classes)

    def gradients(images: Tensor, *targets: Tensor) -> Tensor:
        loss = halves(model, images, targets, criterion, count)
        if config.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        return loss

    def losses_of(epoch: int) -> Iterator[float]:
        for step, batch in enumerate(loader.epoch(epoch)):
            done = epoch * loader.steps + step
            factor = config.schedule.factor(done, loader.steps, config.epochs, [])
            for group in update.groups:
                group["lr"] = config.optimizer.lr * factor
            images, labels = mixed(*batch, epoch, step)
            targets = teaching.targets(images, labels, epoch, step)
            yield update.step(partial(gradients, images, *targets)).item()
            if ema:
                ema.update(done + 1)

    curve = [sum(losses_of(epoch)) / loader.steps for epoch in range(config.epochs)]
    return (ema.model if ema else model).state_dict(), curve


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Number of processes, words of the command, the run of them all without a stop, and how each ended."""
    count, overrides = CASES[request.param]
    root = tmp_path_factory.mktemp("together")
    (root / "tiny.toml").write_text(TINY)
    teacher = card(spec(image_size=8, in_channels=1), map(str, range(10)), mean=0.3, std=0.4)
    torch.manual_seed(1)
    artifact.write(root / "teacher", teacher, resnet.build(teacher.model))
    words = ["train", root / "tiny.toml"]
    for each in ["train.precision=fp32", *overrides]:
        words += ["--set", each.replace("TEACHER", str(root / "teacher"))]
    return count, words, root / "whole", snug_together(count, *words, "--run", root / "whole", "--json")


def test_several_equal_one_that_takes_their_parts_in_turn(case: Any):
    count, words, run, ended = case
    assert [each.code for each in ended] == [0] * count, ended[0].err
    experiment = recipe.parse(TINY, "tiny.toml", "tiny", [str(word) for word in words[3::2]]).experiment
    expected, curve = in_one_process(experiment, count)
    state = checkpoint.read(run / "checkpoint" / "last.safetensors")["training"]
    shipped = state["ema"] or state["model"]
    for name, value in expected.items():
        torch.testing.assert_close(shipped[name], value, rtol=1e-4, atol=2e-5, msg=lambda text, name=name: name + text)
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["train_loss"] for line in metrics] == pytest.approx(curve, rel=1e-5)


def test_val_is_judged_by_all(case: Any):
    _, _, run, _ = case
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    scores = json.loads((run / "summary.json").read_text())["scores"]["val"]
    assert last["val_accuracy"] == pytest.approx(scores["accuracy"])


def test_the_first_process_alone_reports(case: Any):
    count, _, run, ended = case
    assert json.loads(ended[0].out)["run"] == str(run)
    assert f"{count} processes" in ended[0].err
    assert [(each.out, each.err) for each in ended[1:]] == [("", "")] * (count - 1)
    for name in ("summary", "environment"):
        assert json.loads((run / f"{name}.json").read_text())["processes"] == count


def test_stopped_in_one_process_and_gone_on_in_all(case: Any, tmp_path: Path):
    count, words, whole, _ = case
    stopped = snug_together(count, *words, "--run", tmp_path / "run", fate=Fate(1, 1, "SIGTERM"))
    assert [each.code for each in stopped] == [130] * count
    assert (
        f"another process was told to: stopped in {'epoch 2, step 1' if count == 2 else 'epoch 1, step 3'}, nothing is "
        "lost; go on with: "
        f"torchrun --nproc-per-node {count} -m -- snugnet resume {tmp_path / 'run'}"
    ) in stopped[0].err
    assert [each.err for each in stopped[1:]] == [""] * (count - 1)
    ended = snug_together(count, "resume", tmp_path / "run")
    assert [each.code for each in ended] == [0] * count, ended[0].err
    assert outcome(tmp_path / "run") == outcome(whole)


def killed(tmp_path: Path, what: str) -> Any:
    (tmp_path / "tiny.toml").write_text(TINY)
    return snug_together(2, "train", tmp_path / "tiny.toml", "--run", tmp_path / "run", fate=Fate(1, 4, what))


def test_a_killed_process_ends_all_and_the_run_can_be_gone_on_with(tmp_path: Path):
    first, second = killed(tmp_path, "SIGKILL")
    assert (first.code, second.code) == (4, -9)
    assert "ProcessLost: process 0 of 2: needs all others to the end, but one is gone" in first.err
    assert "`torchrun --nproc-per-node 2 -m -- snugnet resume RUN` goes on with it" in first.err
    assert first.seconds < 120, "it waited for the time-out of a silent one"
    alone = snug("resume", tmp_path / "run")
    assert alone.code == 0, alone.err
    assert "it began with processes 2 and goes on with processes 1; the rest will not be bitwise" in alone.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["processes"] == 1


def test_an_error_in_one_process_is_told_once(tmp_path: Path):
    first, second = killed(tmp_path, "error")
    assert (first.code, second.code) == (4, 4)
    assert second.err == "DataError: the disk is gone\n"
    assert "Lost" not in first.err


def test_diverged_in_all_at_once(tmp_path: Path):
    (tmp_path / "tiny.toml").write_text(TINY)
    words = ["train", tmp_path / "tiny.toml", "--run", tmp_path / "run"]
    for each in ("optimizer.lr=100", "optimizer.weight_decay=10", "epochs=20"):
        words += ["--set", f"train.{each}"]
    first, second = snug_together(2, *words)
    assert (first.code, second.code, second.err) == (5, 5, "")
    assert "Diverged: epoch" in first.err


def test_several_seeds_in_turn(tmp_path: Path):
    (tmp_path / "tiny.toml").write_text(TINY)
    words = ["train", tmp_path / "tiny.toml", "--run", tmp_path / "group", "--seeds", 2, "--json"]
    first, second = snug_together(2, *words, "--set", "train.epochs=1")
    assert (first.code, second.code, second.out) == (0, 0, ""), first.err
    assert len(json.loads(first.out)["runs"]) == 2


def test_a_batch_that_leaves_some_without_work(tmp_path: Path):
    (tmp_path / "tiny.toml").write_text(TINY)
    words = ["train", tmp_path / "tiny.toml", "--run", tmp_path / "run", "--set", "train.batch_size=3"]
    ended = snug_together(2, *words)
    assert sorted(each.err.count("RecipeError") for each in ended) == [0, 1], "one of them tells"
    told = next(each.err for each in ended if "RecipeError" in each.err)
    assert "train.batch_size: must give each of 2 processes two images, for batch norm" in told
    assert "got 3; give 4, or fewer processes" in told
    assert [each.code for each in ended] == [2, 2]


def placed(monkeypatch: pytest.MonkeyPatch, rank: int, count: int) -> None:
    variables = {
        "RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_RANK": rank,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "here",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


def test_each_process_takes_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    placed(monkeypatch, 1, 2)
    assert find_device("cuda") == find_device("auto") == torch.device("cuda:1")
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(
        UsageError, match=r"^--device cuda:1: each process takes a card of its own; give --device cuda$"
    ):
        find_device("cuda:1")
    placed(monkeypatch, 1, 3)
    words = r"^--device cuda: 3 processes need as many cards, but torch sees 2; give --nproc-per-node 2$"
    with pytest.raises(UsageError, match=words):
        find_device("auto")


def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch):
    placed(monkeypatch, 0, 2)
    monkeypatch.setattr("sys.argv", ["/somewhere/__main__.py", "train", "a recipe"])
    assert environment.command_line() == "torchrun --nproc-per-node 2 -m -- snugnet train 'a recipe'"
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert place().command == "torchrun --nnodes 2 --nproc-per-node 2 -m -- snugnet"


def test_other_commands_are_not_shared(monkeypatch: pytest.MonkeyPatch):
    placed(monkeypatch, 0, 2)
    words = "torchrun: starts several processes, which train and resume alone share; run `snug plan` without it"
    fails(snug("plan", "snugnet/digits"), 2, words)


@pytest.mark.slow
def test_torchrun_itself(tmp_path: Path):
    (tmp_path / "tiny.toml").write_text(TINY)
    words = ["-m", "--", "snugnet", "train", tmp_path / "tiny.toml", "--run", tmp_path / "run", "--json"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(tmp_path / "run")
