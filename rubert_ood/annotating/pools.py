"""The candidates of each kind: few rows, the best of all that went by, whatever the run's size."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rubert_ood.annotating.mix import KINDS, RANDOM

RESERVE = 5
"""Candidates for each ad that is wanted: what replaces near-duplicates, and ads that another export
takes meanwhile."""
FIRST, SECOND = "rank_1", "rank_2"
"""Ascending: the smaller, the better."""
NUM_EXTRA = 50
"""Candidates beyond that: of few ads most may be near-duplicates."""
ID_HASH = "id_hash"


def id_hashes(ids: NDArray[np.object_], seed: int | None = None) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each id: the key of the register, or with a seed a random order."""
    if seed is None:
        return pd.util.hash_array(ids, categorize=False)
    return pd.util.hash_array(ids, hash_key=f"{seed:016d}", categorize=False)


@dataclass
class Pool:
    """The best candidates of one kind so far."""

    size: int
    is_random: bool = False
    """Then ads of one text, or of one id, all stay, so that the sample remains one of ads."""
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)

    def add(self, rows: pd.DataFrame) -> None:
        """Look at more rows, which have FIRST and SECOND."""
        if self.size == 0:
            return
        if len(self.rows) >= self.size:
            rows = rows[rows[FIRST] <= self.rows[FIRST].iloc[-1]]
        if rows.empty:
            return
        known = [table for table in (self.rows, rows) if len(table)]
        ordered = pd.concat(known).sort_values([FIRST, SECOND, ID_HASH], kind="stable")
        if not self.is_random:
            ordered = ordered.drop_duplicates("text_key").drop_duplicates("ad_id")
        self.rows = ordered.head(self.size).reset_index(drop=True)


@dataclass
class Pools:
    """The candidates of every kind, and how many ads they were looked for among."""

    pools: dict[str, Pool]
    seed: int
    num_rows: int = 0
    num_eligible: int = 0
    """Ads with text that were never exported: what the random control stands for."""
    num_empty: int = 0
    num_seen: int = 0

    @classmethod
    def of(cls, wanted: dict[str, int], seed: int) -> "Pools":
        """Make empty pools for so many ads of each kind."""
        num = sum(wanted.values())
        pools = {}
        for kind in KINDS:
            # whatever the others lack, the least sure fill
            base = num if kind == KINDS[-1] else wanted[kind]
            size = RESERVE * base + NUM_EXTRA if base else 0
            pools[kind] = Pool(size, is_random=kind == RANDOM)
        return cls(pools, seed)

    def add(self, rows: pd.DataFrame, is_seen: NDArray[np.bool_]) -> None:
        """Look at some rows of the run, which have ID_HASH."""
        is_empty = (rows["status"] != "ok").to_numpy()
        self.num_rows += len(rows)
        self.num_empty += int(is_empty.sum())
        self.num_seen += int((is_seen & ~is_empty).sum())
        rows = rows[~is_empty & ~is_seen]
        self.num_eligible += len(rows)
        ids = rows["ad_id"].to_numpy(dtype=object)
        self._put(RANDOM, rows, id_hashes(ids, self.seed), np.zeros(len(rows)))
        far = rows[rows["is_ood"].to_numpy(dtype=bool)]
        self._put("near_limit", far, -far["ood_p"], far["ood_distance"])
        self._put("far", far, far["ood_p"], -far["ood_distance"])
        near = rows[~rows["is_ood"].to_numpy(dtype=bool)]
        self._put("least_sure", near, near["confidence"], np.zeros(len(near)))
        if "sub_confidence" in rows:
            finer = rows[rows["sub_confidence"].notna()]
            self._put("sub_unsure", finer, finer["sub_confidence"], np.zeros(len(finer)))

    def _put(
        self,
        kind: str,
        rows: pd.DataFrame,
        first: pd.Series | NDArray[np.uint64],
        second: pd.Series | NDArray[np.float64],
    ) -> None:
        self.pools[kind].add(rows.assign(**{FIRST: first, SECOND: second}))

    def candidates(self) -> pd.DataFrame:
        """Return the rows of all pools, each once."""
        tables = [pool.rows for pool in self.pools.values() if len(pool.rows)]
        if not tables:
            return pd.DataFrame()
        return pd.concat(tables).drop_duplicates(["ad_id", "text_key"])
