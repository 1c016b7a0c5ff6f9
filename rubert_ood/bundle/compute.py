"""What a bundle may be computed on.

T, statistics and thresholds hold for the numbers that they were fitted in.
"""

from rubert_ood.bundle.bundle import Bundle
from rubert_ood.errors import SettingsError
from rubert_ood.settings import ComputeSettings


def check_compute(bundle: Bundle, compute: ComputeSettings) -> None:
    """Raise SettingsError when a bundle was fitted in other numbers, or for other hardware."""
    if compute.precision not in (None, bundle.precision):
        raise SettingsError(
            f"compute.precision: the bundle {bundle.version} was fitted in"
            f" {bundle.precision} and scores only in that. Leave the setting"
            f" out, or train with compute.precision {compute.precision}"
        )
    if compute.use_gpu and bundle.precision == "int8":
        raise SettingsError(
            f"compute.use_gpu: the bundle {bundle.version} was fitted in"
            " int8, which runs on CPU only. Leave the setting out"
        )
