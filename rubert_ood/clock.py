"""The time as control files write it."""

from datetime import UTC, datetime


def utc_now(timespec: str = "seconds") -> str:
    """Return the time in UTC as ISO text with its zone, to the second or to `timespec`."""
    return datetime.now(UTC).isoformat(timespec=timespec)
