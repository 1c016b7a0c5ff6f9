"""Turn the answers of annotators into labelled ads, and measure the run by its random control."""

from collections.abc import Sequence

import pyarrow as pa

from rubert_ood import storage
from rubert_ood.ads.csv_table import to_csv
from rubert_ood.annotating.answers import Votes, collect, read_answers
from rubert_ood.annotating.document import Export, read_export
from rubert_ood.annotating.labelled import Imported, decide_answers
from rubert_ood.errors import InputError
from rubert_ood.plain import count_of, printable, without_digits
from rubert_ood.progress import StepLog
from rubert_ood.runs.part import to_parquet
from rubert_ood.settings import ImportAnnotateSettings
from rubert_ood.settings.problems import expect

log = StepLog("import")

NUM_NAMED = 5
NAME_CHARACTERS = 40


def import_annotate(settings: ImportAnnotateSettings) -> Imported:
    """Write the table of labelled ads; return what became of the export.

    Raises InputError where no answer is a class, and one line where a file is not as expected.
    """
    expect(settings, ImportAnnotateSettings)
    export = read_export(settings.export_uri)
    keys = {task.key: task for task in export.tasks}
    votes = collect(
        read_answers(storage.absolute(settings.answers_uri)),
        keys,
        export.labels,
        takes_new=settings.new_classes == "take",
    )
    found = decide_answers(export, votes)
    _say_left_out(found, votes)
    if settings.not_ads_uri and found.not_ads:
        _write(settings.not_ads_uri, found.not_ads_table())
        log.info("%s", storage.absolute(settings.not_ads_uri))
    if not found.rows:
        without = (
            f"{len(found.not_ads):,} are not ads, {found.num_no_class:,} of no class"
        )
        raise InputError(
            f"{settings.answers_uri}: no ad of this export has a class by majority"
            f" ({without}). Use answers of this export that are classes"
        )
    _write(settings.output_uri, found.table())
    _say(export, found)
    log.info("%s", storage.absolute(settings.output_uri))
    return found


def _write(uri: str, table: pa.Table) -> None:
    is_csv = uri.lower().endswith(".csv")
    storage.put_bytes(uri, to_csv(table) if is_csv else to_parquet(table))


def _say_left_out(found: Imported, votes: Votes) -> None:
    for reason, number in votes.left_out.most_common():
        log.warning("left out %s: %s", count_of(number, "answer"), reason)
    if votes.unknown:
        named = [
            f"{_masked(name)!r} ({number:,})"
            for name, number in votes.unknown.most_common(NUM_NAMED)
        ]
        more = len(votes.unknown) - len(named)
        rest = f", and {more:,} more" if more else ""
        log.warning("answers that are not a class: %s%s", ", ".join(named), rest)
    for what, tasks in (
        ("a majority", found.disagreed),
        ("a valid answer", found.missing),
    ):
        if tasks:
            num = count_of(len(tasks), "task")
            log.warning("left out %s without %s: %s", num, what, _named(tasks))


def _masked(name: str) -> str:
    """Return the beginning of what somebody wrote, without digits: it may be a phone number."""
    return without_digits(printable(name)[:NAME_CHARACTERS])


def _named(tasks: Sequence[int]) -> str:
    shown = ", ".join(map(str, tasks[:NUM_NAMED]))
    more = len(tasks) - NUM_NAMED
    return f"number {shown}" + (f", and {more:,} more" if more > 0 else "")


def _say(export: Export, found: Imported) -> None:
    labelled = count_of(len(found.rows), "labelled ad")
    log.info(
        f"{labelled} of {count_of(len(export.tasks), 'task')},"
        f" {len(found.not_ads):,} not ads, {found.num_no_class:,} of no class"
    )
    for kind, right in found.right.items():
        log.info(f"{kind}: the run is right on {right.num_right:,} of {right.num:,}")
    control = found.control
    if control.num:
        low, high = control.interval
        log.info(
            f"accuracy on the random control {control.value:.1%} ({low:.1%} to"
            f" {high:.1%}, 95 % Wilson interval) on {count_of(control.num, 'ad')}"
        )
    if found.num_control_open:
        log.warning(
            "lacks a decided answer to %s of the random control, which may bias the accuracy",
            count_of(found.num_control_open, "ad"),
        )
    if found.alpha is not None:
        tasks = count_of(found.num_shared, "task")
        log.info(f"agreement of annotators: alpha {found.alpha:.3f} on {tasks}")
