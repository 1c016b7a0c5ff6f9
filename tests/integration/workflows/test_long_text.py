"""Long ads from training to the run report, with a small BERT that looks for two words."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer

from rubert_ood.ads.text import TextCleaner
from rubert_ood.bundle import BundleContent, load_bundle, write_bundle
from rubert_ood.classifier import windows
from rubert_ood.classifier.checkpoint import load_network
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.ood.fit import fit
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.outputs import Outputs
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.verify import verify_run
from rubert_ood.scoring.planning import make_plan
from rubert_ood.settings import (
    DecisionSettings,
    FitSettings,
    PredictSettings,
    ScoreSettings,
    TextSettings,
)
from rubert_ood.synthetic.small_bert import BertShape, build_small_bert
from rubert_ood.workflows.predict import predict, predict_texts
from tests.unit.messy_runs import score_plan, seal_plan

LABELS = ["Животные", "Мебель"]
BEARING = ["кошка", "диван"]
FILLER = [
    "в",
    "хорошем",
    "состоянии",
    "самовывоз",
    "звоните",
    "пишите",
    "центр",
    "города",
    "недорого",
    "срочно",
    "рядом",
    "метро",
    "вечером",
]
MAX_LENGTH = 196
NUM_ADS = 320
WINDOWS = TextSettings(max_length=MAX_LENGTH, mode="window", stride=48, max_windows=3)


def _ad(
    rng: np.random.Generator, length: int, word: str | None, position: int = 0
) -> str:
    words = rng.choice(FILLER, size=length).tolist()
    if word:
        words[position] = word
    return " ".join(words)


@pytest.fixture(scope="module")
def ads() -> tuple[list[str], np.ndarray]:
    """Short ads, each with the word of its class somewhere among the filler; every fourth pair has
    none."""
    rng = np.random.default_rng(0)
    labels_N = np.arange(NUM_ADS) % 2
    lengths = rng.integers(5, 190, size=NUM_ADS)
    words = [None if n % 8 > 5 else BEARING[n % 2] for n in range(NUM_ADS)]
    return [
        _ad(rng, n, word, rng.integers(n)) for n, word in zip(lengths, words, strict=True)
    ], labels_N


@pytest.fixture(scope="module")
def checkpoint(ads, tmp_path_factory) -> str:
    """A BERT of one layer that attends to all tokens alike and looks for the two words; for filler
    it says the first class, by its bias."""
    folder = str(tmp_path_factory.mktemp("long"))
    build_small_bert(
        ads[0], folder, BertShape(300, hidden_size=32, num_layers=1, num_heads=1)
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = load_network(folder, LABELS)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.zero_()
        words = network.bert.embeddings.word_embeddings.weight
        words[:, 3:] = torch.randn_like(words[:, 3:])
        for number, token in enumerate([*BEARING, tokenizer.cls_token]):
            words[tokenizer.convert_tokens_to_ids(token)] = 10 * torch.eye(32)[number]
        attention = network.bert.encoder.layer[0].attention
        attention.self.value.weight.copy_(torch.eye(32))
        attention.self.value.weight[:2, :2] = torch.tensor(
            [[50.0, -50.0], [-50.0, 50.0]]
        )  # filler has both alike
        attention.output.dense.weight.copy_(torch.eye(32))
        network.bert.pooler.dense.weight.copy_(torch.eye(32))
        network.classifier.weight[0, :2] = torch.tensor([3.0, -3.0])
        network.classifier.bias.copy_(torch.tensor([0.5, 0.0]))
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bundles(ads, checkpoint, tmp_path_factory) -> dict[str, str]:
    """The same model fitted and written both ways; by mode."""
    texts, labels_N = ads
    classifier = Classifier(
        load_network(checkpoint), load_tokenizer(checkpoint), choose_device(False)
    )
    uris = {}
    for text in (TextSettings(max_length=MAX_LENGTH), WINDOWS):
        read = windows.cut(classifier.tokenizer, texts, text)
        outputs = windows.run(classifier, read, token_budget=4096)
        logits_NC, cls_NH = outputs.logits_NC, outputs.cls_NH
        fitted = fit(
            fit_mahalanobis(cls_NH[:200], labels_N[:200], len(LABELS)),
            Outputs(logits_NC[200:], cls_NH[200:], labels_N[200:]),
            labels=LABELS,
            settings=FitSettings(),
            decision=DecisionSettings(ood_conf_gate=0, tau_other=0),
        )
        uris[text.mode] = write_bundle(
            str(tmp_path_factory.mktemp("bundle") / text.mode),
            BundleContent(
                checkpoint_dir=shutil.copytree(
                    checkpoint, tmp_path_factory.mktemp("copy"), dirs_exist_ok=True
                ),
                fitted=fitted,
                cleaner=TextCleaner(),
                text=text,
                documents={"README.md": "long"},
            ),
        ).uri
    return uris


@pytest.fixture(scope="module")
def late(checkpoint) -> str:
    """An ad whose word, of the second class, stands behind token 196."""
    rng = np.random.default_rng(5)
    text = f"{_ad(rng, 230, None)} {BEARING[1]} {_ad(rng, 60, None)}"
    assert (
        AutoTokenizer.from_pretrained(checkpoint).tokenize(text).index(BEARING[1]) > 196
    )
    return text


def test_a_word_behind_token_196_changes_the_label_with_windows_only(bundles, late):
    (truncated,), (windowed,) = (
        predict_texts(load_bundle(bundles[mode]), [late])
        for mode in ("truncate", "window")
    )
    assert (truncated["label"], windowed["label"]) == tuple(LABELS)
    assert (truncated["num_chunks"], truncated["is_cut"], truncated["num_tokens"]) == (
        1,
        True,
        196,
    )
    assert (windowed["num_chunks"], windowed["is_cut"]) == (2, False)
    assert windowed["num_tokens"] > 196


def test_prediction_says_what_it_read(bundles, late, capsys):
    def lines(mode: str, text: str) -> list[str]:
        predict(PredictSettings(bundle_uri=bundles[mode], texts=[text]))
        return [
            line.strip()
            for line in capsys.readouterr().out.splitlines()
            if "window" in line or "cut:" in line
        ]

    assert lines("window", "кошка") == []
    assert lines("window", late) == ["2 windows"]
    assert lines("window", f"{late} " * 5) == [
        "3 windows",
        "cut: only the first 488 tokens were read",
    ]
    assert lines("truncate", late) == ["cut: only the first 196 tokens were read"]


@pytest.mark.parametrize("mode", ["truncate", "window"])
def test_a_run_reads_ads_as_prediction_does_and_counts_what_it_cut(
    bundles, late, tmp_path, mode
):
    rng = np.random.default_rng(1)
    texts = [
        late,
        "кошка",
        "",
        f"{late} " * 5,
        late,
        *(_ad(rng, n, "диван", n - 1) for n in (3, 180, 400)),
    ]
    (tmp_path / "in").mkdir()
    table = pa.table({"ad_id": [str(n) for n in range(len(texts))], "description": texts})
    pq.write_table(table, tmp_path / "in" / "ads.parquet")
    bundle = load_bundle(bundles[mode])
    settings = ScoreSettings(
        input_uri=str(tmp_path / "in"),
        bundle_uri=bundle.uri,
        output_uri=str(tmp_path / "out"),
        embedding=True,
    )
    plan = make_plan(settings, bundle)
    (receipt,) = score_plan(plan)
    seal_plan(plan, [receipt], (0,))
    part = pq.read_table(Path(plan.run_uri) / plan.shards[0].part_name).to_pylist()
    classifier = Classifier.load(bundle.folder)
    read = windows.cut(classifier.tokenizer, texts, bundle.text)
    cls_NH = windows.run(classifier, read, token_budget=4096).cls_NH
    for row, alone, cls in zip(part, predict_texts(bundle, texts), cls_NH, strict=True):
        if alone["status"] == "empty":
            assert (row["num_chunks"], row["num_tokens"], row["is_cut"]) == (0, 0, False)
            continue
        for name in (
            "label",
            "topk_labels",
            "is_ood",
            "num_chunks",
            "num_tokens",
            "is_cut",
        ):
            assert row[name] == alone[name], name
        np.testing.assert_allclose(
            np.array(row["embedding"], float), cls, atol=2e-3, rtol=1e-3
        )
        assert row["confidence"] == pytest.approx(alone["confidence"], abs=1e-5)
        assert row["ood_distance"] == pytest.approx(alone["ood_distance"], rel=1e-3)
    num_chunks = {
        "truncate": [1, 1, 0, 1, 1, 1, 1, 1],
        "window": [2, 1, 0, 3, 2, 1, 1, 3],
    }[mode]
    assert [row["num_chunks"] for row in part] == num_chunks
    is_cut = {"truncate": [0, 3, 4, 7], "window": [3]}[mode]
    assert [n for n, row in enumerate(part) if row["is_cut"]] == is_cut
    manifest = Manifest.of(
        plan,
        verify_run(plan).receipts,
        outcome="complete",
        started_at="2026-01-01T00:00:00+00:00",
    )
    assert receipt.rows_cut == manifest.counts.rows_cut == len(is_cut)
