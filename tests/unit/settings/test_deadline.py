"""When a run should have ended, by the clock of its zone."""

from datetime import UTC, datetime

import pytest

from rubert_ood.settings import ScoreSettings
from rubert_ood.settings.deadline import deadline_of


def settings(**values) -> ScoreSettings:
    return ScoreSettings(input_uri="in", bundle_uri="b", output_uri="o", **values)


@pytest.mark.parametrize(
    ("day", "zone", "hours", "expected"),
    [
        ("2026-11-27", "UTC", 6, datetime(2026, 11, 27, 6, tzinfo=UTC)),
        ("2026-11-27", "Europe/Moscow", 6.5, datetime(2026, 11, 27, 3, 30, tzinfo=UTC)),
        ("2026-11-27", "Europe/Moscow", 30, datetime(2026, 11, 28, 3, tzinfo=UTC)),
        # clocks go forward at 02:00
        ("2026-03-29", "Europe/Berlin", 6, datetime(2026, 3, 29, 4, tzinfo=UTC)),
    ],
)
def test_deadline_of_a_day_is_by_the_clock_of_its_zone(day, zone, hours, expected):
    found = deadline_of(settings(run_date=day, run_timezone=zone, deadline_h=hours))
    assert found == expected


def test_deadline_of_settings_without_one_is_none():
    assert deadline_of(settings()) is None
