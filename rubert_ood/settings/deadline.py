"""When a run should have ended."""

from datetime import datetime, time, timedelta

from rubert_ood.settings.kinds import time_zone
from rubert_ood.settings.scoring import ScoreSettings


def deadline_of(settings: ScoreSettings) -> datetime | None:
    """Return `deadline_h` by the clock of `run_timezone`; None without one.

    6 is 06:00 of run_date also where the clocks change that night.
    """
    if settings.deadline_h is None:
        return None
    zone = time_zone(settings.run_timezone)
    midnight = datetime.combine(settings.run_date, time.min, zone)
    return midnight + timedelta(hours=settings.deadline_h)
