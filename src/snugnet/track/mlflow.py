"""MLflow: a database and artifacts in RUN/mlruns, or the server that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from snugnet.track.facts import About, Ending

STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
AT_ONCE = 100  # parameters that a server takes in one request


class Run:
    """Steps are epochs, the recipe is the parameters. Through a client: mlflow's own state is the caller's."""

    def __init__(self, about: About, id: str | None) -> None:
        server, folder = os.environ.get("MLFLOW_TRACKING_URI"), about.folder / "mlruns"
        if not server:
            folder.mkdir(exist_ok=True)
        self._client = MlflowClient(tracking_uri=server or f"sqlite:///{folder / 'mlflow.db'}")
        if id is None:
            artifacts = None if server else (folder / "artifacts").as_uri()
            self.id = self._begin(about, artifacts)
        else:
            self.id = id
            self._client.update_run(id, status="RUNNING")

    def _begin(self, about: About, artifacts: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "snugnet")
        experiment = self._client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else self._client.create_experiment(name, artifacts)
        tags = {"group": about.group} if about.group else {}
        run: str = self._client.create_run(place, run_name=about.name, tags=tags).info.run_id
        params = [Param(key, str(value)) for key, value in about.params.items()]
        for start in range(0, len(params), AT_ONCE):
            self._client.log_batch(run, params=params[start : start + AT_ONCE])
        return run

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self.id, metrics=[Metric(name, value, now, number) for name, value in values.items()])

    def final(self, number: int, values: Mapping[str, float]) -> None:
        self.epoch(number, values)

    def close(self, ending: Ending) -> None:
        self._client.set_terminated(self.id, STATUS[ending])
