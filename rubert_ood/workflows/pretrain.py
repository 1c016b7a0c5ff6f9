"""Pretrain a base model on unlabelled ads, write a checkpoint."""

import tempfile

from rubert_ood import __version__, storage
from rubert_ood.ads.text import TextCleaner
from rubert_ood.bundle import version_name
from rubert_ood.clock import utc_now
from rubert_ood.pretraining.preflight import check_counts, check_pretraining
from rubert_ood.pretraining.pretrain import pretrain_on, training_run
from rubert_ood.pretraining.result import (
    Pretraining,
    check_free,
    pretrained_uri,
    read_finished,
    write_pretrained,
)
from rubert_ood.pretraining.texts import (
    TokenReader,
    digest_of_files,
    look_at_catalogue,
    read_catalogue,
)
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import ray_session
from rubert_ood.settings import PretrainSettings
from rubert_ood.settings.problems import expect
from rubert_ood.training.token_dataset import everywhere

log = StepLog("pretrain")

GROUPS = {"max_length", "columns", "cleaner", "masking", "optimiser", "compute"}
"""Settings that the card shows."""


def pretrain(settings: PretrainSettings) -> str:
    """Run the pretraining job, or take up a stopped one; return the URI of the checkpoint.

    One that is there already, made of the same by the same settings, is left as it is.
    """
    expect(settings, PretrainSettings)
    version = version_name(settings.version)
    uri = pretrained_uri(settings.output_uri, version)
    files = look_at_catalogue(settings.input_uri, settings.columns)
    identity = _identity(settings, digest_of_files(files))
    finished = read_finished(uri, identity)
    if finished:
        log.info("%s exists already, nothing to do", uri)
        return uri
    base_model = everywhere(settings.base_model)
    check_free(uri, base_model)
    check_pretraining(settings)
    run = training_run(settings, version)
    run.begin(identity)
    reader = TokenReader(
        TextCleaner(**settings.cleaner.model_dump()),
        base_model,
        settings.max_length,
        settings.masking.held_out_fraction,
    )
    with ray_session(settings), tempfile.TemporaryDirectory() as work_dir:
        blocks = read_catalogue(files, reader)
        counts = blocks.num_train, blocks.num_held_out
        check_counts(settings, *counts)
        trained = pretrain_on(blocks, settings, run, work_dir)
        record = Pretraining(
            version=version,
            base_model=settings.base_model,
            created_at=utc_now(),
            code_version=__version__,
            identity=identity,
            num_train=counts[0],
            num_held_out=counts[1],
            epoch=trained.epoch,
            history=trained.history,
            settings=settings.model_dump(mode="json", include=GROUPS),
        )
        write_pretrained(uri, trained.checkpoint_dir, record)
    kept = record.kept
    log.info(
        f"{uri}  epoch {record.epoch}  held-out loss {kept['held_out_loss']:.3f}"
        f"  perplexity {kept['held_out_perplexity']:,.1f}"
    )
    return uri


def _identity(settings: PretrainSettings, catalogue: str) -> dict[str, str]:
    """Say by name what the weights depend on: data and settings."""
    given = settings.model_dump(mode="json")
    chosen = ("base_model", "max_length", "columns", "cleaner", "masking", "optimiser")
    identity = {"catalogue": catalogue}
    for name in chosen:
        identity[name] = storage.to_json(given[name]).decode()
    return identity | {"num_workers": str(settings.compute.num_workers)}
