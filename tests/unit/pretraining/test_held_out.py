"""How hidden words of held-out ads are guessed, against a computation by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from rubert_ood.classifier.precision import Device
from rubert_ood.errors import SettingsError
from rubert_ood.pretraining.held_out import measure_held_out
from rubert_ood.training.batches import Batch
from tests.unit.training.process_group import on_two_workers

CPU = Device(torch.device("cpu"), "fp32")
LOGITS = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
HIDDEN = np.random.default_rng(1).integers(0, 6, 30)


class _Table(torch.nn.Module):
    """A network whose answers are known."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = torch.from_numpy(logits)

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        return self.logits[places]


def _measure(rank: int, logits: np.ndarray) -> dict[str, float]:
    mine = torch.arange(30)[rank::2]
    steps = []
    for places in mine.split(4):
        hidden = torch.from_numpy(HIDDEN)[places]
        steps.append([Batch((places,), hidden, len(places))])
    return measure_held_out(_Table(logits), iter(steps), CPU)


def test_held_out_is_measured_over_the_tokens_of_all_workers(tmp_path):
    first, second = on_two_workers(lambda rank: _measure(rank, LOGITS), tmp_path)
    assert first == second
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    loss = log_loss(HIDDEN, probabilities, labels=range(6))
    assert first["held_out_tokens"] == 30
    assert first["held_out_loss"] == pytest.approx(loss, rel=1e-6)
    assert first["held_out_perplexity"] == pytest.approx(math.exp(loss), rel=1e-6)
    assert first["held_out_accuracy"] == np.mean(LOGITS.argmax(1) == HIDDEN)


@pytest.mark.parametrize(("factor", "shown"), [(np.nan, "nan"), (1e6, "e+0")])
def test_held_out_loss_beyond_all_measure_names_the_setting(tmp_path, factor, shown):
    """The checkpoint would be kept, as the only one; its perplexity is no number."""

    def worker(rank: int) -> str:
        with pytest.raises(SettingsError) as caught:
            _measure(rank, LOGITS * np.float32(factor))
        return str(caught.value)

    lines = on_two_workers(worker, tmp_path)
    assert lines[0] == lines[1]
    assert "optimiser.learning_rate: training diverged, the held-out loss is" in lines[0]
    assert shown in lines[0]
