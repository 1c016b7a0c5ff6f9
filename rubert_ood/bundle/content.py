"""What the files of a bundle mean: written from, and read back into, what was fitted.

Reading checks sense, not only form: a bundle that could only score nonsense is refused, in one
line that names its file.
Shapes: C classes, H hidden.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel
from safetensors import SafetensorError

from rubert_ood import __version__
from rubert_ood.ads.text import TextCleaner
from rubert_ood.bundle.arrays import (
    Layout,
    check_layouts,
    layouts,
    read_arrays,
)
from rubert_ood.bundle.class_limits import class_limits
from rubert_ood.bundle.detector import read_detector
from rubert_ood.bundle.documents import (
    LabelsDocument,
    PrecisionDocument,
    StackDocument,
    SubheadsDocument,
    TemperatureDocument,
    TextDocument,
    ThresholdDocument,
)
from rubert_ood.bundle.files import (
    DETECTOR,
    parse,
    refusal,
)
from rubert_ood.bundle.network import (
    bert_shapes,
    check_config,
    check_tokenizer,
    check_weights,
)
from rubert_ood.bundle.promises import PROMISES, PromisesDocument
from rubert_ood.bundle.reference import REFERENCE, read_reference, reference_layout
from rubert_ood.bundle.stack import STACK, STACK_ARRAYS, read_stack
from rubert_ood.bundle.subheads import (
    SUBHEAD_ARRAYS,
    SUBHEADS,
    check_categories,
    read_subheads,
)
from rubert_ood.classifier.local_checkpoint import CONFIG, WEIGHTS
from rubert_ood.classifier.network_config import BertSizes, NetworkConfig
from rubert_ood.classifier.stack import Stack
from rubert_ood.classifier.subheads import SubHeads
from rubert_ood.classifier.tokenizer import (
    SPECIAL_IDS,
    TOKENIZER,
    SpecialIds,
    TextTokenizer,
)
from rubert_ood.errors import RubertOodError
from rubert_ood.ood.decision import Thresholds
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.promise import Promise
from rubert_ood.ood.reference import Reference
from rubert_ood.ood.temperature import TemperatureFit
from rubert_ood.settings import DecisionSettings, Precision

LABELS, TEMPERATURE, THRESHOLD = (
    "label_mapping.json",
    "temperature.json",
    "ood_threshold.json",
)
TEXT, PRECISION = "text.json", "precision.json"
STATISTICS = "ood_statistics.safetensors"
REQUIRED = (
    CONFIG,
    WEIGHTS,
    TOKENIZER,
    LABELS,
    TEMPERATURE,
    THRESHOLD,
    STATISTICS,
    TEXT,
    PRECISION,
)
MOMENT_TOLERANCE = 1e-6  # relative; the same sums in another order

D = TypeVar("D", bound=BaseModel)


@dataclass(frozen=True)
class Content:
    """What a bundle says."""

    fitted: FittedModel
    cleaner: TextCleaner
    text: TextDocument
    precision: Precision
    tokenizer: TextTokenizer | None
    subheads: SubHeads | None
    stack: Stack | None


class BundleReader:
    """Reads a local copy; each failure is a BundleError that names the file."""

    def __init__(
        self,
        uri: str,
        folder: str,
        files: Collection[str],
        *,
        code_version: str = __version__,
    ) -> None:
        self.uri, self.folder, self.files, self.code_version = (
            uri,
            folder,
            files,
            code_version,
        )

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Turn what goes wrong with a file into one line."""
        try:
            yield
        except (
            RubertOodError,
            ValueError,
            KeyError,
            TypeError,
            OSError,
            RecursionError,
            SafetensorError,
        ) as error:
            reason = " ".join(str(error).split())[:300]
            raise refusal(
                self.uri, name, reason, code_version=self.code_version
            ) from error

    def document(self, name: str, model: type[D]) -> D:
        """Read and check one JSON file; RubertOodError names the file and what is wrong."""
        with self.reading(name):
            data = Path(self.folder, name).read_bytes()
        return parse(self.uri, name, data, model, code_version=self.code_version)

    def content(self) -> Content:
        """Read everything but the reference sample and the weights, whose headers are checked."""
        for name in REQUIRED:
            if name not in self.files:
                raise refusal(
                    self.uri, name, "it is missing", code_version=self.code_version
                )
        fitted = self._fitted()
        text = self.document(TEXT, TextDocument)
        with self.reading(TEXT):
            cleaner = TextCleaner.from_dict(text.cleaner.model_dump())
        precision = self.document(PRECISION, PrecisionDocument).precision
        hidden = fitted.statistics.means_CH.shape[1]
        tokenizer = self._network(fitted.labels, hidden, text.max_length)
        if REFERENCE in self.files:
            with self.reading(REFERENCE):
                found = layouts(self.folder, REFERENCE)
                expected = reference_layout(found, len(fitted.labels), hidden)
                check_layouts(found, expected)
        return Content(
            fitted,
            cleaner,
            text,
            precision,
            tokenizer,
            self._subheads(fitted.labels, hidden),
            self._stack(len(fitted.labels)),
        )

    def _fitted(self) -> FittedModel:
        labels = self.document(LABELS, LabelsDocument).labels
        temperature = self.document(TEMPERATURE, TemperatureDocument)
        rule = self.document(THRESHOLD, ThresholdDocument)
        f64 = partial(Layout, "F64")
        decision = DecisionSettings(
            **rule.model_dump(include=set(DecisionSettings.model_fields))
        )
        with self.reading(STATISTICS):
            expected = {
                "means": f64((len(labels), None)),
                "precision": f64((None, None)),
                "calibration_d2": f64((None,)),
            }
            arrays = read_arrays(self.folder, STATISTICS, expected)
            statistics = MahalanobisStatistics(
                arrays["means"], arrays["precision"], rule.shrinkage
            )
            thresholds = Thresholds(
                rule.threshold,
                rule.mu,
                rule.sigma,
                arrays["calibration_d2"],
                class_limits(rule.class_limits, labels),
            )
            _check_moments(thresholds)
        with self.reading(DETECTOR):
            detector = read_detector(
                self.folder,
                decision.detector,
                statistics=statistics,
                temperature=temperature.temperature,
            )
        return FittedModel(
            labels=labels,
            temperature=TemperatureFit(**temperature.model_dump()),
            statistics=statistics,
            thresholds=thresholds,
            decision=decision,
            calibrated_on=rule.calibrated_on,
            detector=detector,
            promises=self._promises(),
        )

    def _promises(self) -> tuple[Promise, ...]:
        if PROMISES not in self.files:
            return ()
        return tuple(self.document(PROMISES, PromisesDocument).promises)

    def _network(
        self, labels: list[str], hidden: int, max_length: int
    ) -> TextTokenizer | None:
        """Check the network, and return its tokenizer unless transformers has to read it."""
        config = self.document(CONFIG, NetworkConfig)
        with self.reading(CONFIG):
            check_config(config, labels, hidden=hidden, max_length=max_length)
        shapes = None
        if config.model_type == "bert":
            shapes = bert_shapes(self.document(CONFIG, BertSizes), len(labels))
        with self.reading(WEIGHTS):
            check_weights(self.folder, shapes)
        with self.reading(TOKENIZER):
            backend = check_tokenizer(self.folder, config)
        if SPECIAL_IDS not in self.files:
            return None
        ids = self.document(SPECIAL_IDS, SpecialIds)
        with self.reading(SPECIAL_IDS):
            return TextTokenizer(backend, ids)

    def _subheads(self, labels: list[str], hidden: int) -> SubHeads | None:
        if SUBHEADS not in self.files and SUBHEAD_ARRAYS not in self.files:
            return None
        description = self.document(SUBHEADS, SubheadsDocument)
        with self.reading(SUBHEADS):
            check_categories(description, labels)
        with self.reading(SUBHEAD_ARRAYS):
            return read_subheads(self.folder, description, hidden)

    def _stack(self, num_classes: int) -> Stack | None:
        if STACK not in self.files and STACK_ARRAYS not in self.files:
            return None
        description = self.document(STACK, StackDocument)
        with self.reading(STACK_ARRAYS):
            return read_stack(self.folder, description, num_classes)

    def reference(self, labels: list[str], hidden: int) -> Reference | None:
        """Read the features that detectors are fitted on; None if the bundle has none."""
        if REFERENCE not in self.files:
            return None
        with self.reading(REFERENCE):
            return read_reference(self.folder, labels, hidden)


def _check_moments(thresholds: Thresholds) -> None:
    """Raise ValueError unless threshold, mu and sigma describe the distances beside them."""
    d2 = thresholds.calibration_d2
    told = np.array([thresholds.mu, thresholds.sigma])
    if not np.allclose(
        told,
        [d2.mean(), d2.std(ddof=1)],
        rtol=MOMENT_TOLERANCE,
        atol=MOMENT_TOLERANCE * d2.max(),
    ):
        raise ValueError(
            "mean or standard deviation of calibration_d2 differs from mu"
            f" or sigma of {THRESHOLD}"
        )
    if not d2[0] >= 0 or not d2[0] <= thresholds.threshold <= d2[-1]:
        raise ValueError(
            f"the threshold of {THRESHOLD} is not a quantile of calibration_d2"
        )
