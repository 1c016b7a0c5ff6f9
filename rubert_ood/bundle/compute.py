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
            f"compute.precision: the bundle {bundle.version} was fitted in {bundle.precision}, and"
            " is computed in nothing else;"
            f" leave the setting out, or train with compute.precision {compute.precision}"
        )
    if compute.use_gpu and bundle.precision == "int8":
        raise SettingsError(
            f"compute.use_gpu: the bundle {bundle.version} was fitted in int8,"
            " which is for CPU"
        )
