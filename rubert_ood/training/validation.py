"""Valid, measured on all workers together.

Shapes: N ads, C classes.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed
from sklearn.metrics import accuracy_score, f1_score

from rubert_ood.classifier.precision import Device
from rubert_ood.errors import SettingsError
from rubert_ood.training.batches import Batch
from rubert_ood.training.steps import compute, summed_loss


@torch.inference_mode()
def measure_valid(
    forward: torch.nn.Module, steps: Iterator[list[Batch]], device: Device
) -> dict[str, float]:
    """Measure the rows of all workers, each of which gives its own; every one gets the metrics.

    Raises SettingsError when the loss is not finite.
    """
    with device.device:
        labels = [torch.empty(0, dtype=torch.int64)]
        predicted = [torch.empty(0, dtype=torch.int64)]
        losses = [torch.zeros(1, dtype=torch.float64)]
    for step in steps:
        for batch in step:
            logits_NC, labels_N = compute(forward, batch, device)
            loss = summed_loss(logits_NC, labels_N)
            losses.append(loss.double()[None])
            labels.append(labels_N)
            predicted.append(logits_NC.argmax(1))
    mine = []
    for pieces in (labels, predicted, losses):
        mine.append(torch.cat(pieces).cpu())
    num_workers = torch.distributed.get_world_size()
    parts: list[Any] = [None] * num_workers
    torch.distributed.all_gather_object(parts, mine)
    labels_N = torch.cat([part[0] for part in parts]).numpy()
    predicted_N = torch.cat([part[1] for part in parts]).numpy()
    loss = sum(float(part[2].sum()) for part in parts)
    if not math.isfinite(loss):
        raise SettingsError(
            "optimiser.learning_rate: training diverged,"
            " the loss on valid is not finite. Lower it"
        )
    accuracy = accuracy_score(labels_N, predicted_N)
    macro_f1 = f1_score(labels_N, predicted_N, average="macro")
    return {
        "valid_rows": len(labels_N),
        "valid_loss": loss / len(labels_N),
        "valid_accuracy": float(accuracy),
        "valid_macro_f1": float(macro_f1),
    }
