"""The page of the series that a run sends."""

from rubert_ood.scoring import series

HEAD = """# Metrics

A run on Ray sends these series to Ray's metrics ports: see [Watch a run](../how_to/metrics.md).
Each has the tag `model`, the version of the bundle. Ray adds its own (`SessionName`,
`NodeAddress`, `WorkerId`, ...).

| series in Prometheus | kind | unit | sent by | |
|---|---|---|---|---|
"""


def metrics_page() -> str:
    """Return the list of `scoring/series.py` as a table."""
    lines = []
    for one in series.ALL:
        cells = (f"`{one.exported}`", one.kind, one.unit, one.sender, one.help)
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"
