"""The pretraining loop of one Ray Train worker: plain PyTorch DDP on token ids of its node.

It is that of fine-tuning (training/ddp_loop.py) with other batches, another loss and another
measure. Rows, their order, hidden words and dropout depend on seed, epoch and step alone: a run
that is resumed takes the steps that are left.
"""

import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch

from rubert_ood.classifier.checkpoint import load_for_pretraining, load_tokenizer
from rubert_ood.classifier.precision import choose_device
from rubert_ood.pretraining.held_out import measure_held_out
from rubert_ood.pretraining.layout import MaskedLayout, Step
from rubert_ood.pretraining.masked_network import PackedMaskedNetwork, masked_network
from rubert_ood.pretraining.masking import Masker
from rubert_ood.pretraining.pace import Pace
from rubert_ood.pretraining.texts import HELD_OUT, MOST_HELD_OUT, TRAIN
from rubert_ood.settings import OptimiserSettings, PretrainOptimiserSettings
from rubert_ood.training.batches import ids_of
from rubert_ood.training.checkpoints import (
    CheckpointClock,
    TrainingState,
    read_state,
    restore_parts,
    save_checkpoint,
)
from rubert_ood.training.ddp_loop import tokens_of
from rubert_ood.training.epoch_counter import EpochCounter
from rubert_ood.training.lines import tell
from rubert_ood.training.optimiser import make_optimiser, make_schedule
from rubert_ood.training.order import Order, step_seed
from rubert_ood.training.steps import Stepper

UNMEASURED = {"held_out_loss": 1e9}
"""Metrics of a checkpoint within an epoch: any that was measured is better."""
EVAL_ADS = 64
"""Held-out ads of a worker and step."""


def pretrain_worker(config: dict[str, Any]) -> None:
    """Run all epochs that are still to do; Ray Train calls this once per worker."""
    torch.set_num_threads(config["num_threads"])
    pretrainer = Pretrainer(config, ray.train.get_checkpoint())
    while pretrainer.state.epoch < pretrainer.settings.num_epochs:
        trained = pretrainer.train_epoch()
        pretrainer.report_epoch(trained | pretrainer.measure())


class Pretrainer:
    """A pretraining on one worker; `state` says how far it is."""

    def __init__(self, config: dict[str, Any], checkpoint: Any) -> None:
        self.settings = settings = PretrainOptimiserSettings(**config["optimiser"])
        self.lines = config["lines"]
        context = ray.train.get_context()
        self.rank, self.num_workers = context.get_world_rank(), context.get_world_size()
        self.device = choose_device(config["use_gpu"], config["precision"])
        self.clock = CheckpointClock(config["checkpoint_every_s"])
        self.measured_s = 0.0
        self.tokenizer = load_tokenizer(config["base_model"])
        self.state = TrainingState()
        torch.manual_seed(settings.seed)
        if checkpoint is None:
            self.network = load_for_pretraining(config["base_model"])
        else:
            with checkpoint.as_directory() as folder:
                self.state = read_state(folder)
                self.network = load_for_pretraining(folder)
        self.forward = masked_network(self.network, self.device.device)
        is_packed = isinstance(self.forward, PackedMaskedNetwork)
        self.layout = MaskedLayout(
            Masker.of(self.tokenizer, config["word_fraction"]),
            pad_id=None if is_packed else self.tokenizer.pad_token_id,
            token_budget=config["token_budget"],
            pinned=self.device.device.type == "cuda",
        )
        self._read_ads()
        self._make_stepper()
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                restore_parts(folder, self.parts)

    def _read_ads(self) -> None:
        self.ads = tokens_of("ads")
        kinds_N = np.asarray(self.ads.labels_N)
        self.train_rows = np.flatnonzero(kinds_N == TRAIN).astype(np.int32)
        self.held_out_rows = np.flatnonzero(kinds_N == HELD_OUT)[:MOST_HELD_OUT]
        lengths_N = self.ads.lengths_N[self.train_rows]
        size = (self.settings.batch_size, self.num_workers)
        self.order = Order(lengths_N, *size, self.settings.seed)

    def _make_stepper(self) -> None:
        model = ray.train.torch.prepare_model(
            self.forward, parallel_strategy_kwargs={"gradient_as_bucket_view": True}
        )
        settings = self.settings
        plain = OptimiserSettings(
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            num_epochs=settings.num_epochs,
            warmup_fraction=settings.warmup_fraction,
        )
        optimiser = make_optimiser(self.network, plain)
        schedule = make_schedule(optimiser, plain, self.order.num_steps)
        self.parts = {"optimiser": optimiser, "schedule": schedule}
        self.stepper = Stepper(
            model, self.device, optimiser, schedule, settings.max_grad_norm
        )

    def train_epoch(self) -> dict[str, float]:
        """Take the steps of the epoch that are left; return mean loss and tokens of all workers."""
        self.stepper.model.train()
        num_steps, first = self.order.num_steps, self.state.step
        counter = EpochCounter(self.state.sums, self.device.device)
        pace = Pace(num_steps, first, self.num_workers)
        for number, step in enumerate(self._steps(), start=first):
            torch.manual_seed(self._seed(number))
            counter.add(self.stepper.take(step), step)
            if pace.add(step):
                later_epochs = self.settings.num_epochs - self.state.epoch - 1
                later_steps = later_epochs * num_steps
                self._tell(pace.line(counter.mean_loss(), later_steps=later_steps))
            done = number + 1
            wait_s = self.measured_s if done == num_steps else None
            if self.clock.is_due(until_next_s=wait_s):
                update = {"step": done, "sums": counter.sums(self.state.epoch)}
                self._report(self.state.model_copy(update=update), UNMEASURED)
        sums = counter.sums(self.state.epoch)
        return {
            "train_loss": sums.loss / sums.losses,
            "train_tokens": sums.tokens,
            "train_tokens_per_s": sums.tokens / sums.seconds,
        }

    def _seed(self, step: int) -> int:
        return step_seed(self.settings.seed, self.state.epoch, step, self.rank)

    def _steps(self) -> Iterator[list[Any]]:
        return self.layout.of_steps(self._drawn())

    def _drawn(self) -> Iterator[Step]:
        """Yield this worker's ads of each step that is left, and what draws its hidden words."""
        steps = self.order.steps(self.state.epoch, start=self.state.step)
        for number, rows in enumerate(steps, start=self.state.step):
            mine = self.train_rows[self.order.of_worker(rows, self.rank)]
            generator = np.random.default_rng(self._seed(number))
            yield ids_of(self.ads.take(mine)), generator

    def measure(self) -> dict[str, float]:
        """Measure the held-out ads of all workers; the same words are hidden every time."""
        started = time.monotonic()
        self.network.eval()
        steps = self.layout.of_steps(self._held_out())
        metrics = measure_held_out(self.forward, steps, self.device)
        self.measured_s = time.monotonic() - started
        return metrics

    def _held_out(self) -> Iterator[Step]:
        rows = self.held_out_rows
        by_length = rows[np.argsort(self.ads.lengths_N[rows], kind="stable")]
        mine = by_length[self.rank :: self.num_workers]
        for start in range(0, len(mine), EVAL_ADS):
            seeds = (self.settings.seed, start, self.rank)
            ids = ids_of(self.ads.take(mine[start : start + EVAL_ADS]))
            yield ids, np.random.default_rng(seeds)

    def report_epoch(self, metrics: dict[str, float]) -> None:
        """Report the metrics from all ranks; rank 0 adds the checkpoint."""
        metrics = {"epoch": self.state.epoch + 1, **metrics}
        self._tell(
            f"loss {metrics['train_loss']:.3f}"
            f"  held-out loss {metrics['held_out_loss']:.3f}"
            f"  perplexity {metrics['held_out_perplexity']:,.1f}"
            f"  {metrics['train_tokens_per_s']:,.0f} tokens/s"
        )
        history = (*self.state.history, metrics)
        self._report(TrainingState(epoch=len(history), history=history), metrics)

    def _report(self, state: TrainingState, metrics: dict[str, Any]) -> None:
        """Report from all ranks, rank 0 with a checkpoint; the run is as far as `state` then."""
        self.clock.restart()
        if self.rank == 0:
            with tempfile.TemporaryDirectory() as folder:
                saved = (self.network, self.tokenizer)
                save_checkpoint(folder, state, saved, self.parts)
                checkpoint = ray.train.Checkpoint.from_directory(folder)
                ray.train.report(metrics, checkpoint=checkpoint)
        else:
            ray.train.report(metrics)
        self.state = state

    def _tell(self, text: str) -> None:
        """Send a line to the driver; rank 0 speaks for all."""
        if self.rank == 0:
            name = f"epoch {self.state.epoch + 1}/{self.settings.num_epochs}"
            tell(self.lines, f"{name}  {text}")
