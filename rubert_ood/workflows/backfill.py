"""Score past days again with another bundle, compare each with the run that the day had before,
publish by gate."""

from datetime import date, timedelta

from rubert_ood import storage
from rubert_ood.comparing.compare import compare_runs
from rubert_ood.comparing.document import changed_labels
from rubert_ood.errors import InputError, RubertOodError
from rubert_ood.operating.run_log import RunLog
from rubert_ood.plain import count_of
from rubert_ood.pointers.champion import resolve
from rubert_ood.progress import StepLog
from rubert_ood.publishing.notice import backfill_told
from rubert_ood.publishing.pointer import day_uri, look
from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.run_before import run_before
from rubert_ood.publishing.seen import Comparison
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import write_diff
from rubert_ood.reports.run_page import write_report
from rubert_ood.reuse.document import read_document
from rubert_ood.runs.manifest import Manifest, read_manifest
from rubert_ood.runs.plan import BundleName
from rubert_ood.runs.record import Record
from rubert_ood.settings import BackfillSettings, NotifySettings, ScoreSettings
from rubert_ood.tables.follow import follow_pointer
from rubert_ood.tables.wanted import wanted_tables
from rubert_ood.workflows.score import score

log = StepLog("backfill")

WORST_FIRST = (1, 2, 6, 4, 5, 3)
"""Exit codes: a fault of ours, settings, what the same command may still finish, the gate, an input
that is missing."""


class BackfilledDay(Record):
    """What became of a day."""

    run_date: str
    outcome: str = "failed"
    """Of its run."""
    churn_rate: float | None = None
    """Share of the ads in both runs whose label changed."""
    run_uri: str | None = None
    error: str | None = None

    def __str__(self) -> str:
        """Say it in the line of a summary."""
        churn = (
            ""
            if self.churn_rate is None
            else f"{self.churn_rate:.2%} of the ads changed their label  "
        )
        return f"{self.run_date}  {self.outcome:<9}  {churn}{self.error or self.run_uri}"


def backfill(settings: BackfillSettings) -> list[BackfilledDay]:
    """Do day after day. The same command resumes.

    A day that fails stops no other. Raises RubertOodError at the end, with the exit code of the
    worst day.
    """
    with backfill_told(settings):
        return _all_days(settings)


def _all_days(settings: BackfillSettings) -> list[BackfilledDay]:
    # one bundle for all days, whatever is promoted meanwhile
    named = resolve(settings.bundle_uri)
    num_days = (settings.to_date - settings.from_date).days + 1
    results, errors = list[BackfilledDay](), list[RubertOodError]()
    reuse = settings.reuse
    with ray_session(settings):
        for number in range(num_days):
            day = settings.from_date + timedelta(days=number)
            try:
                results.append(_score_day(settings, day, named, reuse))
                reuse = _next_reuse(settings, results[-1]) or reuse
            except RubertOodError as error:
                log.error("%s: %s", day, error)
                failed = error
            except Exception as error:
                log.exception("%s: internal error. Please report it with this trace", day)
                failed = RubertOodError(f"internal error ({type(error).__name__})")
            else:
                continue
            errors.append(failed)
            results.append(BackfilledDay(run_date=day.isoformat(), error=str(failed)))
    for result in results:
        log.info("%s", result)
    if errors:
        worst = min(errors, key=lambda error: WORST_FIRST.index(error.exit_code))
        summed = RubertOodError(
            f"{len(errors)} of {count_of(num_days, 'day')} failed. Run the"
            f" same command again to resume. Worst day: {worst}"
        )
        summed.exit_code = worst.exit_code
        raise summed
    return results


def _next_reuse(settings: BackfillSettings, done: BackfilledDay) -> str | None:
    """Return the run that the next day reuses: the last published one may have another bundle."""
    if settings.reuse != "auto" or settings.run_id or done.run_uri is None:
        return None
    name = read_manifest(done.run_uri).index
    try:
        whole = name is not None and read_document(done.run_uri)[1] == name.sha256
    except InputError:  # removed since
        return None
    return done.run_uri if whole else None


def _score_day(
    settings: BackfillSettings, day: date, named: BundleName, reuse: str
) -> BackfilledDay:
    """Score a day, compare it, publish it; a day that is published already is left as it is."""
    manifest = score(_score_settings(settings, day, reuse), named)
    if manifest.outcome == "published":
        churn = [check.value for check in manifest.gate if check.check == "max_churn"]
        return _done(manifest, churn[0] if churn else None)
    with RunLog() as kept:  # that of the scoring has ended
        kept.place(manifest.run_uri, manifest.run_id)
        return _compare_and_publish(settings, manifest)


def _compare_and_publish(settings: BackfillSettings, manifest: Manifest) -> BackfilledDay:
    """Compare the run of a day with the one before, and publish it by the gate."""
    run_uri = manifest.run_uri
    before = run_before(run_uri, [look(day_uri(run_uri)), look(manifest.output_uri)])
    churn_rate, changes = None, None
    if before is None:
        StepLog("diff").info(
            "compares with nothing, because %s had no run before", manifest.run_date
        )
    else:
        document = compare_runs(before.run_uri, run_uri, executor=settings.executor)
        write_diff(document, storage.join(run_uri, "_run"))
        churn_rate, changes = document.churn_rate, changed_labels(document)
    if settings.publish:
        try:
            publish_run(manifest, settings.gate, compared=Comparison(before, churn_rate))
            output_uri = manifest.output_uri
            follow_pointer(output_uri, wanted_tables(output_uri, settings.tables))
        finally:
            manifest = read_manifest(run_uri)
            write_report(manifest, before, changes)
    return _done(manifest, churn_rate)


def _done(manifest: Manifest, churn_rate: float | None) -> BackfilledDay:
    return BackfilledDay(
        run_date=manifest.run_date,
        outcome=manifest.outcome,
        churn_rate=churn_rate,
        run_uri=manifest.run_uri,
    )


def _score_settings(settings: BackfillSettings, day: date, reuse: str) -> ScoreSettings:
    """Return the settings of one day's run; they have been checked, so no source is read again."""
    shared = ScoreSettings.model_fields.keys() & BackfillSettings.model_fields.keys()
    values = {name: getattr(settings, name) for name in shared}
    input_uri = settings.input_uri.replace("{run_date}", day.isoformat())
    own = {
        "input_uri": input_uri,
        "run_date": day,
        "publish": False,
        "report_changes": False,
        "reuse": reuse,
        "notify": NotifySettings(on=()),
    }
    return ScoreSettings.model_construct(**values | own)
