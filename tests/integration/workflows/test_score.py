"""The night's outcomes, one process without Ray: quarantined, claimed anew, refused, forced, rolled
back, repaired."""

import json
import shutil
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.text import ad_text
from rubert_ood.comparing.document import DiffDocument, changed_labels
from rubert_ood.errors import (
    ErrorRateError,
    InputError,
    OutputError,
    PartialRunError,
    PublicationRefusedError,
    VerificationError,
)
from rubert_ood.reports import run_page
from rubert_ood.reports.run_page import run_html
from rubert_ood.runs import parts
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.manifest import Manifest, read_manifest
from rubert_ood.scoring import write
from rubert_ood.sealing import layout
from rubert_ood.settings import (
    GateSettings,
    PriceSettings,
    PublishSettings,
    RollbackSettings,
    ScoreSettings,
    VerifySettings,
)
from rubert_ood.workflows import score as workflow
from rubert_ood.workflows.publish import publish
from rubert_ood.workflows.rollback import rollback
from rubert_ood.workflows.score import score
from rubert_ood.workflows.verify import verify
from tests.conftest import damage_first_page, read_parts, write_parquet
from tests.unit.publishing.manifests import changed, put_manifest

WIDE_OPEN = GateSettings(
    max_error_rate=1,
    max_ood_rate=1,
    max_other_rate=1,
    max_quarantined_share=1,
    max_duplicate_rate=1,
    max_class_shift=1,
)
NUM_ADS, SHARD_ROWS = 120, 20


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(run_page, "run_html", lambda manifest, *_: manifest.outcome)


@pytest.fixture(scope="module")
def source(ads, tmp_path_factory) -> Path:
    return _write_source(ads, tmp_path_factory.mktemp("source"))


def _write_source(ads: pa.Table, folder: Path) -> Path:
    for name, start in (("a", 0), ("b", NUM_ADS // 2)):
        table = ads.slice(start, NUM_ADS // 2)
        write_parquet(
            folder / f"{name}.parquet",
            table,
            row_group_size=SHARD_ROWS,
            compression="none",
        )
    return folder


@pytest.fixture
def settings(source, bundle, tmp_path) -> ScoreSettings:
    return ScoreSettings(
        input_uri=str(source),
        bundle_uri=bundle.uri,
        output_uri=str(tmp_path / "out"),
        gate=WIDE_OPEN,
        shard_rows=SHARD_ROWS,
        executor="local",
    )


@pytest.fixture
def damaged(settings, source, tmp_path) -> ScoreSettings:
    """One shard of each file cannot be read."""
    copy = Path(shutil.copytree(source, tmp_path / "in"))
    for path in copy.iterdir():
        damage_first_page(path)
    return settings.model_copy(
        update={"input_uri": str(copy), "on_bad_file": "quarantine"}
    )


def _with(settings: ScoreSettings, **changes) -> ScoreSettings:
    return settings.model_copy(update=changes)


def _gate(**changes) -> GateSettings:
    return WIDE_OPEN.model_copy(update=changes)


def _run_dir(settings: ScoreSettings) -> Path:
    (run_dir,) = Path(settings.output_uri).glob("run_date=*/run_id=*")
    return run_dir


def _manifest(run_dir: Path) -> dict:
    return json.loads((run_dir / "_run" / "manifest.json").read_text())


def _pointer(settings: ScoreSettings) -> dict:
    return json.loads(Path(settings.output_uri, "latest.json").read_text())


def test_score_gate_counts_quarantined_shards(damaged):
    with pytest.raises(
        ErrorRateError, match=r"gate\.max_error_rate is 0\.3, found 0\.3333"
    ):
        score(_with(damaged, gate=_gate(max_error_rate=0.3)))
    assert not Path(damaged.output_uri, "latest.json").exists()


def test_score_publishes_without_a_shard_that_failed_after_its_rejected_rows_were_put(
    settings, ads, tmp_path, monkeypatch
):
    """Nobody counts these rows as rejected: they are rows of a quarantined shard."""
    ids = [None, *ads["ad_id"].to_pylist()[1:40]]
    place = ads.schema.get_field_index("ad_id")
    table = ads.slice(0, 40).set_column(place, "ad_id", pa.array(ids, pa.string()))
    write_parquet(tmp_path / "in" / "a.parquet", table, row_group_size=SHARD_ROWS)
    part_table = write.part_table

    def out_of_memory(rows: pa.Table, *others: object) -> pa.Table:
        if rows["reason"].null_count < len(rows):
            raise MemoryError
        return part_table(rows, *others)

    monkeypatch.setattr(write, "part_table", out_of_memory)
    manifest = score(_with(settings, input_uri=str(tmp_path / "in")))
    counts = manifest.counts
    found = (counts.rows_scored, counts.rows_rejected, counts.rows_quarantined)
    assert (manifest.outcome, found) == ("published", (20, 0, 20))
    assert len(list(_run_dir(settings).glob("_errors/*.rejected"))) == 1
    verify(VerifySettings(run_uri=manifest.run_uri))


def test_score_stops_at_more_than_max_failed_shards(damaged):
    with pytest.raises(
        PartialRunError,
        match=(
            r"max_quarantined_shards: the run quarantined more than 1 shard"
            r".*\.parquet: the file cannot be read"
        ),
    ):
        score(_with(damaged, max_quarantined_shards=1))
    manifest = _manifest(_run_dir(damaged))
    assert (manifest["outcome"], len(manifest["quarantined_shards"])) == ("partial", 2)
    finished = score(_with(damaged, max_quarantined_shards=2))
    assert finished.outcome == "published"
    assert finished.counts.rows_scored == NUM_ADS - 2 * SHARD_ROWS


@pytest.fixture
def in_three_files(monkeypatch):
    """Files of two shards each, whatever a part of some kB weighs."""

    def cut_files(plan, _receipts):
        return list(range(0, len(plan.shards), 2))

    monkeypatch.setattr(layout, "cut_files", cut_files)


@pytest.mark.usefixtures("in_three_files")
def test_a_part_that_was_damaged_is_scored_again_before_it_is_sealed(
    settings, monkeypatch, caplog
):
    def stop(*_: object) -> None:
        raise PartialRunError("before sealing")

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "seal_run", stop)
        with pytest.raises(PartialRunError, match="before sealing"):
            score(settings)
    run_dir = _run_dir(settings)
    first, second, third, *others = sorted(run_dir.glob("_parts/*.scored"))
    undisturbed = [pq.read_table(path) for path in (first, second, third, *others)]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-200])
    shutil.copy(others[0], third)
    receipts = {path: path.stat().st_mtime_ns for path in run_dir.glob("_run/receipts/*")}
    with pytest.raises(PartialRunError, match="the files are not sealed"):
        verify(VerifySettings(run_uri=str(run_dir)))
    assert score(settings).outcome == "published"
    assert "scores 3 parts again: " in caplog.text
    assert read_parts(run_dir).equals(pa.concat_tables(undisturbed))
    now = {path: path.stat().st_mtime_ns for path in run_dir.glob("_run/receipts/*")}
    assert now == receipts  # the parts are those that the receipts describe
    assert list(run_dir.glob("_parts/*.scored")) == []
    verify(VerifySettings(run_uri=str(run_dir)))


@pytest.mark.parametrize("error", [OutputError, VerificationError])
def test_a_run_that_any_error_of_ours_stops_does_not_look_as_if_it_went_on(
    settings, monkeypatch, error
):
    def stop(*_: object) -> None:
        raise error("at sealing")

    monkeypatch.setattr(workflow, "seal_run", stop)
    with pytest.raises(error, match="at sealing"):
        score(settings)
    run_dir = _run_dir(settings)
    assert _manifest(run_dir)["outcome"] == "partial"
    assert json.loads((run_dir / "_run" / "runner.json").read_text()) == {}


@pytest.mark.usefixtures("in_three_files")
def test_a_file_that_was_damaged_is_sealed_again_before_publication(settings, caplog):
    run_dir = Path(score(_with(settings, publish=False)).run_uri)
    undisturbed = read_parts(run_dir)
    first, second, third = sorted(run_dir.glob("data-*.parquet"))
    contents = [path.read_bytes() for path in (first, second, third)]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-200])
    time = third.stat().st_mtime_ns
    min(run_dir.glob("_parts/*.scored")).unlink()  # of the first file
    with pytest.raises(VerificationError, match=r"\(2 problems in all\)"):
        verify(VerifySettings(run_uri=str(run_dir)))
    assert score(settings).outcome == "published"
    assert "seals 2 files again, and goes on: " in caplog.text
    assert "scores 1 part again: " in caplog.text
    assert read_parts(run_dir).equals(undisturbed)
    assert [path.read_bytes() for path in (first, second, third)] == contents
    assert third.stat().st_mtime_ns == time

    third.unlink()  # now that it is published, nothing is mended silently
    with pytest.raises(VerificationError, match=f"{third.name} is missing"):
        score(settings)
    assert not third.exists()


@pytest.mark.usefixtures("in_three_files")
def test_score_by_ad_id_sorts_the_rows_of_each_file(settings, ads, tmp_path):
    order = np.random.default_rng(3).permutation(NUM_ADS)
    source = _write_source(ads.slice(0, NUM_ADS).take(order), tmp_path / "in")
    sorted_run, plain = (
        score(_with(settings, input_uri=str(source), sort_by=name, run_id=name))
        for name in ("ad_id", "none")
    )
    files = [sorted(Path(run.run_uri).glob("data-*")) for run in (sorted_run, plain)]
    for path, other in zip(*files, strict=True):
        rows, expected = (
            pd.read_parquet(one).drop(columns="scored_in") for one in (path, other)
        )
        assert not expected["ad_id"].is_monotonic_increasing
        pd.testing.assert_frame_equal(
            rows, expected.sort_values("ad_id", ignore_index=True)
        )
    verify(VerifySettings(run_uri=sorted_run.run_uri))


def test_score_whose_parts_cannot_be_removed_is_published_and_says_so(
    settings, monkeypatch, caplog
):
    def refuse(_: object) -> None:
        raise OutputError("access is denied")

    with monkeypatch.context() as patch:
        patch.setattr(parts, "remove_files", refuse)
        assert score(settings).outcome == "published"
    assert (
        "the parts could not be removed, which readers never see: access is denied"
        in caplog.text
    )
    run_dir = _run_dir(settings)
    assert len(list(run_dir.glob("_parts/*"))) == NUM_ADS // SHARD_ROWS
    assert score(settings).outcome == "published"  # already: the next start removes them
    assert list(run_dir.glob("_parts/*")) == []


def test_a_start_that_was_taken_over_stops_and_harms_nothing(settings, monkeypatch):
    rivals: list[Claim] = []

    class TakenOver(Claim):
        """A second start comes when the first shard is done."""

        def check(self, *, now: bool = False) -> None:
            if not rivals and not now:
                rivals.append(Claim(self._run_uri))
            super().check(now=True)

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "Claim", TakenOver)
        with pytest.raises(PartialRunError, match="has claimed this run"):
            score(settings)
    run_dir = _run_dir(settings)
    assert len(list(run_dir.glob("_run/receipts/*"))) == 1
    assert _manifest(run_dir)["outcome"] == "running"  # it is the other's now to write
    assert not Path(settings.output_uri, "latest.json").exists()
    assert score(settings).counts.rows_scored == NUM_ADS


def test_a_run_that_was_rolled_back_is_not_published_by_the_next_start(settings):
    first, second = (score(_with(settings, run_id=name)) for name in ("first", "second"))
    rollback(RollbackSettings(output_uri=settings.output_uri, reason="wrong labels"))
    pointer = _pointer(settings)
    assert Path(settings.output_uri, pointer["path"]) == Path(first.run_uri)
    with pytest.raises(
        PublicationRefusedError, match=r"was rolled back \(wrong labels\)"
    ):
        score(_with(settings, run_id="second"))
    with pytest.raises(PublicationRefusedError, match="Run `publish --force REASON`"):
        publish(PublishSettings(run_uri=second.run_uri, gate=WIDE_OPEN))
    assert _pointer(settings) == pointer
    verify(VerifySettings(run_uri=second.run_uri))
    publish(
        PublishSettings(run_uri=second.run_uri, gate=WIDE_OPEN, force="they were right")
    )
    assert _pointer(settings)["run_id"] == "second"
    verify(VerifySettings(run_uri=second.run_uri))


def test_an_old_command_does_not_take_readers_back(settings, caplog):
    first, _ = (score(_with(settings, run_id=name)) for name in ("first", "second"))
    caplog.set_level("INFO", logger="rubert_ood")
    assert score(_with(settings, run_id="first")) == first
    assert _pointer(settings)["run_id"] == "second"
    assert "already, nothing to do. Readers see a later run" in caplog.text


def test_a_run_that_the_gate_refused_is_kept_and_published_by_force(settings):
    strict = _gate(max_class_shift=0.0, max_other_rate=0.0)
    with pytest.raises(PublicationRefusedError, match=r"gate\.max_other_rate"):
        score(_with(settings, gate=strict))
    run_dir = _run_dir(settings)
    assert _manifest(run_dir)["outcome"] == "refused"
    assert json.loads((run_dir / "_run" / "runner.json").read_text()) == {}
    assert read_parts(run_dir).num_rows == NUM_ADS
    assert not Path(settings.output_uri, "latest.json").exists()
    publish(PublishSettings(run_uri=str(run_dir), gate=strict, force="seen by hand"))
    manifest = _manifest(run_dir)
    assert (manifest["outcome"], manifest["forced"]) == ("published", "seen by hand")
    assert _pointer(settings)["path"] == str(run_dir.relative_to(settings.output_uri))


def test_score_tells_the_webhook_and_writes_down_the_cost(settings, webhook):
    price = PriceSettings(per_node_hour=3600.0, currency="EUR")
    manifest = score(_with(settings, price=price))
    kept = _manifest(_run_dir(settings))["cost"]
    assert 0 < kept["node_seconds"] <= manifest.elapsed_s + 1
    assert kept["amount"] == pytest.approx(kept["node_seconds"])
    strict = _with(settings, run_id="second", gate=_gate(max_other_rate=0.0))
    with pytest.raises(PublicationRefusedError):
        score(strict)
    first, second = webhook.bodies
    assert (first["event"], first["cost"]) == ("published", f"{kept['amount']:,.2f} EUR")
    assert (second["event"], second["run_id"]) == ("refused", "second")


def test_a_run_that_is_published_later_keeps_what_it_cost_to_score(settings):
    priced = _with(settings, price=PriceSettings(per_node_hour=3600.0))
    cost = score(_with(priced, publish=False)).cost
    assert cost is not None
    assert score(_with(priced, publish=False)).cost == cost
    settings = PublishSettings(run_uri=str(_run_dir(settings)), gate=WIDE_OPEN)
    assert publish(settings).cost == cost


def test_score_names_duplicate_ids_within_and_across_files(settings, ads, tmp_path):
    half = NUM_ADS // 2
    ids = ads["ad_id"].to_pylist()[:NUM_ADS]
    ids[1], ids[half], ids[-1] = ids[0], ids[2], ids[2]
    table = ads.slice(0, NUM_ADS)
    table = table.set_column(
        table.schema.get_field_index("ad_id"), "ad_id", pa.array(ids)
    )
    source = _write_source(table, tmp_path / "in")
    manifest = score(_with(settings, input_uri=str(source), publish=False))
    a, b = (str(source / f"{name}.parquet") for name in "ab")
    assert manifest.duplicates.model_dump() == {
        "ids": 2,
        "rows": 3,
        "examples": [
            {"ad_id": ids[2], "copies": 3, "files": [a, b]},
            {"ad_id": ids[0], "copies": 2, "files": [a]},
        ],
    }
    assert read_parts(manifest.run_uri)["ad_id"].to_pylist() == ids  # all are scored
    with pytest.raises(
        PublicationRefusedError,
        match=r"gate\.max_duplicate_rate is 0\.001, found 0\.025",
    ):
        publish(
            PublishSettings(
                run_uri=manifest.run_uri, gate=_gate(max_duplicate_rate=0.001)
            )
        )


def test_the_report_compares_two_real_runs(settings, ads, bundle, tmp_path):
    """The second catalogue is the first one with longer texts, half of it from a city that training
    has not seen."""
    first = score(settings)
    table = ads.slice(0, NUM_ADS)
    texts = table["description"].to_pylist()
    longer = pa.array([" ".join([text] * 4) for text in texts])
    cities = pa.array(
        [
            "Новый Город" if n % 2 else city
            for n, city in enumerate(table["city"].to_pylist())
        ]
    )
    for name, column in (("description", longer), ("city", cities)):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    second = score(_with(settings, input_uri=str(_write_source(table, tmp_path / "in"))))
    assert second.cities.model_dump() == {
        "rows": NUM_ADS,
        "rows_unseen": NUM_ADS // 2,
        "unseen": {"новый город": NUM_ADS // 2},
    }
    before, after = (
        read_parts(run.run_uri).to_pandas().set_index("ad_id")["label"]
        for run in (first, second)
    )
    changed = before[before != after]
    written = Path(second.run_uri, "_run", "diff.json").read_bytes()
    document = DiffDocument.model_validate_json(written)
    assert document.churn_rate == pytest.approx(len(changed) / NUM_ADS)
    changes = changed_labels(document)
    assert changes.num_both == NUM_ADS
    counts = Counter(zip(changed, after[changed.index], strict=True))
    assert {(pair.label_a, pair.label_b): pair.count for pair in changes.pairs} == counts
    assert all(
        before[ad] == pair.label_a for pair in changes.pairs for ad in pair.examples
    )
    html = run_html(second, first, changes)
    for heading in ("Drift", "Changed labels", "Top OOD ads", "Unseen cities"):
        assert f">{heading}</h2>" in html
    assert "tokens per ad, unseen cities" in html  # what moved
    texts = {
        bundle.cleaner.clean(ad_text(*pair))[:200]
        for pair in zip(table["title"].to_pylist(), longer.to_pylist(), strict=True)
    }
    assert len(second.top_ood) == 20
    assert {ad.text for ad in second.top_ood} <= texts


def test_a_run_whose_files_have_other_rows_than_its_manifest_is_not_compared(settings):
    from rubert_ood.comparing.whole_run import read_run

    manifest = score(settings)
    assert read_run(manifest.run_uri).num_rows == NUM_ADS
    (file,) = manifest.files
    put_manifest(changed(manifest, files=[file.model_copy(update={"rows": 100})]))
    with pytest.raises(
        VerificationError,
        match=rf"the files have 100 rows, .* {NUM_ADS}\. Run `rubert-ood verify`",
    ):
        read_run(manifest.run_uri)


def test_a_comparison_that_fails_spoils_nothing(settings, ads, tmp_path, caplog):
    first = score(settings)
    next(Path(first.run_uri).glob("data-*")).unlink()
    source = str(_write_source(ads.slice(NUM_ADS, NUM_ADS), tmp_path / "in"))
    second = score(_with(settings, input_uri=source))
    assert second.outcome == "published"
    assert "the report will not show which labels changed" in caplog.text
    third = score(_with(settings, input_uri=source, run_id="quiet", report_changes=False))
    assert not (Path(third.run_uri) / "_run" / "diff.json").exists()


def test_a_run_without_report_texts_keeps_no_text(settings, ads, bundle):
    run_dirs = [
        Path(score(_with(settings, report_texts=value)).run_uri)
        for value in (True, False)
    ]
    pairs = zip(
        ads["title"].to_pylist()[:NUM_ADS],
        ads["description"].to_pylist()[:NUM_ADS],
        strict=True,
    )
    texts = {bundle.cleaner.clean(ad_text(*pair))[:40] for pair in pairs}
    found = []
    for run_dir in run_dirs:
        records = "".join(
            path.read_text("utf-8") for path in (run_dir / "_run").rglob("*.json")
        )
        found.append(sum(text in records for text in texts))
    assert found[0] > 20
    assert found[1] == 0
    assert read_parts(run_dirs[0])["label"].equals(read_parts(run_dirs[1])["label"])


def _score_days(settings: ScoreSettings, *days: str) -> list[dict]:
    return [
        score(_with(settings, run_date=date.fromisoformat(day), run_id=f"r{day[-2:]}"))
        for day in days
    ]


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"path": "../../x", "run_id": "x", "run_date": "2026-11-24"}']
)
def test_score_with_a_pointer_that_is_not_ours_ends_before_it_plans(settings, content):
    path = Path(settings.output_uri, "latest.json")
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match=rf"{path}: the file is damaged"):
        score(settings)
    assert list(Path(settings.output_uri).rglob("*")) == [path]
    assert path.read_text() == content


@pytest.mark.parametrize(
    "name", ["manifest.json", "runner.json", "plan.json", "receipts/*.json"]
)
def test_score_with_a_control_file_that_is_not_ours_erases_nothing(settings, name):
    run_dir = Path(score(settings).run_uri)
    path = next((run_dir / "_run").glob(name))
    if name == "runner.json":  # which nobody reads once the run is published
        (run_dir / "_run" / "manifest.json").unlink()
        Path(settings.output_uri, "latest.json").unlink()
    path.write_text("[]")
    before = {
        path: path.read_bytes()
        for path in Path(settings.output_uri).rglob("*")
        if path.is_file()
    }
    with pytest.raises(InputError, match=f"{path}: the file is damaged .content: "):
        score(settings)
    assert {path: path.read_bytes() for path in before} == before


def test_score_of_an_earlier_day_that_was_killed_is_finished_and_not_published(
    settings, monkeypatch, caplog
):
    """Yesterday's run is killed after its first shard; today's is published; then yesterday's goes
    on."""
    yesterday = _with(settings, run_date=date(2026, 11, 23), run_id="r23")
    killed: list[str] = []

    def kill(self, *, now: bool = False) -> None:
        killed.append("x")
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Claim, "check", kill)
        with pytest.raises(SystemExit):
            score(yesterday)
    _score_days(settings, "2026-11-24")
    pointer = _pointer(settings)
    with pytest.raises(PublicationRefusedError, match="it is older") as error:
        score(yesterday)
    assert error.value.exit_code == 5
    assert (
        "scores this run without publishing it, because readers see a later day"
        in caplog.text
    )
    assert _pointer(settings) == pointer
    run_dir = Path(settings.output_uri, "run_date=2026-11-23", "run_id=r23")
    assert read_parts(run_dir).num_rows == NUM_ADS
    manifest = _manifest(run_dir)
    assert (manifest["outcome"], manifest["refusal_reason"]) == (
        "refused",
        str(error.value),
    )
    assert (run_dir / "_run" / "report.html").exists()
    publish(PublishSettings(run_uri=str(run_dir), gate=WIDE_OPEN, force="on purpose"))
    assert _pointer(settings)["run_id"] == "r23"


def test_score_of_a_complete_run_again_does_not_make_it_newer(settings):
    first = score(_with(settings, run_id="first", publish=False))
    times = {
        name: getattr(first, name)
        for name in ("started_at", "finished_at", "elapsed_s", "rows_per_s")
    }
    times |= {
        "started_at": "2026-11-24T02:00:00+00:00",
        "finished_at": "2026-11-24T03:00:00+00:00",
    }
    put_manifest(changed(first, **times))
    score(_with(settings, run_id="second"))
    again = score(_with(settings, run_id="first", publish=False))
    assert {name: getattr(again, name) for name in times} == times
    with pytest.raises(
        PublicationRefusedError, match=r"finished 2026-11-24T03:00:00\+00:00\) than"
    ):
        score(_with(settings, run_id="first"))
    assert _pointer(settings)["run_id"] == "second"


def test_score_of_a_run_that_was_published_but_does_not_say_so_leaves_the_newer_one_alone(
    settings,
):
    """Its start died between the swap and the manifest, and another run was published since."""
    first = score(_with(settings, run_id="first"))
    put_manifest(changed(first, outcome="complete"))
    score(_with(settings, run_id="second"))
    pointer = _pointer(settings)
    assert score(_with(settings, run_id="first")).outcome == "published"
    assert _pointer(settings) == pointer
    assert _manifest(Path(first.run_uri))["outcome"] == "published"


def test_score_that_another_start_overtakes_before_its_claim_touches_nothing(
    settings, monkeypatch
):
    """It has seen a run that nobody had begun; until it claims it, another start has published
    it."""
    whole: list[Manifest | None] = []

    class Slow(Claim):
        def __init__(self, run_uri: str) -> None:
            if not whole:
                whole.append(None)
                whole[0] = score(settings)
                path = next(Path(run_uri).glob("data-*"))
                path.write_bytes(path.read_bytes()[:-9])
            super().__init__(run_uri)

    monkeypatch.setattr(workflow, "Claim", Slow)
    # and not: sealed again
    with pytest.raises(VerificationError, match="changed after it was sealed"):
        score(settings)
    assert read_manifest(str(_run_dir(settings))) == whole[0]


@pytest.mark.parametrize("publishes", [True, False])
def test_score_where_no_row_was_scored_is_no_success(settings, ads, tmp_path, publishes):
    table = ads.slice(0, NUM_ADS)
    nothing = pa.nulls(NUM_ADS, pa.string())
    source = _write_source(table.set_column(0, "ad_id", nothing), tmp_path / "in")
    assert table.schema.names[0] == "ad_id"
    with pytest.raises(
        ErrorRateError, match=f"none of the {NUM_ADS} ads was scored.* ad_id is null"
    ) as error:
        score(_with(settings, input_uri=str(source), publish=publishes))
    assert error.value.exit_code == 4
    manifest = _manifest(_run_dir(settings))
    assert (manifest["outcome"], manifest["counts"]["rows_rejected"]) == (
        "refused",
        NUM_ADS,
    )
    assert not Path(settings.output_uri, "latest.json").exists()


def test_score_that_is_interrupted_late_leaves_the_manifest_of_a_whole_run(
    settings, monkeypatch
):
    """The run is complete when its report is interrupted: the manifest goes on saying what became
    of it."""

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_page, "run_html", interrupt)
    with pytest.raises(KeyboardInterrupt):
        score(settings)
    assert _manifest(_run_dir(settings))["outcome"] == "published"


def test_score_that_a_bug_ends_is_noted_gives_its_claim_up_and_goes_on(
    settings, monkeypatch
):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("Продам +7 900 123-45-67")

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "seal_run", fail)
        with pytest.raises(ZeroDivisionError):
            score(settings)
    run_dir = _run_dir(settings)
    assert _manifest(run_dir)["outcome"] == "partial"
    assert json.loads((run_dir / "_run/runner.json").read_text()) == {}
    assert score(settings).outcome == "published"


@pytest.mark.parametrize("gate", [{}, {"max_ood_rate": 0.0}])
def test_report_that_fails_changes_nothing_else_and_comes_with_the_next_start(
    settings, monkeypatch, caplog, gate
):
    """Neither what the gate said, nor the exit code."""

    def fail(*_: object) -> str:
        raise ZeroDivisionError("Продам +7 900 123-45-67")

    settings = _with(settings, gate=_gate(**gate))
    if gate:  # there is a report of an earlier end
        with pytest.raises(PublicationRefusedError):
            score(settings)
        assert (_run_dir(settings) / "_run/report.html").exists()
    with monkeypatch.context() as patch:
        patch.setattr(run_page, "run_html", fail)
        if gate:
            with pytest.raises(PublicationRefusedError, match="max_ood_rate"):
                score(settings)
        else:
            assert score(settings).outcome == "published"
    (warning,) = [r for r in caplog.records if "could not be written" in r.message]
    assert "Reason: ZeroDivisionError in " in warning.message
    assert "Продам" not in caplog.text
    report = _run_dir(settings) / "_run/report.html"
    assert not report.exists()
    score(_with(settings, gate=WIDE_OPEN))
    assert report.exists()
