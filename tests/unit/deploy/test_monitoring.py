"""Dashboard and alerts against the list of series, the runbook, and promtool where it is there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from docs_tools import dashboard
from docs_tools.metrics import metrics_page
from rubert_ood.scoring import series
from tests.unit.deploy.monitoring import ALERTS, ROOT, named_series, panels, rules

HERE = Path(__file__).parent
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
UNITS = {"percentunit", "dateTimeAsIso", "s", "short", "rowsps"}
"""Those of Grafana that the panels use."""


def promtool(*words: str) -> None:
    done = subprocess.run([str(PROMTOOL), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_queries_name_only_series_of_the_list_and_all_of_them() -> None:
    assert named_series() == {one.exported for one in series.ALL}


def test_metrics_page_has_every_series() -> None:
    page = metrics_page()
    for one in series.ALL:
        assert f"| `{one.exported}` | {one.kind} | {one.unit} | {one.sender} |" in page


# alerts


def test_alerts_name_a_section_of_the_runbook_that_exists() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    addresses = set(re.findall(r"\{ #([a-z0-9-]+) \}$", text, re.M))
    for rule in rules():
        page, _, address = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/runbook.md"
        assert address in addresses, rule["alert"]


def test_alerts_have_names_of_their_own_a_severity_and_words() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 9
    for rule in rules():
        assert rule["alert"].startswith("RubertOod")
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}


def test_alerts_are_all_tried_on_made_up_nights() -> None:
    nights = yaml.safe_load((HERE / "alerts_test.yaml").read_text("utf-8"))["tests"]
    tried = {
        case["alertname"]
        for night in nights
        for case in night["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert tried == {rule["alert"] for rule in rules()}


@needs_promtool
def test_alerts_pass_promtool_and_fire_when_they_should() -> None:
    promtool("check", "rules", str(ALERTS))
    promtool("test", "rules", str(HERE / "alerts_test.yaml"))


def test_alerts_of_the_operator_are_made_by_the_command_of_the_docs(tmp_path) -> None:
    page = (ROOT / "docs" / "how_to" / "metrics.md").read_text("utf-8")
    (command,) = re.findall(r"^```bash\n(\{ printf.*?)\n```", page, re.M | re.S)
    fake = tmp_path / "kubectl"
    fake.write_text("#!/bin/sh\ncat\n", "utf-8")
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", f"PATH={tmp_path}:$PATH; {command}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    rule = yaml.safe_load(done.stdout)
    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text("utf-8"))


def test_pod_monitor_scrapes_the_port_that_the_pods_open() -> None:
    monitor, policy = yaml.safe_load_all(
        (ALERTS.parent / "pod_monitor.yaml").read_text("utf-8")
    )
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    job = yaml.safe_load((ROOT / "deploy/kuberay/base/rayjob.yaml").read_text("utf-8"))
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    ports = {one["name"]: one["containerPort"] for one in head["containers"][0]["ports"]}
    (rule,) = policy["spec"]["ingress"]
    assert ports[endpoint["port"]] == rule["ports"][0]["port"] == 8080


def test_nodes_of_the_aws_cluster_open_the_port_that_the_docs_name() -> None:
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text("utf-8"))
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "--metrics-export-port=8080" in cluster[name][-1]


# the dashboard


def test_dashboard_is_that_of_the_script() -> None:
    """`python -m docs_tools.dashboard` writes it."""
    assert dashboard.PLACE.read_text("utf-8") == dashboard.content()


def test_dashboard_asks_for_its_data_source() -> None:
    whole = json.loads(dashboard.PLACE.read_text("utf-8"))
    source, model = whole["templating"]["list"]
    assert (source["name"], source["type"]) == ("datasource", "datasource")
    assert model["query"]["query"].startswith("label_values(ray_rubert_ood_")
    for panel in panels():
        for one in [panel, *panel["targets"]]:
            assert one["datasource"]["uid"] == f"${{{source['name']}}}"


def test_dashboard_panels_have_unit_text_thresholds_and_a_place_of_their_own() -> None:
    taken = set()
    for panel in panels():
        at, defaults = panel["gridPos"], panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert defaults["unit"] in UNITS
        values = [step["value"] for step in defaults["thresholds"]["steps"]]
        assert values[0] is None
        assert values[1:] == sorted(values[1:])
        assert at["x"] + at["w"] <= dashboard.WIDTH
        cells = {
            (at["x"] + column, at["y"] + line)
            for column in range(at["w"])
            for line in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels()) >= 12


@needs_promtool
def test_dashboard_queries_are_promql(tmp_path) -> None:
    recorded = []
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m")
            name = f"panel_{panel['id']}_{target['refId']}"
            recorded.append({"record": name, "expr": query.replace("$model", ".*")})
    path = tmp_path / "queries.yaml"
    groups = {"groups": [{"name": "panels", "rules": recorded}]}
    path.write_text(yaml.safe_dump(groups), "utf-8")
    promtool("check", "rules", str(path))
