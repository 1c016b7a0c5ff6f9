"""Pretrain with Ray Train: the driver's side. The loop of the workers is in loop.py."""

from rubert_ood.pretraining.loop import pretrain_worker
from rubert_ood.pretraining.texts import TokenBlocks
from rubert_ood.settings import PretrainSettings
from rubert_ood.training.preflight import precision_of_training
from rubert_ood.training.ray_trainer import BestCheckpoint, TrainingRun
from rubert_ood.training.token_dataset import everywhere


def run_pretraining(
    settings: PretrainSettings,
    blocks: TokenBlocks,
    *,
    run: TrainingRun,
    work_dir: str,
) -> BestCheckpoint:
    """Train on the workers and copy the best checkpoint into work_dir.

    The same run goes on where it stopped. Raises PartialRunError only for what another attempt may
    not meet.
    """
    compute = settings.compute
    config = {
        "base_model": everywhere(settings.base_model),
        "optimiser": settings.optimiser.model_dump(),
        "word_fraction": settings.masking.word_fraction,
        "use_gpu": compute.use_gpu,
        "precision": precision_of_training(compute),
        "token_budget": compute.token_budget,
        "num_threads": int(max(1, compute.cpus_per_worker)),
        "checkpoint_every_s": compute.checkpoint_every_s,
    }
    result = run.fit(pretrain_worker, config, {"ads": blocks.dataset}, compute)
    return run.take_best(result, work_dir)
