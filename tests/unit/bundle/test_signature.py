"""A signed bundle, and what is refused."""

import shutil
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec

from rubert_ood.bundle import derive_bundle
from rubert_ood.bundle.signature import check_signature, sign_bundle, signature_uri
from rubert_ood.errors import BundleError, SettingsError
from rubert_ood.pointers import champion
from rubert_ood.pointers.champion import open_bundle


def keys(folder: Path, name: str, password: str = "") -> tuple[str, str]:
    """Write a new pair of keys; return the paths of the private and of the public one."""
    key = ec.generate_private_key(ec.SECP256R1())
    lock: pem.KeySerializationEncryption = pem.NoEncryption()
    if password:
        lock = pem.BestAvailableEncryption(password.encode())
    private = key.private_bytes(
        pem.Encoding.PEM,
        pem.PrivateFormat.PKCS8,
        lock,
    )
    public = key.public_key().public_bytes(
        pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / f"{name}.key").write_bytes(private)
    (folder / f"{name}.pub").write_bytes(public)
    return str(folder / f"{name}.key"), str(folder / f"{name}.pub")


@pytest.fixture
def pair(tmp_path) -> tuple[str, str]:
    return keys(tmp_path, "ours")


@pytest.fixture
def signed(bundle, tmp_path, pair) -> str:
    uri = derive_bundle(bundle, str(tmp_path / "bundles" / "v1")).uri
    assert sign_bundle(uri, pair[0]) == f"{uri}.sig"
    return uri


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """Note which bundles are loaded."""
    seen = list[str]()
    load = champion.load_bundle

    def noted(uri, **options):
        seen.append(uri)
        return load(uri, **options)

    monkeypatch.setattr(champion, "load_bundle", noted)
    return seen


def test_open_bundle_with_its_signature_loads_the_same_bundle(signed, pair, loads):
    found = open_bundle(signed, pair[1])
    assert loads == [signed]
    assert found.fingerprint == open_bundle(signed).fingerprint


def test_bundle_of_a_hub_has_no_signature_and_is_not_asked_for_one(pair):
    with pytest.raises(SettingsError, match=r"lies on a hub.*bundle on disk or S3"):
        check_signature("hf://avito/ads@0123", pair[1])


def test_signature_is_of_manifest_json_for_other_tools_too(signed, pair):
    """The library's own checker, on the file that lies in the folder."""
    from model_signing.verifying import Config

    config = Config().use_elliptic_key_verifier(public_key=pair[1])
    config.verify(f"{signed}/manifest.json", signature_uri(signed))
    with pytest.raises((ValueError, InvalidSignature)):
        config.verify(f"{signed}/README.md", signature_uri(signed))


def test_open_bundle_without_signature_refuses_it_before_it_is_loaded(
    signed, pair, loads
):
    Path(f"{signed}.sig").unlink()
    with pytest.raises(BundleError, match="is not signed"):
        open_bundle(signed, pair[1])
    assert loads == []


def test_open_bundle_by_another_key_refuses_it_before_it_is_loaded(
    signed, tmp_path, loads
):
    other = keys(tmp_path, "theirs")[1]
    with pytest.raises(BundleError, match=r"is not one of manifest.json by the key"):
        open_bundle(signed, other)
    assert loads == []


def test_open_bundle_with_a_changed_file_refuses_it(signed, pair):
    Path(signed, "README.md").write_text("another", encoding="utf-8")
    with pytest.raises(BundleError, match=r"README.md differs from the manifest"):
        open_bundle(signed, pair[1])


def test_open_bundle_with_an_added_file_refuses_it(signed, pair):
    Path(signed, "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError, match=r"adapter_config.json is not in the manifest"):
        open_bundle(signed, pair[1])


def test_open_bundle_made_anew_under_an_old_signature_refuses_it(
    bundle, signed, pair, loads
):
    """Whole by its own hashes, which anybody can write: only the signature tells."""
    shutil.rmtree(signed)
    derive_bundle(bundle, signed, documents={"README.md": "another"})
    assert open_bundle(signed).fingerprint
    loads.clear()
    with pytest.raises(BundleError, match=r"is not one of manifest.json"):
        open_bundle(signed, pair[1])
    assert loads == []


def test_sign_bundle_of_a_damaged_bundle_writes_no_signature(signed, pair):
    Path(f"{signed}.sig").unlink()
    Path(signed, "README.md").write_text("another", encoding="utf-8")
    with pytest.raises(BundleError, match=r"README.md differs"):
        sign_bundle(signed, pair[0])
    assert not Path(f"{signed}.sig").exists()


def test_sign_bundle_by_a_locked_key_takes_its_password(signed, tmp_path, monkeypatch):
    private, public = keys(tmp_path, "locked", password="a secret")
    with pytest.raises(SettingsError, match="RUBERT_OOD_SIGNING_PASSWORD") as refused:
        sign_bundle(signed, private)
    assert "a secret" not in str(refused.value)
    monkeypatch.setenv("RUBERT_OOD_SIGNING_PASSWORD", "a secret")
    sign_bundle(signed, private)
    assert open_bundle(signed, public).uri == signed


def test_open_bundle_with_a_file_that_is_not_a_key_is_one_line(signed, tmp_path):
    (tmp_path / "no.pub").write_text("no key", encoding="utf-8")
    with pytest.raises(SettingsError, match="does not open as a public key"):
        open_bundle(signed, str(tmp_path / "no.pub"))
