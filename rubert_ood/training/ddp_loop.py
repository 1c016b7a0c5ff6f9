"""The fine-tuning loop of one Ray Train worker: plain PyTorch DDP on a Ray Data shard.

A checkpoint is reported after each epoch. The loop resumes from whichever of them it is given, not
only the newest: after the loss of a node the newest may be gone.

Shapes: N ads, C classes.
"""

import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed
from sklearn.metrics import accuracy_score, f1_score

from rubert_ood.classifier.checkpoint import load_network, load_tokenizer
from rubert_ood.classifier.precision import choose_device
from rubert_ood.errors import SettingsError
from rubert_ood.settings import OptimiserSettings
from rubert_ood.training.batches import (
    PREFETCHED_STEPS,
    Batch,
    Layout,
    draw_steps,
    prefetched,
)
from rubert_ood.training.optimiser import make_optimiser, make_schedule
from rubert_ood.training.steps import PADDING_LABEL, Stepper, compute, summed_loss
from rubert_ood.training.trained_network import PackedNetwork, trained_network

REPORTS_PER_EPOCH = 4
STATE_FILE = "state.json"
OPTIMISER_FILE = "optimiser.pt"


def train_worker(config: dict[str, Any]) -> None:
    """Run all epochs that are still to do; Ray Train calls this once per worker."""
    torch.set_num_threads(config["num_threads"])
    trainer = Trainer(config, ray.train.get_checkpoint())
    while trainer.epoch < trainer.settings.num_epochs:
        trained = trainer.train_epoch()
        trainer.report_epoch(
            {"epoch": trainer.epoch + 1, **trained, **trainer.validate()}
        )


class Trainer:
    """The state of a training run on one worker; `history` has the metrics of its epochs."""

    def __init__(self, config: dict[str, Any], checkpoint: Any) -> None:
        self.settings = settings = OptimiserSettings(**config["optimiser"])
        self.tokenizer = load_tokenizer(config["base_model"])
        self.steps_per_epoch = -(-config["num_train"] // settings.batch_size)
        self.device = choose_device(config["use_gpu"], config["precision"])
        self.history: list[dict[str, float]] = []
        torch.manual_seed(settings.seed)
        optimiser_state = None
        if checkpoint is None:
            self.network = load_network(config["base_model"], config["labels"])
        else:
            with checkpoint.as_directory() as folder:
                self.history = read_state(folder)["history"]
                self.network = load_network(folder)
                optimiser_state = torch.load(
                    os.path.join(folder, OPTIMISER_FILE),
                    weights_only=True,
                    map_location="cpu",
                )
        self.forward = trained_network(self.network, self.device.device)
        is_packed = isinstance(self.forward, PackedNetwork)
        self.layout = Layout(
            pad_id=None if is_packed else self.tokenizer.pad_token_id,
            token_budget=config["token_budget"],
            pinned=self.device.device.type == "cuda",
        )
        model = ray.train.torch.prepare_model(
            self.forward, parallel_strategy_kwargs={"gradient_as_bucket_view": True}
        )
        self.optimiser = make_optimiser(self.network, settings)
        self.schedule = make_schedule(self.optimiser, settings, self.steps_per_epoch)
        self.stepper = Stepper(
            model, self.device, self.optimiser, self.schedule, settings.max_grad_norm
        )
        if optimiser_state:
            self.optimiser.load_state_dict(optimiser_state["optimiser"])
            self.schedule.load_state_dict(optimiser_state["schedule"])

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    def train_epoch(self) -> dict[str, float]:
        """Take every step of one epoch; return this worker's mean loss, and the tokens of all."""
        self.stepper.model.train()
        seed = self.settings.seed + 1000 * (self.epoch + 1)
        torch.manual_seed(seed + ray.train.get_context().get_world_rank())
        milestones = {
            round(self.steps_per_epoch * k / REPORTS_PER_EPOCH)
            for k in range(1, REPORTS_PER_EPOCH)
        }
        losses, num_read, started = [], 0, time.monotonic()
        for step in self._steps("train", self.settings.batch_size, shuffle_seed=seed):
            losses.append(self.stepper.take(step))
            num_read += sum(batch.num_tokens for batch in step)
            if len(losses) in milestones:
                share, loss = (
                    len(losses) / self.steps_per_epoch,
                    float(torch.stack(losses).mean()),
                )
                ray.train.report(
                    {"line": f"{self._epoch_name()}  {share:4.0%}  train loss {loss:.3f}"}
                )
        train_loss = float(torch.stack(losses).mean())
        if not math.isfinite(train_loss):
            raise SettingsError(
                "optimiser.learning_rate: training diverged,"
                f" the loss of epoch {self.epoch + 1} is not finite; lower it"
            )
        seconds = time.monotonic() - started
        counts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(counts, num_read)
        return {
            "train_loss": train_loss,
            "train_tokens": sum(counts),
            "train_tokens_per_s": sum(counts) / seconds,
        }

    def _steps(
        self, split: str, num_ads: int, *, shuffle_seed: int | None = None
    ) -> Iterator[list[Batch]]:
        """Yield the batches of each step; for a GPU a thread lays out and pins the next ones."""
        shard = ray.train.get_dataset_shard(split)
        steps = map(
            self.layout.batches, draw_steps(shard, num_ads, shuffle_seed=shuffle_seed)
        )
        return prefetched(steps, PREFETCHED_STEPS) if self.layout.pinned else steps

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Measure valid over the rows of all workers, each row once."""
        self.network.eval()
        labels, predicted, losses = [], [], []
        for step in self._steps("valid", self.settings.eval_batch_size):
            for batch in step:
                logits_NC, labels_N = compute(self.forward, batch, self.device)
                losses.append(summed_loss(logits_NC, labels_N).double())
                labels.append(labels_N)
                predicted.append(logits_NC.argmax(1))
        mine = (torch.cat(labels), torch.cat(predicted), torch.stack(losses))
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, [part.cpu() for part in mine])
        labels_N = torch.cat([part[0] for part in parts]).numpy()
        is_real_N = labels_N != PADDING_LABEL
        labels_N = labels_N[is_real_N]
        predicted_N = torch.cat([part[1] for part in parts]).numpy()[is_real_N]
        return {
            "valid_rows": len(labels_N),
            "valid_loss": sum(float(part[2].sum()) for part in parts) / len(labels_N),
            "valid_accuracy": float(accuracy_score(labels_N, predicted_N)),
            "valid_macro_f1": float(f1_score(labels_N, predicted_N, average="macro")),
        }

    def report_epoch(self, metrics: dict[str, float]) -> None:
        """Report the metrics from all ranks; rank 0 adds the checkpoint."""
        self.history.append(metrics)
        line = (
            f"{self._epoch_name(done=True)}  train loss {metrics['train_loss']:.3f}"
            f"  valid loss {metrics['valid_loss']:.3f}"
            f"  accuracy {metrics['valid_accuracy']:.4f}  macro-F1 {metrics['valid_macro_f1']:.4f}"
            f"  {metrics['train_tokens_per_s']:,.0f} tokens/s"
        )
        if ray.train.get_context().get_world_rank() != 0:
            ray.train.report({**metrics, "line": line})
            return
        with tempfile.TemporaryDirectory() as folder:
            self.network.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            state = {
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
            torch.save(state, os.path.join(folder, OPTIMISER_FILE))
            with open(os.path.join(folder, STATE_FILE), "w") as file:
                json.dump({"epoch": self.epoch, "history": self.history}, file)
            ray.train.report(
                {**metrics, "line": line},
                checkpoint=ray.train.Checkpoint.from_directory(folder),
            )

    def _epoch_name(self, *, done: bool = False) -> str:
        return f"epoch {self.epoch + (not done)}/{self.settings.num_epochs}"


def read_state(folder: str) -> Any:
    """Read the epoch number and the history that lie in a checkpoint folder."""
    with open(os.path.join(folder, STATE_FILE)) as file:
        return json.load(file)
