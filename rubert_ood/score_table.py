"""What a model says of some texts, as columns of a part.

Shapes: T texts, C classes, H hidden.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubert_ood.bundle import Bundle
from rubert_ood.classifier.span import Span
from rubert_ood.classifier.subheads import SubHeads
from rubert_ood.classifier.windows import IDS, WORD_LOGITS
from rubert_ood.ood.decision import Decisions
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.runs.part import SCORE_FIELDS, SUBHEAD_FIELDS

if TYPE_CHECKING:
    from rubert_ood.classifier.device_decision import InFlight


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """What the network says of some texts, before any decision."""

    texts: pa.Table
    """As the reader made them."""
    num_windows_T: NDArray[np.int32]
    outputs: "HostOutputs | InFlight"


@dataclass(frozen=True, eq=False)
class HostOutputs:
    """What a CPU computed."""

    outputs: Outputs
    span: Span

    @property
    def cls_TH(self) -> NDArray[np.float32]:
        """CLS of each text."""
        return self.outputs.cls_NH

    def decide(self, fitted: FittedModel) -> Decisions:
        """Decide on each text in numpy, to the same bits wherever the same shard is scored."""
        return fitted.decide(self.outputs)


def score_table(passed: ForwardPass, bundle: Bundle, *, embedding: bool) -> pa.Table:
    """Decide on each text; the token ids of the texts are left out of the answer."""
    decisions = passed.outputs.decide(bundle.fitted)
    cls_TH = passed.outputs.cls_TH
    columns = _score_columns(decisions)
    if bundle.subheads:
        columns |= _subhead_columns(bundle.subheads, cls_TH, decisions)
    for name in passed.texts.schema.names:
        if name not in (IDS, WORD_LOGITS):
            columns[name] = passed.texts[name]
    columns["num_chunks"] = pa.array(passed.num_windows_T, pa.int32())
    if embedding:
        flat = pa.array(cls_TH.astype(np.float16).ravel(), pa.float16())
        size = cls_TH.shape[1]
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, size)
    return pa.table(columns)


def _score_columns(decisions: Decisions) -> dict[str, pa.Array]:
    """Return SCORE_FIELDS of each text."""
    values = {
        "label": decisions.label_N.tolist(),
        "confidence": decisions.confidence_N,
        "topk_labels": decisions.topk_labels_Nk.tolist(),
        "topk_scores": decisions.topk_scores_Nk.tolist(),
        "is_ood": decisions.is_ood_N,
        "ood_distance": decisions.ood_distance_N,
        "ood_z": decisions.ood_z_N,
        "ood_p": decisions.ood_p_N,
    }
    fields = SCORE_FIELDS
    return {field.name: pa.array(values[field.name], field.type) for field in fields}


def _subhead_columns(
    subheads: SubHeads, cls_TH: NDArray[np.float32], decisions: Decisions
) -> dict[str, pa.Array]:
    """Return SUBHEAD_FIELDS of each text, null where its label has no sub-head."""
    found = subheads.predict(cls_TH, decisions.label_N.tolist())
    columns = {}
    for field, values_T in zip(SUBHEAD_FIELDS, found, strict=True):
        # NaN is null
        columns[field.name] = pa.array(values_T, field.type, from_pandas=True)
    return columns
