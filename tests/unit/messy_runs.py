"""A messy catalogue and one run over it."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.bundle import Bundle
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import Receipt
from rubert_ood.runs.seals import Group, find_layout, group_parts
from rubert_ood.runs.shard_sums import ScoredShard

BAD = b"\xd0\xff caf\xe9"
REASONS = {
    0: "ad_id is null",
    17: "ad_id is null",
    18: "ad_id is not UTF-8",
    19: "title is not UTF-8",
    40: "description is not UTF-8",
    41: "ad_id is null",
    64: "ad_id is null",
    **dict.fromkeys(range(110, 120), "ad_id is null"),
}
"""Rows of the messy table that are rejected."""


def as_string(values: list[str | bytes | None]) -> pa.Array:
    """Build a pa.string() array whose values need not be UTF-8, as a careless writer leaves them in
    Parquet."""
    raw = pa.array(
        [value.encode() if isinstance(value, str) else value for value in values],
        pa.binary(),
    )
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


@pytest.fixture(scope="session")
def messy_rows(ads) -> list[dict[str, Any]]:
    """120 ads: null and broken ids and texts, empty texts, re-posts, long texts, texts of other
    domains."""
    from rubert_ood.synthetic.catalogue import out_of_domain_texts

    rows = [
        {
            "ad_id": f"ad-{n:03d}",
            "title": ads["title"][n].as_py(),
            "description": ads["description"][n].as_py(),
            "price": None if n % 7 == 0 else 10 * n,
            "city": ads["city"][n].as_py(),
            "tags": [f"t{n}", None] if n % 3 else None,
        }
        for n in range(120)
    ]
    for n, texts in zip(
        range(1, 120, 9), out_of_domain_texts(3, seed=1).values(), strict=False
    ):
        rows[n] |= {"title": None, "description": texts[0]}
    for n in (0, 17, 64):
        rows[n]["ad_id"] = None
    rows[18]["ad_id"] = BAD
    rows[19]["title"] = BAD
    rows[40]["description"] = BAD
    rows[41] |= {"ad_id": None, "description": BAD}
    for n, text in (
        (5, ""),
        (6, "  \n"),
        (7, "Продам, куплю!"),
        (8, "ТОРГ +7 912 345-67-89"),
        (9, None),
    ):
        rows[n] |= {"title": None, "description": text}
    rows[7]["description"] = "Продам"
    for n, phone in (
        (20, "8 912 000-11-22"),
        (21, "+7 (900) 1"),
        (22, "8-999-888-77-66"),
        (90, "8 912 345 67 89"),
    ):
        rows[n] |= {"title": "Диван", "description": f"угловой, ПРОДАМ  {phone}"}
    for n in (30, 31, 100):
        rows[n] |= {"title": "Квартира", "description": "с балконом " * 200}
    rows[33]["ad_id"] = rows[32]["ad_id"]  # an id may stand twice: both rows are kept
    for n in range(110, 120):  # the last shard has no row to score
        rows[n]["ad_id"] = None
    for n in range(70, 80):  # this one only empty texts
        rows[n] |= {"title": None, "description": " "}
    return rows


@pytest.fixture(scope="session")
def messy_table(messy_rows) -> pa.Table:
    columns = {name: [row[name] for row in messy_rows] for name in messy_rows[0]}
    texts = {name: as_string(columns[name]) for name in ("ad_id", "title", "description")}
    return pa.table(
        {
            **texts,
            "price": pa.array(columns["price"], pa.int64()),
            "city": pa.array(columns["city"]).dictionary_encode(),
            "tags": pa.array(columns["tags"], pa.list_(pa.string())),
        }
    )


def score_plan(plan: Plan) -> list[Receipt]:
    """Score the shards of a plan in this process; return their receipts in plan order."""
    from rubert_ood.runs.plan import save_plan
    from rubert_ood.runs.receipts import read_receipts
    from rubert_ood.scoring.executor import LocalExecutor
    from rubert_ood.scoring.item import ShardResult
    from rubert_ood.scoring.job import ScoringJob

    save_plan(plan)
    results = list(LocalExecutor().run(ScoringJob.of(plan), plan.shards))
    assert results == [ShardResult(shard.shard_id) for shard in plan.shards]
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    return [receipts[shard.shard_id] for shard in plan.shards]


def seal_plan(plan: Plan, receipts: list[Receipt], starts: Sequence[int]) -> None:
    """Seal the parts of a plan into files that begin with these shards, in this process."""
    from rubert_ood import storage
    from rubert_ood.runs.seals import Layout, group_parts, layout_uri
    from rubert_ood.sealing.seal import SealJob, SealResult, seal_file

    layout = Layout(fingerprint=plan.fingerprint, starts=list(starts))
    storage.put_json(layout_uri(plan.run_uri), layout)
    by_id = {receipt.shard_id: receipt for receipt in receipts}
    for group in group_parts(plan, by_id, layout):
        assert seal_file(group, SealJob(plan.without_shards())) == SealResult(group.path)


@dataclass(frozen=True)
class Run:
    plan: Plan
    receipts: list[Receipt]

    @property
    def folder(self) -> Path:
        return Path(self.plan.run_uri)

    def part(self, number: int) -> Path:
        return Path(self.plan.part_uri(self.plan.shards[number]))

    @property
    def files(self) -> list[Path]:
        """The sealed files, in the order of the plan."""
        return sorted(self.folder.glob("data-*.parquet"))

    @property
    def by_id(self) -> dict[str, Receipt]:
        return {receipt.shard_id: receipt for receipt in self.receipts}

    def groups(self) -> list[Group]:
        layout = find_layout(self.plan)
        assert layout is not None
        return group_parts(self.plan, self.by_id, layout)

    def older_manifest(self, manifest: Manifest) -> dict[str, Any]:
        """What version 0.4.0 would have written: all shards, and no files."""
        names = set(ScoredShard.model_fields)
        content = manifest.model_dump(mode="json", exclude={"files", "parts_sha256"})
        shards = [one.model_dump(mode="json", include=names) for one in self.receipts]
        return {**content, "format": 2, "shards": shards}

    def moved(self, folder: Path) -> "Run":
        """The same run, where a copy of it lies."""
        plan = dataclasses.replace(self.plan, run_uri=str(folder))
        return dataclasses.replace(self, plan=plan)

    def made_older(self) -> "Run":
        """Make of this folder what version 0.4.0 left: parts at the top, and nothing sealed."""
        plan = dataclasses.replace(self.plan, target_file_mb=None)
        for shard in plan.shards:
            path = self.folder / shard.part_name
            if path.exists():
                path.rename(self.folder / shard.older_part_name)
        for path in self.files:
            path.unlink()
        (self.folder / "_run" / "layout.json").unlink()
        shutil.rmtree(self.folder / "_run" / "seals")
        plan_path = self.folder / "_run" / "plan.json"
        content = json.loads(plan_path.read_text("utf-8"))
        del content["target_file_mb"], content["sort_by"]
        plan_path.write_text(json.dumps(content), "utf-8")
        return dataclasses.replace(self, plan=plan)


@pytest.fixture(scope="session")
def make_run(bundle, messy_table, tmp_path_factory):
    """Score the messy catalogue, or another table, into a new folder."""
    from rubert_ood.scoring.planning import make_plan
    from rubert_ood.settings import ScoreSettings, ScoringComputeSettings

    def make(
        table: pa.Table | None = None,
        *,
        output_uri: str | None = None,
        starts: Sequence[int] = (0,),
        **options: Any,
    ) -> Run:
        table = messy_table if table is None else table
        folder = tmp_path_factory.mktemp("run")
        (folder / "in").mkdir()
        pq.write_table(table.slice(0, 80), folder / "in" / "a.parquet", row_group_size=10)
        if table.num_rows > 80:
            pq.write_table(
                table.slice(80), folder / "in" / "b.parquet", row_group_size=100
            )
        defaults = {
            "run_date": date(2026, 11, 24),
            "shard_rows": 10,
            "compute": ScoringComputeSettings(token_budget=500),
        }
        settings = ScoreSettings(
            input_uri=str(folder / "in"),
            bundle_uri=bundle.uri,
            output_uri=output_uri or str(folder / "out"),
            **defaults | options,
        )
        plan = make_plan(settings, bundle)
        run = Run(plan, score_plan(plan))
        seal_plan(plan, run.receipts, starts)
        return run

    return make


@pytest.fixture(scope="session")
def full_run(make_run) -> Run:
    """One run with everything on, in three files; tests only read it."""
    carried = ("price", "city", "tags")
    return make_run(carry_columns=carried, embedding=True, starts=(0, 5, 9))


def decide_by_the_rule(
    bundle: Bundle, one_by_one: Callable[..., Any], texts: list[str]
) -> list[dict[str, Any]]:
    """Decide on cleaned texts one at a time: plain transformers, and the decision rule written out
    in numpy."""
    from safetensors.numpy import load_file

    folder = Path(bundle.folder)
    labels = json.loads((folder / "label_mapping.json").read_text("utf-8"))["labels"]
    temperature = json.loads((folder / "temperature.json").read_text())["temperature"]
    rule = json.loads((folder / "ood_threshold.json").read_text())
    arrays = load_file(folder / "ood_statistics.safetensors")
    logits_NC, cls_NH, _ = one_by_one(bundle.folder, texts, bundle.text.max_length)
    results = []
    for logits, cls in zip(
        logits_NC.astype(np.float64), cls_NH.astype(np.float64), strict=True
    ):
        weights = np.exp((logits - logits.max()) / temperature)
        p = weights / weights.sum()
        best = np.argsort(-p)
        d2 = min(
            (cls - mean) @ arrays["precision"] @ (cls - mean) for mean in arrays["means"]
        )
        z = (d2 - rule["mu"]) / (rule["sigma"] + 1e-9)
        tests = [
            d2 - rule["alpha"] * rule["threshold"],
            z - rule["z_thr"],
            rule["ood_conf_gate"] - p.max(),
        ]
        ood = all(value > 0 for value in tests)
        trusted = p.max() - rule["tau_other"]
        results.append(
            {
                "label": labels[best[0]] if not ood and trusted >= 0 else "Other",
                "confidence": p.max(),
                "topk_labels": [labels[c] for c in best[: rule["top_k"]]],
                "topk_scores": p[best[: rule["top_k"]]],
                "is_ood": ood,
                "ood_distance": d2,
                "ood_z": z,
                "ood_p": (1 + (arrays["calibration_d2"] >= d2).sum())
                / (1 + len(arrays["calibration_d2"])),
                "embedding": cls,
                # rounding may decide: float32 forward passes of another batch differ in the
                # last digits
                "close_call": min(abs(v) for v in [*tests, trusted, *np.diff(p[best])])
                < 1e-4
                or np.abs(arrays["calibration_d2"] - d2).min() < 1e-3,
            }
        )
    return results


@pytest.fixture(scope="session")
def by_the_rule(bundle, one_by_one):
    """Decide on cleaned texts by the bundle of the tests."""
    return partial(decide_by_the_rule, bundle, one_by_one)


@pytest.fixture
def run(full_run, tmp_path):
    """A copy of the run that a test may damage."""
    return full_run.moved(shutil.copytree(full_run.folder, tmp_path / "run"))


@pytest.fixture
def older_run(full_run, tmp_path):
    """A copy of it as version 0.4.0 would have left it, which a test may damage."""
    folder = shutil.copytree(full_run.folder, tmp_path / "older")
    return full_run.moved(folder).made_older()
