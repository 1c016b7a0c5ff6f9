"""The fine-tuning loop of one Ray Train worker: plain PyTorch DDP on a Ray Data shard.

A checkpoint is reported after each epoch. The loop resumes from whichever of them it is given, not
only the newest: after the loss of a node the newest may be gone.

Shapes: N ads, L tokens, C classes.
"""

import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import ray.train
import ray.train.torch
import torch
import torch.distributed
from sklearn.metrics import accuracy_score, f1_score

from rubert_ood.classifier.checkpoint import load_network, load_tokenizer
from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.tokens import num_tokens, pad
from rubert_ood.errors import SettingsError
from rubert_ood.settings import OptimiserSettings

POOL_BATCHES = 50
"""Batches drawn together and cut by length, so that a batch pads little; their order stays
random."""
SHUFFLE_ROWS = 50_000
REPORTS_PER_EPOCH = 4
PADDING_LABEL = -1
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
        self.device = choose_device(config["use_gpu"])
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
        self.model = ray.train.torch.prepare_model(self.network)
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(self.network, settings), lr=settings.learning_rate
        )
        self.schedule = _schedule(self.optimiser, settings, self.steps_per_epoch)
        if optimiser_state:
            self.optimiser.load_state_dict(optimiser_state["optimiser"])
            self.schedule.load_state_dict(optimiser_state["schedule"])

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    def train_epoch(self) -> dict[str, float]:
        """Take every step of one epoch; return this worker's mean loss, and the tokens of all."""
        self.model.train()
        seed = self.settings.seed + 1000 * (self.epoch + 1)
        torch.manual_seed(seed + ray.train.get_context().get_world_rank())
        milestones = {
            round(self.steps_per_epoch * k / REPORTS_PER_EPOCH)
            for k in range(1, REPORTS_PER_EPOCH)
        }
        losses, num_read, started = [], 0, time.monotonic()
        for batch in _batches("train", self.settings.batch_size, shuffle_seed=seed):
            losses.append(self._step(batch))
            num_read += int(num_tokens(_ids(batch)).sum())
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

    def _step(self, batch: pa.Table) -> torch.Tensor:
        ids_NL, mask_NL, labels_N = self._tensors(batch)
        with self.device.context():
            logits_NC = self.model(input_ids=ids_NL, attention_mask=mask_NL).logits
        loss = torch.nn.functional.cross_entropy(logits_NC.float(), labels_N)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.settings.max_grad_norm
        )
        self.optimiser.step()
        self.schedule.step()
        return loss.detach()

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Measure valid over the rows of all workers, each row once."""
        self.network.eval()
        labels, predicted, nll = [], [], 0.0
        for batch in _batches("valid", self.settings.eval_batch_size):
            ids_NL, mask_NL, labels_N = self._tensors(batch)
            with self.device.context():
                logits_NC = self.network(input_ids=ids_NL, attention_mask=mask_NL).logits
            real = labels_N != PADDING_LABEL
            logits_NC, labels_N = logits_NC.float()[real], labels_N[real]
            nll += float(
                torch.nn.functional.cross_entropy(logits_NC, labels_N, reduction="sum")
            )
            labels.append(labels_N.cpu().numpy())
            predicted.append(logits_NC.argmax(1).cpu().numpy())
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(
            parts, (np.concatenate(labels), np.concatenate(predicted), nll)
        )
        labels_all_N = np.concatenate([part[0] for part in parts])
        predicted_all_N = np.concatenate([part[1] for part in parts])
        return {
            "valid_rows": len(labels_all_N),
            "valid_loss": sum(part[2] for part in parts) / len(labels_all_N),
            "valid_accuracy": float(accuracy_score(labels_all_N, predicted_all_N)),
            "valid_macro_f1": float(
                f1_score(labels_all_N, predicted_all_N, average="macro")
            ),
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

    def _tensors(self, batch: pa.Table) -> list[torch.Tensor]:
        ids_NL, mask_NL = pad(
            _ids(batch), np.arange(batch.num_rows), self.tokenizer.pad_token_id
        )
        arrays = (ids_NL, mask_NL, np.array(batch["label"]))
        return [torch.from_numpy(array).to(self.device.device) for array in arrays]


def read_state(folder: str) -> Any:
    """Read the epoch number and the history that lie in a checkpoint folder."""
    with open(os.path.join(folder, STATE_FILE)) as file:
        return json.load(file)


def _batches(
    split: str, batch_size: int, *, shuffle_seed: int | None = None
) -> Iterator[pa.Table]:
    """Yield this worker's rows in batches of like length, in random order when seeded.

    All ranks draw the same order, so that they meet batches of like length in the same step.
    """
    shuffle = {} if shuffle_seed is None else {"local_shuffle_buffer_size": SHUFFLE_ROWS}
    pools = ray.train.get_dataset_shard(split).iter_batches(
        batch_size=POOL_BATCHES * batch_size,
        batch_format="pyarrow",
        local_shuffle_seed=shuffle_seed,
        **shuffle,
    )
    generator = np.random.default_rng(shuffle_seed)
    for pool in pools:
        order = np.argsort(num_tokens(_ids(pool)), kind="stable")
        starts = np.arange(0, pool.num_rows, batch_size)
        for start in starts if shuffle_seed is None else generator.permutation(starts):
            yield pool.take(order[start : start + batch_size])


def _ids(table: pa.Table) -> pa.ListArray:
    return pa.concat_arrays(table["ids"].chunks)


def _parameter_groups(network: Any, settings: OptimiserSettings) -> list[Any]:
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    exempt = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]


def _schedule(optimiser: Any, settings: OptimiserSettings, steps_per_epoch: int) -> Any:
    """Rise linearly over the warm-up, then decay linearly to 0 at the last step."""
    total = steps_per_epoch * settings.num_epochs
    warmup = int(total * settings.warmup_fraction)

    def factor(step: int) -> float:
        return (
            (step + 1) / (warmup + 1)
            if step < warmup
            else max(0.0, (total - step) / (total - warmup))
        )

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
