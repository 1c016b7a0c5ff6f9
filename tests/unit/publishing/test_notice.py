import datetime

import pytest

from rubert_ood.errors import (
    ErrorRateError,
    InputError,
    PartialRunError,
    PublicationRefusedError,
    RubertOodError,
    SettingsError,
    StorageUnavailableError,
)
from rubert_ood.publishing.notice import (
    backfill_told,
    errors_told,
    event_of,
    say_published_already,
    tell_end,
)
from rubert_ood.publishing.pointer import look
from rubert_ood.publishing.publish import publish_run
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.settings import BackfillSettings, ScoreSettings
from tests.unit.publishing.days import OPEN, put_run
from tests.unit.publishing.manifests import a_manifest, changed, put_manifest

DAY = "2026-11-24"


@pytest.fixture
def settings(tmp_path):
    return ScoreSettings(
        input_uri="in", bundle_uri="b", output_uri=str(tmp_path), run_date=DAY
    )


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (PublicationRefusedError("x"), "refused"),
        (ErrorRateError("x"), "refused"),
        (PartialRunError("x"), "partial"),
        (StorageUnavailableError("x"), "partial"),
        (KeyboardInterrupt(), "partial"),
        (InputError("x"), "failed"),
        (SettingsError("x"), "failed"),
        (RubertOodError("x"), "failed"),
    ],
)
def test_event_of_each_kind_of_error(error, event):
    assert event_of(error) == event


def test_tell_end_of_a_published_run_has_its_counts(webhook, settings):
    manifest = a_manifest(settings.output_uri, rows_ood=5)
    manifest = manifest.model_copy(update={"outcome": "published"})
    tell_end(settings, manifest)
    (told,) = webhook.bodies
    assert told["event"] == "published"
    assert (told["rows_scored"], told["ood_share"]) == (100, 0.05)
    assert told["run_uri"] == manifest.run_uri


def test_say_published_already_says_what_readers_see(tmp_path, caplog):
    caplog.set_level("INFO")
    out = str(tmp_path)
    pointers = []
    for name, hour in (("r1", "10"), ("r2", "11")):
        publish_run(put_run(out, DAY, name, finished=hour), OPEN)
        pointers.append((tmp_path / "latest.json").read_bytes())
    older, newer = (
        read_manifest(f"{out}/run_date={DAY}/run_id={n}") for n in ("r1", "r2")
    )

    def said(manifest, pointer):
        caplog.clear()
        if pointer is None:
            (tmp_path / "latest.json").unlink()
        else:
            (tmp_path / "latest.json").write_bytes(pointer)
        say_published_already(manifest, look(out))
        return caplog.text

    assert said(newer, pointers[1]).endswith("r2 is published already, nothing to do\n")
    assert "nothing to do. Readers see a later run" in said(older, pointers[1])
    lost = "but no pointer names it any more. Restore latest.json, or run `publish`"
    assert lost in said(newer, pointers[0])  # as it was restored from a copy of before
    assert lost in said(newer, None)


def test_tell_end_of_a_complete_run_is_silent_unless_it_is_asked_for(webhook, settings):
    tell_end(settings, a_manifest())
    assert not webhook.bodies
    asked = settings.notify.model_copy(update={"on": ("complete",)})
    tell_end(settings.model_copy(update={"notify": asked}), a_manifest())
    assert webhook.bodies[0]["event"] == "complete"


def test_errors_told_of_a_run_names_it_and_lets_the_error_pass(webhook, settings):
    manifest = changed(a_manifest(settings.output_uri), outcome="refused")
    put_manifest(manifest)

    def refuse() -> None:
        with errors_told(settings) as told:
            told.run_uri = manifest.run_uri
            raise PublicationRefusedError("gate.max_ood_rate is 0.1, found 0.2")

    with pytest.raises(PublicationRefusedError):
        refuse()
    (said,) = webhook.bodies
    assert (said["event"], said["run_id"], said["rows_in"]) == ("refused", "r1", 100)
    assert said["error"] == "gate.max_ood_rate is 0.1, found 0.2"


def test_errors_told_of_a_bug_has_its_class_alone(webhook, settings):
    with pytest.raises(ZeroDivisionError), errors_told(settings):
        raise ZeroDivisionError("Продам диван")
    (said,) = webhook.bodies
    assert (said["event"], said["error"]) == ("failed", "ZeroDivisionError")


def test_errors_told_before_the_run_is_planned_have_the_day(webhook, settings):
    with pytest.raises(InputError), errors_told(settings):
        raise InputError("in: no such file")
    (said,) = webhook.bodies
    assert (said["event"], said["run_date"], said["run_uri"]) == ("failed", DAY, None)


def test_errors_told_spoil_nothing_where_the_webhook_fails(webhook, settings, caplog):
    webhook.statuses = [500] * 3
    with pytest.raises(InputError, match="no such file"), errors_told(settings):
        raise InputError("in: no such file")
    assert "could not tell the webhook" in caplog.text


def test_backfill_told_has_both_days_and_what_stopped_it(webhook):
    day = datetime.date.fromisoformat(DAY)
    settings = BackfillSettings(
        input_uri="in", bundle_uri="b", output_uri="o", from_date=day, to_date=day
    )
    worst = RubertOodError("1 of 1 day failed")
    worst.exit_code = 5
    for stop in (worst, KeyboardInterrupt(), InputError("b: no bundle is here")):
        with pytest.raises(type(stop)), backfill_told(settings):
            raise stop
    with backfill_told(settings):
        pass
    refused, partial, failed, published = webhook.bodies
    assert (partial["event"], failed["event"]) == ("partial", "failed")
    assert failed["error"] == "b: no bundle is here"
    assert (refused["event"], refused["run_date"]) == ("refused", f"{DAY} to {DAY}")
    assert (published["event"], published["error"]) == ("published", None)
