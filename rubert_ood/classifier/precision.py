"""Where the model runs, and in which numbers.

fp32   plain
bf16   autocast: the default on GPU; slow on CPU, for a bundle that was fitted so
int8   torch dynamic quantisation of the linear layers, CPU alone: weights per output channel,
       activations per batch, so that the last digits of a score depend on which ads share its batch
"""

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from rubert_ood.errors import SettingsError
from rubert_ood.settings import Precision


@dataclass(frozen=True)
class Device:
    """A place to compute in, and its numeric precision."""

    device: torch.device
    precision: Precision

    def context(self) -> torch.autocast:
        """Enter what a forward pass needs."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )

    def prepare(self, network: Any) -> Any:
        """Return the network here, ready to score; for int8 a quantised copy."""
        network = network.to(self.device).eval()
        return _quantised(network) if self.precision == "int8" else network


def choose_device(use_gpu: bool, precision: Precision | None = None) -> Device:
    """Check a numeric precision against this node; None is bf16 on a GPU that has it, else fp32."""
    if not use_gpu:
        return Device(torch.device("cpu"), precision or "fp32")
    if precision == "int8":
        raise SettingsError(
            "compute.precision: int8 is for CPU;"
            " set compute.use_gpu to false, or train in another one"
        )
    if not torch.cuda.is_available():
        raise SettingsError("compute.use_gpu is true, but torch sees no GPU here")
    # without `including_emulation=False` older GPUs would say yes, and emulate it slowly
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise SettingsError(
            "compute.precision: this GPU has no bf16; train with compute.precision fp32"
        )
    return Device(torch.device("cuda"), precision or ("bf16" if has_bf16 else "fp32"))


def _quantised(network: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is to move to another package one day
        spec = {torch.nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(network), spec)
