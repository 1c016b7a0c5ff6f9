"""deploy/kuberay as kustomize composes it, against the schemas, the product's own settings,
cluster.yaml and jobs/. No Kubernetes runs here."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from rubert_ood import __version__
from rubert_ood.settings import ScoreSettings, TrainSettings, load_settings
from tests.unit.deploy.composed import (
    KUBERAY,
    OVERLAYS,
    ROOT,
    SCHEMA,
    cluster_of,
    composed,
    faults,
    groups,
    one,
    pods,
)

CRDS = os.environ.get("KUBERAY_CRDS")
MISSPELT = [
    ("RayJob", "/spec/backofLimit"),
    ("RayJob", "/spec/rayClusterSpec/authOption"),
    ("RayJob", "/spec/rayClusterSpec/workerGroupSpecs/0/maxReplica"),
    ("RayJob", "/spec/rayClusterSpec/headGroupSpec/template/spec/toleration"),
    (
        "RayJob",
        "/spec/rayClusterSpec/headGroupSpec/template/spec/containers/0/securtyContext",
    ),
    ("CronJob", "/spec/concurencyPolicy"),
    ("CronJob", "/spec/jobTemplate/spec/backOffLimit"),
    ("ServiceAccount", "/automountToken"),
    ("PodDisruptionBudget", "/spec/minAvailible"),
    ("NetworkPolicy", "/spec/podSelektor"),
    ("Role", "/rules/0/verb"),
]
WRONG = [
    ("RayJob", "/spec/submissionMode", "HttpMode"),
    ("RayJob", "/spec/rayClusterSpec/authOptions/mode", "tokens"),
    ("RayJob", "/spec/activeDeadlineSeconds", "6h"),
    ("CronJob", "/spec/concurrencyPolicy", 1),
]


def put(document: Any, pointer: str, value: Any) -> None:
    *way, last = pointer.strip("/").split("/")
    for step in way:
        document = document[int(step) if isinstance(document, list) else step]
    document[last] = value


def first(kind: str) -> dict[str, Any]:
    return next(document for document in composed("cpu") if document["kind"] == kind)


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    every = [pod["spec"]["containers"] for pod in pods(document).values()]
    return [container for some in every for container in some]


def score_settings(entrypoint: str) -> ScoreSettings:
    """Read a command as the product would, with the files of the image where they lie here."""
    python, script, *arguments = shlex.split(entrypoint)
    assert (python, script) == ("python", "/app/jobs/score.py")
    here = [argument.replace("/app/jobs", str(ROOT / "jobs")) for argument in arguments]
    return load_settings(ScoreSettings, here, program="score")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_composed_overlay_is_valid(overlay):
    documents = composed(overlay)
    kinds = {document["kind"] for document in documents}
    nightly = "RayCronJob" if overlay.endswith("raycronjob") else "CronJob"
    assert {"RayJob", nightly, "NetworkPolicy", "PodDisruptionBudget", "Role"} <= kinds
    assert len(kinds & {"CronJob", "RayCronJob"}) == 1
    for document in documents:
        assert faults(document) == [], document["metadata"]["name"]


@pytest.mark.parametrize(("kind", "pointer"), MISSPELT)
def test_a_misspelt_field_is_refused(kind, pointer):
    document = first(kind)
    put(document, pointer, [])
    assert any(pointer.rpartition("/")[2] in fault for fault in faults(document))


@pytest.mark.parametrize(("kind", "pointer", "value"), WRONG)
def test_a_wrong_value_is_refused(kind, pointer, value):
    document = first(kind)
    put(document, pointer, value)
    assert faults(document) != []


def test_a_misspelt_field_of_a_raycronjob_is_refused():
    document = one(composed("gpu-spot-raycronjob"), "RayCronJob")
    document["spec"]["concurrencyPolicy"] = "Forbid"  # it has none
    assert any("concurrencyPolicy" in fault for fault in faults(document))


def strict(schema: Any) -> Any:
    """Return a CRD's schema that refuses unknown fields, as the API server does with
    `--validate=strict`."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    deeper = {name: strict(item) for name, item in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not is_open:
        deeper.setdefault("additionalProperties", False)
    return deeper


def crd_spec(kind: str) -> dict[str, Any]:
    path = Path(CRDS or "") / f"ray.io_{kind.lower()}s.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd = yaml.load(path.read_text(), loader)
    version = next(item for item in crd["spec"]["versions"] if item["name"] == "v1")
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]


def wider(schema: Any, crd: dict[str, Any], way: str) -> list[str]:
    """Return the fields of our schema that the CRD has not, or with another type."""
    schema = (
        SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
        if "$ref" in schema
        else schema
    )
    kind = schema.get("type", crd["type"])
    found = [] if kind == crd["type"] else [f"{way}: {kind}, not {crd['type']}"]
    if "items" in schema:
        return found + wider(schema["items"], crd["items"], f"{way}[]")
    theirs = crd.get("properties", {})
    for name, field in schema.get("properties", {}).items():
        if name not in theirs:
            found.append(f"{way}.{name}: unknown to the CRD")
        else:
            found += wider(field, theirs[name], f"{way}.{name}")
    return found


@pytest.mark.skipif(
    CRDS is None, reason="KUBERAY_CRDS names no folder with KubeRay's CRDs"
)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_composed_overlay_is_valid_by_the_crds_themselves(overlay):
    for document in composed(overlay):
        if document["kind"] in ("RayJob", "RayCronJob"):
            validator = Draft7Validator(strict(crd_spec(document["kind"])))
            errors = validator.iter_errors(document["spec"])
            assert [error.message for error in errors] == []
            document["spec"]["backofLimit"] = 1
            assert not validator.is_valid(document["spec"])


@pytest.mark.skipif(
    CRDS is None, reason="KUBERAY_CRDS names no folder with KubeRay's CRDs"
)
@pytest.mark.parametrize("kind", ["RayJob", "RayCronJob"])
def test_our_schema_is_not_wider_than_the_crd(kind):
    ours = SCHEMA["definitions"][f"{kind}Spec"]
    assert wider(ours, crd_spec(kind), kind) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_restricted(overlay):
    for document in composed(overlay):
        for name, pod in pods(document).items():
            context = pod["spec"]["securityContext"]
            assert context["runAsNonRoot"] is True, name
            assert context["runAsUser"] == 1000
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        contexts = [container["securityContext"] for container in containers(document)]
        if document["kind"] in ("RayJob", "RayCronJob"):
            contexts.append(cluster_of(document)["autoscalerOptions"]["securityContext"])
        for context in contexts:
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
    namespace = one(composed(overlay), "Namespace")
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_written_to_lies_in_an_empty_dir(overlay):
    pattern = one(composed(overlay), "RayJob")
    for pod in pods(pattern).values():
        empty = {
            volume["name"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume
        }
        for container in pod["spec"]["containers"]:
            mounts = {
                mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]
            }
            assert mounts.keys() == {"/tmp", "/home/ray"}
            assert set(mounts.values()) <= empty
    autoscaler = cluster_of(pattern)["autoscalerOptions"]["volumeMounts"]
    assert {mount["name"] for mount in autoscaler} == {"tmp", "home"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_clusters_ask_for_a_token(overlay):
    for document in composed(overlay):
        if document["kind"] in ("RayJob", "RayCronJob"):
            assert cluster_of(document)["authOptions"]["mode"] == "token"


def test_gpus_and_their_tolerations_are_those_of_scorers_alone():
    for overlay in OVERLAYS:
        for name, pod in pods(one(composed(overlay), "RayJob")).items():
            limits = pod["spec"]["containers"][0]["resources"]["limits"]
            keys = {item["key"] for item in pod["spec"].get("tolerations", [])}
            is_scorer = name == "gpu"
            assert ("nvidia.com/gpu" in limits) is is_scorer
            assert ("nvidia.com/gpu" in keys) is is_scorer
            assert (keys == set()) is not is_scorer


def test_only_scorers_are_on_spot_nodes():
    named = pods(one(composed("gpu-spot"), "RayJob"))
    wanted = {
        name: pod["spec"]["nodeSelector"]["karpenter.sh/capacity-type"]
        for name, pod in named.items()
    }
    assert wanted == {"head": "on-demand", "cpu": "on-demand", "gpu": "spot"}


def test_workers_have_no_token_of_the_api_server():
    for name, pod in pods(one(composed("gpu-spot"), "RayJob")).items():
        spec = pod["spec"]
        assert spec.get("automountServiceAccountToken", True) is (name == "head")
        account = "rubert-ood-head" if name == "head" else "rubert-ood-worker"
        assert spec["serviceAccountName"] == account
        annotations = one(composed("gpu-spot"), "ServiceAccount", account)["metadata"][
            "annotations"
        ]
        role = annotations["eks.amazonaws.com/role-arn"]
        assert re.fullmatch(
            r"arn:aws:iam::ACCOUNT:role/rubert-ood-ray-(head|worker)", role
        )


def test_nightly_may_create_and_get_rayjobs_and_nothing_else():
    documents = composed("cpu")
    role = one(documents, "Role")
    assert role["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}
    ]
    binding = one(documents, "RoleBinding")
    account = one(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert binding["subjects"][0]["name"] == account["serviceAccountName"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


@pytest.mark.parametrize(("overlay", "use_gpu"), [("cpu", False), ("gpu-spot", True)])
def test_the_entrypoint_is_a_command_of_the_product(overlay, use_gpu):
    settings = score_settings(one(composed(overlay), "RayJob")["spec"]["entrypoint"])
    assert settings.compute.use_gpu is use_gpu
    assert settings.input_uri == "s3://marketplace/ads/latest/"


def test_the_entrypoint_of_the_raycronjob_has_its_time_zone():
    spec = one(composed("gpu-spot-raycronjob"), "RayCronJob")["spec"]
    settings = score_settings(spec["jobTemplate"]["entrypoint"])
    assert settings.run_timezone == spec["timeZone"]


def test_the_raycronjob_is_the_rayjob_not_suspended():
    documents = composed("gpu-spot-raycronjob")
    template = one(documents, "RayCronJob")["spec"]["jobTemplate"]
    pattern = one(documents, "RayJob")["spec"]
    differing = {
        name for name in template | pattern if template.get(name) != pattern.get(name)
    }
    assert differing == {"suspend", "entrypoint"}
    assert pattern["suspend"] is True
    assert "suspend" not in template


def test_limits_agree_with_the_jobs_and_with_cluster_yaml():
    job = yaml.safe_load((ROOT / "jobs" / "score.yaml").read_text())
    train = load_settings(
        TrainSettings, ["--config", str(ROOT / "jobs" / "train.yaml")], program="train"
    )
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    types = cluster["available_node_types"]
    spec = one(composed("gpu-spot"), "RayJob")["spec"]
    named = groups(spec["rayClusterSpec"])
    assert named["cpu"]["maxReplicas"] == types["cpu_worker"]["max_workers"]
    assert named["gpu"]["maxReplicas"] == types["gpu_worker"]["max_workers"]
    assert named["gpu"]["maxReplicas"] >= train.compute.num_workers
    gpu = named["gpu"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert int(gpu["cpu"]) >= train.compute.cpus_per_worker
    assert spec["activeDeadlineSeconds"] > 4 * job["no_progress_timeout_s"]
    idle = spec["rayClusterSpec"]["autoscalerOptions"]["idleTimeoutSeconds"]
    assert idle == 60 * cluster["idle_timeout_minutes"]
    assert named["head"]["rayStartParams"]["num-cpus"] == "0"
    assert types["head"]["resources"] == {"CPU": 0}


def test_ray_is_started_as_in_cluster_yaml():
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    exported = dict(
        re.findall(r"export (RAY_\w+)=(\w+)", cluster["head_start_ray_commands"][-1])
    )
    assert len(exported) == 2
    for container in containers(one(composed("gpu-spot"), "RayJob")):
        env = {item["name"]: item["value"] for item in container["env"]}
        assert exported.items() <= env.items()


def test_the_version_of_ray_is_that_of_the_constraints():
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    for overlay in OVERLAYS:
        spec = cluster_of(one(composed(overlay), "RayJob"))
        assert pinned
        assert spec["rayVersion"] == pinned[1]


@pytest.mark.parametrize(
    ("overlay", "variant"),
    [("cpu", "cpu"), ("gpu-spot", "cuda"), ("gpu-spot-raycronjob", "cuda")],
)
def test_one_place_names_the_image(overlay, variant):
    used = {c["image"] for document in composed(overlay) for c in containers(document)}
    assert used == {f"REGISTRY/rubert-ood:{__version__}-{variant}"}
    named = [
        path
        for path in KUBERAY.rglob("*.yaml")
        if "newTag:" in path.read_text() or re.search(r"image: .*[:/]", path.read_text())
    ]
    assert {path.parent.name for path in named} == {"cpu", "gpu-spot"}


def test_the_cronjob_waits_for_the_rayjob_that_is_there():
    documents = composed("cpu")
    cronjob = one(documents, "CronJob")["spec"]
    container = cronjob["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    env = {item["name"]: item.get("value") for item in container["env"]}
    pattern = one(documents, "RayJob")
    assert container["command"][-1] == pattern["metadata"]["name"]
    assert env["TIME_ZONE"] == cronjob["timeZone"]
    assert cronjob["concurrencyPolicy"] == "Forbid"
    attempts = pattern["spec"]["backoffLimit"] + 1
    longest = attempts * pattern["spec"]["activeDeadlineSeconds"]
    assert cronjob["jobTemplate"]["spec"]["activeDeadlineSeconds"] > longest
    volume = cronjob["jobTemplate"]["spec"]["template"]["spec"]["volumes"][0]
    script = one(documents, "ConfigMap", volume["configMap"]["name"])["data"]
    assert script == {
        "start_rayjob.py": (KUBERAY / "base" / "start_rayjob.py").read_text()
    }


def test_the_hook_of_the_head_fits_its_grace_period():
    head = pods(one(composed("cpu"), "RayJob"))["head"]["spec"]
    command = head["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    seconds = re.search(r"\{1\.\.(\d+)\}", command[-1])
    assert seconds
    assert int(seconds[1]) < head["terminationGracePeriodSeconds"]
    pattern = re.search(r"pkill -TERM -f '(.+?)'", command[-1])
    entrypoint = one(composed("cpu"), "RayJob")["spec"]["entrypoint"]
    assert pattern
    assert re.search(pattern[1], entrypoint)
    assert not re.search(pattern[1], command[-1])


def test_schema_file_is_a_schema():
    Draft7Validator.check_schema(SCHEMA)
    json.dumps(SCHEMA)
