"""When a training has ended: after its last epoch, or when epochs bring nothing any more."""

from collections.abc import Mapping, Sequence

from rubert_ood.settings import OptimiserSettings

SCORE = "valid_macro_f1"
"""What chooses the epoch."""
KEPT_BY = "kept_by"
"""By what checkpoints are kept: the score, and of equal ones the earlier epoch."""
TIE = 1e-9
"""What an epoch costs there: less than one ad changes a score by."""

Epochs = Sequence[Mapping[str, int | float]]


def best_epoch(history: Epochs) -> int:
    """Return the first epoch with the best macro-F1 on valid, counted from 1; 0 before the
    first."""
    scores = [epoch[SCORE] for epoch in history]
    return scores.index(max(scores)) + 1 if scores else 0


def kept_by(epoch: Mapping[str, int | float]) -> float:
    """Return what a checkpoint after this epoch is kept by; Ray Train keeps the largest ones."""
    return epoch[SCORE] - TIE * epoch["epoch"]


def is_over(history: Epochs, settings: OptimiserSettings) -> bool:
    """Say whether the training of these epochs has ended.

    It depends on nothing else, so that all workers agree, and a resumed training too.
    """
    if len(history) >= settings.num_epochs:
        return True
    waited = len(history) - best_epoch(history)
    return settings.patience is not None and waited >= settings.patience
