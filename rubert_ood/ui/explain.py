"""One ad, as the model reads it and decides on it.

The numbers are those of `Model.predict`: the same reader, the same forward pass, the same decision.
Shapes: T texts (one here, or none), C classes, H hidden.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubert_ood.ads.given import given_ads
from rubert_ood.classifier.windows import IDS
from rubert_ood.predictor import Model
from rubert_ood.runs.part import unfold
from rubert_ood.score_table import ForwardPass
from rubert_ood.settings import ColumnSettings
from rubert_ood.ui.cleaned import Piece, pieces, trace
from rubert_ood.ui.flips import Numbers
from rubert_ood.ui.nearest import NearestAds, Neighbour
from rubert_ood.ui.tokens import Token, num_characters_read, tokens_of

MAX_CHARACTERS = 20_000
"""Of an ad that is explained; the nightly job reads ads of any length."""
NUM_CLASSES = 5


@dataclass(frozen=True)
class ClassRow:
    """A class, by how probable it is and by how near."""

    label: str
    probability: float | None
    """None: not among the best classes that are kept."""
    d2: float
    """Squared Mahalanobis distance to the mean of the class."""


@dataclass(frozen=True)
class Explanation:
    """What the model makes of an ad."""

    text: str
    """As given."""
    row: dict[str, object]
    """As `predict` returns it."""
    pieces: list[Piece]
    windows: list[list[Token]]
    numbers: Numbers | None
    """What the decision rests on; None where there is nothing to read."""
    classes: list[ClassRow]
    """The best classes by probability, and the nearest by distance, nearest first."""
    neighbours: list[Neighbour]

    @property
    def nearest(self) -> ClassRow:
        """The class that d2 is the distance to."""
        return self.classes[0]


def explain(model: Model, nearest: NearestAds, text: str) -> Explanation:
    """Decide on an ad as `predict([text])` does, and keep what led there."""
    written = given_ads([text], ColumnSettings()).texts[0]
    reader = model.reader()
    reader.add(written)
    texts, text_index = reader.finish()
    passed = model.forward(texts)
    rows = unfold(model.finish(passed), text_index)
    row = rows.drop_columns("excerpt").to_pylist()[0]
    shown = _pieces(model, text, row)
    if not texts.num_rows:
        return Explanation(text, row, shown, [], None, [], [])
    numbers = _numbers(model, passed)
    cls_H = passed.outputs.cls_TH[0]
    return Explanation(
        text=text,
        row=row,
        pieces=shown,
        windows=_windows(model, texts),
        numbers=numbers,
        classes=_classes(model, numbers, cls_H),
        neighbours=nearest.of(cls_H),
    )


def _pieces(model: Model, text: str, row: dict[str, object]) -> list[Piece]:
    traced = trace(model.bundle.cleaner, text)
    if not row["is_cut"]:
        return pieces(traced)
    tokenizer = model.tokenizer
    num_special = len(tokenizer.before) + len(tokenizer.behind)
    num_tokens = int(str(row["num_tokens"])) - num_special
    num_read = num_characters_read(tokenizer, traced.cleaned, num_tokens)
    return pieces(traced, num_read=num_read)


def _windows(model: Model, texts: pa.Table) -> list[list[Token]]:
    return tokens_of(model.tokenizer, texts[IDS][0].as_py())


def _numbers(model: Model, passed: ForwardPass) -> Numbers:
    fitted = model.bundle.fitted
    decisions = passed.outputs.decide(fitted)
    return Numbers(
        labels=decisions.topk_labels_Nk[0].tolist(),
        scores=decisions.topk_scores_Nk[0].tolist(),
        d2=float(decisions.ood_distance_N[0]),
        p=float(decisions.ood_p_N[0]) if fitted.detector else None,
    )


def _classes(
    model: Model, numbers: Numbers, cls_H: NDArray[np.float32]
) -> list[ClassRow]:
    """Return the nearest classes and the most probable ones, each once, nearest first."""
    num_classes = len(model.labels)
    cls_CH = np.repeat(cls_H[None], num_classes, axis=0)
    statistics = model.bundle.fitted.statistics
    d2_C = statistics.own_class_distance(cls_CH, np.arange(num_classes))
    probabilities = dict(zip(numbers.labels, numbers.scores, strict=True))
    order_C = np.argsort(d2_C, kind="stable").tolist()
    rows = []
    for place, number in enumerate(order_C):
        label = model.labels[number]
        if place < NUM_CLASSES or label in probabilities:
            probability = probabilities.get(label)
            rows.append(ClassRow(label, probability, float(d2_C[number])))
    return rows
