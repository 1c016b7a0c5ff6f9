"""The drawings of the docs, as SVG: how data flows, and a run in the order of time.

`python -m docs_tools.drawings` writes them to docs/pictures/.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
BLUE, GREEN, GREY, INK = "#e3e9fb", "#dff3e4", "#f1f1f4", "#1d2433"
EDGES = {BLUE: "#5b74d6", GREEN: "#3f9a58", GREY: "#9aa0ad"}
STYLE = (
    "text{font-family:system-ui,'Segoe UI',Roboto,sans-serif;font-size:14px;"
    f"fill:{INK}}}.s{{font-size:12px;fill:#565d6d}}.h{{font-weight:600}}"
)


def drawing(width: int, height: int, title: str, shapes: Sequence[str]) -> str:
    """Return an SVG on a white card, so that it reads on a light page and on a dark one."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>"
        '<defs><marker id="a" markerWidth="9" markerHeight="8" refX="8" refY="4"'
        ' orient="auto"><path d="M0 0L9 4L0 8z" fill="#565d6d"/></marker></defs>'
        f'<rect width="{width}" height="{height}" rx="10" fill="#fff"/>'
    )
    return head + "\n" + "\n".join(shapes) + "\n</svg>\n"


def box(x: int, y: int, width: int, lines: Sequence[str], colour: str = BLUE) -> str:
    """Return a box with a heading and lines below it; it is as high as its lines ask."""
    height = 20 + 18 * len(lines)
    shapes = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="7" fill="{colour}"'
        f' stroke="{EDGES[colour]}"/>'
    ]
    for number, line in enumerate(lines):
        place = f'x="{x + width // 2}" y="{y + 23 + 18 * number}" text-anchor="middle"'
        shapes.append(
            f'<text {place} class="{"s" if number else "h"}">{escape(line)}</text>'
        )
    return "".join(shapes)


def arrow(x1: int, y1: int, x2: int, y2: int) -> str:
    """Return a line with a head at its second end."""
    return (
        f'<path d="M{x1} {y1}L{x2} {y2}" stroke="#565d6d" stroke-width="1.5"'
        ' fill="none" marker-end="url(#a)"/>'
    )


def text(x: int, y: int, words: str, kind: str = "s", anchor: str = "start") -> str:
    """Return a line of text."""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def flow() -> str:
    """Draw how labelled ads become a bundle, and how that scores a catalogue."""
    training = [
        ("labelled ads", "Parquet, CSV"),
        ("train", "DDP on Ray Train"),
        ("fit", "T, class means,", "thresholds"),
        ("bundle", "one folder, one version", "of the model"),
    ]
    night = [
        ("catalogue", "Parquet, Delta,", "Iceberg, S3"),
        ("plan", "every file", "is checked"),
        ("score", "clean, tokenize,", "one forward pass"),
        ("seal, verify", "files of 128 MB,", "read again"),
        ("gate", "errors, OOD,", "shift, churn"),
        ("latest.json", "readers", "follow this"),
    ]
    shapes = [text(20, 26, "when a model is trained", "h")]
    shapes += _chain(training, y=40, width=170, gap=40)
    shapes.append(text(20, 172, "every night", "h"))
    shapes += _chain(night, y=186, width=138, gap=26)
    shapes.append(arrow(735, 116, 420, 184))
    return drawing(1000, 280, "From labelled ads to published predictions", shapes)


def _chain(
    steps: Sequence[tuple[str, ...]], *, y: int, width: int, gap: int
) -> Iterator[str]:
    for number, lines in enumerate(steps):
        x = 20 + number * (width + gap)
        is_end = number in (0, len(steps) - 1)
        padded = (*lines, *[""] * (3 - len(lines)))
        yield box(x, y, width, padded, GREEN if is_end else BLUE)
        if number:
            yield arrow(x - gap + 3, y + 37, x - 4, y + 37)


RUN = [
    (120, ("plan.json", "what is scored")),
    (110, ("runner.json", "the claim")),
    (100, ("part", "of shard 1")),
    (100, ("receipt", "of shard 1")),
    (100, ("part", "of shard 2")),
    (100, ("receipt", "of shard 2")),
    (100, ("file", "of shards 1, 2")),
    (100, ("seal", "of that file")),
    (110, ("manifest", "after re-reading")),
    (110, ("latest.json", "the swap")),
]
"""What a run writes, in order: width and words."""
AFTER = [
    (0, 1, "finds its plan, claims the run"),
    (2, 5, "scores the shards that have no receipt"),
    (6, 7, "seals what has no seal"),
    (8, 8, "publishes"),
    (9, 9, "changes nothing"),
]
"""What the same command does after a crash behind these writes: first, last, words."""


def exactly_once() -> str:
    """Draw what a run writes in the order of time, and what readers see meanwhile."""
    shapes = [text(20, 28, "what the run writes", "h")]
    x, ends = 20, list[tuple[int, int]]()
    for width, lines in RUN:
        vouches = lines[0] in ("receipt", "seal", "latest.json")
        shapes.append(box(x, 42, width, lines, GREEN if vouches else BLUE))
        ends.append((x, x + width))
        x += width + 10
    swap, end = ends[-1]
    shapes.append(text(20, 130, "if it dies after such a write, the same command", "h"))
    for first, last, words in AFTER:
        shapes.append(bar(ends[first][0], 140, ends[last][1], words, BLUE))
    shapes.append(text(20, 206, "what readers see", "h"))
    shapes.append(bar(20, 216, swap - 5, "the run before, whole", GREY))
    shapes.append(bar(swap, 216, end, "this run, whole", GREEN))
    shapes.append(arrow(20, 272, end, 272))
    shapes.append(text(end, 290, "time", "s", "end"))
    return drawing(end + 20, 300, "A run in the order of time", shapes)


def bar(x1: int, y: int, x2: int, words: str, colour: str) -> str:
    """Return a bar of a time line."""
    return (
        f'<rect x="{x1}" y="{y}" width="{x2 - x1}" height="34" rx="5" fill="{colour}"'
        f' stroke="{EDGES[colour]}"/>'
        + text((x1 + x2) // 2, y + 22, words, "s", "middle")
    )


def draw() -> None:
    """Write all drawings."""
    PICTURES.mkdir(exist_ok=True)
    for name, svg in {"flow": flow(), "exactly_once": exactly_once()}.items():
        (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    draw()
