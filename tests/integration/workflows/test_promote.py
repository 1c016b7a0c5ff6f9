"""`promote` and `rollback --bundles` on real bundles, and the nights that follow the champion."""

import logging
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

import rubert_ood
from rubert_ood import storage
from rubert_ood.bundle import derive_bundle, new_bundle_uri
from rubert_ood.errors import (
    BundleError,
    InputError,
    PartialRunError,
    PublicationRefusedError,
    SettingsError,
)
from rubert_ood.pointers.champion import look
from rubert_ood.promotion.document import PROMOTION, Promotion
from rubert_ood.publishing import reused
from rubert_ood.reports import run_page
from rubert_ood.runs.manifest import Manifest, find_manifest, read_manifest
from rubert_ood.runs.plan import load_plan
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.settings import (
    BackfillSettings,
    ComputeSettings,
    DiffSettings,
    EvaluateSettings,
    GateSettings,
    PromotionLimits,
    RollbackSettings,
    ScoreSettings,
    TrainSettings,
)
from rubert_ood.storage import folders
from rubert_ood.workflows import backfill as backfill_job
from rubert_ood.workflows import promote as workflow
from rubert_ood.workflows import promote_trained as trained_job
from rubert_ood.workflows.backfill import backfill
from rubert_ood.workflows.diff import diff
from rubert_ood.workflows.evaluate import evaluate_bundle
from rubert_ood.workflows.promote import promote
from rubert_ood.workflows.promote_trained import check_promotion, promote_trained
from rubert_ood.workflows.rollback import rollback
from rubert_ood.workflows.score import score
from tests.conftest import patch_storage
from tests.unit.promotion.bundles import OPEN, Pair, make_pair

OPEN_GATE = GateSettings(
    max_error_rate=1,
    max_ood_rate=1,
    max_other_rate=1,
    max_class_shift=1,
    min_rows_ratio=0,
    max_churn=1,
)
NO_LOSS = OPEN.model_copy(update={"max_accuracy_loss": 0.05, "max_churn": 0.05})


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.fixture(scope="module")
def made(bundle, ads, tmp_path_factory) -> Pair:
    return make_pair(bundle, ads, tmp_path_factory.mktemp("pair"))


@pytest.fixture
def pair(made, tmp_path) -> Pair:
    """Two bundles and their ads, in a folder that nothing was promoted in."""
    return made.copy(tmp_path / "pair")


@pytest.fixture(autouse=True)
def _no_pages_of_runs(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(run_page, "run_html", lambda manifest, *_: manifest.outcome)
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "cache"))


def records(pair: Pair) -> list[Promotion]:
    """The records of all attempts, the first one first."""
    paths = sorted(Path(pair.root, "_promotions").glob("*/promotion.json"))
    return [PROMOTION.validate_json(path.read_bytes()) for path in paths]


def night(pair: Pair, day: int = 24, **changes) -> ScoreSettings:
    given = {
        "input_uri": str(pair.folder / "catalogue"),
        "bundle_uri": f"{pair.root}/champion",
        "output_uri": str(pair.folder / "out"),
        "run_date": date(2026, 11, day),
        "gate": OPEN_GATE,
        "shard_rows": 30,
        "executor": "local",
        "report_changes": False,
    }
    return ScoreSettings(**given | changes)


# the champion


def test_promote_of_the_first_bundle_keeps_its_own_limits_and_has_a_record(pair, caplog):
    caplog.set_level(logging.INFO)
    champion = promote(pair.settings(pair.good))
    assert champion == look(pair.root).pointer
    assert (champion.path, champion.version) == ("good", "good")
    assert champion.fingerprint == pair.good.fingerprint
    (record,) = records(pair)
    assert (record.outcome, record.champion) == ("accepted", None)
    folder = Path(pair.root, champion.promotion).parent
    assert "The bundle is the first champion" in (folder / "promotion.html").read_text()
    assert (
        "promote   compares good with nothing (it is the first bundle)" in caplog.messages
    )
    assert f"report    {folder}/promotion.html" in caplog.messages


def test_promote_of_a_first_bundle_that_is_not_good_enough_is_refused(pair):
    limits = OPEN.model_copy(update={"min_accuracy": 0.999})
    with pytest.raises(
        PublicationRefusedError, match=r"limits\.min_accuracy is 0\.999, found 0\.9"
    ):
        promote(pair.settings(pair.good, limits=limits))
    assert look(pair.root).pointer is None


def test_promote_twice_is_harmless(pair, caplog):
    caplog.set_level(logging.INFO)
    settings = pair.settings(pair.good)
    first = promote(settings)
    before = Path(pair.root, "champion.json").read_bytes()
    assert promote(settings) == first
    assert Path(pair.root, "champion.json").read_bytes() == before
    assert len(records(pair)) == 1
    assert caplog.messages[-1].endswith("good is the champion already, nothing to do")


def test_promote_of_a_worse_bundle_is_refused_with_reasons_and_the_champion_stays(pair):
    promote(pair.settings(pair.good))
    with pytest.raises(PublicationRefusedError) as caught:
        promote(pair.settings(pair.bad, limits=NO_LOSS))
    line = str(caught.value)
    assert line.startswith(
        f"{pair.bad.uri}: the limits refuse this bundle, which is kept but not promoted: "
    )
    assert "limits.max_accuracy_loss is " in line
    assert "limits.max_churn is " in line
    assert caught.value.exit_code == 5
    assert look(pair.root).pointer.paths == ["good"]
    refused = records(pair)[-1]
    reason, _, page = line.partition(". See ")
    assert (refused.outcome, refused.refusal_reason) == ("refused", reason)
    assert "The bundle is refused, since it breaks 2 of" in Path(page).read_text()
    assert refused.champion.fingerprint == pair.good.fingerprint
    assert {check.check for check in refused.failed} == {"max_accuracy_loss", "max_churn"}
    assert refused.comparison.accuracy.upper < 0


def test_promote_of_an_equal_bundle_is_accepted(pair):
    promote(pair.settings(pair.good))
    limits = PromotionLimits(
        min_test_ads=100, max_other_rate=1, max_false_alarms=1, max_ece=1, min_ood_auroc=0
    )
    again = derive_bundle(pair.good, f"{pair.root}/twin", documents={"README.md": "twin"})
    quiet = limits.model_copy(update={"min_speed_ratio": 0.0})  # the machine is shared
    promote(pair.settings(again, limits=quiet))
    assert look(pair.root).pointer.paths == ["twin", "good"]
    found = records(pair)[-1].comparison
    assert (found.accuracy.value, found.churn.rate) == (0, 0)
    assert (found.discordant.only_new, found.discordant.p) == (0, 1)
    assert 0.2 < found.speed_ratio < 5


def test_promote_by_force_keeps_the_reason_in_pointer_and_record(pair):
    promote(pair.settings(pair.good))
    reason = "the other one leaks a competitor's name"
    champion = promote(pair.settings(pair.bad, limits=NO_LOSS, force=reason))
    assert (champion.version, champion.forced) == ("bad", reason)
    assert champion.history == ["good"]
    record = records(pair)[-1]
    assert (record.outcome, record.forced) == ("forced", reason)
    assert record.refusal_reason.startswith(f"{pair.bad.uri}: the limits refuse")


def test_rollback_of_bundles_goes_back_and_the_bad_one_needs_force_from_then_on(
    pair, caplog
):
    caplog.set_level(logging.INFO)
    promote(pair.settings(pair.good))
    promote(pair.settings(pair.bad))
    place = RollbackSettings(output_uri=str(pair.folder), bundles=True, reason="toys")
    champion = rollback(place)
    assert champion == look(pair.root).pointer
    assert (champion.version, champion.taken_back) == ("good", ["bad"])
    assert caplog.messages[-1] == (
        "rollback  rolled back the bundle bad, the champion is now good"
    )
    with pytest.raises(PublicationRefusedError, match=r"was rolled back \(toys\)"):
        promote(pair.settings(pair.bad))
    assert promote(pair.settings(pair.bad, force="toys are right")).version == "bad"
    again = RollbackSettings(output_uri=pair.root, bundles=True)
    assert rollback(again).version == "good"
    with pytest.raises(InputError, match="only one bundle was promoted here, so nothing"):
        rollback(again)


def test_promote_while_another_bundle_is_promoted_says_so(pair, monkeypatch):
    promote(pair.settings(pair.good))
    real = workflow.put_record

    def slow(root_uri, promotion, page):
        monkeypatch.setattr(workflow, "put_record", real)
        promote(pair.settings(pair.bad, force="first"))
        return real(root_uri, promotion, page)

    third = derive_bundle(pair.good, f"{pair.root}/third", documents={"README.md": "3"})
    monkeypatch.setattr(workflow, "put_record", slow)
    with pytest.raises(PartialRunError, match="bad became the champion meanwhile"):
        promote(pair.settings(third))
    assert look(pair.root).pointer.paths == ["bad", "good"]
    assert promote(pair.settings(third)).history == ["bad", "good"]


def test_promote_without_the_champion_s_files_wants_force(pair):
    promote(pair.settings(pair.good))
    Path(pair.good.uri, "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"the champion cannot be loaded. .*--force"):
        promote(pair.settings(pair.bad))
    champion = promote(pair.settings(pair.bad, force="the disk is gone"))
    assert champion.paths == ["bad", "good"]
    assert records(pair)[-1].comparison.champion is None


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ["promotion.json", "promotion.html", "champion.json"])
def test_promote_that_dies_at_a_write_leaves_one_champion_and_is_repeated(
    pair, monkeypatch, name, after
):
    promote(pair.settings(pair.good))
    alive = {
        function: getattr(storage, function) for function in ("put_bytes", "swap_bytes")
    }

    def dying(function):
        def call(uri, *arguments):
            if not uri.endswith(name):
                return alive[function](uri, *arguments)
            if after:
                alive[function](uri, *arguments)
            raise Killed

        return call

    with monkeypatch.context() as patch:
        for function in alive:
            patch_storage(patch, function, dying(function))
        with pytest.raises(Killed):
            promote(pair.settings(pair.bad))
    is_swapped = name == "champion.json" and after
    assert look(pair.root).pointer.version == ("bad" if is_swapped else "good")
    assert rubert_ood.load(f"{pair.root}/champion").bundle.alias
    champion = promote(pair.settings(pair.bad))
    assert champion.paths == ["bad", "good"]
    folder = Path(pair.root, champion.promotion).parent
    assert {path.name for path in folder.iterdir() if path.suffix != ".lock"} == {
        "promotion.json",
        "promotion.html",
    }


# who asks for the champion


def test_load_evaluate_and_predict_take_the_champion(pair, capsys):
    promote(pair.settings(pair.good))
    uri = f"{pair.root}/champion"
    assert rubert_ood.load(uri).bundle.fingerprint == pair.good.fingerprint
    settings = EvaluateSettings(
        bundle_uri=uri,
        input_uri=str(pair.folder / "test.parquet"),
        output_uri=str(pair.folder / "evaluation"),
        executor="local",
    )
    evaluation = evaluate_bundle(settings)
    assert evaluation.context.fingerprint == pair.good.fingerprint
    (record,) = records(pair)
    measured = record.comparison.new
    assert measured.accuracy == evaluation.headline.accuracy
    assert measured.macro_f1 == pytest.approx(evaluation.headline.macro_f1)
    assert measured.ece == pytest.approx(evaluation.headline.ece_after, abs=1e-6)
    assert measured.false_alarms == evaluation.headline.ood_rate


def test_diff_takes_the_champion_as_one_of_two_bundles(pair):
    promote(pair.settings(pair.good))
    settings = DiffSettings(
        a_uri=f"{pair.root}/champion",
        b_uri=pair.bad.uri,
        input_uri=str(pair.folder / "catalogue"),
        output_uri=str(pair.folder / "diff"),
        executor="local",
    )
    document = diff(settings)
    assert document.a.bundle.fingerprint == pair.good.fingerprint
    assert document.churn_rate > 0


def test_score_with_the_champion_writes_version_and_fingerprint_into_the_manifest(pair):
    promote(pair.settings(pair.good))
    manifest = score(night(pair))
    assert manifest.outcome == "published"
    assert manifest.bundle.uri == pair.good.uri
    assert manifest.bundle.fingerprint == pair.good.fingerprint
    assert manifest.bundle.alias == f"{pair.root}/champion"
    assert load_plan(manifest.run_uri).bundle == manifest.bundle
    with pytest.raises(BundleError, match="no bundle of this folder was promoted"):
        score(night(pair, bundle_uri=str(pair.folder / "champion")))


def test_score_that_was_stopped_goes_on_with_its_bundle_after_a_promotion(
    pair, monkeypatch
):
    promote(pair.settings(pair.good))
    real, calls = Scorer._score, []

    def dies(self, item):
        calls.append(item.shard.shard_id)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "_score", dies)
        with pytest.raises(KeyboardInterrupt):
            score(night(pair))
    promote(pair.settings(pair.bad))
    manifest = score(night(pair))
    assert (manifest.outcome, manifest.bundle.version) == ("published", "good")
    assert manifest.counts.rows_scored == 120
    runs = list(Path(pair.folder, "out", "run_date=2026-11-24").glob("run_id=*"))
    assert len(runs) == 1
    assert score(night(pair, 25)).bundle.version == "bad"


def test_score_after_a_promotion_is_a_full_night_and_the_next_one_reuses_again(
    pair, caplog, monkeypatch
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(reused, "MIN_CHECKED", 20)
    promote(pair.settings(pair.good))
    first, second = score(night(pair, 20)), score(night(pair, 21))
    assert first.counts.rows_reused == 0
    assert second.counts.rows_reused > 0
    promote(pair.settings(pair.bad))
    caplog.clear()
    full = score(night(pair, 22))
    assert full.counts.rows_reused == 0
    assert full.reuse is None
    (line,) = [line for line in caplog.messages if "scores every text" in line]
    assert "another bundle" in line
    assert score(night(pair, 23)).counts.rows_reused > 0


def test_backfill_scores_all_days_with_the_champion_of_its_start(pair, monkeypatch):
    promote(pair.settings(pair.good))
    days: list[Manifest] = []

    def scored(settings, named):
        days.append(score(settings, named))
        if len(days) == 1:
            promote(pair.settings(pair.bad))
        return days[-1]

    monkeypatch.setattr(backfill_job, "score", scored)
    settings = BackfillSettings(
        input_uri=str(pair.folder / "{run_date}"),
        bundle_uri=f"{pair.root}/champion",
        output_uri=str(pair.folder / "out"),
        from_date=date(2026, 11, 20),
        to_date=date(2026, 11, 21),
        gate=OPEN_GATE,
        executor="local",
    )
    for day in ("2026-11-20", "2026-11-21"):
        Path(pair.folder, day).symlink_to(pair.folder / "catalogue")
    backfill(settings)
    assert [day.bundle.version for day in days] == ["good", "good"]
    assert [day.bundle.alias for day in days] == [f"{pair.root}/champion"] * 2
    assert [find_manifest(day.run_uri).outcome for day in days] == ["published"] * 2


@pytest.mark.parametrize("version", ["champion", "champion.json"])
def test_a_version_that_is_called_champion_is_refused(pair, version):
    """A folder of the pointer's name would stand in its way."""
    with pytest.raises(SettingsError, match=f"the name {version} is reserved"):
        new_bundle_uri(str(pair.folder), version)


# at the end of a training


def trained(pair: Pair, **changes) -> TrainSettings:
    given = {
        "input_uri": str(pair.folder / "test.parquet"),
        "promote": True,
        "promotion": {
            "test_uri": str(pair.folder / "test.parquet"),
            "sample_uri": str(pair.folder / "catalogue"),
            "sample_ads": 60,
            "limits": NO_LOSS,
        },
    }
    return TrainSettings(**given | changes)


def test_promote_trained_compares_by_the_settings_of_the_training(pair):
    assert promote_trained(pair.good, trained(pair)).version == "good"
    with pytest.raises(PublicationRefusedError, match=r"limits\.max_accuracy_loss"):
        promote_trained(pair.bad, trained(pair))
    assert look(pair.root).pointer.version == "good"
    assert Path(pair.bad.uri, "manifest.json").is_file()
    assert records(pair)[-1].comparison.churn.num_ads == 60


def test_promote_trained_on_gpu_asks_ray_for_one(pair, monkeypatch):
    promoted, asked = promote(pair.settings(pair.good)), []

    def on_a_gpu(wanted):
        asked.append(wanted)
        return promoted

    monkeypatch.setattr(trained_job, "_on_a_gpu", on_a_gpu)
    monkeypatch.setattr(trained_job, "ray_session", lambda _: nullcontext())
    compute = {"use_gpu": True, "token_budget": 512}
    assert promote_trained(pair.good, trained(pair, compute=compute)) == promoted
    (wanted,) = asked
    assert wanted.compute == ComputeSettings(use_gpu=True, token_budget=512)
    assert (wanted.bundle_uri, wanted.force) == (pair.good.uri, None)
    assert wanted.limits == NO_LOSS
    int8 = replace(pair.good, precision="int8")
    assert promote_trained(int8, trained(pair, compute=compute)) == promoted
    assert len(asked) == 1  # int8 is for CPU


def test_check_promotion_looks_for_its_ads_before_the_training(pair):
    check_promotion(trained(pair))
    missing = {"test_uri": str(pair.folder / "none")}
    with pytest.raises(InputError, match="none"):
        check_promotion(trained(pair, promotion=missing))
    check_promotion(trained(pair, promote=False, promotion=missing))


def test_read_manifest_of_a_run_before_there_was_a_champion_has_no_alias(pair):
    manifest = score(night(pair, bundle_uri=pair.good.uri))
    content = storage.read_json(f"{manifest.run_uri}/_run/manifest.json")
    del content["bundle"]["alias"]
    storage.put_json(f"{manifest.run_uri}/_run/manifest.json", content)
    assert read_manifest(manifest.run_uri).bundle.alias == ""
