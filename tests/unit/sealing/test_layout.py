"""Which shards go into which file."""

import dataclasses

import numpy as np
import pytest

from rubert_ood import storage
from rubert_ood.errors import PartialRunError
from rubert_ood.runs.seals import Layout, layout_uri
from rubert_ood.sealing import layout
from rubert_ood.sealing.layout import cut_files, settled_layout


def _sized(run, sizes: list[int], target_file_mb: int = 1):
    """A plan with a shard for each size, and receipts of parts of so many bytes."""
    shards, receipts = [], {}
    for number, size in enumerate(sizes):
        shard = dataclasses.replace(run.plan.shards[0], shard_id=f"{number:05d}-x")
        shards.append(shard)
        if size:
            changes = {"shard_id": shard.shard_id, "part_bytes": size}
            receipts[shard.shard_id] = run.receipts[0].model_copy(update=changes)
    plan = dataclasses.replace(run.plan, shards=shards, target_file_mb=target_file_mb)
    return plan, receipts


def _file_sizes(sizes: list[int], starts: list[int]) -> list[int]:
    return [int(part.sum()) for part in np.split(np.asarray(sizes), starts[1:])]


@pytest.mark.parametrize("seed", range(5))
def test_cut_files_gives_files_of_about_the_size_that_is_asked_for(full_run, seed):
    sizes = np.random.default_rng(seed).integers(50_000, 250_000, 1000).tolist()
    starts = cut_files(*_sized(full_run, sizes, 4))
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    found = _file_sizes(sizes, starts)
    assert sum(found) == sum(sizes)
    assert min(found) > 3.5e6
    assert max(found) < 4.5e6


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([10, 10, 10], [0]),  # little is one file
        ([600_000] * 2, [0]),
        ([900_000] * 2, [0, 1]),
        ([3_000_000, 3_000_000], [0, 1]),  # no part is cut
        ([0, 900_000, 0, 900_000, 0], [0, 3]),
        ([0, 0], [0]),  # all quarantined
    ],
)
def test_cut_files_of_few_shards(full_run, sizes, expected):
    found = cut_files(*_sized(full_run, sizes))
    assert _file_sizes(sizes, found) == _file_sizes(sizes, expected)
    assert len(found) == len(expected)


def test_settled_layout_is_that_of_the_first_start_whatever_the_receipts_say_later(
    full_run, tmp_path
):
    plan, receipts = _sized(full_run, [900_000] * 4)
    plan = dataclasses.replace(plan, run_uri=str(tmp_path))
    first = settled_layout(plan, receipts, lambda: None)
    assert first.starts == [0, 1, 2, 3]
    _, later = _sized(full_run, [90_000_000] * 4)
    assert settled_layout(plan, later, lambda: None) == first


def test_settled_layout_of_two_starts_at_once_is_one(full_run, tmp_path, monkeypatch):
    plan, receipts = _sized(full_run, [900_000] * 4)
    plan = dataclasses.replace(plan, run_uri=str(tmp_path))
    other = Layout(fingerprint=plan.fingerprint, starts=[0, 2])

    def cut_meanwhile(*_: object) -> list[int]:
        storage.put_json(layout_uri(plan.run_uri), other)
        return [0]

    monkeypatch.setattr(layout, "cut_files", cut_meanwhile)
    assert settled_layout(plan, receipts, lambda: None) == other


def test_settled_layout_without_the_claim_writes_nothing(full_run, tmp_path):
    plan, receipts = _sized(full_run, [900_000] * 4)
    plan = dataclasses.replace(plan, run_uri=str(tmp_path))

    def claimed() -> None:
        raise PartialRunError("claimed")

    with pytest.raises(PartialRunError, match="claimed"):
        settled_layout(plan, receipts, claimed)
    assert list(tmp_path.iterdir()) == []


def test_settled_layout_of_another_run_is_refused(full_run, tmp_path):
    plan, receipts = _sized(full_run, [900_000] * 4)
    plan = dataclasses.replace(plan, run_uri=str(tmp_path))
    other = Layout(fingerprint="another", starts=[0])
    storage.put_json(layout_uri(plan.run_uri), other)
    with pytest.raises(
        PartialRunError,
        match=r"layout\.json: this file belongs to another run\. Delete it",
    ):
        settled_layout(plan, receipts, lambda: None)
