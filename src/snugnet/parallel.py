"""One training in several processes, as `torchrun --nproc-per-node N -m snugnet train RECIPE` starts them.

Every process draws the whole batch as one process would (order, augmentation, mixing, resolution), learns from its rows
of it, and all average what they found: gradients, running statistics of batch norms, the loss. So after each step every
process holds the same state; that of the first is the state of the training.
"""

from __future__ import annotations

import contextlib
import datetime
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from snugnet.errors import ProcessLost, UsageError
from snugnet.launch import Place, place

COLLECTIVE = datetime.timedelta(minutes=10)  # a process that is silent for so long is lost; a dead one shows at once
WAIT = datetime.timedelta(days=1)  # for what the first alone does, such as a download; torchrun ends us if it dies
LISTEN_EVERY = 50  # steps between two looks at the others' wishes to stop, where a look waits for the card

T = TypeVar("T")
Answer = TypeVar("Answer", bool, str)
Backward = Callable[..., Tensor]  # images and targets, a row an image in each, to their mean loss; leaves gradients
Averaged = Callable[..., Tensor]  # a Backward, then the whole batch


def share(rows: int, rank: int, count: int) -> slice:
    """The rows of a batch (or a split) that a process takes: two at least, or none.

    Batch norm has nothing to learn from one, so a small last batch is for the first processes alone.
    """
    working = min(count, max(1, rows // 2))
    if rank >= working:
        return slice(rows, rows)
    return slice(rows * rank // working, rows * (rank + 1) // working)


class Processes(ABC):
    """Those that train together, as one of them sees them."""

    place: Place

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.place.rank == 0

    def share(self, rows: int) -> slice:
        return share(rows, self.place.rank, self.place.count)

    @abstractmethod
    def averaging(self, model: nn.Module) -> Averaged:
        """How the gradients of a whole batch come into the weights of `model`, given how a part's do."""

    @abstractmethod
    def mean(self, values: Sequence[float], rows: int) -> list[float]:
        """Means over the rows of all, from the means over the `rows` of each."""

    @abstractmethod
    def stop(self, reason: str) -> str:
        """After each step: why all stop here, or "". `reason`: why this process wishes to."""

    @abstractmethod
    def agreed(self, ask: Callable[[], Answer]) -> Answer:
        """The first process's answer, in all of them: for questions to the disk, on which it alone writes."""

    @abstractmethod
    def in_turn(self, action: Callable[[], T]) -> T:
        """First in the first process, then in the others: what it downloads, they find."""

    @abstractmethod
    def speaks(self) -> bool:
        """Whether this process is the first that has an error to tell."""


class Alone(Processes):
    """Without torchrun: nothing is done."""

    place = Place()

    def averaging(self, model: nn.Module) -> Averaged:  # noqa: ARG002
        return lambda backward, *batch: backward(*batch)

    def mean(self, values: Sequence[float], rows: int) -> list[float]:  # noqa: ARG002
        return list(values)

    def stop(self, reason: str) -> str:
        return reason

    def agreed(self, ask: Callable[[], Answer]) -> Answer:
        return ask()

    def in_turn(self, action: Callable[[], T]) -> T:
        return action()

    def speaks(self) -> bool:
        return True


ALONE = Alone()


class Team(Processes):
    """Joined through torch.distributed: gloo between CPUs, NCCL between cards."""

    def __init__(self, here: Place, device: torch.device, store: Store) -> None:
        self.place, self.device, self._store = here, device, store
        self.wishes = torch.zeros((), device=device)  # how many wished to stop before the last step
        self.wish = False
        self._steps = self._questions = 0

    def averaging(self, model: nn.Module) -> Averaged:
        return Bucket(self, model).averaged

    def mean(self, values: Sequence[float], rows: int) -> list[float]:
        own = [value * rows for value in values] if rows else [0.0] * len(values)  # the mean of nothing is no number
        sums = torch.tensor([*own, rows], dtype=torch.float64, device=self.device)
        self.add_up(sums)
        return (sums[:-1] / sums[-1]).tolist()

    def stop(self, reason: str) -> str:
        """A wish goes with the next step's gradients: all hear of it at the same step, and no step pays for it."""
        self._steps += 1
        self.wish = bool(reason)
        if self.device.type == "cuda" and self._steps % LISTEN_EVERY:
            return ""
        return (reason or "another process was told to") if self.wishes.item() else ""

    def agreed(self, ask: Callable[[], Answer]) -> Answer:
        self._questions += 1
        key = f"answer {self._questions}"
        if self.leads:
            answer = ask()
            self._store.set(key, json.dumps(answer))
            return answer
        self._store.wait([key], WAIT)
        told: Answer = json.loads(self._store.get(key))
        return told

    def in_turn(self, action: Callable[[], T]) -> T:
        done = action() if self.leads else None
        self.agreed(lambda: True)
        return action() if done is None else done

    def speaks(self) -> bool:
        try:
            return bool(self._store.add("spoken", 1) == 1)
        except RuntimeError:  # whoever kept the store is gone
            return True

    def add_up(self, numbers: Tensor) -> None:
        """In place, over all processes. Raises ProcessLost."""
        with self._loss_explained():
            dist.all_reduce(numbers)

    def take_first(self, numbers: Tensor) -> None:
        """In place, those of the first process. Raises ProcessLost."""
        with self._loss_explained():
            dist.broadcast(numbers, 0)

    @contextlib.contextmanager
    def _loss_explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise ProcessLost(
                f"process {self.place.rank} of {self.place.count}: needs all others to the end, but one is gone "
                f"({' '.join(str(error).split())[:200]}): killed, perhaps for want of memory, or cut off; the run is "
                f"kept up to its last checkpoint: `{self.place.command} resume RUN` goes on with it"
            ) from error


class Bucket:
    """All that is averaged in a step, in one flat tensor: one all-reduce behind the backward pass.

    DistributedDataParallel would begin to send while the backward pass still runs. That pays where sending takes long;
    5 million gradients are 20 MB. In return the net stays itself (the same names in checkpoints, as many passes a step
    as SAM takes), and the loss, the running statistics and the wish to stop travel along.
    """

    def __init__(self, team: Team, model: nn.Module) -> None:
        self.team = team
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        norms = [each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
        found = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
        self.statistics = [buffer for buffer in found if buffer is not None]
        tensors = [*self.weights, *self.statistics]
        self.flat = torch.zeros(sum(tensor.numel() for tensor in tensors) + 2, device=team.device)
        places = iter(self.flat[:-2].split([tensor.numel() for tensor in tensors]))
        # As the weights lie in memory: fused optimisers walk both as flat memory.
        views = [next(places).as_strided(tensor.shape, tensor.stride()) for tensor in tensors]
        self.gradients, self.means = views[: len(self.weights)], views[len(self.weights) :]
        self.loss, self.wish = self.flat[-2], self.flat[-1]
        for tensor in (
            *model.parameters(),
            *model.buffers(),
        ):  # two kinds of machine may round a first weight differently
            team.take_first(tensor.detach())

    def averaged(self, backward: Backward, *batch: Tensor) -> Tensor:
        """The loss of the whole batch; leaves its gradients in the weights, its statistics in the batch norms."""
        count = len(batch[0])
        rows = self.team.share(count)
        own = rows.stop - rows.start
        self.flat.zero_()
        with chances_of_its_own(self.team):
            if own:
                self._fill(backward(*(part[rows] for part in batch)), own / count)
        self.wish.fill_(float(self.team.wish))
        self.team.add_up(self.flat)
        self.team.wishes = self.wish
        if self.statistics:
            torch._foreach_copy_(self.statistics, self.means)
        for weight, gradient in zip(self.weights, self.gradients, strict=True):
            weight.grad = gradient
        return self.loss.clone()

    def _fill(self, loss: Tensor, part: float) -> None:
        """A weight without a gradient counts as one with a gradient of 0."""
        for weight, view in zip(self.weights, self.gradients, strict=True):
            if weight.grad is not None:
                view.copy_(weight.grad)
        for buffer, view in zip(self.statistics, self.means, strict=True):
            view.copy_(buffer)
        self.loss.copy_(loss)
        self.flat.mul_(part)


@contextlib.contextmanager
def chances_of_its_own(team: Team) -> Iterator[None]:
    """Dropout and skipped bodies: another stream in each process and pass, all from one state that stays common.

    So the first process's checkpoint holds what all of them need to go on bitwise.
    """
    seed = int(torch.randint(2**62, ()))
    with torch.random.fork_rng([team.device] if team.device.type == "cuda" else []):
        torch.manual_seed(seed + team.place.rank)
        yield


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, met; this one alone where it started none."""
    here = place()
    if here.count == 1:
        yield ALONE
        return
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {device}: several processes train on cpu or cuda alone; give --device cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, count = next(rendezvous("env://"))
    met = PrefixStore("snugnet", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=met, rank=rank, world_size=count, timeout=COLLECTIVE)
    try:
        yield Team(here, device, PrefixStore("words", met))
    finally:
        dist.destroy_process_group()


def count() -> int:
    """How many processes have joined, this one among them."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
