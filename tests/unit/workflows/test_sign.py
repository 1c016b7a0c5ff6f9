"""`sign`, and a verb that asks for the signature."""

import subprocess

import pytest

from rubert_ood.bundle import derive_bundle
from rubert_ood.errors import BundleError
from rubert_ood.settings import PredictSettings, SignSettings
from rubert_ood.workflows.predict import predict
from rubert_ood.workflows.sign import sign


def test_predict_that_requires_a_signature_takes_the_bundle_once_it_is_signed(
    bundle, tmp_path
):
    """With the keys that the docs make, by openssl."""
    key, public = str(tmp_path / "signing.key"), str(tmp_path / "signing.pub")
    new = f"openssl ecparam -name prime256v1 -genkey -noout -out {key}"
    subprocess.run(new.split(), check=True)
    subprocess.run(f"openssl ec -in {key} -pubout -out {public}".split(), check=True)
    uri = derive_bundle(bundle, str(tmp_path / "bundles" / "v1")).uri
    asked = PredictSettings(bundle_uri=uri, require_signature=public, texts=["диван"])
    with pytest.raises(BundleError, match="is not signed"):
        predict(asked)
    assert sign(SignSettings(bundle_uri=uri, key=key)) == f"{uri}.sig"
    plain = PredictSettings(bundle_uri=uri, texts=["диван"])
    assert predict(asked) == predict(plain)
