"""Sign a bundle."""

from rubert_ood.bundle.signature import sign_bundle
from rubert_ood.pointers.champion import resolve
from rubert_ood.progress import StepLog
from rubert_ood.settings import SignSettings
from rubert_ood.settings.problems import expect


def sign(settings: SignSettings) -> str:
    """Check every file of the bundle and sign it; return where the signature lies."""
    expect(settings, SignSettings)
    uri = sign_bundle(resolve(settings.bundle_uri).uri, settings.key)
    StepLog("sign").info("%s", uri)
    return uri
