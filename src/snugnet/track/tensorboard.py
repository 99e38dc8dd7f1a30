"""TensorBoard: event files in RUN/tensorboard, to be looked at by `tensorboard --logdir runs`."""

from __future__ import annotations

from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from snugnet.track.facts import About, Ending


class Run:
    """Curves over epochs; the recipe as text and, once finished, as hyperparameters beside the scores."""

    def __init__(self, about: About, id: str | None) -> None:
        # Events from that epoch on, of a process that died before it had told us of them, are hidden.
        purge = None if id is None else about.epochs + 1
        self.id, self._params = "tensorboard", dict(about.params)
        self._writer = SummaryWriter(str(about.folder / self.id), purge_step=purge)
        if id is None:
            rows = "\n".join(f"| {name} | {value} |" for name, value in about.params.items())
            self._writer.add_text("recipe", f"| key | value |\n|---|---|\n{rows}", 0)

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def final(self, number: int, values: Mapping[str, float]) -> None:
        self.epoch(number, values)
        for part in hparams(self._params, dict(values)):
            self._writer.file_writer.add_summary(part)

    def close(self, ending: Ending) -> None:  # noqa: ARG002, an event file has no end
        self._writer.close()
