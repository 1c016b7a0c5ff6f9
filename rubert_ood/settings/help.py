"""How `--help` shows a setting: what to write, which values are allowed, and the default."""

from datetime import date
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rubert_ood.settings.kinds import PATH_NAMES, today

REQUIRED = "required"
SAID = " Default: "
"""Begins the last sentence of a description that says what stands for no value."""
UNITS = {"_s": "SECONDS", "_mb": "MB", "_uri": "URI"}
"""Ends of names, and what such a setting is given in."""
WORDS = {
    "delimiter": "CHARACTER",
    "force": "REASON",
    "iceberg": "NAMESPACE.NAME",
    "phone_pattern": "PATTERN",
    "ray_address": "ADDRESS",
    "reason": "REASON",
    "reuse": "auto|never|RUN_URI",
    "run_timezone": "ZONE",
}
KINDS = {bool: "bool", int: "N", float: "NUMBER", date: "YYYY-MM-DD"}
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def placeholder(name: str, annotation: Any) -> str:  # noqa: ANN401, any type
    """Return what stands for the value of a setting, as URI, SECONDS or {ray,local}."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    if get_origin(annotation) is Literal:
        return f"{{{','.join(map(str, kinds))}}}"
    if get_origin(annotation) in (tuple, list):
        return "NAME,NAME"
    if kinds:
        return placeholder(name, kinds[0])
    for end, unit in UNITS.items():
        if name.endswith(end):
            return unit
    if name in PATH_NAMES:
        return "URI"
    return WORDS.get(name, KINDS.get(annotation, "NAME"))


def explanation(name: str, field: FieldInfo, group: object) -> str:
    """Return the help of a setting; `group` is the default of the group that it lies in, if any."""
    words = " ".join((field.description or "").split())
    text, _, said = words.partition(SAID)
    default = said.removesuffix(".") or _default(name, field, group)
    ends = f"({default})" if default == REQUIRED else f"(default: {default})"
    return " ".join([part for part in (text, _allowed(field), ends) if part])


def _allowed(field: FieldInfo) -> str:
    """Say between which numbers a value lies."""
    found = {}
    for rule in field.metadata:
        for sign in LIMITS:
            if getattr(rule, sign, None) is not None:
                found[sign] = getattr(rule, sign)
    if "gt" in found and int in (field.annotation, *get_args(field.annotation)):
        found["ge"] = found.pop("gt") + 1
    if found.keys() == {"ge", "le"}:
        return f"From {found['ge']:,} to {found['le']:,}."
    limits = [f"{LIMITS[sign]} {limit:,}" for sign, limit in sorted(found.items())]
    return " and ".join(limits).capitalize() + "." if limits else ""


def _default(name: str, field: FieldInfo, group: object) -> str:
    if field.default_factory is today:
        return "today (UTC)"
    value = getattr(group, name, field.default)
    if value is PydanticUndefined or value == "":
        return REQUIRED
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(value) or "none"
    return "none" if value is None else str(value)
