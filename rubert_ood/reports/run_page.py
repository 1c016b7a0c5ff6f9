"""The report of a scoring run, from its manifest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from rubert_ood import storage
from rubert_ood.comparing.document import ChangedLabels
from rubert_ood.progress import StepLog
from rubert_ood.reports import figures
from rubert_ood.reports.drift import Rates, drift, label_shares
from rubert_ood.reports.html import render
from rubert_ood.runs.manifest import Manifest, report_uri
from rubert_ood.runs.profile import TOKEN_EDGES
from rubert_ood.runs.sums import ScoredShard

log = StepLog("report")
SLOWEST_SHARDS = 10
REJECTING_FILES = 10
SHARDS_PER_STRETCH = 5
"""Shards that end in one stretch of the speed figure, about: fewer, and the bars show chance."""
MAX_STRETCHES = 60


@dataclass(frozen=True)
class RejectingFile:
    """An input file, with its rows and those that were rejected."""

    uri: str
    rejected: int = 0
    rows: int = 0


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
    """Write the report of a run, beside the run that it is compared with."""
    uri = report_uri(manifest.run_uri)
    storage.put_bytes(uri, run_html(manifest, previous, changes).encode())
    log.info("%s", uri)


def run_html(
    manifest: Manifest, previous: Manifest | None, changes: ChangedLabels | None = None
) -> str:
    """Render a scoring run from its manifest, beside the last published run where there is one.

    changes: what became of the ads that both runs have.
    """
    return render(
        "run.html.j2",
        m=manifest,
        figures=_figures(manifest, previous),
        drift=drift(manifest, previous) if previous else None,
        changes=changes,
        classes=_label_rows(manifest, previous),
        rates=Rates.of(manifest.counts),
        rates_before=Rates.of(previous.counts) if previous else None,
        previous=previous,
        rejecting=_rejecting_files(manifest.shards),
        slowest=sorted(manifest.shards, key=lambda shard: -shard.seconds)[
            :SLOWEST_SHARDS
        ],
        failed=[check for check in manifest.gate if not check.ok],
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
    if manifest.shards:
        drawn["throughput"] = figures.throughput(*_speed(manifest.shards))
    return drawn


def _same_bins(now: list[int], before: list[int] | None) -> list[int] | None:
    """Return the histogram of the run before, if that version counted one, and in the same bins."""
    return before if before and len(before) == len(now) else None


def _rejecting_files(shards: Sequence[ScoredShard]) -> list[RejectingFile]:
    """Return the files with most rejected rows."""
    files: dict[str, RejectingFile] = {}
    for shard in shards:
        file = files.get(shard.uri, RejectingFile(shard.uri))
        rejected, rows = file.rejected + shard.rows_rejected, file.rows + shard.rows_in
        files[shard.uri] = replace(file, rejected=rejected, rows=rows)
    worst = sorted(files.values(), key=lambda file: (-file.rejected, file.uri))
    return [file for file in worst[:REJECTING_FILES] if file.rejected]


def _speed(shards: Sequence[ScoredShard]) -> tuple[list[float], list[float]]:
    """Return edges (seconds since the first shard began) and ads per second between them, by when
    shards ended."""
    ended = np.array(
        [datetime.fromisoformat(shard.finished_at).timestamp() for shard in shards]
    )
    began = ended - [shard.seconds for shard in shards]
    ended_s = ended - began.min()
    num_stretches = min(max(len(shards) // SHARDS_PER_STRETCH, 1), MAX_STRETCHES)
    edges_s = np.linspace(0.0, max(ended_s.max(), 1e-3), num_stretches + 1)
    ads, _ = np.histogram(ended_s, edges_s, weights=[shard.rows_in for shard in shards])
    return edges_s.tolist(), (ads / np.diff(edges_s)).tolist()


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
