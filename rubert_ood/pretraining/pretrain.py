"""Pretrain with Ray Train: the driver's side. The loop of the workers is in loop.py."""

from rubert_ood import storage
from rubert_ood.pretraining.loop import pretrain_worker
from rubert_ood.pretraining.texts import TokenBlocks
from rubert_ood.settings import PretrainSettings
from rubert_ood.training.ray_trainer import TrainedModel, TrainingRun
from rubert_ood.training.token_dataset import everywhere


def training_run(settings: PretrainSettings, version: str) -> TrainingRun:
    """Name the training of a version, by its place."""
    return TrainingRun(
        storage.join(settings.output_uri, "pretraining"),
        version,
        metric="held_out_loss",
        better="min",
        step="pretrain",
    )


def pretrain_on(
    blocks: TokenBlocks,
    settings: PretrainSettings,
    run: TrainingRun,
    work_dir: str,
) -> TrainedModel:
    """Train on the workers and copy the checkpoint with the smallest held-out loss into work_dir.

    A stopped run is resumed. Raises PartialRunError only for failures that a retry may avoid.
    """
    config = {
        "base_model": everywhere(settings.base_model),
        "optimiser": settings.optimiser.model_dump(),
        "word_fraction": settings.masking.word_fraction,
    }
    result = run.fit(
        pretrain_worker,
        config,
        {"ads": blocks.dataset},
        settings.compute,
    )
    return run.take_best(result, work_dir)
