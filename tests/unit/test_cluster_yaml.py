"""cluster.yaml is checked by what will read it: Ray's schema, EC2's RunInstances model, the shell,
`ray start`."""

import copy
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start as ray_start

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "setup_commands",
    "head_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
ACCESS_KEY = re.compile(r"(?<![A-Z0-9])A[A-Z]{3}[A-Z0-9]{16}(?![A-Z0-9])")
SECRET_KEY = re.compile(
    r"(?<![\w/+])(?=[a-z0-9/+]*[A-Z])(?=[A-Za-z/+]*[0-9])[A-Za-z0-9/+]{40}(?![\w/+=])"
)


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def as_ray_up(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in Ray's AWS defaults and validate, the way `ray up` does before it calls AWS."""
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def run_instances_faults(node_config: dict[str, Any]) -> str:
    """Return what EC2's own request model has against a node_config; Ray's schema takes any object
    there."""
    model = (
        botocore.session.get_session()
        .get_service_model("ec2")
        .operation_model("RunInstances")
    )
    return (
        ParamValidator()
        .validate(node_config | {"MinCount": 1, "MaxCount": 1}, model.input_shape)
        .generate_report()
    )


def node_configs(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: node["node_config"] for name, node in config["available_node_types"].items()
    }


def is_spot(node_config: dict[str, Any]) -> bool:
    return node_config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [str(value)]


def key_like(config: dict[str, Any]) -> list[str]:
    return [
        text
        for text in strings(config)
        if ACCESS_KEY.search(text) or SECRET_KEY.search(text)
    ]


def test_cluster_yaml_is_accepted_by_ray(config: dict[str, Any]) -> None:
    prepared = as_ray_up(config)
    for name in COMMANDS[2:]:
        assert prepared[name] == config[name]
    assert prepared["worker_setup_commands"] == config["setup_commands"]
    assert (
        prepared["head_setup_commands"]
        == config["setup_commands"] + config["head_setup_commands"]
    )


def test_cluster_yaml_with_an_unknown_key_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="idle_timeout_hours"):
        as_ray_up(config | {"idle_timeout_hours": 1})
    config["available_node_types"]["gpu_worker"]["minimum"] = 1
    with pytest.raises(ValidationError, match="minimum"):
        as_ray_up(config)


def test_a_head_type_that_does_not_exist_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="head_node_type"):
        as_ray_up(config | {"head_node_type": "haed"})


def test_ec2_knows_every_launch_parameter(config: dict[str, Any]) -> None:
    for name, node_config in node_configs(config).items():
        assert run_instances_faults(node_config) == "", name
    misspelt = node_configs(config)["gpu_worker"] | {
        "InstanceMarketOption": {"MarketType": "spot"}
    }
    assert "InstanceMarketOption" in run_instances_faults(misspelt)


def test_the_head_is_on_demand_and_takes_no_work(config: dict[str, Any]) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert "InstanceMarketOptions" not in head["node_config"]
    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0


def test_cluster_yaml_gpu_workers_are_spot(config: dict[str, Any]) -> None:
    gpu_types = {
        name
        for name, node in node_configs(config).items()
        if re.match(r"[gp]\d", node["InstanceType"])
    }
    assert gpu_types
    assert gpu_types == {
        name
        for name, node in config["available_node_types"].items()
        if node["resources"].get("GPU")
    }
    assert all(is_spot(node_configs(config)[name]) for name in gpu_types)


def test_cluster_yaml_worker_limits_fit(config: dict[str, Any]) -> None:
    workers = [
        node
        for name, node in config["available_node_types"].items()
        if name != config["head_node_type"]
    ]
    assert len(workers) >= 2
    assert all(0 <= node["min_workers"] <= node["max_workers"] for node in workers)
    assert all(node["max_workers"] > 0 for node in workers)
    assert sum(node["max_workers"] for node in workers) <= config["max_workers"]


def test_images_and_rights_are_named_not_pasted(config: dict[str, Any]) -> None:
    for node_config in node_configs(config).values():
        assert node_config["ImageId"].startswith("resolve:ssm:/aws/service/")
        assert list(node_config["IamInstanceProfile"]) == ["Name"]
    assert config["provider"]["cache_stopped_nodes"] is False


def test_cluster_yaml_holds_nothing_like_an_aws_key(config: dict[str, Any]) -> None:
    assert key_like(config) == []
    assert not re.search(
        r"(?i)secret|access_key|ssh_private_key", (ROOT / "cluster.yaml").read_text()
    )
    for fake in ("AKIA" + "Q7" * 8, "ASIA" + "7Q" * 8, "wJ4r/+" * 6 + "wJ4r"):
        assert key_like(config | {"metadata": {"note": f"key={fake}"}}) == [f"key={fake}"]


def test_cluster_yaml_copies_nothing_bulky_or_private(config: dict[str, Any]) -> None:
    assert {".git", ".venv", "__pycache__"} <= set(config["rsync_exclude"])
    assert {"/demo", "/output"} <= set(config["rsync_exclude"])
    mounted = {
        local for local in config["file_mounts"].values() if not local.startswith("~")
    }
    read_by_setuptools = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert mounted == read_by_setuptools | {"rubert_ood"}


def test_cluster_yaml_mounts_exist(config: dict[str, Any]) -> None:
    mounted = [
        local for local in config["file_mounts"].values() if not local.startswith("~")
    ]
    assert [local for local in mounted if not (ROOT / local).exists()] == []


def test_every_node_installs_the_pinned_packages(config: dict[str, Any]) -> None:
    installs = [
        line
        for line in config["setup_commands"] + config["head_setup_commands"]
        if "pip install" in line
    ]
    assert len(installs) == 2
    for line in installs:
        words = shlex.split(line)
        assert words[words.index("-c") + 1] == "constraints.txt"
        assert "." in words
    assert config["file_mounts"]["~/rubert_ood/constraints.txt"] == "constraints.txt"
    assert "--python 3.11" in " ".join(config["setup_commands"])


def test_cluster_yaml_brings_the_token_to_every_node(config: dict[str, Any]) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    exports = " ".join(config["setup_commands"])
    assert "RAY_AUTH_MODE=token" in exports
    assert 'RAY_AUTH_TOKEN_PATH="$HOME/.ray/auth_token"' in exports


def test_cluster_yaml_commands_are_valid_shell(config: dict[str, Any]) -> None:
    for name in COMMANDS:
        for line in config[name]:
            assert (
                subprocess.run(["bash", "-n", "-c", line], capture_output=True).returncode
                == 0
            ), line


def test_cluster_yaml_flags_are_known_to_ray_start(config: dict[str, Any]) -> None:
    known = {option for parameter in ray_start.params for option in parameter.opts}
    head, worker = (config[name][-1].split("ray start", 1)[1] for name in COMMANDS[2:])
    for line in (head, worker):
        flags = {word.split("=")[0] for word in line.split() if word.startswith("--")}
        assert flags
        assert flags <= known
    assert "--head --port=6379" in head
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert "--dashboard-host=127.0.0.1" in head
    assert "--address=$RAY_HEAD_IP:6379" in worker
