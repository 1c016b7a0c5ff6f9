import pytest
import torch

from rubert_ood.errors import SettingsError
from rubert_ood.training import epoch_counter
from rubert_ood.training.batches import Batch
from rubert_ood.training.checkpoints import EpochSums
from rubert_ood.training.epoch_counter import EpochCounter
from tests.unit.training.process_group import on_two_workers

CPU = torch.device("cpu")


def _step(num_tokens: int) -> list[Batch]:
    nothing = torch.empty(0)
    return [Batch((nothing, nothing), nothing, num_tokens)] * 2


def test_counter_adds_up_the_steps_of_all_workers_and_those_of_a_checkpoint(tmp_path):
    def worker(rank: int) -> tuple[float, dict]:
        counter = EpochCounter(EpochSums(loss=1.0, losses=2, tokens=30), CPU)
        counter.add(torch.tensor(0.5 + rank), _step(10))
        counter.add(torch.tensor(0.25), _step(1 + rank))
        return counter.mean_loss(), counter.sums(epoch=0).model_dump()

    (mean, sums), (_, others) = on_two_workers(worker, tmp_path)
    assert mean == 0.375
    assert sums.pop("seconds") >= 0
    others.pop("seconds")
    assert sums == others
    expected = {"loss": 1.0 + 0.75 + 1.75, "losses": 2 + 4, "tokens": 30 + 22 + 24}
    of_the_gauge = {"grad_norm": 0.0, "learning_rate": 0.0}
    assert sums == expected | of_the_gauge


def test_counter_knows_the_rate_of_its_worker(monkeypatch):
    counter = EpochCounter(EpochSums(tokens=1000, seconds=1.0), CPU)
    counter.add(torch.tensor(0.5), _step(150))
    started = counter._started
    monkeypatch.setattr(epoch_counter.time, "monotonic", lambda: started + 2.0)
    assert counter.tokens_per_s() == pytest.approx(2 * 150 / 2)


def test_counter_of_a_loss_that_is_not_finite_names_the_setting(tmp_path):
    def worker(rank: int) -> str:
        counter = EpochCounter(EpochSums(), CPU)
        counter.add(torch.tensor(float("nan") if rank else 1.0), _step(1))
        with pytest.raises(SettingsError) as caught:
            counter.sums(epoch=2)
        return str(caught.value)

    lines = on_two_workers(worker, tmp_path)
    assert lines[0] == lines[1]
    assert lines[0].startswith("optimiser.learning_rate: training diverged")
    assert "the loss of epoch 3 is not finite" in lines[0]
