"""Distance and best classes as tensors where the network runs; all rules are ood/decision.py's.

The steps of ood/mahalanobis.py, in float64 as there: one product of (N, H) and (H, H) is nothing
beside the network. Nothing waits for the device before `InFlight.decide`.

Shapes: W windows, N texts, C classes, H hidden, k best classes; X is C or H.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rubert_ood.classifier.classifier import Answer, Classifier, Tensors
from rubert_ood.classifier.device_detectors import DeviceDetector, DeviceGaussians
from rubert_ood.classifier.precision import Device
from rubert_ood.classifier.span import Mark, Span
from rubert_ood.classifier.tokens import num_tokens
from rubert_ood.classifier.windows import Windows
from rubert_ood.ood.decision import Decisions, TopClasses
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs


@dataclass(frozen=True, eq=False)
class InFlight:
    """What the device says of some texts, on its way to the host; whole once the span has ended."""

    logits: torch.Tensor
    """float32 (N, C)."""
    cls: torch.Tensor
    """float32 (N, H)."""
    tokens: torch.Tensor
    """float32 (N, H), on the device still."""
    d2: torch.Tensor
    """float64 (N,)."""
    classes: torch.Tensor
    """int64 (N, k)."""
    scores: torch.Tensor
    """float64 (N, k)."""
    is_finite: torch.Tensor
    """bool (N,)."""
    is_near: torch.Tensor
    """bool (N,): another class is as near as rounding can tell."""
    detector_scores: torch.Tensor | None
    """float64 (N, P): of each part of the detector, if that is not Mahalanobis."""
    span: Span

    @property
    def cls_TH(self) -> NDArray[np.float32]:
        """CLS of each text, after `decide`."""
        return self.cls.numpy()

    def decide(self, fitted: FittedModel) -> Decisions:
        """Wait for the device, and decide. Raises BundleError as numpy's `decide` does."""
        self.span.ended.synchronize()
        if not self.is_finite.all():
            read = self.logits.numpy(), self.cls_TH, self.tokens.cpu().numpy()
            return fitted.decide(Outputs.unlabelled(*read))  # it names the row
        d2_N = self.d2.numpy()
        near = np.flatnonzero(self.is_near.numpy())
        if len(near) > 0:
            d2_N[near], _ = fitted.statistics.distance(self.cls_TH[near])
        top = TopClasses(self.classes.numpy(), self.scores.numpy())
        return fitted.decide_on(top, d2_N, self._p(fitted))

    def _p(self, fitted: FittedModel) -> NDArray[np.float64] | None:
        detector = fitted.detector
        if detector is None or self.detector_scores is None:
            return None
        columns = self.detector_scores.numpy().T
        return detector.p_of(dict(zip(detector.parts, columns, strict=True)))


class DeviceDecision:
    """What was fitted, on the device of the network."""

    def __init__(self, fitted: FittedModel, device: Device) -> None:
        self.device = device
        self.temperature = fitted.temperature.temperature
        self.num_top = min(fitted.decision.top_k, len(fitted.labels))
        self.gaussians = DeviceGaussians(fitted.statistics, device)
        self.detector: DeviceDetector | None = None
        if fitted.detector is not None:
            self.detector = DeviceDetector(fitted.detector, device)

    @torch.inference_mode()
    def start(self, classifier: Classifier, read: Windows, token_budget: int) -> InFlight:
        """Ask for the forward pass, and for all that depends on it."""
        begun = self.device.mark()
        found = classifier.outputs(read.ids, token_budget=token_budget)
        pooled = Answer(*(self._pool(outputs_WX, read) for outputs_WX in found))
        if read.word_logits_NC is not None:
            words_NC = self.device.put(read.word_logits_NC)
            pooled = pooled._replace(logits=pooled.logits + words_NC)
        return self.of(pooled, begun)

    @torch.inference_mode()
    def of(self, found: Tensors, begun: Mark) -> InFlight:
        """Ask for what depends on outputs that are on the device."""
        d2_N, is_near_N = self.gaussians.distance(found.cls.double())
        scores_NP = None
        if self.detector is not None:
            scores_NP = self.detector.scores(found, d2_N)
        classes_Nk, scores_Nk = self._top(found.logits.double())
        is_finite_N = torch.stack([part.isfinite().all(1) for part in found]).all(0)
        fetch = self.device.fetch
        return InFlight(
            logits=fetch(found.logits),
            cls=fetch(found.cls),
            tokens=found.tokens,
            d2=fetch(d2_N),
            classes=fetch(classes_Nk),
            scores=fetch(scores_Nk),
            is_finite=fetch(is_finite_N),
            is_near=fetch(is_near_N),
            detector_scores=None if scores_NP is None else fetch(scores_NP),
            span=Span(begun, self.device.mark()),
        )

    def _top(self, logits_NC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the best classes and their probabilities; the lower class comes first on ties."""
        probabilities_NC = torch.softmax(logits_NC / self.temperature, dim=1)
        scores_NC, order_NC = probabilities_NC.sort(dim=1, descending=True, stable=True)
        best = slice(0, self.num_top)
        return order_NC[:, best].contiguous(), scores_NC[:, best].contiguous()

    def _pool(self, outputs_WX: torch.Tensor, read: Windows) -> torch.Tensor:
        """Average the windows of each text as windows.pool does: float32 (N, X)."""
        counts_N = read.num_windows_N
        most = int(counts_N.max(initial=1))
        if most == 1:
            return outputs_WX
        lengths_W = num_tokens(read.ids).astype(np.float64)
        starts_N = np.cumsum(counts_N) - counts_N
        total_N = np.add.reduceat(lengths_W, starts_N)
        shape = len(counts_N), outputs_WX.shape[1]
        pooled_NX = torch.zeros(shape, dtype=torch.float64, device=outputs_WX.device)
        for window in range(most):
            rows_N = starts_N + np.minimum(window, counts_N - 1)
            weights_N = np.where(window < counts_N, lengths_W[rows_N] / total_N, 0.0)
            rows_NX = outputs_WX[self.device.put(rows_N)].double()
            pooled_NX += self.device.put(weights_N)[:, None] * rows_NX
        return pooled_NX.float()
