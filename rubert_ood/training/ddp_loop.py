"""The fine-tuning loop of one Ray Train worker: plain PyTorch DDP on token ids of its node.

A checkpoint is reported after each epoch, and within one every `checkpoint_every_s`. The loop
resumes from whichever of them it is given, not only the newest: after the loss of a node the newest
may be gone. Rows, their order and dropout depend on seed, epoch and step alone, so a resumed
training takes the steps that are left, and no row twice.

Shapes: N ads, C classes.
"""

import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch

from rubert_ood.classifier.checkpoint import load_network, load_pretrained_tokenizer
from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.tokenizer import save_tokenizer
from rubert_ood.settings import OptimiserSettings
from rubert_ood.training.batches import Batch, Layout
from rubert_ood.training.checkpoints import (
    CheckpointClock,
    TrainingState,
    read_state,
    restore_parts,
    save_checkpoint,
)
from rubert_ood.training.epoch_counter import EpochCounter
from rubert_ood.training.gauge import Gauge
from rubert_ood.training.lines import tell
from rubert_ood.training.optimiser import make_optimiser, make_schedule
from rubert_ood.training.order import Order, step_seed
from rubert_ood.training.pace import Pace
from rubert_ood.training.steps import Stepper, seed_dropout
from rubert_ood.training.stopping import KEPT_BY, is_over, kept_by
from rubert_ood.training.token_table import TokenTable, share_table
from rubert_ood.training.trained_network import PackedNetwork, trained_network
from rubert_ood.training.validation import measure_valid

LINES_PER_EPOCH = 4
UNSCORED = {KEPT_BY: -1.0}
"""Metrics of a checkpoint within an epoch: any that was measured is better."""


def train_worker(config: dict[str, Any]) -> None:
    """Run all epochs that are still to do; Ray Train calls this once per worker."""
    torch.set_num_threads(config["num_threads"])
    trainer = Trainer(config, ray.train.get_checkpoint())
    while not is_over(trainer.history, trainer.settings):
        trained = trainer.train_epoch()
        trainer.report_epoch(
            {"epoch": trainer.epoch + 1, **trained, **trainer.validate()}
        )


def tokens_of(split: str) -> TokenTable:
    """Bring the token ids of a split to this node, once, and map them."""
    context = ray.train.get_context()
    blocks = ray.train.get_dataset_shard(split).iter_batches(
        batch_size=None, batch_format="pyarrow"
    )
    return share_table(
        blocks, node=context.get_node_rank(), local_rank=context.get_local_rank()
    )


class Trainer:
    """A training run on one worker; `state` says how far it is."""

    def __init__(self, config: dict[str, Any], checkpoint: Any) -> None:
        self.settings = OptimiserSettings(**config["optimiser"])
        self.lines = config["lines"]
        self.rank = ray.train.get_context().get_world_rank()
        self.device = choose_device(config["use_gpu"], config["precision"])
        self.validation_s = 0.0
        torch.manual_seed(self.settings.seed)
        self._load(config, checkpoint)
        self.forward = trained_network(self.network, self.device)
        model = ray.train.torch.prepare_model(
            self.forward, parallel_strategy_kwargs={"gradient_as_bucket_view": True}
        )
        is_packed = isinstance(self.forward, PackedNetwork)
        self.layout = Layout(
            pad_id=None if is_packed else self.tokenizer.pad_token_id,
            token_budget=config["token_budget"],
            pinned=self.device.device.type == "cuda",
        )
        self.train = tokens_of("train")
        self.valid = tokens_of("valid")
        self._prepare_steps(model, checkpoint)
        self.clock = CheckpointClock(config["checkpoint_every_s"])

    def _load(self, config: dict[str, Any], checkpoint: Any) -> None:
        """Take network and state from a checkpoint; without one, begin with the base model."""
        self.tokenizer = load_pretrained_tokenizer(config["base_model"])
        self.state = TrainingState()
        if checkpoint is None:
            self.network = load_network(config["base_model"], config["labels"])
            return
        with checkpoint.as_directory() as folder:
            self.state = read_state(folder)
            self.network = load_network(folder)

    def _prepare_steps(self, model: torch.nn.Module, checkpoint: Any) -> None:
        """Make what an epoch goes by: the order of its rows, and what changes the weights."""
        settings = self.settings
        self.order = Order(
            self.train.lengths_N,
            num_ads=settings.batch_size,
            num_workers=ray.train.get_context().get_world_size(),
            seed=settings.seed,
        )
        optimiser = make_optimiser(self.network, settings)
        schedule = make_schedule(optimiser, settings, self.order.num_steps)
        self.parts = {"optimiser": optimiser, "schedule": schedule}
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                restore_parts(folder, self.parts)
        self.gauge = Gauge(optimiser)
        self.stepper = Stepper(
            model,
            self.device,
            optimiser,
            schedule,
            settings.max_grad_norm,
            self.gauge.note,
        )
        num_steps = settings.num_epochs * self.order.num_steps
        self.pace = Pace(num_steps, done=self._steps_done(self.state.step))

    def _steps_done(self, step: int) -> int:
        """Return the steps of all epochs, after so many of the one under way."""
        return self.epoch * self.order.num_steps + step

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.state.epoch

    @property
    def history(self) -> list[dict[str, int | float]]:
        """Return the metrics of each finished epoch."""
        return [*self.state.history]

    def train_epoch(self) -> dict[str, float]:
        """Take the steps of the epoch that are left; return mean loss and tokens of all workers."""
        self.stepper.model.train()
        seed = self.settings.seed
        num_steps = self.order.num_steps
        told_at = _milestones(num_steps)
        counter = EpochCounter(self.state.sums, self.device.device)
        done = self.state.step
        self.gauge.restart(self.state.sums, num_steps=done)
        for step in self._steps():
            of_step = step_seed(seed, self.epoch, done, self.rank)
            seed_dropout(self.device.device, of_step)
            loss = self.stepper.take(step)
            counter.add(loss, step)
            done += 1
            if done in told_at:
                mean = counter.mean_loss()
                share = done / num_steps
                left = self.pace.left(self._steps_done(done))
                self._tell(f"{share:4.0%}  train loss {mean:.3f}  {left}")
            is_last = done == num_steps
            wait_s = self.validation_s if is_last else None
            if self.clock.is_due(until_next_s=wait_s):
                self._report_within(done, counter)
        sums = counter.sums(self.epoch)
        return {
            "train_loss": sums.loss / sums.losses,
            "train_tokens": sums.tokens,
            "train_tokens_per_s": sums.tokens / sums.seconds,
            **self.gauge.means(),
        }

    def _steps(self) -> Iterator[list[Batch]]:
        steps = self.order.steps(self.epoch, start=self.state.step)
        mine = (self.order.of_worker(rows, self.rank) for rows in steps)
        return self.layout.of_steps(map(self.train.take, mine))

    def validate(self) -> dict[str, float]:
        """Measure valid over the rows of all workers, each row once."""
        started = time.monotonic()
        self.forward.eval()
        by_length = np.argsort(self.valid.lengths_N, kind="stable")
        mine = by_length[self.rank :: self.order.num_workers]
        size = self.settings.eval_batch_size
        starts = range(0, len(mine), size)
        chosen = (mine[start : start + size] for start in starts)
        laid_out = self.layout.of_steps(map(self.valid.take, chosen))
        metrics = measure_valid(self.forward, laid_out, self.device)
        self.validation_s = time.monotonic() - started
        return metrics

    def report_epoch(self, metrics: dict[str, int | float]) -> None:
        """Report the metrics from all ranks; rank 0 adds the checkpoint."""
        done = TrainingState(
            epoch=self.epoch + 1,
            history=(*self.history, metrics),
        )
        self._tell(
            f"train loss {metrics['train_loss']:.3f}"
            f"  valid loss {metrics['valid_loss']:.3f}"
            f"  accuracy {metrics['valid_accuracy']:.4f}  macro-F1 {metrics['valid_macro_f1']:.4f}"
            f"  {metrics['train_tokens_per_s']:,.0f} tokens/s"
        )
        self._report(done, {**metrics, KEPT_BY: kept_by(metrics)})

    def _report_within(self, step: int, counter: EpochCounter) -> None:
        """Report a checkpoint within an epoch, after so many of its steps."""
        sums = counter.sums(self.epoch).model_copy(update=self.gauge.sums())
        update = {"step": step, "sums": sums}
        self._report(self.state.model_copy(update=update), UNSCORED)

    def _report(self, state: TrainingState, metrics: dict[str, int | float]) -> None:
        """Report from all ranks, rank 0 with a checkpoint; the run is as far as `state` then."""
        self.clock.restart()
        if self.rank == 0:
            with tempfile.TemporaryDirectory() as folder:
                save_tokenizer(self.tokenizer, folder)
                save_checkpoint(folder, state, self.network, self.parts)
                found = ray.train.Checkpoint.from_directory(folder)
                ray.train.report(metrics, checkpoint=found)
        else:
            ray.train.report(metrics)
        self.state = state

    def _tell(self, text: str) -> None:
        """Send a line to the driver, without a wait; rank 0 speaks for all."""
        if self.rank == 0:
            name = f"epoch {self.epoch + 1}/{self.settings.num_epochs}"
            tell(self.lines, f"{name}  {text}")


def _milestones(num_steps: int) -> set[int]:
    """Return the numbers of steps of an epoch after which a line is logged."""
    return {round(num_steps * k / LINES_PER_EPOCH) for k in range(1, LINES_PER_EPOCH)}
