"""Weights & Biases: a run in RUN/wandb, offline unless WANDB_MODE says otherwise; `wandb sync` sends it later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import wandb

from snugnet.track.facts import About, Ending


class Run:
    """Steps are epochs, the recipe is the config, and the final values stand in the summary.

    Offline a resumed run is a second folder with the same id, which goes on at the next epoch.
    """

    def __init__(self, about: About, id: str | None) -> None:
        mode: Any = os.environ.get("WANDB_MODE", "offline")  # W&B itself refuses what is none
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "snugnet"),
            id=id,
            name=about.name,
            group=about.group or None,
            dir=str(about.folder),
            config=dict(about.params),
            mode=mode,
            resume="allow" if mode == "online" else None,
            reinit="create_new",  # a run of the caller's own stays as it is
            settings=wandb.Settings(console="off", silent=True),
        )
        self.id = self._run.id

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=number)

    def final(self, number: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
        self._run.summary.update(dict(values))

    def close(self, ending: Ending) -> None:
        self._run.finish(exit_code=1 if ending == "failed" else 0)
