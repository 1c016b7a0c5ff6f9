"""Register a bundle in MLflow, by hand or at the end of its training."""

import shlex
from dataclasses import replace

from rubert_ood.bundle import Bundle
from rubert_ood.errors import RubertOodError
from rubert_ood.operating.mlflow_client import open_client, reason_of, refusal
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.pointers.register import register_bundle
from rubert_ood.pointers.unsent import forget_unsent, note_unsent
from rubert_ood.progress import StepLog
from rubert_ood.settings import MlflowSettings, RegisterSettings
from rubert_ood.settings.problems import expect

log = StepLog("mlflow")


def register(settings: RegisterSettings) -> Bundle:
    """Send what is missing on the server; return the bundle, with the version that it is.

    Raises StorageUnavailableError where the server does not answer, and SettingsError where it
    refuses.
    """
    expect(settings, RegisterSettings)
    bundle = open_bundle(settings.bundle_uri)
    try:
        named = register_bundle(bundle, settings.mlflow)
    except RubertOodError:
        raise
    except Exception as error:  # of MLflow's client, of what it is built on
        raise refusal("register", error) from error
    forget_unsent(bundle, settings.mlflow)
    return replace(bundle, registered=named)


def check_mlflow(settings: MlflowSettings) -> None:
    """Raise SettingsError before hours of training where the extra or the address is missing."""
    if settings.experiment:
        open_client("mlflow.experiment")


def register_trained(
    bundle: Bundle, settings: MlflowSettings, started_at_ms: int
) -> Bundle:
    """Register the bundle of a training at its end; return it, with the version that it is.

    A failure costs one warning, and a note beside the bundle; `registered` stays empty.
    """
    if not settings.experiment:
        return bundle
    command = _command(bundle, settings)
    note_unsent(bundle, settings, command)
    try:
        named = register_bundle(bundle, settings, started_at_ms=started_at_ms)
    except Exception as error:  # whatever it is, the training is done
        ours = isinstance(error, RubertOodError)
        reason = str(error) if ours else reason_of(error)
        note_unsent(bundle, settings, command, reason)
        log.warning(
            "the bundle is whole, but not all of its training was sent (%s). Run `%s`",
            reason,
            command,
        )
        return bundle
    forget_unsent(bundle, settings)
    return replace(bundle, registered=named)


def _command(bundle: Bundle, settings: MlflowSettings) -> str:
    words = ["rubert-ood", "register", "--bundle_uri", bundle.uri]
    words += ["--mlflow.experiment", settings.experiment or ""]
    if settings.register_as:
        words += ["--mlflow.register_as", settings.register_as]
    return shlex.join(words)
