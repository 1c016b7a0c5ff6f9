"""Whether a model in int8 still answers as in fp32. Shapes: N ads, C classes, H hidden."""

from collections.abc import Mapping

import numpy as np

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.ood.fit import FittedModel

MIN_ARGMAX_AGREEMENT = 0.99
MAX_FLAG_RATE_SHIFT = 0.003


def int8_agreement(
    fitted: FittedModel,
    outputs: tuple[np.ndarray, np.ndarray],
    plain: FittedModel,
    plain_outputs: tuple[np.ndarray, np.ndarray],
) -> dict[str, float]:
    """Compare the decisions on the same ads, those of valid, each model with the statistics of its
    own numbers.

    outputs, plain_outputs: logits (N, C) and CLS (N, H) in int8 and in fp32.
    """
    ours, theirs = fitted.decide(*outputs), plain.decide(*plain_outputs)
    return {
        "argmax_agreement": float(np.mean(ours.predicted_N == theirs.predicted_N)),
        "flag_rate": float(ours.is_ood.mean()),
        "flag_rate_fp32": float(theirs.is_ood.mean()),
        "mean_d2_ratio": float(ours.ood_distance_N.mean() / theirs.ood_distance_N.mean()),
    }


def check_agreement(agreement: Mapping[str, float]) -> None:
    """Raise PublicationRefusedError when int8 answers too differently."""
    same, shift = (
        agreement["argmax_agreement"],
        abs(agreement["flag_rate"] - agreement["flag_rate_fp32"]),
    )
    if same < MIN_ARGMAX_AGREEMENT or shift > MAX_FLAG_RATE_SHIFT:
        raise PublicationRefusedError(
            f"precision int8: on valid {same:.4f} of the best classes are as in fp32 (limit"
            f" {MIN_ARGMAX_AGREEMENT:g}) and the OOD rate moves by {shift:.4f} (limit"
            f" {MAX_FLAG_RATE_SHIFT:g}); no bundle is written, the same version with precision fp32"
            " goes on from the trained checkpoint"
        )
