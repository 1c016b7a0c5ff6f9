import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from rubert_ood.classifier.precision import Device
from rubert_ood.errors import SettingsError
from rubert_ood.training.batches import Batch
from rubert_ood.training.validation import measure_valid
from tests.unit.training.process_group import on_two_workers

CPU = torch.device("cpu")
LOGITS = np.random.default_rng(0).normal(size=(41, 4)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 4, 41)


class _Table(torch.nn.Module):
    """A network whose answers are known."""

    def forward(self, rows: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(LOGITS)[rows]


def _steps(rows: np.ndarray):
    for start in range(0, len(rows), 8):
        chosen = torch.from_numpy(rows[start : start + 8])
        labels = torch.from_numpy(LABELS)[chosen]
        yield [Batch((chosen, chosen), labels, len(chosen))]


@pytest.mark.parametrize("cut", [41, 40, 20])
def test_valid_is_measured_over_the_rows_of_all_workers(tmp_path, cut):
    """One worker may have fewer rows, or none at all."""
    rows = np.random.default_rng(2).permutation(41)

    def worker(rank: int) -> dict:
        mine = rows[:cut] if rank == 0 else rows[cut:]
        return measure_valid(_Table(), _steps(mine), Device(CPU, "fp32"))

    first, second = on_two_workers(worker, tmp_path)
    assert first == second
    predicted = LOGITS.argmax(1)
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    assert first["valid_rows"] == 41
    assert first["valid_accuracy"] == accuracy_score(LABELS, predicted)
    assert first["valid_macro_f1"] == f1_score(LABELS, predicted, average="macro")
    expected = log_loss(LABELS, probabilities, labels=range(4))
    assert first["valid_loss"] == pytest.approx(expected, rel=1e-6)


def test_valid_of_a_network_that_answers_no_numbers_names_the_setting(
    tmp_path, monkeypatch
):
    """Its best class would be the first one, and a run of one epoch would keep it."""
    spoilt = LOGITS.copy()
    spoilt[40] = np.nan
    monkeypatch.setattr(sys.modules[__name__], "LOGITS", spoilt)

    def worker(rank: int) -> str:
        steps = _steps(np.arange(20) if rank == 0 else np.arange(20, 41))
        with pytest.raises(SettingsError) as caught:
            measure_valid(_Table(), steps, Device(CPU, "fp32"))
        return str(caught.value)

    lines = on_two_workers(worker, tmp_path)
    assert lines[0] == lines[1]
    assert lines[0].startswith("optimiser.learning_rate: training diverged, the loss on")
