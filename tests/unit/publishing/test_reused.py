"""Whole nights: tests/integration/workflows/test_reuse.py."""

from dataclasses import replace
from datetime import date

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.publishing.reused import MIN_CHECKED, say_reuse, with_reuse
from rubert_ood.reuse.build import build_index
from rubert_ood.runs.manifest import Manifest, manifest_uri
from rubert_ood.runs.plan import Plan, run_folder, save_plan
from rubert_ood.settings import ScoreSettings
from rubert_ood.storage import put_json
from tests.unit.reuse.tables import random_rows


def _plan_of(full_run, tmp_path, day: int) -> Plan:
    output_uri, run_id = str(tmp_path / "out"), f"night{day}"
    run_date = date(2026, 11, day)
    return replace(
        full_run.plan,
        run_uri=run_folder(output_uri, run_date, run_id),
        output_uri=output_uri,
        run_id=run_id,
        run_date=run_date.isoformat(),
        embedding=False,
    )


def _leave(plan: Plan, num_texts: int, *, index: bool = True) -> None:
    """Leave the manifest of a run, and its index."""
    started_at = "2026-11-01T02:00:00+00:00"
    manifest = Manifest.of(plan, {}, outcome="complete", started_at=started_at)
    if index:
        rows = random_rows(num_texts)
        name = build_index(plan, [rows], num_texts, "parts", lambda: None)
        manifest = manifest.model_copy(update={"index": name})
    put_json(manifest_uri(plan.run_uri), manifest)


def _publish(plan: Plan) -> None:
    path = plan.run_uri[len(plan.output_uri) + 1 :]
    pointer = {"path": path, "run_id": plan.run_id, "run_date": plan.run_date}
    put_json(f"{plan.output_uri}/latest.json", pointer)


@pytest.fixture
def plans(full_run, tmp_path) -> tuple[Plan, Plan]:
    return _plan_of(full_run, tmp_path, 1), _plan_of(full_run, tmp_path, 2)


def _settings(**changes: object) -> ScoreSettings:
    given = {"input_uri": "in", "bundle_uri": "b", "output_uri": "out", **changes}
    return ScoreSettings(**given)


@pytest.mark.parametrize(
    ("num_texts", "given", "expected"),
    [(100, 0.001, 1.0), (400, 0.001, MIN_CHECKED / 400), (400, 0.75, 0.75)],
)
def test_with_reuse_names_the_last_published_run_and_how_much_is_checked(
    plans, num_texts, given, expected
):
    first, second = plans
    _leave(first, num_texts)
    assert with_reuse(second, _settings()).reuse is None  # not published
    _publish(first)
    found = with_reuse(second, _settings(reuse_check_fraction=given))
    assert found == replace(second, reuse=found.reuse)
    assert (found.reuse.run_uri, found.reuse.run_id) == (first.run_uri, "night1")
    assert found.reuse.check_fraction == expected
    assert with_reuse(second, _settings(reuse="never")).reuse is None
    assert with_reuse(first, _settings()).reuse is None  # itself


def test_with_reuse_leaves_a_plan_that_is_saved_as_it_is(plans):
    first, second = plans
    _leave(first, 50)
    _publish(first)
    saved = with_reuse(second, _settings())
    save_plan(saved)
    again = with_reuse(second, _settings(reuse=str(first.run_uri) + "-gone"))
    assert again.reuse is None
    assert save_plan(again).reuse == saved.reuse


@pytest.mark.parametrize("published", [True, False])
def test_with_reuse_of_a_run_without_an_index_says_so(plans, published, caplog):
    first, second = plans
    caplog.set_level("INFO")
    _leave(first, 50, index=False)
    if published:
        _publish(first)
        assert with_reuse(second, _settings()).reuse is None
        line = f"scores every text, because {first.run_uri} has no index of its texts"
        assert caplog.text.count(line) == 1
    with pytest.raises(
        SettingsError, match=r"^reuse: .* has no index of its texts. Set it"
    ):
        with_reuse(second, _settings(reuse=first.run_uri))


def test_with_reuse_of_another_index_than_the_manifest_names_refuses_it(plans):
    first, second = plans
    _leave(first, 50)
    build_index(first, [random_rows(60)], 60, "parts", lambda: None)
    with pytest.raises(SettingsError, match="is not the one in its manifest"):
        with_reuse(second, _settings(reuse=first.run_uri))


def test_with_reuse_of_what_is_not_a_run_and_of_the_run_itself_says_which(plans):
    _, second = plans
    with pytest.raises(
        SettingsError,
        match=r"^reuse: .*/Never is not the folder of a run. Set it to auto",
    ):
        with_reuse(second, _settings(reuse="Never"))
    with pytest.raises(
        SettingsError, match=f"^reuse: {second.run_uri} is the planned run itself"
    ):
        with_reuse(second, _settings(reuse=second.run_uri))


def test_with_reuse_of_a_run_of_the_same_id_says_that_rows_could_not_be_told_apart(plans):
    first, second = plans
    _leave(first, 50)
    same = replace(second, run_id=first.run_id)
    with pytest.raises(SettingsError, match="results under the same run_id night1"):
        with_reuse(same, _settings(reuse=first.run_uri))
    older = replace(second, run_id="night")  # whose results the index carries on
    with pytest.raises(SettingsError, match="results under the same run_id night"):
        with_reuse(older, _settings(reuse=first.run_uri))


def test_say_reuse_warns_where_never_comes_too_late(plans, caplog):
    first, second = plans
    _leave(first, 50)
    planned = with_reuse(second, _settings(reuse=first.run_uri))
    say_reuse(planned, _settings(reuse="never"))
    assert "Choose another run_id to score all" in caplog.text
