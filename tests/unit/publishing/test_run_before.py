from pathlib import Path

import pytest

from rubert_ood.publishing.pointer import Place, Pointer
from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.run_before import run_before
from tests.unit.publishing.days import OPEN, publish_day, put_run, run_before_of

DAY = "2026-11-20"


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "out")


def _place(root_uri: str, *paths: str) -> Place:
    """A pointer that names the first path and remembers the others."""
    pointer = Pointer(path=paths[0], run_id="x", run_date=DAY, history=list(paths[1:]))
    return Place(root_uri, pointer, "v1")


def test_run_before_is_the_published_one_else_the_newest_complete_one(out):
    new = put_run(out, "2026-11-20", "new", finished="20")
    assert run_before_of(new) is None
    put_run(out, "2026-11-20", "partial", outcome="partial", finished="19")
    put_run(out, "2026-11-20", "refused", outcome="refused", finished="18")
    put_run(out, "2026-11-20", "early", finished="08")
    put_run(out, "2026-11-20", "late", finished="09")
    put_run(out, "2026-11-21", "other_day", finished="23")
    Path(out, "run_date=2026-11-20", "run_id=empty").mkdir()
    assert run_before_of(new).run_id == "late"
    publish_run(put_run(out, "2026-11-20", "night", finished="07"), OPEN)
    publish_run(put_run(out, "2026-11-24", "newer"), OPEN)
    assert run_before_of(new).run_id == "night"  # the catalogue's pointer remembers it
    publish_day(put_run(out, "2026-11-20", "first_backfill", finished="06"))
    assert run_before_of(new).run_id == "first_backfill"
    publish_day(new)
    assert run_before_of(new).run_id == "first_backfill"


def test_run_before_of_the_only_run_of_a_day_is_none(out):
    put_run(out, DAY, "new")
    assert run_before(f"{out}/run_date={DAY}/run_id=new", []) is None


def test_run_before_prefers_the_day_s_pointer_to_the_catalogue_s_and_the_newest_in_each(
    out,
):
    for name in ("a", "b", "c", "new"):
        put_run(out, DAY, name)
    day = _place(f"{out}/run_date={DAY}", "run_id=new", "run_id=b", "run_id=a")
    catalogue = _place(out, f"run_date={DAY}/run_id=c")
    run_uri = f"{out}/run_date={DAY}/run_id=new"
    assert run_before(run_uri, [day, catalogue]).run_id == "b"
    assert run_before(run_uri, [catalogue, day]).run_id == "c"


def test_run_before_passes_over_a_published_run_that_is_gone_and_says_so(out, caplog):
    put_run(out, DAY, "kept")
    day = _place(f"{out}/run_date={DAY}", "run_id=gone", "run_id=kept")
    assert run_before(f"{out}/run_date={DAY}/run_id=new", [day]).run_id == "kept"
    assert (
        f"{out}/run_date={DAY}/run_id=gone was published for this day, but its"
        " folder is gone"
    ) in (caplog.text)


def test_run_before_passes_over_runs_of_other_days_that_the_catalogue_names(out):
    put_run(out, DAY, "new")
    put_run(out, "2026-11-21", "other")
    catalogue = _place(out, "run_date=2026-11-21/run_id=other")
    assert run_before(f"{out}/run_date={DAY}/run_id=new", [catalogue]) is None


def test_run_before_without_pointers_takes_a_run_noted_as_published_before_a_newer_one(
    out,
):
    """The pointer of the day was lost, or has forgotten the run."""
    put_run(out, DAY, "noted", outcome="published", finished="07")
    put_run(out, DAY, "complete", finished="09")
    put_run(out, DAY, "taken_back", outcome="rolled_back", finished="10")
    assert run_before(f"{out}/run_date={DAY}/run_id=new", []).run_id == "noted"


def test_run_before_passes_over_a_damaged_manifest_and_names_it(out, caplog):
    put_run(out, DAY, "good")
    broken = Path(out, f"run_date={DAY}", "run_id=broken", "_run", "manifest.json")
    broken.parent.mkdir(parents=True)
    broken.write_text("[]")
    assert run_before(f"{out}/run_date={DAY}/run_id=new", []).run_id == "good"
    assert f"looks for the previous run: {broken}: the file is damaged" in caplog.text
