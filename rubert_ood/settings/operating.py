"""What those who operate a job want to know of it: a notice of its end, its lineage, its cost."""

from typing import Literal

from pydantic import Field, model_validator

from rubert_ood.settings.shared import Group

Event = Literal["published", "complete", "refused", "partial", "failed"]
MLFLOW_NAME = r"^\w[\w .-]{0,199}$"
"""What a name in models:/NAME@ALIAS cannot hold is left out."""


class NotifySettings(Group):
    """A message to a webhook when a run ends. The variable RUBERT_OOD_NOTIFY_URL has the address,
    which is a secret. Without it nothing is sent."""

    on: tuple[Event, ...] = ("published", "refused", "partial", "failed")
    """Ends to report. A complete run is not to be published. A refused one failed the gate. The
    same command resumes a partial one."""
    body: Literal["json", "slack"] = "json"
    """What is sent. json: an object with run_id, outcome, counts and error. slack: one text, for an
    incoming webhook of Slack or Mattermost."""
    timeout_s: float = Field(10, gt=0, le=120)
    """How long one of three tries may take. The run itself does not depend on it."""


class MlflowSettings(Group):
    """The log of a training in MLflow, and the bundle as a registered model (extra `mlflow`). The
    variable MLFLOW_TRACKING_URI has the address of the server, which may hold a password."""

    experiment: str | None = Field(None, pattern=MLFLOW_NAME)
    """Experiment that gets a run: settings, metrics by epoch, figures of the evaluation. It is
    created if missing. Default: nothing is sent."""
    register_as: str | None = Field(None, pattern=MLFLOW_NAME)
    """Registered model that gets the bundle as a new version, for models:/NAME/VERSION. It is
    created if missing. Needs mlflow.experiment."""

    @model_validator(mode="after")
    def _a_version_has_a_run(self) -> "MlflowSettings":
        if self.register_as and not self.experiment:
            raise ValueError(
                "mlflow.experiment: mlflow.register_as needs it. Set the experiment of"
                " the run"
            )
        return self


class LineageSettings(Group):
    """Events of OpenLineage for a data catalogue (extra `lineage`). Where they go stands in the
    configuration of OpenLineage: the variable OPENLINEAGE_URL, or a file openlineage.yml."""

    send: bool = False
    """Send one event when the work is planned, and one when it ends."""
    namespace: str = Field("rubert_ood", min_length=1, max_length=200)
    """Namespace of the job. Choose one for each catalogue."""
    timeout_s: float = Field(30, gt=0, le=300)
    """How long the end of a run may wait until the events are sent. The run itself does not depend
    on them."""


class PriceSettings(Group):
    """The price of the machines, for the estimate of `plan` and the report of `score`."""

    per_node_hour: float | None = Field(None, ge=0)
    """Price of one node for an hour. Only compute is counted, neither storage nor traffic."""
    currency: str = Field("USD", min_length=1, max_length=8)
    """Word behind the amount."""
