"""One line of a verdict."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    ok: bool
    """False: it calls for attention."""
    text: str
