"""What `kubectl apply -k OVERLAY` would send, and what Kubernetes and KubeRay have against it."""

import copy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[3]
KUBERAY = ROOT / "deploy" / "kuberay"
OVERLAYS = ("cpu", "gpu-spot", "gpu-spot-raycronjob")
KUBERNETES_VERSIONS = ("1.33", "1.37")
KUBECTL = Path(sys.executable).parent / "kubectl"
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay.schema.yaml").read_text())
Document = dict[str, Any]


@cache
def _composed(overlay: str) -> list[Document]:
    command = [KUBECTL, "kustomize", KUBERAY / "overlays" / overlay]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def composed(overlay: str) -> list[Document]:
    """Return the documents of an overlay, by kustomize itself; the caller may change them."""
    return copy.deepcopy(_composed(overlay))


def one(documents: list[Document], kind: str, name: str = "") -> Document:
    """Return the only document of a kind, or of a kind and a name."""
    found = [
        document
        for document in documents
        if document["kind"] == kind and name in ("", document["metadata"]["name"])
    ]
    assert len(found) == 1, (kind, name, len(found))
    return found[0]


def cluster_of(document: Document) -> Document:
    """Return the rayClusterSpec of a RayJob or a RayCronJob."""
    spec = document["spec"]
    return spec.get("jobTemplate", spec)["rayClusterSpec"]


def groups(cluster: Document) -> dict[str, Document]:
    """Return the groups of a RayCluster by name; the head's is `head`."""
    workers = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]} | workers


def pods(document: Document) -> dict[str, Document]:
    """Return the pod templates of a document by a name for messages."""
    if document["kind"] in ("RayJob", "RayCronJob"):
        named = groups(cluster_of(document))
        return {name: group["template"] for name, group in named.items()}
    if document["kind"] == "CronJob":
        return {"job": document["spec"]["jobTemplate"]["spec"]["template"]}
    return {}


def faults(document: Document) -> list[str]:
    """Return what is wrong with a document; a field that nobody knows is."""
    if document["kind"] not in ("RayJob", "RayCronJob"):
        return _kubernetes_faults(document)
    definition = SCHEMA["definitions"][f"{document['kind']}Spec"]
    validator = Draft7Validator(SCHEMA | definition)
    found = [error.message for error in validator.iter_errors(document["spec"])]
    if found:
        return found
    for name, template in pods(document).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}} | template
        found += [f"{name}: {fault}" for fault in _kubernetes_faults(pod)]
    return found


def _kubernetes_faults(document: Document) -> list[str]:
    found = []
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{document['kind']} {version}: {error}")
    return found
