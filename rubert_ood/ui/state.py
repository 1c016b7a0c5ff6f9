"""What the page works with: a bundle, its reference sample, and a run, as it was started."""

from dataclasses import dataclass, field
from threading import Lock

from rubert_ood.errors import InputError
from rubert_ood.ood.detectors import TITLES
from rubert_ood.predictor import Model
from rubert_ood.ui.batch import ScoredRow, score_rows
from rubert_ood.ui.explain import MAX_CHARACTERS, Explanation, explain
from rubert_ood.ui.flips import (
    Choice,
    Flip,
    Numbers,
    Outcome,
    bundle_choice,
    flips,
    outcome,
)
from rubert_ood.ui.histogram import Histogram, histogram
from rubert_ood.ui.nearest import NearestAds
from rubert_ood.ui.runs_search import RunSearch
from rubert_ood.ui.uploads import GivenRow
from rubert_ood.ui.verdict import Step, kind, sentence, steps


@dataclass(frozen=True)
class Decided:
    """A decision as the page shows it."""

    outcome: Outcome
    kind: str
    sentence: str
    steps: list[Step]
    histogram: Histogram
    flips: list[Flip]
    detector: str
    """The title of what ood_p is of."""
    now: dict[str, float]
    """The thresholds that decided, by setting."""


@dataclass(frozen=True)
class State:
    """Model, reference sample and run; one ad or file at a time goes through the network."""

    model: Model
    nearest: NearestAds
    run: RunSearch | None = None
    _one_at_a_time: Lock = field(default_factory=Lock)

    def explained(self, text: str) -> Explanation:
        """Explain an ad; InputError where it is longer than the page reads."""
        if len(text) > MAX_CHARACTERS:
            raise InputError(
                f"the ad has {len(text):,} characters, and the page explains at most"
                f" {MAX_CHARACTERS:,}. Send it as a file"
            )
        with self._one_at_a_time:
            return explain(self.model, self.nearest, text)

    def scored(self, rows: list[GivenRow]) -> list[ScoredRow]:
        """Classify the ads of a file."""
        with self._one_at_a_time:
            return score_rows(self.model, rows)

    def decided(self, numbers: Numbers, choice: Choice) -> Decided:
        """Decide on an ad under other thresholds."""
        fitted = self.model.bundle.fitted
        found = outcome(fitted, numbers, choice)
        now = bundle_choice(fitted).model_dump()
        now |= choice.model_dump(exclude_none=True)
        return Decided(
            outcome=found,
            kind=kind(found),
            sentence=sentence(found),
            steps=steps(found),
            histogram=histogram(found),
            flips=flips(fitted, numbers, choice),
            detector=TITLES[found.settings.detector],
            now=now,
        )
