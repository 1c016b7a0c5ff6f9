"""Where the model runs, and in which numbers.

fp32   plain
bf16   weights and rows of the encoder, with sums, norms and softmax in fp32: the default on GPU;
       fast on a processor that has products in bf16. Autocast for encoders other than BERT
int8   torch dynamic quantisation of the linear layers, CPU alone: weights per output channel,
       activations per batch, so that the last digits of a score depend on which ads share its batch
"""

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rubert_ood.classifier import onednn
from rubert_ood.classifier.span import HostMark, Mark
from rubert_ood.errors import SettingsError
from rubert_ood.progress import StepLog
from rubert_ood.settings import Precision

log = StepLog("compute")


@dataclass(frozen=True)
class Device:
    """A place to compute in, and its numeric precision."""

    device: torch.device
    precision: Precision

    @property
    def dtype(self) -> torch.dtype:
        """Numbers of the rows between the layers of a packed encoder."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def put(self, array: np.ndarray) -> torch.Tensor:
        """Copy here without waiting; torch keeps pinned memory that is free for the next copy."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    def fetch(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy to the host without waiting: it is there when a `mark` after it has passed."""
        if self.device.type != "cuda":
            return tensor
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def mark(self) -> Mark:
        """Return a mark after all that was asked of the device so far."""
        if self.device.type != "cuda":
            return HostMark()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def has_onednn(self) -> bool:
        """Say whether the linear layers may be oneDNN's."""
        is_plain = self.device.type == "cpu" and self.precision != "int8"
        return is_plain and onednn.can_use(self.dtype)

    def context(self) -> torch.autocast:
        """Enter what a forward pass of transformers needs."""
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
        if precision == "bf16" and not _multiplies_bf16():
            log.warning(
                "compute.precision: bf16 is slower than fp32 on this CPU,"
                " which lacks AVX512-BF16 and AMX"
            )
        return Device(torch.device("cpu"), precision or "fp32")
    if precision == "int8":
        raise SettingsError(
            "compute.precision: int8 runs on CPU only. Set compute.use_gpu"
            " to false, or train in fp32 or bf16"
        )
    if not torch.cuda.is_available():
        raise SettingsError(
            "compute.use_gpu: torch finds no GPU on this machine. Set it to"
            " false, or install a GPU build of torch"
        )
    # without `including_emulation=False` older GPUs would say yes, and emulate it slowly
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise SettingsError(
            "compute.precision: this GPU does not support bf16. Train with"
            " compute.precision fp32"
        )
    return Device(torch.device("cuda"), precision or ("bf16" if has_bf16 else "fp32"))


def _multiplies_bf16() -> bool:
    checks = torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported
    return any(check() for check in checks)


def _quantised(network: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is to move to another package one day
        spec = {torch.nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(network), spec)
