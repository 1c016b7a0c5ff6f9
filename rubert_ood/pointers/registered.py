"""The bundle that a model version in an MLflow registry stands for.

models:/NAME@ALIAS and models:/NAME/VERSION are resolved once by a job, as BUNDLES/champion is.
"""

import os
import re
from typing import TYPE_CHECKING, TypeGuard

from rubert_ood import storage
from rubert_ood.bundle.files import read_manifest
from rubert_ood.errors import BundleError, RubertOodError, SettingsError
from rubert_ood.operating.mlflow_client import UNKNOWN, code_of, open_client, refusal
from rubert_ood.pointers.mlflow_run import FINGERPRINT_TAG, URI_TAG
from rubert_ood.runs.plan import BundleName

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

SCHEME = "models:/"
FORM = re.compile(
    r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@:]+)|/(?P<version>[0-9]+))"
)


def is_registered(uri: str | os.PathLike[str]) -> TypeGuard[str]:
    """Say whether a URI means a model version."""
    return isinstance(uri, str) and uri.startswith(SCHEME)


def resolve_registered(uri: str) -> BundleName:
    """Return the bundle of a model version, where it is the one that was registered.

    Raises SettingsError for a URI of another form, where the extra or the address is missing, and
    where the server refuses; BundleError where there is no such version, where a tag is missing,
    and where another bundle lies there; StorageUnavailableError where the server does not answer.
    """
    found = _ask(uri)
    version = f"version {found.version}"
    fingerprint = found.tags.get(FINGERPRINT_TAG, "")
    if not fingerprint:
        raise BundleError(
            f"{uri}: {version} lacks the tag {FINGERPRINT_TAG}. Set it to the fingerprint"
            " in the manifest.json of the bundle"
        )
    bundle_uri = found.tags.get(URI_TAG) or found.source
    if not bundle_uri:
        raise BundleError(
            f"{uri}: {version} does not say where its bundle is. Set the tag {URI_TAG}"
        )
    bundle_uri = storage.absolute(bundle_uri)
    manifest = read_manifest(bundle_uri)
    if manifest.fingerprint != fingerprint:
        raise BundleError(
            f"{bundle_uri}: this is not the bundle of {uri}: its fingerprint is"
            f" {manifest.fingerprint[:12]}, not {fingerprint[:12]} (tag {FINGERPRINT_TAG} of"
            f" {version}). Restore the bundle, or register it again"
        )
    return BundleName(
        uri=bundle_uri,
        version=manifest.version,
        fingerprint=fingerprint,
        alias=uri,
        registered=f"{SCHEME}{found.name}/{found.version}",
    )


def _ask(uri: str) -> "ModelVersion":
    """Return the model version as the registry has it."""
    parts = FORM.fullmatch(uri)
    if parts is None:
        raise SettingsError(
            f"{uri}: this is not the URI of a model version. Use models:/NAME@ALIAS or"
            " models:/NAME/VERSION"
        )
    name, alias, version = parts.group("name", "alias", "version")
    client = open_client(uri)
    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, version)
    except Exception as error:  # of the client, or of what it is built on
        raise _unanswered(uri, error) from error


def _unanswered(uri: str, error: Exception) -> RubertOodError:
    if code_of(error) in UNKNOWN:
        return BundleError(
            f"{uri}: the MLflow registry has no such model, version or alias. Check the"
            " name, or register the bundle"
        )
    return refusal(uri, error)
