"""The settings of the jobs that use a bundle: score a catalogue, publish it, compare, predict."""

from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg

from rubert_ood.settings.base import (
    PLAIN_NAME,
    ExecutorSettings,
    JobSettings,
    SignedSettings,
)
from rubert_ood.settings.kinds import UTC_NAME, Day, ZoneName, today
from rubert_ood.settings.operating import LineageSettings, NotifySettings, PriceSettings
from rubert_ood.settings.shared import (
    ColumnSettings,
    ComputeSettings,
    GateSettings,
    ScoringComputeSettings,
    SortBy,
    TablesSettings,
)


class CatalogueSettings(SignedSettings):
    """Base of what plans a run: which ads, which bundle, and how the output looks."""

    input_uri: str = Field(min_length=1)
    """Ads to score, Parquet or CSV (file, folder or glob)."""
    bundle_uri: str = Field(min_length=1)
    """Bundle to score with (a folder, BUNDLES/champion or models:/NAME@ALIAS)."""
    output_uri: str = Field(min_length=1)
    """Root of the published output, OUTPUT. The run goes to OUTPUT/run_date=.../run_id=..., the
    pointer is OUTPUT/latest.json."""
    run_id: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the run. Default: the start of the run fingerprint, so that the same work has the
    same name."""
    columns: ColumnSettings = ColumnSettings()
    carry_columns: tuple[str, ...] = ()
    """Input columns to copy to the output."""
    embedding: bool = False
    """Write the CLS vector as a list of float16."""
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    """What to do with a file that cannot be read or lacks a column. fail: stop the job. quarantine:
    leave the file out, and record the reason."""
    shard_rows: int | None = Field(None, gt=0)
    """Ads per shard, the unit of work and of retry. It does not change the published files.
    Default: 20,000 on GPU, 2,000 on CPU."""
    target_file_mb: int = Field(128, gt=0, le=2048)
    """Approximate size of a published file. Readers like 64 to 512 MB. The task that seals a file
    holds it in memory."""
    sort_by: SortBy = "none"
    """Order of the rows in a published file. none: that of the input, with a Bloom filter on ad_id.
    ad_id: sorted, so that readers find ids and ranges by the statistics. The sorting task needs
    about ten times target_file_mb of memory."""
    compute: ScoringComputeSettings = ScoringComputeSettings()
    price: PriceSettings = PriceSettings()
    gate: GateSettings = GateSettings()
    reuse: str = Field("auto", min_length=1)
    """Run whose results to take over. It must have scored with the same bundle, numeric precision
    and code. auto: the last published run of the output. never: score every text. Or name a run
    folder."""
    reuse_check_fraction: float = Field(0.001, gt=0, le=1)
    """Share of the reused texts to score again and compare, but at least about 200. A difference
    beyond the numeric precision stops reuse, and every text is scored."""
    report_texts: bool = True
    """Show texts in the report: the first 200 characters of the farthest ads, after cleaning.
    Receipts and manifest keep them too. Cleaning removes phone numbers and city names, but other
    personal data may remain."""


class DaySettings(CatalogueSettings):
    """Base of what plans the run of one day."""

    run_timezone: ZoneName = UTC_NAME
    """Time zone of run_date, as an IANA name such as Europe/Moscow."""
    run_date: Day = Field(default_factory=today)
    """Day that the run belongs to. Set it if the run may pass midnight, or the next day's command
    will not resume it."""


class RunSettings(ExecutorSettings):
    """Base of what carries a plan out."""

    max_quarantined_shards: int = Field(10, ge=0)
    """Largest number of shards to quarantine during the run. One more stops the run."""
    no_progress_timeout_s: float = Field(300, gt=0)
    """Time without progress after which the run stops, and can be resumed. Set it above the time of
    one shard, and above the time that the autoscaler needs to add a node."""
    publish: bool = True
    """Publish the run if the gate accepts it."""
    notify: NotifySettings = NotifySettings()
    lineage: LineageSettings = LineageSettings()
    tables: TablesSettings = TablesSettings()


class ScoreSettings(DaySettings, RunSettings):
    """Score a catalogue: plan, score, verify, publish, report. The same command resumes a stopped
    run."""

    deadline_h: float | None = Field(None, gt=0, le=72)
    """Hours after the start of run_date by which the last ad should be scored. By the clock of
    run_timezone 6 is 06:00, and 30 is 06:00 of the day after. A run that will be late says so in
    its log and its metrics, and goes on. Default: no deadline."""
    report_changes: bool = True
    """Compare the run with the last published one ad by ad, and show in the report which labels
    changed. Takes about 15 s per million ads on 2 cores. See also _run/diff.html."""


class PlanSettings(DaySettings):
    """Check the input of a scoring job and estimate its time. Nothing is written. The YAML file is
    that of `score`."""

    estimate_s: float = Field(10, ge=0)
    """How long to score on this machine for the estimate, without loading the model. 0: no
    estimate."""


class BackfillSettings(CatalogueSettings, RunSettings):
    """Score a range of past days again, compare each with the previous run of its day, publish each
    through the gate."""

    from_date: Day
    """First day to score again."""
    to_date: Day
    """Last day to score again, included."""
    input_uri: str = Field(min_length=1)
    """Ads of a day. {run_date} stands for the day, as in s3://BUCKET/ads/{run_date}/."""

    @model_validator(mode="before")
    @classmethod
    def _not_of_one_day(cls, values: object) -> object:
        if isinstance(values, dict) and "run_date" in values:
            raise ValueError(
                "run_date: a backfill has no such setting. Use from_date and"
                " to_date instead"
            )
        return values

    @model_validator(mode="after")
    def _a_range_of_days(self) -> "BackfillSettings":
        if self.to_date < self.from_date:
            raise ValueError(
                f"to_date: {self.to_date} is before from_date"
                f" ({self.from_date}). Choose a later day"
            )
        if self.to_date > self.from_date and "{run_date}" not in self.input_uri:
            raise ValueError(
                "input_uri: several days would have one input. Write"
                " {run_date} where the day stands in the path"
            )
        return self


class DiffSettings(ExecutorSettings):
    """Compare two runs ad by ad, or two bundles on the same ads. Write diff.json and diff.html."""

    a_uri: CliPositionalArg[str] = ""
    """Run or bundle to compare from: a run folder, a published output (its published run) or a
    bundle."""
    b_uri: CliPositionalArg[str] = ""
    """Run or bundle to compare with, of the same kind."""
    input_uri: str | None = None
    """Ads that both bundles score, Parquet or CSV. Needed for bundles only."""
    output_uri: str = "output/diff"
    """Folder of diff.json and diff.html. The runs of two bundles go to a/ and b/ in it."""
    columns: ColumnSettings = ColumnSettings()
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    """What to do with a file that cannot be read, for bundles only. fail: stop the job. quarantine:
    leave the file out, and record the reason."""
    compute: ScoringComputeSettings = ScoringComputeSettings()

    @model_validator(mode="after")
    def _two_things(self) -> "DiffSettings":
        if not self.a_uri or not self.b_uri:
            raise ValueError(
                "a_uri and b_uri: one of them is missing. Use two runs or two"
                " bundles, as `rubert-ood diff A B` or in the YAML file"
            )
        return self


class VerifySettings(JobSettings):
    """Read a run again, and check its files against its receipts."""

    run_uri: str = Field(min_length=1)
    """Run folder, OUTPUT/run_date=.../run_id=..."""


class PublishSettings(JobSettings):
    """Publish a run: verify it, apply the gate, swap the pointer."""

    run_uri: str = Field(min_length=1)
    """Run folder, OUTPUT/run_date=.../run_id=..."""
    gate: GateSettings = GateSettings()
    force: str | None = Field(None, min_length=1)
    """Publish although the gate refuses, or after a rollback, for this reason. The manifest keeps
    it."""
    tables: TablesSettings = TablesSettings()
    """Without any, the tables in the manifests of this run and of the one before."""


class RollbackSettings(JobSettings):
    """Go back to the run that was published before, or to the previous champion."""

    output_uri: str = Field(min_length=1)
    """Root of the published output, with latest.json. With `bundles` the root of the bundles, with
    bundles/champion.json."""
    reason: str = "no reason given"
    """Why to roll back. The manifest of the run, or champion.json, keeps it."""
    bundles: bool = False
    """Roll back the champion instead of a run."""
    tables: TablesSettings = TablesSettings()
    """Without any, the tables in the manifests of both runs."""


class PredictSettings(SignedSettings):
    """Classify texts (arguments, or one per line on standard input), and print the decisions."""

    bundle_uri: str = Field(min_length=1)
    """Bundle to classify with (a folder, BUNDLES/champion or models:/NAME@ALIAS)."""
    json_lines: bool = False
    """Print one JSON object per line, for programs."""
    compute: ComputeSettings = ComputeSettings()
    texts: CliPositionalArg[list[str]] = Field([])
    """Texts to classify."""
