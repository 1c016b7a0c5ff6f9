"""What every stage of a run needs to know, and the bundle of a run, once per process."""

from dataclasses import dataclass
from functools import lru_cache

from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.predictor import Model
from rubert_ood.reuse.index import Index, Taker, open_index
from rubert_ood.runs.night_sample import sample_limit
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.reuse import find_stop


@dataclass(frozen=True)
class Reuse:
    """What the texts of a shard are looked up in."""

    index: Index
    plan: Plan

    def taker(self) -> Taker:
        """Return what takes results over for one shard."""
        assert self.plan.reuse is not None
        return Taker(self.index, self.plan.reuse, self.plan.fingerprint)


@dataclass(frozen=True)
class ScoringJob:
    """Small, since it travels with each task."""

    plan: Plan
    """Without its shards and files."""
    claim: str = ""
    """Token of the start that must have claimed the run when a part is written; "" asks for
    none."""
    sample_limit: int = 0
    """Key below which an ad is in the sample of the night."""

    @classmethod
    def of(cls, plan: Plan, claim: str = "") -> "ScoringJob":
        """Leave the lists of shards and files behind: they would ride with every task."""
        return cls(plan.without_shards(), claim, sample_limit(plan.num_rows))

    def model(self) -> Model:
        """Return the model of the run; its network is not loaded yet."""
        bundle = _bundle(self.plan.bundle.uri, self.plan.bundle.fingerprint)
        return Model(
            bundle, use_gpu=self.plan.use_gpu, token_budget=self.plan.token_budget
        )

    def reading_model(self) -> Model:
        """Return a model that reads texts, one for all shards of this process."""
        return _reading_model(self.plan.bundle.uri, self.plan.bundle.fingerprint)

    @property
    def is_stopped(self) -> bool:
        """Whether the reuse that was planned has ended."""
        return self.plan.reuse is not None and find_stop(self.plan.run_uri) is not None

    def reuse(self) -> Reuse | None:
        """Return what results are taken from; None without a plan for it, or an index."""
        if self.plan.reuse is None:
            return None
        index = open_index(self.plan.reuse)
        return Reuse(index, self.plan) if index else None


@lru_cache(maxsize=1)
def _bundle(uri: str, fingerprint: str) -> Bundle:
    """Load the bundle of a run; its files are checked in every process."""
    return load_bundle(uri, fingerprint=fingerprint)


@lru_cache(maxsize=1)
def _reading_model(uri: str, fingerprint: str) -> Model:
    return Model(_bundle(uri, fingerprint))
