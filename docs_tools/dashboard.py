"""The Grafana dashboard of a run, made from a list of panels: `python -m docs_tools.dashboard`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rubert_ood.scoring import series as s

PLACE = Path(__file__).resolve().parents[1] / "deploy" / "grafana" / "rubert_ood.json"
SCHEMA_VERSION = 39
"""Of Grafana 11; later ones read it."""
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
MODEL = '{model=~"$model"}'
WIDTH, HEIGHT = 24, 7
STAT_HEIGHT = 4


def total(one: s.Series) -> str:
    """Return the sum of a gauge over the runs that go on."""
    return f"sum by (model) ({one.exported}{MODEL})"


def rate(one: s.Series, by: str) -> str:
    """Return how fast a counter grows, by a tag."""
    return f"sum by ({by}) (rate({one.exported}{MODEL}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    """Return one query over another."""
    return f"{part} / {whole}"


def quantile(q: float) -> str:
    """Return how long so many of the shards take."""
    return f"histogram_quantile({q}, {rate(s.SHARD_SECONDS, 'model, le')})"


@dataclass(frozen=True)
class Panel:
    """What a panel shows."""

    title: str
    text: str
    queries: dict[str, str]
    """By legend."""
    unit: str
    limits: tuple[tuple[float, str], ...] = ()
    """From which value on which colour."""
    width: int = 12
    kind: str = "timeseries"
    most: float | None = None
    first: str = "green"
    """Colour below all limits."""


SCORED = total(s.ROWS_SCORED)
SINCE_START = f"(time() - min by (model) ({s.STARTED.exported}{MODEL}))"
READ = f"({SCORED} + {total(s.ROWS_REJECTED)})"
BUSY, IDLE = rate(s.BUSY, "NodeAddress"), rate(s.IDLE, "NodeAddress")
TOKENS = rate(s.TOKENS, "model")
PADDED = f"({rate(s.PADDED_TOKENS, 'model')} or 0 * {TOKENS})"
"""Ray has no counter that was never above 0, and packed batches have no padding."""
ROWS = {
    "The run": [
        Panel("Ads done", "Of the ads of the plan, those of earlier starts included.",
              {"done": share(total(s.ROWS_DONE), total(s.ROWS_PLANNED))},
              "percentunit", width=6, kind="gauge", most=1.0),
        Panel("Expected end", "When the last ad is scored, at the rate of this start.",
              {"end": f"1000 * max by (model) ({s.EXPECTED_END.exported}{MODEL})"},
              "dateTimeAsIso", width=6, kind="stat"),
        Panel("Time to spare", "From the expected end to deadline_h; below 0 the run is late.",
              {"left": f"max by (model) ({s.DEADLINE.exported}{MODEL})"
                       f" - max by (model) ({s.EXPECTED_END.exported}{MODEL})"},
              "s", ((0, "orange"), (1800, "green")), 6, "stat", first="red"),
        Panel("Quarantined shards", "The run stops above max_quarantined_shards.",
              {"shards": total(s.SHARDS_QUARANTINED)},
              "short", ((1, "orange"), (9, "red")), 6, "stat"),
        Panel("Ads per second", "How fast the run goes, over two minutes and since its start.",
              {"now": f"sum by (model) (deriv({s.ROWS_SCORED.exported}{MODEL}[2m]))",
               "since the start": share(SCORED, SINCE_START)},
              "rowsps"),
        Panel("Shards", "Planned, and done.",
              {"planned": total(s.SHARDS_PLANNED), "done": total(s.SHARDS_DONE)}, "short"),
        Panel("Last shard done", "How long ago; the job stops after no_progress_timeout_s.",
              {"ago": f"time() - max by (model) ({s.LAST_SHARD.exported}{MODEL})"},
              "s", ((240, "red"),)),
        Panel("Seconds per shard", "From the first stage to the last, waits included.",
              {"half of them": quantile(0.5), "95 %": quantile(0.95)}, "s"),
    ],
    "The ads": [
        Panel("OOD and Other", "Of the scored ads. The gate refuses above its limits.",
              {"OOD": share(total(s.ROWS_OOD), SCORED),
               "Other": share(total(s.ROWS_OTHER), SCORED)},
              "percentunit", ((0.2, "orange"), (0.5, "red"))),
        Panel("Rejected and empty", "Of the rows that were read.",
              {"rejected": share(total(s.ROWS_REJECTED), READ),
               "empty": share(total(s.ROWS_EMPTY), READ)},
              "percentunit", ((0.01, "red"),)),
        Panel("Reused", "Of the scored ads: an earlier run has computed their result.",
              {"reused": share(total(s.ROWS_REUSED), SCORED)}, "percentunit"),
    ],
    "The scorers": [
        Panel("Scorers idle", "Share of the time in which the network of a node waits for shards.",
              {"{{NodeAddress}}": share(IDLE, f"({IDLE} + {BUSY})")},
              "percentunit", ((0.3, "orange"),)),
        Panel("Scorers busy", "Seconds of network per second; 1 is one network that always runs.",
              {"{{NodeAddress}}": BUSY}, "short"),
        Panel("Tokens per second", "What the networks read.", {"tokens": TOKENS}, "short"),
        Panel("Padding", "Of what the networks compute.",
              {"padding": share(PADDED, f"({TOKENS} + {PADDED})")},
              "percentunit", ((0.25, "orange"),)),
    ],
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": "rubert-ood",
        "title": "rubert_ood: the nightly run",
        "description": "Made by docs_tools/dashboard.py; see docs/how_to/metrics.md.",
        "tags": ["rubert_ood", "ray"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": _panels(),
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
        },
        {
            "name": "model",
            "label": "Bundle",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {
                "query": f"label_values({s.ROWS_PLANNED.exported}, model)",
                "refId": "model",
            },
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
        },
    ]


def _panels() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS.items():
        at = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        made.append(
            {
                "id": len(made) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": at,
                "panels": [],
            }
        )
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            height = HEIGHT if panel.kind == "timeseries" else STAT_HEIGHT
            at = {"x": x, "y": y, "w": panel.width, "h": height}
            made.append(_panel(panel, len(made) + 1, at))
            x += panel.width
        y += height
    return made


def _panel(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    targets = []
    for letter, (legend, query) in zip("ABCDEF", panel.queries.items(), strict=False):
        targets.append(
            {
                "refId": letter,
                "datasource": DATASOURCE,
                "expr": query,
                "legendFormat": legend,
            }
        )
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "gridPos": at,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": {},
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": panel.first, "value": None}]
    for value, colour in panel.limits:
        steps.append({"color": colour, "value": value})
    mode = "palette-classic" if panel.kind == "timeseries" else "thresholds"
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": mode},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        style = "line" if panel.limits else "off"
        defaults["custom"] = {"thresholdsStyle": {"mode": style}}
    if panel.most is not None:
        defaults |= {"min": 0, "max": panel.most}
    return defaults


def content() -> str:
    """Return the file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    PLACE.write_text(content(), "utf-8")
