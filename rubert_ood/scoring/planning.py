"""Settings and input -> the plan of a run, and the fingerprint of all that changes its results."""

import hashlib
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from rubert_ood import __version__, storage
from rubert_ood.ads.sources import Tables, survey_tables, warn_of_ignored
from rubert_ood.bundle import Bundle, check_compute
from rubert_ood.errors import InputError
from rubert_ood.plain import count_of
from rubert_ood.pointers.champion import name_of
from rubert_ood.predictor import ADS_AT_ONCE, TOKEN_BUDGET
from rubert_ood.progress import StepLog
from rubert_ood.runs.part import part_schema
from rubert_ood.runs.plan import (
    Plan,
    Shard,
    by_file,
    digest,
    pack_schema,
    run_folder,
)
from rubert_ood.scoring.apart import check_apart, check_links_apart
from rubert_ood.scoring.carry import CarriedTypes, check_names
from rubert_ood.scoring.inspection import Inspected, cut_files, inspect_files
from rubert_ood.settings import DaySettings, Precision
from rubert_ood.storage.listing import FileInfo

log = StepLog("plan")


def make_plan(settings: DaySettings, bundle: Bundle) -> Plan:
    """Check every input file and cut the good ones.

    Raises InputError when there is nothing to score, and the first bad file's own error under
    `on_bad_file: fail`.
    """
    _check_settings(settings, bundle)
    output_uri = storage.absolute(settings.output_uri)
    found = _find_files(settings, output_uri)
    carried = CarriedTypes(settings.carry_columns)
    inspected = inspect_files(
        found, settings, carried, count_cities=bool(bundle.cleaner.cities)
    )
    shards = cut_files(
        inspected.good, settings.shard_rows or ADS_AT_ONCE[settings.compute.use_gpu]
    )
    if not shards:
        raise _nothing_to_score(settings, found, inspected)
    token_budget = settings.compute.token_budget or TOKEN_BUDGET[settings.compute.use_gpu]
    identity = _identity(settings, bundle, found.files, shards, token_budget)
    fingerprint = digest(identity)
    run_id = settings.run_id or fingerprint[:12]
    return Plan(
        run_uri=run_folder(output_uri, settings.run_date, run_id),
        run_id=run_id,
        run_date=settings.run_date.isoformat(),
        fingerprint=fingerprint,
        identity=identity,
        bundle=name_of(bundle),
        input_uri=settings.input_uri,
        output_uri=output_uri,
        carry_columns=list(settings.carry_columns),
        embedding=settings.embedding,
        use_gpu=settings.compute.use_gpu,
        precision=bundle.precision,
        token_budget=token_budget,
        shards=shards,
        quarantined=inspected.quarantined,
        empty_files=inspected.empty_files,
        input_bytes=sum(file.size for file in found.files),
        report_texts=settings.report_texts,
        ignored=found.ignored,
        carry_schema=pack_schema(carried.schema()),
        target_file_mb=settings.target_file_mb,
        sort_by=settings.sort_by,
    )


def _check_settings(settings: DaySettings, bundle: Bundle) -> None:
    """Raise SettingsError where they do not fit the bundle."""
    taken = part_schema([], 1, {}, subheads=bundle.subheads is not None).names
    check_names(settings.carry_columns, taken)
    check_compute(bundle, settings.compute)
    if bundle.precision == "bf16" and not settings.compute.use_gpu:
        log.warning(
            "the bundle %s was fitted in bf16, which is slow on CPU. Set"
            " compute.use_gpu, or train with compute.precision fp32",
            bundle.version,
        )


def _find_files(settings: DaySettings, output_uri: str) -> Tables:
    """List the input, and say what of it is not read."""
    input_uri = storage.absolute(settings.input_uri)
    check_apart(input_uri, output_uri)
    found = survey_tables(input_uri)
    if not storage.is_s3(output_uri):
        check_links_apart(found.folders, output_uri)
    warn_of_ignored(found.ignored, "plan")
    limit = settings.gate.max_ignored_files
    if found.ignored.num_like_data > limit:
        log.warning(
            "the gate will refuse this run, because it ignores %s and"
            " gate.max_ignored_files is %d. Move the files named above, or"
            " raise the limit",
            count_of(found.ignored.num_like_data, "file"),
            limit,
        )
    return found


def _nothing_to_score(
    settings: DaySettings, found: Tables, inspected: Inspected
) -> InputError:
    reasons = ", ".join(file.reason for file in inspected.quarantined[:3])
    why = f" (quarantined: {reasons})" if reasons else ""
    files = count_of(len(found.files), "file")
    return InputError(f"{settings.input_uri}: no row can be scored in {files}{why}")


def _identity(
    settings: DaySettings,
    bundle: Bundle,
    files: list[FileInfo],
    shards: list[Shard],
    token_budget: int,
) -> dict[str, str]:
    return {
        "input files": digest([asdict(file) for file in files]),
        "bundle": bundle.fingerprint,
        "columns": digest([settings.columns.model_dump(), settings.carry_columns]),
        "shards": digest([asdict(file) | {"version": ""} for file in by_file(shards)]),
        "embedding": str(settings.embedding),
        "precision": _precision(bundle.precision, settings.compute.use_gpu, token_budget),
        "report_texts": str(settings.report_texts),
        "files": f"{settings.target_file_mb} MB, sorted by {settings.sort_by}",
        "run_date": settings.run_date.isoformat(),
        "code version": f"{__version__} {code_digest()[:12]}",
    }


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return the SHA-256 of the sources of this package: another code may decide otherwise."""
    folder = Path(__file__).parents[1]
    sources = []
    for path in folder.rglob("*.py"):
        sources.append(path.relative_to(folder).as_posix())
    sources.sort()
    contents = [
        hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sources
    ]
    return digest([sources, contents])


def _precision(precision: Precision, use_gpu: bool, token_budget: int) -> str:
    """Name what the last digits of a score depend on; in int8 these are also the ads of its
    batch."""
    batches = f" in batches of {token_budget} tokens" if precision == "int8" else ""
    return f"{precision} on {'GPU' if use_gpu else 'CPU'}{batches}"
