"""The signature of a bundle: BUNDLES/VERSION.sig, in the form of OpenSSF Model Signing.

Signed is manifest.json, which holds the sha256 of every other file. So the hashes that every
load of a bundle checks serve the signature too, and no file is hashed twice.
"""

import os
import tempfile

from rubert_ood import storage
from rubert_ood.bundle.files import MANIFEST, Manifest, check_files, fetch, read_manifest
from rubert_ood.errors import BundleError, InputError, SettingsError
from rubert_ood.storage.hub import is_hub

PASSWORD_VARIABLE = "RUBERT_OOD_SIGNING_PASSWORD"
NEEDS_EXTRA = "signatures need the extra `signing`. Use pip install 'rubert_ood[signing]'"


def signature_uri(uri: str) -> str:
    """Return where the signature of a bundle lies: beside its folder, which never changes."""
    return f"{uri.rstrip('/')}.sig"


def sign_bundle(uri: str, key_path: str) -> str:
    """Sign a bundle with a private key (PEM, elliptic curve), after a check of every file; return
    where the signature lies. The environment may hold a password for the key.

    Raises BundleError where the bundle is not whole, SettingsError where the key is none.
    """
    try:
        from model_signing import signing
    except ModuleNotFoundError as error:
        raise _without_extra(error) from error
    uri = storage.absolute(uri)
    manifest = read_manifest(uri)
    data = storage.read_bytes(storage.join(uri, MANIFEST))
    check_files(uri, fetch(uri, manifest) if storage.is_remote(uri) else uri, manifest)
    password = os.environ.get(PASSWORD_VARIABLE)
    secret = password.encode() if password else None
    config = signing.Config()
    with tempfile.TemporaryDirectory() as folder:
        signed, signature = _paths(folder)
        _write(signed, data)
        try:
            # its annotation says text, and the library below takes bytes alone
            config.use_elliptic_key_signer(
                private_key=os.path.expanduser(key_path),
                password=secret,  # type: ignore[arg-type, unused-ignore]
            )
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(
                f"key: {key_path} does not open as a private key ({type(error).__name__})."
                " Use an elliptic-curve key in PEM form, and set"
                f" {PASSWORD_VARIABLE} if it has a password"
            ) from error
        config.sign(signed, signature)
        with open(signature, "rb") as file:
            storage.put_bytes(signature_uri(uri), file.read())
    return signature_uri(uri)


def check_signature(uri: str, key_path: str) -> Manifest:
    """Return the manifest of a bundle that the owner of a public key (PEM) has signed.

    Only manifest and signature are read. Load the bundle with the fingerprint of what is returned:
    that binds every file. Raises BundleError where there is no such signature, SettingsError where
    the key is none.
    """
    try:
        from model_signing import verifying
    except ModuleNotFoundError as error:
        raise _without_extra(error) from error
    uri = storage.absolute(uri)
    if is_hub(uri):
        raise SettingsError(
            f"require_signature: {uri} lies on a hub, where no signature lies beside it."
            " Use a bundle on disk or S3"
        )
    manifest = read_manifest(uri)
    config = verifying.Config()
    try:
        config.use_elliptic_key_verifier(public_key=os.path.expanduser(key_path))
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"require_signature: {key_path} does not open as a public key"
            f" ({type(error).__name__}). Use an elliptic-curve key in PEM form"
        ) from error
    data, signature = _read(uri)
    if Manifest.model_validate_json(data, strict=True) != manifest:
        raise BundleError(f"{uri}: the bundle was replaced meanwhile. Start again")
    with tempfile.TemporaryDirectory() as folder:
        signed, signature_path = _paths(folder)
        _write(signed, data)
        _write(signature_path, signature)
        try:
            config.verify(signed, signature_path)
        except Exception as error:  # of several libraries, whatever is wrong with it
            raise BundleError(
                f"{uri}: its signature is not one of {MANIFEST} by the key {key_path}."
                " Sign the bundle again, or use the key of its signer"
            ) from error
    return manifest


def _read(uri: str) -> tuple[bytes, bytes]:
    """Return the manifest, and its signature."""
    data = storage.read_bytes(storage.join(uri, MANIFEST))
    try:
        return data, storage.read_bytes(signature_uri(uri))
    except InputError as error:
        raise BundleError(
            f"{uri}: the bundle is not signed ({signature_uri(uri)} is missing)."
            " Sign it by `rubert-ood sign`"
        ) from error


def _paths(folder: str) -> tuple[str, str]:
    return os.path.join(folder, MANIFEST), os.path.join(folder, "signature")


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _without_extra(error: ModuleNotFoundError) -> Exception:
    """Return what to raise: a clear line where the extra is missing, else the error itself."""
    if (error.name or "").partition(".")[0] != "model_signing":
        return error
    return SettingsError(NEEDS_EXTRA)
