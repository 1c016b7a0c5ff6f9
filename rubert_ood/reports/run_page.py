"""The report of a scoring run, from its manifest."""

from contextlib import suppress
from dataclasses import dataclass

from rubert_ood import storage
from rubert_ood.comparing.document import ChangedLabels
from rubert_ood.errors import RubertOodError
from rubert_ood.progress import StepLog
from rubert_ood.reports import figures
from rubert_ood.reports.checks import shown_check
from rubert_ood.reports.drift import drift, label_shares
from rubert_ood.reports.first_night import first_night
from rubert_ood.reports.html import render
from rubert_ood.reports.night import judged
from rubert_ood.reports.run_facts import run_facts
from rubert_ood.runs.manifest import Manifest, report_uri
from rubert_ood.runs.profile import TOKEN_EDGES
from rubert_ood.storage.folders import remove_files
from rubert_ood.tables.reason import reason_of

log = StepLog("report")


@dataclass(frozen=True)
class LabelRow:
    """How many ads have a label, and how many had it in the run before."""

    label: str
    count: int
    share: float
    share_before: float

    @property
    def change(self) -> float:
        """Of the share."""
        return self.share - self.share_before


def write_report(
    manifest: Manifest, previous: Manifest | None, changes: ChangedLabels | None = None
) -> None:
    """Write the report of a run, beside the run that it is compared with.

    The run is done: a failure here is a line of the log, and changes nothing else.
    """
    uri = report_uri(manifest.run_uri)
    try:
        storage.put_bytes(uri, run_html(manifest, previous, changes).encode())
    except Exception as error:
        log.warning(
            "%s could not be written; all else of the run is done. Run the same command again to"
            " write it. Reason: %s",
            uri,
            reason_of(error),
        )
        with suppress(RubertOodError):
            remove_files([uri])  # that of an earlier end would look like its own
        return
    log.info("%s", uri)


def run_html(
    manifest: Manifest, previous: Manifest | None, changes: ChangedLabels | None = None
) -> str:
    """Render a scoring run from its manifest, beside the last published run where there is one.

    changes: what became of the ads that both runs have.
    """
    moves = drift(manifest, previous) if previous else None
    return render(
        "run.html.j2",
        m=manifest,
        night=judged(manifest, previous, moves),
        facts=run_facts(manifest, previous),
        figures=_figures(manifest, previous),
        drift=moves,
        first_night=first_night(manifest, previous),
        changes=changes,
        classes=_label_rows(manifest, previous),
        shares=manifest.estimates.shares if manifest.estimates else None,
        previous=previous,
        rejecting=manifest.rejecting,
        slowest=manifest.slowest,
        gate=[shown_check(check) for check in manifest.gate],
    )


def _figures(manifest: Manifest, previous: Manifest | None) -> dict[str, str]:
    drawn = {}
    confidence, lengths = manifest.confidence_histogram, manifest.token_histogram
    if any(confidence):
        before = previous.confidence_histogram if previous else None
        drawn["confidence"] = figures.confidence(
            confidence, _same_bins(confidence, before)
        )
    if lengths and any(lengths):
        before = previous.token_histogram if previous else None
        drawn["lengths"] = figures.lengths(
            TOKEN_EDGES, lengths, _same_bins(lengths, before)
        )
    if manifest.speed:
        speed = manifest.speed
        drawn["throughput"] = figures.throughput(speed.edges_s, speed.ads_per_s)
    return drawn


def _same_bins(now: list[int], before: list[int] | None) -> list[int] | None:
    """Return the histogram of the run before, if that version counted one, and in the same bins."""
    return before if before and len(before) == len(now) else None


def _label_rows(manifest: Manifest, previous: Manifest | None) -> list[LabelRow]:
    """Return the labels of both runs, most frequent first."""
    now, before = label_shares(manifest), label_shares(previous) if previous else {}
    rows = [
        LabelRow(
            label=label,
            count=manifest.classes.get(label, 0),
            share=now.get(label, 0.0),
            share_before=before.get(label, 0.0),
        )
        for label in sorted({*now, *before})
    ]
    return sorted(rows, key=lambda row: -row.count)
