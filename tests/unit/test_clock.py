from datetime import UTC, datetime

from rubert_ood.clock import utc_now


def test_utc_now_is_the_time_with_its_zone() -> None:
    before = datetime.now(UTC)
    now = datetime.fromisoformat(utc_now("microseconds"))
    assert before <= now <= datetime.now(UTC)
    assert utc_now().endswith("+00:00")
    assert len(utc_now()) == len("2026-11-24T03:00:00+00:00")
