"""How well hidden words of held-out ads are guessed, measured on all workers together."""

import math
from collections.abc import Iterator

import torch
import torch.distributed

from rubert_ood.classifier.precision import Device
from rubert_ood.errors import SettingsError
from rubert_ood.training.batches import Batch
from rubert_ood.training.steps import compute, summed_loss

MOST_NATS = 700.0
"""A loss whose perplexity is still a number; one that guesses at random has some ten nats."""


@torch.inference_mode()
def measure_held_out(
    forward: torch.nn.Module, steps: Iterator[list[Batch]], device: Device
) -> dict[str, float]:
    """Measure the ads of all workers, each of which gives its own; every one gets the metrics.

    held_out_loss is in nats for each hidden token; held_out_accuracy is the share of them that is
    guessed right. Raises SettingsError when the loss is beyond all measure.
    """
    sums = torch.zeros(3, dtype=torch.float64, device=device.device)
    for step in steps:
        for batch in step:
            logits_MV, hidden_M = compute(forward, batch, device)
            sums[0] += summed_loss(logits_MV, hidden_M)
            sums[1] += (logits_MV.argmax(1) == hidden_M).sum()
            sums[2] += len(hidden_M)
    torch.distributed.all_reduce(sums)
    total, num_right, num_hidden = sums.tolist()
    loss = total / num_hidden
    if not loss <= MOST_NATS:  # NaN is not, either
        raise SettingsError(
            "optimiser.learning_rate: training diverged,"
            f" the held-out loss is {loss:.4g}. Lower it"
        )
    return {
        "held_out_tokens": num_hidden,
        "held_out_loss": loss,
        "held_out_perplexity": math.exp(loss),
        "held_out_accuracy": num_right / num_hidden,
    }
