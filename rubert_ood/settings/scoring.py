"""The settings of the jobs that use a bundle: score a catalogue, publish it, compare, predict."""

from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg

from rubert_ood.settings.base import PLAIN_NAME, ExecutorSettings, JobSettings
from rubert_ood.settings.kinds import UTC_NAME, Day, ZoneName, today
from rubert_ood.settings.shared import (
    ColumnSettings,
    ComputeSettings,
    GateSettings,
    ScoringComputeSettings,
    SortBy,
    TablesSettings,
)


class CatalogueSettings(JobSettings):
    """Base of what plans a run: which ads, which bundle, and how the output looks."""

    input_uri: str = Field(min_length=1)
    """Ads, Parquet or CSV (file, folder or glob)."""
    bundle_uri: str = Field(min_length=1)
    """The bundle."""
    output_uri: str = Field(min_length=1)
    """Root of the published output: OUTPUT/run_date=.../run_id=.../data-*.parquet and
    OUTPUT/latest.json."""
    run_id: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the run. Default: the head of the run fingerprint, so the same work has the same
    name."""
    columns: ColumnSettings = ColumnSettings()
    carry_columns: tuple[str, ...] = ()
    """Input columns copied to the output."""
    embedding: bool = False
    """Write the CLS vector as a float16 list."""
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    """A file that can't be read or lacks a column ends the job, or is quarantined with its
    reason."""
    shard_rows: int | None = Field(None, gt=0)
    """Ads per shard: the unit of work and of retry, whatever the size of the published files.
    Default: 20,000 on GPU, 2,000 on CPU."""
    target_file_mb: int = Field(128, gt=0, le=2048)
    """Size of a published file in MB, about; 64 to 512 is what readers like. The task that seals
    one holds it in memory, and one row group."""
    sort_by: SortBy = "none"
    """Order of the rows in a published file. none: that of the input, with a Bloom filter to find
    an ad by. ad_id: readers find an ad, or a range of them, by the statistics; the task that sorts
    a file holds it decoded, about ten times target_file_mb."""
    compute: ScoringComputeSettings = ScoringComputeSettings()
    gate: GateSettings = GateSettings()
    reuse: str = Field("auto", min_length=1)
    """Results of texts that a run scored with the same bundle, numeric precision and code are taken
    over. auto: from the last published run of the output; never: score every text; or a run
    folder, OUTPUT/run_date=.../run_id=..."""
    reuse_check_fraction: float = Field(0.001, gt=0, le=1)
    """Share of the reused texts that are scored again and compared, but about 200 at least. One
    that differs by more than the numeric precision explains stops reuse, and all is scored."""
    report_texts: bool = True
    """Keep the first 200 characters of the cleaned text of the ads farthest from every class, some
    per shard, in receipts, manifest and report. Phone numbers and city names are not in it; what
    else is personal may be."""


class DaySettings(CatalogueSettings):
    """Base of what plans the run of one day."""

    run_timezone: ZoneName = UTC_NAME
    """Time zone, by its IANA name such as Europe/Moscow, in which today is the default of
    run_date."""
    run_date: Day = Field(default_factory=today)
    """Day that the run belongs to, YYYY-MM-DD. Default: today; give it where a run may pass
    midnight, or it cannot be resumed."""


class RunSettings(ExecutorSettings):
    """Base of what carries a plan out."""

    max_quarantined_shards: int = Field(10, ge=0)
    """Shards that may be quarantined during the run (damaged page, a text that kills its process)
    before it stops."""
    no_progress_timeout_s: float = Field(300, gt=0)
    """The run stops, resumable, when no shard moves for so long, or while it waits for its first
    node no node comes or goes. More than one shard takes, and than the autoscaler."""
    publish: bool = True
    """Swap the pointer when the gate agrees."""
    tables: TablesSettings = TablesSettings()


class ScoreSettings(DaySettings, RunSettings):
    """Score a catalogue: plan, score, verify, publish, report. The same command resumes a stopped
    run."""

    report_changes: bool = True
    """Compare with the last published run ad by ad, after publication, and show in the report which
    labels changed; see also _run/diff.html. Takes about 15 s per million ads on 2 cores. A backfill
    compares in any case."""


class PlanSettings(DaySettings):
    """Check the input of a scoring job and estimate its time; nothing is written. It reads the YAML
    file of `score`."""

    estimate_s: float = Field(10, ge=0)
    """Seconds of scoring, on this machine, that the estimate rests on; loading comes on top. 0: no
    estimate."""


class BackfillSettings(CatalogueSettings, RunSettings):
    """Score a range of past days again, compare each with its run before, publish by gate."""

    from_date: Day
    """First day to score again."""
    to_date: Day
    """Last day, inclusive."""
    input_uri: str = Field(min_length=1)
    """Ads of a day; {run_date} stands for the day, as in s3://BUCKET/ads/{run_date}/."""

    @model_validator(mode="before")
    @classmethod
    def _not_of_one_day(cls, values: object) -> object:
        if isinstance(values, dict) and "run_date" in values:
            raise ValueError("run_date: a backfill takes from_date and to_date instead")
        return values

    @model_validator(mode="after")
    def _a_range_of_days(self) -> "BackfillSettings":
        if self.to_date < self.from_date:
            raise ValueError(
                f"to_date {self.to_date} is before from_date {self.from_date}"
            )
        if self.to_date > self.from_date and "{run_date}" not in self.input_uri:
            raise ValueError(
                "input_uri: several days with one input; write {run_date} where the day stands"
                " in it"
            )
        return self


class DiffSettings(ExecutorSettings):
    """Compare two runs ad by ad, or two bundles on the same ads; write diff.json and diff.html."""

    a_uri: CliPositionalArg[str] = ""
    """What was before: a run folder, a root of published output (its published run), or a
    bundle."""
    b_uri: CliPositionalArg[str] = ""
    """What it is compared with, of the same kind."""
    input_uri: str | None = None
    """Ads that both bundles score, Parquet or CSV; only for bundles."""
    output_uri: str = "output/diff"
    """Where diff.json and diff.html go, and with bundles their runs, under a/ and b/."""
    columns: ColumnSettings = ColumnSettings()
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    """With bundles: a file that can't be read ends the job, or is quarantined with its reason."""
    compute: ScoringComputeSettings = ScoringComputeSettings()

    @model_validator(mode="after")
    def _two_things(self) -> "DiffSettings":
        if not self.a_uri or not self.b_uri:
            raise ValueError(
                "name two runs or two bundles:"
                " `diff A B`, or a_uri and b_uri in the YAML file"
            )
        return self


class VerifySettings(JobSettings):
    """Re-read a run folder and check its files against its receipts."""

    run_uri: str = Field(min_length=1)
    """The run folder, OUTPUT/run_date=.../run_id=..."""


class PublishSettings(JobSettings):
    """Publish a verified run: apply the gate, then swap the pointer."""

    run_uri: str = Field(min_length=1)
    """The run folder, OUTPUT/run_date=.../run_id=..."""
    gate: GateSettings = GateSettings()
    force: str | None = Field(None, min_length=1)
    """Publish although the gate refuses, or after a rollback, for this reason; the manifest keeps
    it."""
    tables: TablesSettings = TablesSettings()
    """Without any, those that are noted in the manifests of this run and of the one before."""


class RollbackSettings(JobSettings):
    """Let the pointer name the run that was published before the present one, or the bundle that
    was the champion before."""

    output_uri: str = Field(min_length=1)
    """Root of the published output, where latest.json lies; with bundles that of the bundles, by
    which OUTPUT/bundles/champion.json is found."""
    reason: str = "no reason given"
    """Why; the manifest of the run that is taken back keeps it, or champion.json."""
    bundles: bool = False
    """Take the champion back, not a run."""
    tables: TablesSettings = TablesSettings()
    """Without any, those that are noted in the manifests of both runs."""


class PredictSettings(JobSettings):
    """Classify texts, given as arguments or one a line on standard input; print the decision."""

    bundle_uri: str = Field(min_length=1)
    """The bundle."""
    json_lines: bool = False
    """Print one JSON object a line, for programs."""
    compute: ComputeSettings = ComputeSettings()
    texts: CliPositionalArg[list[str]] = Field([])
    """Texts to classify."""
