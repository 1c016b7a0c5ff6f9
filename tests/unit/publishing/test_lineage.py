import pytest

from rubert_ood.errors import InputError, PartialRunError, PublicationRefusedError
from rubert_ood.publishing.lineage import lineage_of
from rubert_ood.settings import LineageSettings, ScoreSettings
from tests.lineage_server import check_event
from tests.unit.made_up_receipts import a_plan


@pytest.fixture
def settings(tmp_path) -> ScoreSettings:
    return ScoreSettings(
        input_uri="in",
        bundle_uri="b",
        output_uri=str(tmp_path),
        lineage=LineageSettings(send=True),
    )


def _stopped_by(error: BaseException, settings: ScoreSettings) -> None:
    with lineage_of(settings) as lineage:
        lineage.planned(a_plan(settings.output_uri, 2))
        raise error


@pytest.mark.parametrize(
    ("error", "kind", "outcome"),
    [
        (PublicationRefusedError("gate.max_ood_rate is 0.1"), "FAIL", "refused"),
        (InputError("in: the file is gone"), "FAIL", "failed"),
        (ZeroDivisionError("+7 912 000-00-00"), "FAIL", "failed"),
        (PartialRunError("3 shards are left"), "ABORT", "partial"),
        (KeyboardInterrupt(), "ABORT", "interrupted"),
    ],
)
def test_lineage_of_a_start_that_is_stopped_ends_it_once_and_lets_the_error_pass(
    settings, lineage_server, error, kind, outcome
):
    with pytest.raises(type(error)):
        _stopped_by(error, settings)
    first, last = lineage_server.bodies
    for body in (first, last):
        check_event(body)
    assert (first["eventType"], last["eventType"]) == ("START", kind)
    assert first["run"]["runId"] == last["run"]["runId"]
    assert first["eventTime"] < last["eventTime"]
    facets = last["run"]["facets"]
    assert facets["rubertOod_scoring"]["outcome"] == outcome
    ours = str(error) and not isinstance(error, ZeroDivisionError)
    said = str(error) if ours else type(error).__name__
    assert facets["errorMessage"]["message"] == said


def test_lineage_of_two_starts_of_one_run_has_two_ids(settings, lineage_server):
    for _ in range(2):
        with pytest.raises(PartialRunError):
            _stopped_by(PartialRunError("1 shard is left"), settings)
    ids = [body["run"]["runId"] for body in lineage_server.bodies]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    facets = [body["run"]["facets"] for body in lineage_server.bodies]
    assert {facet["rubertOod_scoring"]["runId"] for facet in facets} == {"x"}


def test_lineage_of_a_start_that_ends_before_its_plan_is_silent(settings, lineage_server):
    with pytest.raises(InputError), lineage_of(settings):
        raise InputError("in: no such file")
    assert not lineage_server.bodies


def test_lineage_that_nobody_asked_for_is_silent(settings, lineage_server, caplog):
    silent = settings.model_copy(update={"lineage": LineageSettings()})
    with lineage_of(silent) as lineage:
        lineage.planned(a_plan(settings.output_uri, 2))
    assert not lineage_server.bodies
    assert not caplog.records


def test_lineage_that_hangs_spoils_nothing(settings, lineage_server, caplog):
    lineage_server.hangs_s = 1.5
    short = LineageSettings(send=True, timeout_s=0.2)
    with lineage_of(settings.model_copy(update={"lineage": short})) as lineage:
        lineage.planned(a_plan(settings.output_uri, 2))
    assert "gives up START" in caplog.text
