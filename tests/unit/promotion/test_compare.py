"""What is measured of two bundles, against scikit-learn on what `predict` says of each ad."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from rubert_ood.ads.text import TextCleaner
from rubert_ood.bundle import Bundle
from rubert_ood.errors import InputError, SchemaError, SettingsError
from rubert_ood.predictor import Model
from rubert_ood.promotion.compare import compare
from rubert_ood.promotion.material import read_sample
from rubert_ood.settings import ColumnSettings, ComputeSettings
from tests.conftest import write_parquet
from tests.unit.promotion.bundles import Pair, copied


def rows_of(bundle: Bundle, texts: list[str]) -> list[dict]:
    return Model(bundle).predict(pa.table({"description": texts})).to_pylist()


def texts_of(ads: pa.Table) -> list[str]:
    pairs = zip(ads["title"].to_pylist(), ads["description"].to_pylist(), strict=True)
    return [f"{title or ''} {description or ''}" for title, description in pairs]


def ece_by_hand(confidence: list[float], right: list[bool]) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    total = 0.0
    for number in range(15):
        inside = [
            (sure, ok)
            for sure, ok in zip(confidence, right, strict=True)
            if number / 15 < sure <= (number + 1) / 15
        ]
        if inside:
            sure, ok = np.mean(inside, axis=0)
            total += len(inside) * abs(sure - ok)
    return total / len(confidence)


@pytest.fixture(scope="module")
def found(pair: Pair):
    return compare(pair.bad, pair.good, pair.settings(pair.bad))


def test_compare_measures_each_bundle_as_scikit_learn_does(pair, found):
    labels = pair.test["category"].to_pylist()
    assert found.num_ads == len(labels)
    for bundle, measured in ((pair.bad, found.new), (pair.good, found.champion)):
        rows = rows_of(bundle, texts_of(pair.test))
        best = [row["topk_labels"][0] for row in rows]
        right = [ours == is_so for ours, is_so in zip(best, labels, strict=True)]
        assert measured.accuracy == pytest.approx(accuracy_score(labels, best))
        macro_f1 = f1_score(labels, best, average="macro", zero_division=0)
        assert measured.macro_f1 == pytest.approx(macro_f1)
        expected = ece_by_hand([row["confidence"] for row in rows], right)
        assert measured.ece == pytest.approx(expected, abs=1e-6)
        assert measured.false_alarms == np.mean([row["is_ood"] for row in rows])
        assert measured.other_rate == np.mean([row["label"] == "Other" for row in rows])
        assert measured.ads_per_s > 0
        distances = [row["ood_distance"] for row in rows]
        noise = [row["ood_distance"] for row in rows_of(bundle, ["qqq zzz"])]
        is_out = [0] * len(distances) + [1]
        auroc = roc_auc_score(is_out, distances + noise)
        assert measured.ood_auroc["шум"] == pytest.approx(auroc)
        assert measured.ood_auroc.keys() == {"шум", "счёт"}


def test_compare_says_how_the_two_differ_class_by_class(pair, found):
    labels = pair.test["category"].to_pylist()
    best = {}
    for bundle in (pair.bad, pair.good):
        rows = rows_of(bundle, texts_of(pair.test))
        best[bundle.version] = [row["topk_labels"][0] for row in rows]
    new, champion = best["bad"], best["good"]
    pairs = list(zip(labels, new, champion, strict=True))
    only_champion = sum(b == label != a for label, a, b in pairs)
    assert found.discordant.only_champion == only_champion
    assert found.discordant.only_new == sum(a == label != b for label, a, b in pairs)
    assert found.accuracy.value == pytest.approx(
        found.new.accuracy - found.champion.accuracy
    )
    assert found.accuracy.lower <= found.accuracy.value <= found.accuracy.upper < 0
    assert sum(row.support for row in found.classes) == len(labels)
    for row in found.classes:
        involved = [answers for answers in pairs if row.label in answers]
        alone = sum(b == label != a for label, a, b in involved)
        assert row.discordant.only_champion == alone
    mistakes = Counter((label, a) for label, a, _ in pairs if label != a)
    before = Counter((label, b) for label, _, b in pairs if label != b)
    for row in found.confusions:
        pair_of = (row.true, row.predicted)
        assert (row.count, row.champion_count) == (mistakes[pair_of], before[pair_of])
    steps = [abs(row.count - row.champion_count) for row in found.confusions]
    assert steps == sorted(steps, reverse=True)


def test_compare_counts_the_labels_of_the_sample_that_change(pair, found):
    texts = read_sample(str(pair.folder / "catalogue"), ColumnSettings(), 100)
    new = [row["label"] for row in rows_of(pair.bad, texts)]
    champion = [row["label"] for row in rows_of(pair.good, texts)]
    moves = Counter(zip(champion, new, strict=True))
    assert found.churn.num_ads == len(texts) == 100
    assert found.churn.changed == sum(a != b for a, b in zip(new, champion, strict=True))
    assert 0 < found.churn.rate < 1
    for move in found.churn.moves:
        assert move.count == moves[(move.champion_label, move.label)]


def test_compare_of_a_first_bundle_measures_it_alone(pair, found):
    alone = compare(pair.bad, None, pair.settings(pair.bad))
    assert alone.new.accuracy == found.new.accuracy
    assert alone.new.ood_auroc == found.new.ood_auroc
    nothing = (alone.champion, alone.accuracy, alone.churn, alone.speed_ratio)
    assert nothing == (None, None, None, None)
    assert [row.change for row in alone.classes] == [None] * 5


def test_compare_leaves_out_ads_that_hold_nothing_to_read(pair, tmp_path):
    texts = pa.array(["\u200b", None, "диван", "стол"])
    table = pa.table(
        {"description": texts, "category": pair.test["category"].slice(0, 4)}
    )
    uri = write_parquet(tmp_path / "test.parquet", table)
    found = compare(pair.bad, pair.good, pair.settings(pair.bad, test_uri=uri))
    assert (found.num_ads, found.num_unreadable) == (2, 2)
    uri = write_parquet(tmp_path / "none.parquet", table.slice(0, 2))
    with pytest.raises(InputError, match="every ad is empty for one of the two bundles"):
        compare(pair.bad, pair.good, pair.settings(pair.bad, test_uri=uri))


def test_compare_counts_an_ad_that_one_bundle_alone_cannot_read_as_its_other(
    pair, tmp_path
):
    """Readers would see Other there, whatever the ads that both can read say."""
    cleaner = TextCleaner(noise_words=["диван"])
    blind = copied(replace(pair.good, cleaner=cleaner), tmp_path, "blind")
    labels = pair.test["category"].slice(0, 4)
    texts = pa.array(["диван", "Диван", "стол", "\u200b"])
    table = pa.table({"description": texts, "category": labels})
    uri = write_parquet(tmp_path / "test.parquet", table)
    found = compare(blind, pair.good, pair.settings(blind, test_uri=uri))
    assert (found.num_ads, found.num_unreadable) == (1, 3)
    shares = []
    for bundle in (blind, pair.good):
        rows = rows_of(bundle, ["диван", "Диван", "стол"])
        shares.append(np.mean([row["label"] == "Other" for row in rows]))
    assert shares[0] >= 2 / 3
    assert [found.new.other_rate, found.champion.other_rate] == shares


def test_compare_on_a_label_that_neither_knows_names_it(pair, tmp_path):
    table = pa.table({"description": ["диван"], "category": ["Спорт"]})
    uri = write_parquet(tmp_path / "test.parquet", table)
    with pytest.raises(SchemaError, match="Спорт"):
        compare(pair.bad, pair.good, pair.settings(pair.bad, test_uri=uri))


def test_compare_in_other_numbers_than_those_of_a_bundle_is_refused(pair):
    compute = ComputeSettings(precision="bf16")
    with pytest.raises(SettingsError, match=r"compute\.precision"):
        compare(pair.bad, pair.good, pair.settings(pair.bad, compute=compute))
