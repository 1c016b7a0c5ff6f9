"""Whether a model in int8, or in bf16 on a CPU, still answers as in fp32."""

from dataclasses import dataclass

import numpy as np

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import Precision

MIN_ARGMAX_AGREEMENT = 0.99
MAX_FLAG_RATE_SHIFT = 0.003


@dataclass(frozen=True)
class Agreement:
    """What the same ads get in fewer bits and in fp32."""

    argmax_agreement: float
    """Share of the ads whose best class is the same."""
    flag_rate: float
    """OOD rate in fewer bits."""
    flag_rate_fp32: float
    mean_d2_ratio: float
    """Mean d2 in fewer bits over that in fp32."""


def agreement_with_fp32(
    fitted: FittedModel, outputs: Outputs, plain: FittedModel, plain_outputs: Outputs
) -> Agreement:
    """Compare the decisions in fewer bits, given first, and in fp32 on the ads of valid.

    Each model decides with the statistics of its own numbers.
    """
    ours = fitted.decide(outputs)
    theirs = plain.decide(plain_outputs)
    return Agreement(
        argmax_agreement=float(np.mean(ours.predicted_N == theirs.predicted_N)),
        flag_rate=float(ours.is_ood_N.mean()),
        flag_rate_fp32=float(theirs.is_ood_N.mean()),
        mean_d2_ratio=float(ours.ood_distance_N.mean() / theirs.ood_distance_N.mean()),
    )


def check_agreement(agreement: Agreement, precision: Precision) -> None:
    """Raise PublicationRefusedError when the model answers too differently in such numbers."""
    same = agreement.argmax_agreement
    shift = abs(agreement.flag_rate - agreement.flag_rate_fp32)
    if same < MIN_ARGMAX_AGREEMENT or shift > MAX_FLAG_RATE_SHIFT:
        classes = f"{same:.2%} of the best classes agree with fp32"
        flags = f"the OOD rate differs by {shift:.2%}"
        raise PublicationRefusedError(
            f"compute.precision: {precision} differs too much from fp32, so"
            f" no bundle was written. On valid {classes} (at least"
            f" {MIN_ARGMAX_AGREEMENT:.0%}) and {flags} (at most"
            f" {MAX_FLAG_RATE_SHIFT:.1%}). Train again with the same version"
            " and compute.precision fp32, which resumes from the trained"
            " checkpoint"
        )
