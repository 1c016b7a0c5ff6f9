"""A bounded sample of the outputs that detectors are fitted on; a bundle keeps it. Shapes: N ads."""

from dataclasses import dataclass

import numpy as np

from rubert_ood.classifier.outputs import Outputs

MAX_REFERENCE_ROWS = 20_000


@dataclass(frozen=True)
class Reference:
    """Ads that detectors are fitted on and get their thresholds from; at most MAX_REFERENCE_ROWS of each."""

    train: Outputs
    calibration: Outputs


def make_reference(train: Outputs, calibration: Outputs, seed: int = 0) -> Reference:
    return Reference(_sample(train, seed), _sample(calibration, seed))


def _sample(outputs: Outputs, seed: int) -> Outputs:
    if len(outputs) <= MAX_REFERENCE_ROWS:
        return outputs
    return rows_of(
        outputs, np.sort(np.random.default_rng(seed).choice(len(outputs), MAX_REFERENCE_ROWS, replace=False))
    )


def rows_of(outputs: Outputs, rows: np.ndarray) -> Outputs:
    return Outputs(outputs.logits_NC[rows], outputs.cls_NH[rows], outputs.labels_N[rows])
