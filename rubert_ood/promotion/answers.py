"""What bundles say of the same texts, and how fast: one after the other on each few texts.

Shapes: N texts, P pieces, M bundles.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rubert_ood.predictor import Model
from rubert_ood.progress import Progress
from rubert_ood.runs.part import STATUS_OK

PIECE_ADS = {True: 5_000, False: 250}
"""By use_gpu: texts that one bundle answers before it is the turn of the other."""
WARM_UP_ADS = 32


@dataclass(frozen=True, eq=False)
class Answers:
    """What one bundle says of N texts, as readers would see it."""

    label_N: NDArray[np.object_]
    """str: a class, or Other."""
    best_N: NDArray[np.object_]
    """str: the best class; None where there was nothing to read."""
    confidence_N: NDArray[np.float64]
    """NaN where there was nothing to read, as far_N."""
    is_ood_N: NDArray[np.bool_]
    far_N: NDArray[np.float64]
    """What the bundle judges by, larger where farther: d2, or -ood_p of another detector."""
    is_read_N: NDArray[np.bool_]
    """Whether there was something to read."""

    def take(self, rows: slice | NDArray[np.bool_]) -> "Answers":
        """Return those of some texts."""
        chosen = [values_N[rows] for values_N in vars(self).values()]
        return Answers(*chosen)


@dataclass(frozen=True, eq=False)
class Timed:
    """The answers of each bundle, and the time that each took."""

    answers: list[Answers]
    seconds_MP: NDArray[np.float64]
    ads_P: NDArray[np.int64]

    @property
    def ads_per_s(self) -> list[float]:
        """Of each bundle, over all pieces."""
        return (self.ads_P.sum() / self.seconds_MP.sum(axis=1)).tolist()

    @property
    def speed_ratio(self) -> float:
        """Speed of the first bundle over that of the second: the median over the pieces."""
        return float(np.median(self.seconds_MP[1] / self.seconds_MP[0]))


def ask(models: Sequence[Model], texts: list[str]) -> Timed:
    """Ask all bundles for each piece of the texts, in turn: what else the machine does meets all.

    Who is first changes from piece to piece. Loading, and the first texts, do not count.
    """
    for model in models:
        _answers(model, texts[:WARM_UP_ADS])
    size = PIECE_ADS[models[0].use_gpu]
    starts = range(0, len(texts), size)
    seconds_MP = np.zeros((len(models), len(starts)))
    tables: list[list[pa.Table]] = [[] for _ in models]
    progress = Progress("promote", len(texts), "ads")
    for number, start in enumerate(starts):
        piece = texts[start : start + size]
        turn = range(len(models))
        for which in turn if number % 2 == 0 else reversed(turn):
            started = time.perf_counter()
            tables[which].append(_answers(models[which], piece))
            seconds_MP[which, number] = time.perf_counter() - started
        progress.add(len(piece))
    ads_P = np.array([min(size, len(texts) - start) for start in starts])
    answers = []
    for model, pieces in zip(models, tables, strict=True):
        answers.append(_joined(pa.concat_tables(pieces), model))
    return Timed(answers, seconds_MP, ads_P)


def _answers(model: Model, texts: list[str]) -> pa.Table:
    return model.predict(pa.table({"description": pa.array(texts, pa.string())}))


def _joined(rows: pa.Table, model: Model) -> Answers:
    far = rows["ood_distance"]
    if model.d2_limit is None:
        far = pc.negate(rows["ood_p"])
    topk = rows["topk_labels"].combine_chunks()
    best = pc.list_element(topk, 0) if len(topk) else pa.array([], pa.string())
    return Answers(
        label_N=rows["label"].to_numpy(zero_copy_only=False),
        best_N=best.to_numpy(zero_copy_only=False),
        confidence_N=rows["confidence"].to_numpy().astype(np.float64),
        is_ood_N=rows["is_ood"].to_numpy(),
        far_N=far.to_numpy(),
        is_read_N=pc.equal(rows["status"], STATUS_OK).to_numpy(),
    )
