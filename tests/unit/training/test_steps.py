"""Steps against plain PyTorch: the cut of a step changes nothing, whatever carries it out."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel
from transformers import BertConfig, BertForSequenceClassification

from rubert_ood.classifier.precision import Device
from rubert_ood.settings import OptimiserSettings
from rubert_ood.training.batches import Layout
from rubert_ood.training.optimiser import make_optimiser, make_schedule
from rubert_ood.training.steps import Stepper, seed_dropout, summed_loss
from rubert_ood.training.trained_network import PaddedNetwork, trained_network

CPU = Device(torch.device("cpu"), "fp32")
BF16 = Device(torch.device("cpu"), "bf16")
PAD, NUM_CLASSES, NUM_STEPS, NUM_ADS = 0, 6, 5, 13
SETTINGS = OptimiserSettings(learning_rate=1e-3, max_grad_norm=0.5, num_epochs=1).by(
    "notebook"
)


def _network() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=NUM_CLASSES,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config).train()


@pytest.fixture(scope="module")
def steps() -> list[pa.Table]:
    rng = np.random.default_rng(1)
    tables = []
    for _ in range(NUM_STEPS):
        lengths = rng.integers(2, 30, NUM_ADS)
        ids = [rng.integers(1, 200, length).tolist() for length in lengths]
        labels_N = rng.integers(0, NUM_CLASSES, NUM_ADS)
        tables.append(
            pa.table({"ids": pa.array(ids, pa.list_(pa.int32())), "label": labels_N})
        )
    return tables


@pytest.fixture(scope="module")
def expected(steps) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and weights by PyTorch alone: one padded batch a step, unfused AdamW."""
    network = _network()
    decayed = [weight for weight in network.parameters() if weight.ndim > 1]
    exempt = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed}, {"params": exempt, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.01, foreach=False)
    losses = []
    for number, table in enumerate(steps):
        ads = [torch.tensor(ids) for ids in table["ids"].to_pylist()]
        ids_NL = torch.nn.utils.rnn.pad_sequence(ads, batch_first=True)
        mask_NL = torch.zeros_like(ids_NL)
        for row, ad in enumerate(ads):
            mask_NL[row, : len(ad)] = 1
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * (NUM_STEPS - number) / NUM_STEPS
        labels_N = torch.tensor(table["label"].to_pylist())
        loss = network(ids_NL, mask_NL, labels=labels_N).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses, network.state_dict()


def _stepper(model: torch.nn.Module, network: torch.nn.Module, device: Device) -> Stepper:
    optimiser = make_optimiser(network, SETTINGS)
    schedule = make_schedule(optimiser, SETTINGS, NUM_STEPS)
    return Stepper(model, device, optimiser, schedule, SETTINGS.max_grad_norm)


@pytest.fixture
def one_process(tmp_path):
    """A process group of this process alone, so that DDP can be made."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def _assert_trained_as(network, losses, expected) -> None:
    expected_losses, weights = expected
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for name, weight in network.state_dict().items():
        if name.endswith(
            "key.bias"
        ):  # its gradient is 0 but for rounding, which AdamW enlarges
            continue
        moved = float((weights[name] - _network().state_dict()[name]).abs().max())
        np.testing.assert_allclose(
            weight, weights[name], atol=0.02 * moved + 1e-7, rtol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("budget", [None, 1, 40, 120])
@pytest.mark.parametrize("packed", [True, False])
def test_stepper_of_any_cut_trains_as_one_padded_batch(steps, expected, budget, packed):
    network = _network()
    model = trained_network(network, CPU) if packed else PaddedNetwork(network, CPU)
    stepper = _stepper(model, network, CPU)
    layout = Layout(pad_id=None if packed else PAD, token_budget=budget)
    losses = [float(stepper.take(layout.batches(step))) for step in steps]
    _assert_trained_as(network, losses, expected)


def test_stepper_of_ddp_syncs_once_a_step_and_trains_as_one_batch(
    steps, expected, one_process
):
    network = _network()
    model = DistributedDataParallel(
        trained_network(network, CPU), gradient_as_bucket_view=True
    )
    synced = []

    def count(
        state: object, bucket: torch.distributed.GradBucket
    ) -> torch.futures.Future[torch.Tensor]:
        synced.append(bucket.is_last())
        done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    model.register_comm_hook(None, count)
    stepper = _stepper(model, network, CPU)
    layout = Layout(pad_id=None, token_budget=60)
    losses = []
    for step in steps:
        batches = layout.batches(step)
        assert len(batches) > 2
        losses.append(float(stepper.take(batches)))
    assert synced.count(True) == NUM_STEPS
    _assert_trained_as(network, losses, expected)


@pytest.mark.parametrize("packed", [True, False])
def test_stepper_in_bf16_comes_near_fp32(steps, expected, packed):
    network = _network()
    model = trained_network(network, BF16) if packed else PaddedNetwork(network, BF16)
    stepper = _stepper(model, network, BF16)
    layout = Layout(pad_id=None if packed else PAD)
    losses = [float(stepper.take(layout.batches(step))) for step in steps]
    np.testing.assert_allclose(losses, expected[0], rtol=0.02)
    assert losses != expected[0]
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


def test_seed_dropout_is_that_of_torch_on_the_device():
    torch.manual_seed(2**62 + 7)
    expected = torch.nn.functional.dropout(torch.ones(50))
    torch.rand(3)
    seed_dropout(torch.device("cpu"), 2**62 + 7)
    assert torch.equal(torch.nn.functional.dropout(torch.ones(50)), expected)


def test_summed_loss_adds_up_the_losses_of_the_ads():
    logits_NC = torch.tensor([[1.0, 2.0], [0.5, 0.5]])
    labels_N = torch.tensor([0, 1])
    expected = float(np.log(1 + np.exp(1.0)) + np.log(2.0))
    assert float(summed_loss(logits_NC, labels_N)) == pytest.approx(expected, rel=1e-6)


def test_stepper_tells_the_norm_of_each_gradient_after_the_weights_have_changed(steps):
    network = _network()
    start = network.classifier.bias.detach().clone()
    told = []

    def note(norm: torch.Tensor) -> None:
        told.append((float(norm), not torch.equal(network.classifier.bias, start)))

    stepper = dataclasses.replace(
        _stepper(PaddedNetwork(network, CPU), network, CPU), after_step=note
    )
    batches = Layout(pad_id=PAD).batches(steps[0])
    stepper.take(batches)
    twin = _network()
    logits_NC = twin(*batches[0].inputs).logits
    torch.nn.functional.cross_entropy(logits_NC, batches[0].labels_N).backward()
    squares = [float((weight.grad**2).sum()) for weight in twin.parameters()]
    assert told == [(pytest.approx(sum(squares) ** 0.5, rel=1e-5), True)]
