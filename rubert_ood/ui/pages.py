"""Fill the templates of the page: text of others is escaped, and nothing in it acts."""

from functools import lru_cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rubert_ood.plain import count_of, printable_lines

STATIC = {
    "ui.css": "text/css",
    "ui.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
"""Files beside the page, and their media types."""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rubert_ood.ui"),
        autoescape=True,  # ads are hostile text
        finalize=_plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "share": share,
        "cell": cell,
        "count_of": count_of,
    }
    return environment


def render(template: str, **values: object) -> str:
    """Fill a template of this room."""
    return _environment().get_template(f"{template}.html.j2").render(values)


@lru_cache(maxsize=8)
def static_file(name: str) -> tuple[bytes, str] | None:
    """Return the content and the media type of a file beside the page; None for another name."""
    if name not in STATIC:
        return None
    path = files("rubert_ood.ui").joinpath("static", name)
    return path.read_bytes(), STATIC[name]


def number(value: float | None) -> str:
    """Write a distance or the like: one digit behind the point, two where it is small."""
    if value is None:
        return ""
    digits = 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f}"


def share(value: float | None) -> str:
    """Write a share as a percentage."""
    return "" if value is None else f"{value:.1%}"


def cell(value: object) -> str:
    """Write a value of a row: numbers to six digits, lists with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable_lines(value)
    return value
