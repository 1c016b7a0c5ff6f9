"""The files of what was fitted; content.py reads them."""

from dataclasses import asdict
from pathlib import Path

from rubert_ood.bundle.class_limits import class_limits_entry
from rubert_ood.bundle.content import LABELS, STATISTICS, TEMPERATURE, THRESHOLD
from rubert_ood.bundle.detector import write_detector
from rubert_ood.bundle.documents import said
from rubert_ood.bundle.files import DETECTOR, write_arrays, write_json
from rubert_ood.bundle.promises import write_promises
from rubert_ood.ood.fit import FittedModel


def write_fitted(folder: str, fitted: FittedModel) -> None:
    """Put classes, temperature, thresholds and statistics into a folder, each in its file."""
    thresholds = fitted.thresholds
    write_json(folder, LABELS, {"labels": fitted.labels})
    write_json(folder, TEMPERATURE, asdict(fitted.temperature))
    rule = {
        "threshold": thresholds.threshold,
        "mu": thresholds.mu,
        "sigma": thresholds.sigma,
        "shrinkage": fitted.statistics.shrinkage,
        "calibrated_on": fitted.calibrated_on,
        **said(fitted.decision),
        **class_limits_entry(fitted),
    }
    write_json(folder, THRESHOLD, rule)
    arrays = {
        "means": fitted.statistics.means_CH,
        "precision": fitted.statistics.precision_HH,
        "calibration_d2": thresholds.calibration_d2,
    }
    write_arrays(folder, STATISTICS, arrays)
    Path(folder, DETECTOR).unlink(missing_ok=True)  # of the bundle that it comes from
    if fitted.detector is not None:
        write_detector(folder, fitted.detector)
    write_promises(folder, fitted.promises)
