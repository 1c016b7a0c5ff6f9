"""Control files: what this package wrote for itself is checked by a schema when it is read again.

The schemas ask for what is used and ignore what they do not know, so files of 0.2.0 and of later
versions are read.
"""

import posixpath
from datetime import date, datetime
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from rubert_ood.errors import InputError

T = TypeVar("T")
RESTORE = "Restore or delete it"


class Record(BaseModel):
    """Base of the records in control files."""

    model_config = ConfigDict(
        extra="ignore", strict=True, frozen=True, allow_inf_nan=False
    )


def parse(uri: str, data: bytes, schema: TypeAdapter[T], *, mend: str = RESTORE) -> T:
    """Read a control file; InputError, one line with the URI, when it is not what the schema says.

    mend: what the user should do with a damaged file; "" if the caller says it.
    """
    try:
        return schema.validate_json(data)
    except ValidationError as error:
        first = error.errors(
            include_url=False, include_context=False, include_input=False
        )[0]
        if first["type"] == "json_invalid":
            reason = "it does not hold JSON"
        else:
            place = ".".join(map(str, first["loc"])) or "content"
            reason = f"{place}: {first['msg'].removeprefix('Value error, ')}"
        advice = f". {mend}" if mend else ""
        raise InputError(f"{uri}: the file is damaged ({reason}){advice}") from None


def _inside(path: str) -> str:
    """Refuse a path that leaves the folder it is relative to."""
    parts = path.split("/")
    if (
        {"", ".", ".."}.intersection(parts)
        or not path.isprintable()
        or posixpath.isabs(path)
    ):
        raise ValueError("the path is not below the folder of this file")
    return path


def _day(text: str) -> str:
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError("the date is not written as 2026-11-24")
    return text


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("the time has no zone")
    return text


Count = Annotated[int, Field(ge=0)]
RelativePath = Annotated[str, AfterValidator(_inside)]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Day = Annotated[str, AfterValidator(_day)]
"""An ISO date."""
Moment = Annotated[str, AfterValidator(_moment)]
"""An ISO time with its zone."""
