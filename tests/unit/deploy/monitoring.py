"""What dashboard and alerts ask Prometheus for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "deploy" / "grafana" / "rubert_ood.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
NAME = re.compile(r"\bray_rubert_ood_\w+")


def rules() -> list[dict[str, object]]:
    """Return each alert."""
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, object]]:
    """Return each panel of the dashboard but its rows."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    """Yield every query of the dashboard and of the alerts."""
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]
    for rule in rules():
        yield rule["expr"]


def named_series() -> set[str]:
    """Return every series of ours that a query names, as Prometheus stores it."""
    return {name for query in queries() for name in NAME.findall(query)}
