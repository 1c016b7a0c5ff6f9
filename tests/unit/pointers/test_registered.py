"""models:/NAME@ALIAS and models:/NAME/VERSION, asked of a server that speaks MLflow's REST."""

import logging
import shutil
import sys
import time

import pytest

from rubert_ood.bundle import Bundle, derive_bundle
from rubert_ood.errors import BundleError, SettingsError, StorageUnavailableError
from rubert_ood.pointers.champion import name_of, open_bundle, resolve
from rubert_ood.pointers.mlflow_run import FINGERPRINT_TAG, URI_TAG
from rubert_ood.pointers.registered import is_registered, resolve_registered
from rubert_ood.runs.plan import BundleName
from tests.mlflow_server import PASSWORD


@pytest.fixture
def bundles(bundle, tmp_path) -> list[Bundle]:
    """Two versions in one folder."""
    found = []
    for version in ("v1", "v2"):
        uri, text = str(tmp_path / "bundles" / version), {"README.md": version}
        found.append(derive_bundle(bundle, uri, documents=text))
    return found


def tags_for(bundle: Bundle) -> dict[str, str]:
    return {URI_TAG: bundle.uri, FINGERPRINT_TAG: bundle.fingerprint}


@pytest.fixture
def registry(mlflow_server, bundles):
    """Both are registered as `ads`; the alias `best` names the second."""
    for bundle in bundles:
        mlflow_server.register("ads", "s3://elsewhere/x", tags_for(bundle))
    mlflow_server.aliases["ads", "best"] = "2"
    return mlflow_server


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/ads@best", True),
        ("models:/ads/1", True),
        ("s3://models/ads/1", False),
        ("models/ads", False),
    ],
)
def test_is_registered_is_a_matter_of_the_scheme(uri, expected):
    assert is_registered(uri) is expected


def test_resolve_of_an_alias_is_the_version_that_has_it(registry, bundles):
    assert resolve("models:/ads@best") == BundleName(
        uri=bundles[1].uri,
        version="v2",
        fingerprint=bundles[1].fingerprint,
        alias="models:/ads@best",
        registered="models:/ads/2",
    )
    registry.aliases["ads", "best"] = "1"
    assert resolve("models:/ads@best").uri == bundles[0].uri


def test_resolve_of_a_version_is_its_bundle(registry, bundles):
    found = resolve("models:/ads/1")
    assert (found.uri, found.registered) == (bundles[0].uri, "models:/ads/1")


def test_resolve_of_a_version_without_the_uri_tag_takes_its_source(
    mlflow_server, bundles, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        "rubert_ood.pointers.registered.read_manifest",
        lambda uri: asked.append(uri) or bundles[0],
    )
    tags = {FINGERPRINT_TAG: bundles[0].fingerprint}
    mlflow_server.register("ads", "s3://shop/bundles/v1/", tags)
    assert resolve("models:/ads/1").uri == "s3://shop/bundles/v1"
    assert asked == ["s3://shop/bundles/v1"]


def test_open_bundle_of_an_alias_asks_once_and_says_which_it_is(
    registry, bundles, caplog
):
    caplog.set_level(logging.INFO)
    found = open_bundle("models:/ads@best")
    assert name_of(found) == resolve("models:/ads@best")
    short = bundles[1].fingerprint[:12]
    line = f"models:/ads@best names v2 (models:/ads/2), fingerprint {short}"
    assert caplog.messages == [f"bundle    {line}"]
    assert registry.asked.count("registered-models/alias") == 2  # one for each of us


@pytest.mark.parametrize(
    "uri", ["models:/ads", "models:/ads@", "models:/ads/latest", "models:/a/b/1"]
)
def test_resolve_of_another_form_says_which_forms_there_are(no_mlflow, uri):
    with pytest.raises(SettingsError, match=r"Use models:/NAME@ALIAS or models:/NAME/V"):
        resolve(uri)


@pytest.mark.parametrize("uri", ["models:/ads@none", "models:/ads/9", "models:/cars/1"])
def test_resolve_of_what_is_not_registered_says_so(registry, uri):
    with pytest.raises(BundleError, match=r"no such model, version or alias. Check") as e:
        resolve(uri)
    assert e.value.exit_code == 2
    assert str(e.value).startswith(f"{uri}: ")


def test_resolve_without_a_fingerprint_tag_says_where_it_comes_from(mlflow_server):
    mlflow_server.register("ads", "s3://shop/bundles/v1", {})
    with pytest.raises(BundleError, match=r"version 1 lacks the tag rubert_ood.finger"):
        resolve("models:/ads/1")


def test_resolve_of_a_bundle_that_was_replaced_is_refused(registry, bundles):
    shutil.rmtree(bundles[0].uri)
    shutil.copytree(bundles[1].folder, bundles[0].uri)
    with pytest.raises(
        BundleError, match=r"this is not the bundle of models:/ads/1"
    ) as e:
        resolve("models:/ads/1")
    assert bundles[0].fingerprint[:12] in str(e.value)
    assert bundles[1].fingerprint[:12] in str(e.value)


@pytest.mark.parametrize(
    ("refusals", "error", "words"),
    [
        ([503, 503], StorageUnavailableError, "does not answer, or fails. Run the same"),
        ([502, 200], None, ""),
        (["TEMPORARILY_UNAVAILABLE"], StorageUnavailableError, "Run the same command"),
        (["PERMISSION_DENIED"], SettingsError, "refuses the credentials. Check MLFLOW_"),
        ([401], SettingsError, "refuses the credentials. Check MLFLOW_"),
    ],
)
def test_resolve_where_the_server_fails_is_one_line_without_the_address(
    registry, refusals, error, words, caplog, capfd
):
    registry.refusals = [code for code in refusals if code != 200]
    if error is None:
        assert resolve("models:/ads/1").version == "v1"
        return
    with pytest.raises(error) as found:
        resolve("models:/ads/1")
    said = str(found.value)
    assert words in said
    assert "\n" not in said
    for text in (said, caplog.text, *capfd.readouterr()):
        assert PASSWORD not in text
        assert str(registry.server_port) not in text


def test_resolve_where_the_server_hangs_ends_by_itself(registry, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    registry.hangs_s = 20.0
    before = time.monotonic()
    with pytest.raises(StorageUnavailableError, match="does not answer"):
        resolve("models:/ads/1")
    assert time.monotonic() - before < registry.hangs_s  # two tries of a second


def test_resolve_sends_the_credentials_of_the_address(registry):
    resolve("models:/ads/1")
    assert registry.headers[0]["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (
            "",
            "address of the MLflow server is missing. Set the variable MLFLOW_TRACKING_",
        ),
        (
            "file:///tmp/x",
            "MLFLOW_TRACKING_URI is not the address of a server. Use http:",
        ),
        ("./mlruns", "MLFLOW_TRACKING_URI is not the address of a server. Use http:"),
    ],
)
def test_resolve_without_the_address_of_a_server_says_what_to_set(
    no_mlflow, monkeypatch, address, words
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(SettingsError, match=words):
        resolve_registered("models:/ads/1")


def test_resolve_without_the_extra_says_how_to_install_it(registry, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(SettingsError, match=r"Use pip install 'rubert_ood\[mlflow\]'"):
        resolve("models:/ads/1")
