"""What an event of OpenLineage says of a start: which ads and which bundle became which
predictions.

Source: the specification 2-0-2, https://openlineage.io/spec/2-0-2/OpenLineage.json, and its rules
for the names of data sets, https://openlineage.io/docs/spec/naming.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import __version__, storage
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.plan import Plan
from rubert_ood.settings.kinds import time_zone
from rubert_ood.storage.hub import SCHEME, is_hub
from rubert_ood.storage.listing import literal_head

PRODUCER = f"pkg:generic/rubert-ood@{__version__}"
OWN_FACET = "rubertOod_scoring"


@dataclass(frozen=True)
class Start:
    """A start of a run: each has an id of its own, whatever run it goes on with."""

    plan: Plan
    """Without its shards."""
    rows_planned: int
    run_id: str
    """UUID."""
    namespace: str
    job: str
    time_zone: str
    """IANA name, of the run date."""


@dataclass(frozen=True)
class End:
    """How a start ended."""

    kind: str
    """COMPLETE, FAIL or ABORT."""
    outcome: str
    error: str = ""


def dataset_name(uri: str) -> tuple[str, str]:
    """Return namespace and name of the data set at a URI."""
    uri = storage.absolute(uri)
    if is_hub(uri):  # the rules name no hub
        return "hf", uri.removeprefix(SCHEME)
    if not storage.is_s3(uri):
        return "file", uri or "/"
    bucket, _, key = uri.partition("://")[2].partition("/")
    return f"s3://{bucket}", key or "/"


def input_name(uri: str) -> tuple[str, str]:
    """Return that of an input: a glob stands for the folder above it.

    A local path that exists is none, whatever characters it has, as where it is read; on S3 no
    request is made to tell.
    """
    uri = storage.absolute(uri)
    if storage.is_s3(uri) or not Path(uri).exists():
        uri = literal_head(uri) or "/"
    return dataset_name(uri)


def run_event(
    start: Start, at: str, end: End | None = None, found: Manifest | None = None
) -> object:
    """Return the RunEvent of a start (`end` None) or of its end, at an ISO time.

    `found` is the manifest in the run folder. Columns, rows and bytes of the predictions are there
    once the run is whole.
    """
    from openlineage.client import event_v2

    kind = end.kind if end else "START"
    inputs = [event_v2.InputDataset(*input_name(start.plan.input_uri))]
    if start.plan.bundle.uri:
        inputs.append(event_v2.InputDataset(*dataset_name(start.plan.bundle.uri)))
    output = event_v2.OutputDataset(*dataset_name(start.plan.run_uri))
    if found is not None and found.is_whole:
        inputs[0].inputFacets = _read(found)
        output.facets, output.outputFacets = _columns(found), _written(found)
    return event_v2.RunEvent(
        eventType=event_v2.RunState[kind],
        eventTime=at,
        run=event_v2.Run(start.run_id, _run_facets(start, end, found)),
        job=event_v2.Job(start.namespace, start.job, job_facets()),
        inputs=inputs,
        outputs=[output],
        producer=PRODUCER,
    )


def _run_facets(
    start: Start, end: End | None, found: Manifest | None
) -> dict[str, object]:
    from openlineage.client.facet_v2 import RunFacet, nominal_time_run

    first, last = _day(start.plan.run_date, start.time_zone)
    nominal = nominal_time_run.NominalTimeRunFacet(first, last, producer=PRODUCER)
    facts = _facts(start, end, found)
    own = RunFacet(producer=PRODUCER).with_additional_properties(**facts)
    return {"nominalTime": nominal, OWN_FACET: own, **error_facet(end)}


def error_facet(end: End | None) -> dict[str, object]:
    """Return the facet that says what stopped a start; none for one that was not stopped."""
    from openlineage.client.facet_v2 import error_message_run

    if end is None or not end.error:
        return {}
    facet = error_message_run.ErrorMessageRunFacet(end.error, "python", producer=PRODUCER)
    return {"errorMessage": facet}


def _facts(start: Start, end: End | None, found: Manifest | None) -> Mapping[str, object]:
    plan = start.plan
    facts: dict[str, object] = {
        "runId": plan.run_id,
        "runUri": plan.run_uri,
        "runFingerprint": plan.fingerprint,
        "bundleVersion": plan.bundle.version,
        "bundleFingerprint": plan.bundle.fingerprint,
        "rowsPlanned": start.rows_planned,
    }
    if end is not None:
        facts["outcome"] = end.outcome
    if end is not None and found is not None:
        facts["counts"] = dict(found.counts)
    return facts


def _day(run_date: str, zone_name: str) -> tuple[str, str]:
    """Return begin and end of a day as ISO times."""
    day, zone = date.fromisoformat(run_date), time_zone(zone_name)
    midnights = [
        datetime.combine(day + timedelta(days=days), time.min, zone) for days in (0, 1)
    ]
    return midnights[0].isoformat(), midnights[1].isoformat()


def job_facets() -> dict[str, object]:
    """Return the facets that say what kind of job this is."""
    from openlineage.client.facet_v2 import job_type_job

    kind = job_type_job.JobTypeJobFacet(
        "BATCH", "RUBERT_OOD", jobType="JOB", producer=PRODUCER
    )
    return {"jobType": kind}


def _read(manifest: Manifest) -> dict[str, object]:
    from openlineage.client.facet_v2 import input_statistics_input_dataset as module

    counts = manifest.counts
    statistics = module.InputStatisticsInputDatasetFacet(
        rowCount=counts.rows_in, size=counts.bytes_in, producer=PRODUCER
    )
    return {"inputStatistics": statistics}


def _written(manifest: Manifest) -> dict[str, object]:
    from openlineage.client.facet_v2 import output_statistics_output_dataset as module

    sizes = [file.bytes for file in manifest.files]
    statistics = module.OutputStatisticsOutputDatasetFacet(
        rowCount=sum(file.rows for file in manifest.files),
        size=sum(sizes) if all(sizes) else None,  # older runs do not say
        fileCount=len(sizes),
        producer=PRODUCER,
    )
    return {"outputStatistics": statistics}


def _columns(manifest: Manifest) -> dict[str, object]:
    """Return the columns of the first file: all have the same."""
    from openlineage.client.facet_v2 import schema_dataset as module

    if not manifest.files:
        return {}
    uri = storage.join(manifest.run_uri, manifest.files[0].path)
    filesystem, path = storage.arrow_filesystem(uri)
    schema: pa.Schema = pq.read_schema(path, filesystem=filesystem)
    fields = []
    for number, field in enumerate(schema, start=1):
        fields.append(
            module.SchemaDatasetFacetFields(
                field.name, str(field.type), ordinal_position=number
            )
        )
    return {"schema": module.SchemaDatasetFacet(fields, producer=PRODUCER)}
