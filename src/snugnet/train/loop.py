"""The training loop: an iterator of facts. It reads no file, prints nothing and never sees the test split.

Every value needed to go on is in `state()`, a tree of dicts, lists, numbers and tensors; whoever iterates may take it
at any step. `fit` entered with such a state continues bitwise as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snugnet.data.loader import EvalLoader, TrainLoader
from snugnet.device import Compute
from snugnet.errors import ArtifactError, Diverged
from snugnet.evaluate.predict import predict
from snugnet.parallel import ALONE, Processes
from snugnet.train import compiling, mix, optim, progressive, scaling
from snugnet.train.config import TrainConfig
from snugnet.train.distill import UNTAUGHT, Teaching
from snugnet.train.ema import Ema, NoEma
from snugnet.train.history import is_over
from snugnet.train.losses import build as build_loss

State = dict[str, Any]
CHECK_EVERY = 50  # steps between two looks at the losses on a device where a look waits for the queue


@dataclass(frozen=True)
class Step:
    """One batch was learned. `loss()` waits for the device; `state()` copies everything needed to go on."""

    epoch: int  # from 1
    step: int  # batches done in this epoch
    steps: int
    images: int  # images seen in this epoch
    loss: Callable[[], float]  # mean over this epoch so far
    state: Callable[[], State]


@dataclass(frozen=True)
class Epoch:
    """One epoch is over and judged on val; None where val is empty. `seconds` is training and judging alone."""

    epoch: int  # from 1
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    images_per_second: float
    seconds: float
    losses: list[float]  # training loss along the epoch, means over `log_every` steps
    state: Callable[[], State]
    images: int = 0  # training images of the epoch, extra copies too

    def line(self) -> dict[str, Any]:
        """The facts as a line of metrics."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "state"}


class Learner:
    """A net and all that changes while it learns."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        compute: Compute,
        processes: Processes = ALONE,
        teaching: Teaching = UNTAUGHT,
    ) -> None:
        self.config, self.compute, self.device = config, compute, compute.device
        self.model = model.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = list(self.model.parameters())  # walking the modules every step costs a small net 5 %
        self.averaged = processes.averaging(self.model)
        self.criterion = teaching.criterion(build_loss(config, compute.device))
        self.loss_of = compiling.build(self._loss_of, config.compile, compute.device)
        self.update = optim.build(self.model, config.optimizer)
        self.lrs = [group["lr"] for group in self.update.groups]
        self.scaling = scaling.build(self.weights, compute)
        self.ema = Ema(self.model, config.ema) if config.ema else NoEma(self.model)
        self.epoch = self.step = 0
        self.losses = torch.empty(0)
        self.history: list[tuple[float, float]] = []  # loss and accuracy on val of the epochs done

    def set_lr(self, steps: int) -> None:
        """As the schedule has it for the batch that comes; `steps` in an epoch."""
        done = self.epoch * steps + self.step
        self.scale_lr(self.config.schedule.factor(done, steps, self.config.epochs, self.history))

    def scale_lr(self, factor: float) -> None:
        for group, lr in zip(self.update.groups, self.lrs, strict=True):
            group["lr"] = lr * factor

    def gradients(self, images: Tensor, *targets: Tensor) -> Tensor:
        """The batch's loss at the weights as they are; leaves its gradients, clipped, in them."""
        loss = self.averaged(self._backward, images, *targets)
        self.scaling.settle()
        if self.config.clip_value is not None:
            nn.utils.clip_grad_value_(self.weights, self.config.clip_value)
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.weights, self.config.clip_norm)
        return loss

    def _backward(self, images: Tensor, *targets: Tensor) -> Tensor:
        """The same of the rows that this process takes, not clipped: in `accumulate` parts, one after the other."""
        for weight in self.weights:
            weight.grad = None
        parts = min(self.config.accumulate, max(1, len(images) // 2))  # batch norm wants two images
        split = zip(*(each.tensor_split(parts) for each in (images, *targets)), strict=True)
        return torch.stack([self._part(len(part[0]) / len(images), *part) for part in split]).sum()

    def _part(self, share: float, images: Tensor, *targets: Tensor) -> Tensor:
        """Adds a part's share of the gradients to those of the weights; its share of the loss."""
        loss = self.loss_of(images, *targets)
        scaled = self.scaling.scale(loss)
        scaled.backward(torch.full_like(scaled, share))
        return loss.detach() * share

    def _loss_of(self, images: Tensor, *targets: Tensor) -> Tensor:
        with self.compute.autocast():
            logits = self.model(images)
        return self.criterion(logits.float(), *targets)

    def state(self) -> State:
        averaged = self.ema.model.state_dict() if self.ema.model is not self.model else None
        tree = {
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "losses": self.losses[: self.step],
            "model": self.model.state_dict(),
            "ema": averaged,
            "optimizer": self.update.state(),
            "scaling": self.scaling.state(),
            "random": torch.get_rng_state(),
            "random_device": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }
        return {name: _copied(value) for name, value in tree.items()}

    def load(self, state: State) -> None:
        self.epoch, self.step, self.losses = state["epoch"], state["step"], state["losses"]
        self.history = [(loss, accuracy) for loss, accuracy in state["history"]]
        self.model.load_state_dict(state["model"])
        if state["ema"] is not None:
            self.ema.model.load_state_dict(state["ema"])
        self.update.load(state["optimizer"])
        if state.get("scaling"):  # a state from before there was one has none
            self.scaling.load(state["scaling"])
        torch.set_rng_state(state["random"])
        if state["random_device"] is not None:
            torch.cuda.set_rng_state(state["random_device"], self.device)


def restore(learner: Learner, state: State) -> None:
    """Raises ArtifactError of a state that another net, or no training, left."""
    try:
        learner.load(state)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"the checkpoint does not fit the net of its recipe ({type(error).__name__}: {reason}); "
            "restore it from a copy, or train again in another directory"
        ) from error


def _copied(value: Any) -> Any:
    """The tree on the CPU, sharing no memory with the learner."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, (list, tuple)) else value


def shipped_weights(state: State) -> tuple[dict[str, Tensor], str]:
    """The weights that ship, and what they are: the average where there is one ("ema"), else the last ("last")."""
    return (state["model"], "last") if state["ema"] is None else (state["ema"], "ema")


def fit(
    model: nn.Module,
    train: TrainLoader,
    val: EvalLoader | None,
    config: TrainConfig,
    compute: Compute,
    state: State | None = None,
    processes: Processes = ALONE,
    teaching: Teaching = UNTAUGHT,
) -> Iterator[Step | Epoch]:
    """Trains `model` in place. Yields after every batch and every epoch. Raises Diverged on a non-finite loss.

    Of several processes each is given all of `train`, and its rows of `val`.
    """
    learner = Learner(model, config, compute, processes, teaching)
    if state is not None:
        restore(learner, state)
    steps, mixed = train.steps, mix.build(config.mix, train.seed, train.classes)
    sized = progressive.build(config.progressive, config.epochs * steps)
    check_every = 1 if compute.device.type == "cpu" else CHECK_EVERY
    while learner.epoch < config.epochs and not is_over(config.stop, learner.history):
        started, start_step = time.perf_counter(), learner.step
        losses = learner.losses = _room(learner.losses, steps, compute.device)
        learner.model.train()
        for images, labels in train.epoch(learner.epoch, learner.step):
            learner.set_lr(steps)
            images, labels = mixed(images, labels, learner.epoch, learner.step)
            targets = teaching.targets(images, labels, learner.epoch, learner.step)
            images = sized(images, learner.epoch * steps + learner.step)
            losses[learner.step] = learner.update.step(partial(learner.gradients, images, *targets))
            learner.step += 1
            learner.ema.update(learner.epoch * steps + learner.step)
            if learner.step % check_every == 0:
                _check_finite(losses[: learner.step], learner.epoch, config, learner.step - check_every)
            yield _step(learner, train)
        yield _end_epoch(learner, train, val, compute, processes, time.perf_counter() - started, start_step)


def _room(losses: Tensor, steps: int, device: torch.device) -> Tensor:
    """Place for one loss a step, those of a stopped epoch kept."""
    room = torch.zeros(steps, device=device)
    room[: len(losses)] = losses.to(device)
    return room


def _check_finite(losses: Tensor, epoch: int, config: TrainConfig, start: int = 0) -> None:
    """`losses` of an epoch, those before `start` known to be finite."""
    bad = ~losses[start:].isfinite()
    if not bool(bad.any()):
        return
    step = start + int(bad.nonzero()[0]) + 1
    raise Diverged(
        f"epoch {epoch + 1}, step {step}: the loss must be finite, but is {losses[step - 1].item()}; lower "
        f"train.optimizer.lr (now {config.optimizer.lr:g}), lengthen train.schedule.warmup_epochs, "
        "or set train.clip_norm = 1.0"
    )


def _check_weights(learner: Learner) -> None:
    """A gradient that is not finite may spoil the weights behind the last loss, and an average outlasts its cause."""
    held = {"": learner.model} | (
        {"the average of ": learner.ema.model} if learner.ema.model is not learner.model else {}
    )
    for what, model in held.items():
        values = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
        finite = torch.stack([value.isfinite().all() for value in values.values()])  # one wait for the device
        if not bool(finite.all()):
            name = list(values)[int((~finite).nonzero()[0])]
            raise Diverged(
                f"epoch {learner.epoch + 1}: {what}{name} must be finite, but is not, though the losses were; lower "
                f"train.optimizer.lr (now {learner.config.optimizer.lr:g}), or set train.clip_norm = 1.0"
            )


def _step(learner: Learner, train: TrainLoader) -> Step:
    done = learner.losses[: learner.step]
    return Step(
        epoch=learner.epoch + 1,
        step=learner.step,
        steps=train.steps,
        images=train.seen(learner.step),
        loss=lambda: done.mean().item(),
        state=learner.state,
    )


def _end_epoch(
    learner: Learner,
    train: TrainLoader,
    val: EvalLoader | None,
    compute: Compute,
    processes: Processes,
    trained_s: float,
    start_step: int,
) -> Epoch:
    config = learner.config
    losses = learner.losses.cpu()  # the one wait of the epoch
    _check_finite(losses, learner.epoch, config)
    _check_weights(learner)
    started = time.perf_counter()
    val_loss, val_accuracy = None, None
    if val is not None:
        val_loss, val_accuracy = processes.mean(judge(learner.ema.model, val, compute), len(val.labels))
        learner.history.append((val_loss, val_accuracy))
    learner.epoch, learner.step, learner.losses = learner.epoch + 1, 0, losses[:0]
    return Epoch(
        epoch=learner.epoch,
        train_loss=losses.mean().item(),
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        lr=learner.update.groups[0]["lr"],
        images_per_second=(train.seen(train.steps) - train.seen(start_step)) / trained_s,
        seconds=trained_s + time.perf_counter() - started,
        losses=[part.mean().item() for part in losses.split(config.log_every)],
        state=learner.state,
        images=train.seen(train.steps),
    )


@torch.no_grad()
def judge(model: nn.Module, loader: EvalLoader, compute: Compute) -> tuple[float, float]:
    """Mean negative log-likelihood and accuracy of a split."""
    logits = predict(model, loader, compute)
    loss = F.cross_entropy(logits, loader.labels).item()
    return loss, (logits.argmax(1) == loader.labels).float().mean().item()
