"""Tell an MLflow server of a bundle: a run with its training, and a version of a model.

Each step looks first whether it was done, so what was cut off may be repeated.
"""

import time
from typing import TYPE_CHECKING

from rubert_ood import storage
from rubert_ood.bundle import Bundle
from rubert_ood.errors import SettingsError
from rubert_ood.operating.mlflow_client import code_of, open_client
from rubert_ood.plain import count_of
from rubert_ood.pointers.mlflow_run import (
    FINGERPRINT_TAG,
    URI_TAG,
    RunContent,
    content_of,
)
from rubert_ood.pointers.registered import SCHEME
from rubert_ood.progress import StepLog
from rubert_ood.settings import MlflowSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = StepLog("mlflow")

MAX_METRICS, MAX_PARAMS = 1000, 100
"""Of one request to MLflow."""
EXISTS = "RESOURCE_ALREADY_EXISTS"


def register_bundle(
    bundle: Bundle, settings: MlflowSettings, *, started_at_ms: int | None = None
) -> str:
    """Send a run, and register the bundle where that is asked for; return models:/NAME/VERSION, or
    "".

    `started_at_ms` is when the training began, in ms since 1970. Raises SettingsError where the
    extra, the address or the experiment is missing, and whatever MLflow's client raises.
    """
    asked_by = "mlflow.experiment"
    client, content = open_client(asked_by), content_of(bundle)
    experiment_id = _experiment(client, settings.experiment or "")
    run_id = _run(client, experiment_id, content, started_at_ms)
    log.info(
        "run %s of experiment %s has %s and %s",
        run_id,
        settings.experiment,
        count_of(len(content.params), "parameter"),
        count_of(len(content.metrics), "metric"),
    )
    if not settings.register_as:
        return ""
    version = _version(client, settings.register_as, content, run_id)
    named = f"{SCHEME}{settings.register_as}/{version}"
    log.info("%s is %s", named, bundle.uri)
    return named


def _experiment(client: "MlflowClient", name: str) -> str:
    """Return the id of an experiment, which is made where it is missing."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except Exception as error:
            if code_of(error) != EXISTS:
                raise
        found = client.get_experiment_by_name(name)  # another program was faster
    if found.lifecycle_stage != "active":
        raise SettingsError(
            f"mlflow.experiment: {name} was deleted on the server. Restore it, or choose"
            " another name"
        )
    return str(found.experiment_id)


def _run(
    client: "MlflowClient",
    experiment_id: str,
    content: RunContent,
    started_at_ms: int | None,
) -> str:
    """Return the id of the run of a bundle; one that was not finished is sent again."""
    fingerprint = content.tags[FINGERPRINT_TAG]
    wanted = f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}'"
    for found in client.search_runs([experiment_id], wanted, max_results=1):
        run_id: str = found.info.run_id
        if found.info.status == "FINISHED":
            return run_id
        break
    else:
        made = client.create_run(
            experiment_id,
            start_time=started_at_ms,
            tags=content.tags,
            run_name=content.name,
        )
        run_id = made.info.run_id
    _fill(client, run_id, content)
    client.set_terminated(run_id)
    return run_id


def _fill(client: "MlflowClient", run_id: str, content: RunContent) -> None:
    from mlflow.entities import Metric, Param

    now = time.time_ns() // 1_000_000
    params = [Param(*item) for item in content.params.items()]
    for start in range(0, len(params), MAX_PARAMS):
        client.log_batch(run_id, params=params[start : start + MAX_PARAMS])
    metrics = []
    for number in content.metrics:
        metrics.append(Metric(number.name, number.value, now, number.step))
    for start in range(0, len(metrics), MAX_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])


def _version(client: "MlflowClient", model: str, content: RunContent, run_id: str) -> str:
    """Return the number of the version that is this bundle, which is made where it is missing."""
    same = (FINGERPRINT_TAG, URI_TAG)
    known = client.search_model_versions(f"name='{model}'")
    for version in known:
        if all(version.tags.get(name) == content.tags[name] for name in same):
            return str(version.version)
    if not known:
        try:
            client.create_registered_model(model)
        except Exception as error:
            if code_of(error) != EXISTS:
                raise
    uri = content.tags[URI_TAG]
    made = client.create_model_version(
        model,
        uri if storage.is_s3(uri) else f"runs:/{run_id}/bundle",
        run_id,
        tags=content.tags,
        await_creation_for=0,
    )
    return str(made.version)
