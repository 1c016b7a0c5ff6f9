"""What OpenLineage is told of a training: which labelled ads became which bundle."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from rubert_ood import storage
from rubert_ood.clock import utc_now
from rubert_ood.operating.lineage import Sender
from rubert_ood.publishing.lineage import Teller, sender_of, start_id, telling
from rubert_ood.publishing.lineage_events import (
    PRODUCER,
    End,
    dataset_name,
    error_facet,
    input_name,
    job_facets,
)
from rubert_ood.settings import TrainSettings

JOB = "train"
OWN_FACET = "rubertOod_training"


@dataclass(frozen=True)
class Training:
    """A training, and what is known of its bundle so far."""

    bundle_uri: str
    input_uris: list[str]
    run_id: str
    """UUID."""
    namespace: str
    facts: Mapping[str, object] = field(default_factory=dict)
    """Of our own facet: plain numbers and names."""
    fingerprint: str = ""
    """Of the bundle; "" while it is not written."""


def tables_of(settings: TrainSettings) -> list[str]:
    """Return the tables that a training reads, each once, in the order of the settings."""
    named = [
        settings.input_uri,
        settings.train_uri,
        settings.valid_uri,
        settings.test_uri,
        settings.calibration_uri,
        settings.evaluation.ood_uri,
        settings.evaluation.hard_cases_uri,
    ]
    return list(dict.fromkeys(storage.absolute(uri) for uri in named if uri))


def training_event(training: Training, at: str, end: End | None) -> object:
    """Return the RunEvent of a training (`end` None) or of its end, at an ISO time."""
    from openlineage.client import event_v2

    inputs = []
    for uri in training.input_uris:
        inputs.append(event_v2.InputDataset(*input_name(uri)))
    output = event_v2.OutputDataset(*dataset_name(training.bundle_uri))
    if training.fingerprint:
        output.facets = _version(training.fingerprint)
    return event_v2.RunEvent(
        eventType=event_v2.RunState[end.kind if end else "START"],
        eventTime=at,
        run=event_v2.Run(training.run_id, _run_facets(training, end)),
        job=event_v2.Job(training.namespace, JOB, job_facets()),
        inputs=inputs,
        outputs=[output],
        producer=PRODUCER,
    )


def _run_facets(training: Training, end: End | None) -> dict[str, object]:
    from openlineage.client.facet_v2 import RunFacet

    facts = {"bundleUri": training.bundle_uri, **training.facts}
    if end is not None:
        facts["outcome"] = end.outcome
    own = RunFacet(producer=PRODUCER).with_additional_properties(**facts)
    return {OWN_FACET: own, **error_facet(end)}


def _version(fingerprint: str) -> dict[str, object]:
    from openlineage.client.facet_v2 import dataset_version_dataset as module

    facet = module.DatasetVersionDatasetFacet(fingerprint, producer=PRODUCER)
    return {"version": facet}


class TrainingLineage(Teller):
    """Tells of one start of a training."""

    def __init__(self, settings: TrainSettings, sender: Sender | None) -> None:
        """Send nothing yet."""
        super().__init__(settings.lineage, sender)
        self._of = settings
        self._training: Training | None = None

    def planned(self, bundle_uri: str, facts: Mapping[str, object]) -> None:
        """Tell that the ads of a training were read, and what is known of them."""
        now = utc_now("microseconds")
        training = Training(
            bundle_uri=bundle_uri,
            input_uris=tables_of(self._of),
            run_id=start_id(bundle_uri, now),
            namespace=self._of.lineage.namespace,
            facts=dict(facts),
        )
        self._training = training
        self.begin(partial(training_event, training), now)

    def ended(self, fingerprint: str, facts: Mapping[str, object]) -> None:
        """Tell that the bundle is written, and how good it is."""
        if self._training is None:
            return
        known = {**self._training.facts, **facts}
        training = replace(self._training, fingerprint=fingerprint, facts=known)
        self.end(End("COMPLETE", "complete"), partial(training_event, training))


@contextmanager
def training_lineage(settings: TrainSettings) -> Iterator[TrainingLineage]:
    """Tell OpenLineage of a training.

    Raises SettingsError where events are wanted and the extra is missing.
    """
    teller = TrainingLineage(settings, sender_of(settings.lineage))
    with telling(teller):
        yield teller
