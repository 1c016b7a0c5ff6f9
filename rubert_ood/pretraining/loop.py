"""The pretraining loop of one Ray Train worker: plain PyTorch DDP on token ids of its node.

It is that of fine-tuning (training/ddp_loop.py) with other batches, another loss and another
measure. Rows, their order, hidden words and dropout depend on seed, epoch and step alone: a run
that is resumed takes the steps that are left.
"""

import tempfile
import time
from typing import Any

import ray.train
import ray.train.torch
import torch

from rubert_ood.classifier import checkpoint as pretrained
from rubert_ood.classifier.precision import choose_device
from rubert_ood.pretraining.drawn import Drawn
from rubert_ood.pretraining.held_out import measure_held_out
from rubert_ood.pretraining.layout import MaskedLayout
from rubert_ood.pretraining.masked_network import (
    PackedMaskedNetwork,
    masked_network,
)
from rubert_ood.pretraining.masking import Masker
from rubert_ood.settings import (
    OptimiserSettings,
    PretrainOptimiserSettings,
)
from rubert_ood.training import checkpoints
from rubert_ood.training.checkpoints import (
    CheckpointClock,
    TrainingState,
)
from rubert_ood.training.ddp_loop import tokens_of
from rubert_ood.training.epoch_counter import EpochCounter
from rubert_ood.training.lines import tell
from rubert_ood.training.optimiser import (
    make_optimiser,
    make_schedule,
)
from rubert_ood.training.pace import Pace
from rubert_ood.training.steps import Stepper, seed_dropout

UNMEASURED = {"held_out_loss": 1e9}
"""Metrics of a checkpoint within an epoch: any that was measured is better."""
DDP = {"gradient_as_bucket_view": True}


def pretrain_worker(config: dict[str, Any]) -> None:
    """Run all epochs that are still to do; Ray Train calls this once per worker."""
    torch.set_num_threads(config["num_threads"])
    loop = Pretrainer(config, ray.train.get_checkpoint())
    while loop.state.epoch < loop.settings.num_epochs:
        trained = loop.train_epoch()
        loop.report_epoch(trained | loop.measure())


def plain_settings(given: PretrainOptimiserSettings) -> OptimiserSettings:
    """Return the same for the optimiser of training: every layer has the same learning rate."""
    return OptimiserSettings(
        learning_rate=given.learning_rate,
        weight_decay=given.weight_decay,
        num_epochs=given.num_epochs,
        warmup_fraction=given.warmup_fraction,
        layer_decay=1.0,
    )


class Pretrainer:
    """A pretraining on one worker; `state` says how far it is."""

    def __init__(self, config: dict[str, Any], checkpoint: Any) -> None:
        settings = PretrainOptimiserSettings(**config["optimiser"])
        self.settings, self.lines = settings, config["lines"]
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        size = (settings.batch_size, context.get_world_size())
        self.device = choose_device(config["use_gpu"], config["precision"])
        self.measured_s = 0.0
        base_model = config["base_model"]
        self.tokenizer = pretrained.load_pretrained_tokenizer(base_model)
        torch.manual_seed(settings.seed)
        self.state = TrainingState()
        if checkpoint is None:
            self.network = pretrained.load_for_pretraining(base_model)
        else:
            with checkpoint.as_directory() as folder:
                self.state = checkpoints.read_state(folder)
                self.network = pretrained.load_for_pretraining(folder)
        self.forward = masked_network(self.network, self.device)
        self.layout = self._layout(config)
        ads = tokens_of("ads")
        self.drawn = Drawn.of(ads, size, seed=settings.seed, rank=self.rank)
        self.num_steps = self.drawn.order.num_steps
        self.stepper = self._stepper()
        self.parts = {
            "optimiser": self.stepper.optimiser,
            "schedule": self.stepper.schedule,
        }
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                checkpoints.restore_parts(folder, self.parts)
        self.clock = CheckpointClock(config["checkpoint_every_s"])

    def _layout(self, config: dict[str, Any]) -> MaskedLayout:
        is_packed = isinstance(self.forward, PackedMaskedNetwork)
        return MaskedLayout(
            Masker.of(self.tokenizer, config["word_fraction"]),
            pad_id=None if is_packed else self.tokenizer.pad_token_id,
            token_budget=config["token_budget"],
            pinned=self.device.device.type == "cuda",
        )

    def _stepper(self) -> Stepper:
        settings = self.settings
        plain = plain_settings(settings)
        optimiser = make_optimiser(self.network, plain)
        return Stepper(
            ray.train.torch.prepare_model(self.forward, parallel_strategy_kwargs=DDP),
            self.device,
            optimiser,
            make_schedule(optimiser, plain, self.num_steps),
            settings.max_grad_norm,
        )

    def train_epoch(self) -> dict[str, float]:
        """Take the steps of the epoch that are left; return loss and tokens of all workers."""
        self.stepper.model.train()
        epoch, first = self.state.epoch, self.state.step
        counter = EpochCounter(self.state.sums, self.device.device)
        before = epoch * self.num_steps
        pace = Pace(self.settings.num_epochs * self.num_steps, done=before + first)
        steps = self.layout.of_steps(self.drawn.steps(epoch, start=first))
        for number, step in enumerate(steps, start=first):
            seed_dropout(self.device.device, self.drawn.seed(epoch, number))
            counter.add(self.stepper.take(step), step)
            done = number + 1
            if pace.is_due():
                rate = counter.tokens_per_s() * self.drawn.order.num_workers
                self._tell(
                    f"{done / self.num_steps:4.0%}  loss {counter.mean_loss():.3f}"
                    f"  {rate:,.0f} tokens/s  {pace.left(before + done)}"
                )
            wait_s = self.measured_s if done == self.num_steps else None
            if self.clock.is_due(until_next_s=wait_s):
                update = {"step": done, "sums": counter.sums(epoch)}
                state = self.state.model_copy(update=update)
                self._report(state, UNMEASURED)
        sums = counter.sums(epoch)
        return {
            "train_loss": sums.loss / sums.losses,
            "train_tokens": sums.tokens,
            "train_tokens_per_s": sums.tokens / sums.seconds,
        }

    def measure(self) -> dict[str, float]:
        """Measure the held-out ads of all workers."""
        started = time.monotonic()
        self.forward.eval()
        steps = self.layout.of_steps(self.drawn.held_out())
        metrics = measure_held_out(self.forward, steps, self.device)
        self.measured_s = time.monotonic() - started
        return metrics

    def report_epoch(self, metrics: dict[str, float]) -> None:
        """Report the metrics from all ranks; rank 0 adds the checkpoint."""
        epoch = self.state.epoch + 1
        metrics = {"epoch": epoch, **metrics}
        self._tell(
            f"loss {metrics['train_loss']:.3f}"
            f"  held-out loss {metrics['held_out_loss']:.3f}"
            f"  perplexity {metrics['held_out_perplexity']:,.1f}"
            f"  {metrics['train_tokens_per_s']:,.0f} tokens/s"
        )
        history = (*self.state.history, metrics)
        self._report(TrainingState(epoch=epoch, history=history), metrics)

    def _report(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Report from all ranks, rank 0 with a checkpoint: the run is as far as `state`."""
        self.clock.restart()
        if self.rank == 0:
            with tempfile.TemporaryDirectory() as folder:
                self.tokenizer.save_pretrained(folder)
                checkpoints.save_checkpoint(folder, state, self.network, self.parts)
                there = ray.train.Checkpoint.from_directory(folder)
                ray.train.report(metrics, checkpoint=there)
        else:
            ray.train.report(metrics)
        self.state = state

    def _tell(self, text: str) -> None:
        """Send a line to the driver; rank 0 speaks for all."""
        if self.rank == 0:
            name = f"epoch {self.state.epoch + 1}/{self.settings.num_epochs}"
            tell(self.lines, f"{name}  {text}")
