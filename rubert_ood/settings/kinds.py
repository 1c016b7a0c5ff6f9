"""Kinds of values that settings have, and what is wrong with others."""

import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, tzinfo
from difflib import get_close_matches
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field

from rubert_ood.credentials import NO_PLACE, holds_credentials
from rubert_ood.plain import CONTROLS

UTC_NAME = "UTC"
SIMILAR = 0.6
"""Ratio of `difflib` from which a name may be a slip for another."""
PATH_NAMES = ("base_model", "config")
"""Settings that are paths or URIs, beside all those named *_uri."""


def _day(value: object) -> date:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"this date does not exist ({error})") from error
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError("write the date as YYYY-MM-DD, such as 2026-11-24")


def time_zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name; ValueError when there is none of that name."""
    if name == UTC_NAME:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        found = get_close_matches(name, available_timezones(), 1) or ["Europe/Moscow"]
        raise ValueError(
            f"this time zone does not exist. Use an IANA name, such as {found[0]}"
        ) from error


def _zone_name(name: str) -> str:
    time_zone(name)
    return name


Day = Annotated[date, BeforeValidator(_day)]
"""A date, in one format wherever it comes from."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy, scikit-learn and torch all take as a seed."""
ZoneName = Annotated[str, AfterValidator(_zone_name)]


def today(values: Mapping[str, object]) -> date:
    """Return the day that it is now in the zone `run_timezone` of the settings."""
    return datetime.now(time_zone(str(values["run_timezone"]))).date()


def nearest(name: str, names: Iterable[str], *, prefix: str = "") -> str:
    """Return ` (did you mean X?)` for the most similar of some names, nothing when none is
    similar; what all begin with makes none alike."""
    bare = [known.removeprefix(prefix) for known in names]
    found = get_close_matches(name.removeprefix(prefix), bare, 1, cutoff=SIMILAR)
    return f" (did you mean {prefix}{found[0]}?)" if found else ""


def checked(name: str | None, value: object) -> object:
    """Refuse credentials in a text or a list of texts; what is a path becomes text without `~`."""
    is_path = name is not None and (name.endswith("_uri") or name in PATH_NAMES)
    if is_path and isinstance(value, os.PathLike):
        value = os.fspath(value)
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str) and holds_credentials(text):
            raise ValueError(NO_PLACE)
    if not is_path or not isinstance(value, str):
        return value
    if CONTROLS.search(value):
        raise ValueError("a path or URI must not hold control characters")
    return os.path.expanduser(value)
