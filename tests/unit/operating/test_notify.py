import time

import pytest

from rubert_ood.operating.notify import URL_VARIABLE, notify
from rubert_ood.settings import NotifySettings
from tests.webhook import SECRET

SAID = {
    "event": "refused",
    "job": "score",
    "run_date": "2026-11-27",
    "rows_scored": 20_000,
    "ood_share": 0.12,
    "error": "max_ood_rate: 0.12 is more than 0.1",
    "run_uri": "s3://b/run_date=2026-11-27/run_id=a",
    "cost": None,
}


def test_notify_sends_the_object_as_json(webhook):
    assert notify(NotifySettings(), "refused", SAID)
    assert webhook.bodies == [SAID]


def test_notify_for_slack_sends_one_text(webhook):
    assert notify(NotifySettings(body="slack"), "refused", SAID)
    assert webhook.bodies == [
        {
            "text": "rubert_ood score of 2026-11-27: refused. rows_scored 20000."
            " ood_share 0.12. error max_ood_rate: 0.12 is more than 0.1."
            " run_uri s3://b/run_date=2026-11-27/run_id=a"
        }
    ]


def test_notify_of_an_event_that_nobody_asked_for_sends_nothing(webhook):
    assert not notify(NotifySettings(on=("failed",)), "refused", SAID)
    assert not webhook.bodies


def test_notify_without_an_address_sends_nothing(monkeypatch, caplog):
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    assert not notify(NotifySettings(), "refused", SAID)
    assert not caplog.records


def test_notify_tries_again_after_an_error_of_the_server(webhook):
    webhook.statuses = [500, 503]
    assert notify(NotifySettings(), "refused", SAID)
    assert len(webhook.bodies) == 3


@pytest.mark.parametrize("status", [500, 302, 404])
def test_notify_gives_up_after_three_tries_in_one_line_without_the_address(
    webhook, caplog, status
):
    webhook.statuses = [status] * 4
    assert not notify(NotifySettings(), "refused", SAID)
    assert len(webhook.bodies) == 3
    assert f"after 3 tries (HTTP status {status})" in caplog.text
    assert SECRET not in caplog.text


def test_notify_of_a_server_that_hangs_takes_no_longer_than_its_limit(webhook, caplog):
    webhook.hangs_s = 2
    before = time.monotonic()
    assert not notify(NotifySettings(timeout_s=0.1), "refused", SAID)
    assert time.monotonic() - before < 1.5
    assert "TimeoutError" in caplog.text


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "nonsense", "http://127.0.0.1:1/x"]
)
def test_notify_with_a_wrong_address_is_one_line_without_it(
    webhook, monkeypatch, caplog, url
):
    monkeypatch.setenv(URL_VARIABLE, url)
    assert not notify(NotifySettings(), "refused", SAID)
    assert len(caplog.records) == 1
    assert url not in caplog.text
