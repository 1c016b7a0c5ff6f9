import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon

from rubert_ood.reports.drift import Measure, drift
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.profile import token_histogram
from rubert_ood.runs.sums import Counts
from rubert_ood.storage import to_json
from tests.unit.publishing.manifests import a_manifest, changed

NUM_ADS = 5000


def run(
    seed: int,
    *,
    length: float = 3.6,
    sure: float = 8.0,
    ood: float = 0.01,
    unseen: float = 0.02,
) -> tuple:
    """Made-up ads, and the manifest that counts them."""
    rng = np.random.default_rng(seed)
    ads = pd.DataFrame(
        {
            "label": rng.choice(
                ["Книги", "Кошки", "Шины", "Other"], NUM_ADS, p=[0.5, 0.3, 0.15, 0.05]
            ),
            "num_tokens": np.exp(rng.normal(length, 0.6, NUM_ADS)).astype(int) + 2,
            "confidence": rng.beta(sure, 1, NUM_ADS),
            "is_ood": rng.random(NUM_ADS) < ood,
            "unseen": rng.random(NUM_ADS) < unseen,
        }
    )
    ads.loc[:9, "num_tokens"] = 0  # ads without text
    scored = {
        "bundle": {"version": "v1", "fingerprint": "b" * 64},
        "counts": {
            "rows_planned": NUM_ADS,
            "rows_quarantined": 0,
            "bytes_in": 0,
            "bytes_quarantined": 0,
            "rows_in": NUM_ADS,
            "rows_scored": NUM_ADS,
            "rows_rejected": 0,
            "rows_empty": 10,
            "rows_ood": int(ads["is_ood"].sum()),
            "rows_other": int((ads["label"] == "Other").sum()),
            "unique_texts": NUM_ADS,
            "tokens": int(ads["num_tokens"].sum()),
        },
        "classes": ads["label"].value_counts().to_dict(),
        "confidence_histogram": np.histogram(ads["confidence"][10:], 20, (0, 1))[
            0
        ].tolist(),
        "token_histogram": token_histogram(ads["num_tokens"].to_numpy()),
        "cities": {
            "rows": NUM_ADS,
            "rows_unseen": int(ads["unseen"].sum()),
            "unseen": {},
        },
    }
    return ads, changed(a_manifest(), **scored)


def rows(now: Manifest, before: Manifest) -> dict[str, Measure]:
    return {row.what: row for row in drift(now, before).rows}


def test_drift_numbers_are_those_of_the_ads():
    (now, manifest), (before, previous) = run(1), run(2, length=3.7, ood=0.03)
    found = rows(manifest, previous)
    for name, column in (("OOD rate", "is_ood"), ("unseen cities", "unseen")):
        shares = now[column].mean(), before[column].mean()
        assert (found[name].now, found[name].before) == tuple(
            f"{share:.2%}" for share in shares
        )
        assert found[name].change == f"{100 * (shares[0] - shares[1]):+.2f} points"
    shares = [(ads["label"] == "Other").mean() for ads in (now, before)]
    assert found["Other rate"].now == f"{shares[0]:.2%}"
    sure = [(ads["confidence"][10:] >= 0.95).mean() for ads in (now, before)]
    change = found["confidence of 0.95 or more"].change
    assert change == f"{100 * (sure[0] - sure[1]):+.2f} points"
    means = [ads["num_tokens"][10:].mean() for ads in (now, before)]
    assert found["tokens per ad"].now == f"{means[0]:.1f}"
    assert found["tokens per ad"].change == f"{means[0] / means[1] - 1:+.1%}"
    edges = [
        0,
        1,
        2,
        3,
        4,
        6,
        8,
        12,
        16,
        24,
        32,
        48,
        64,
        96,
        128,
        192,
        256,
        384,
        512,
        768,
        1024,
        np.inf,
    ]
    for name, column, bins, first in (
        ("tokens per ad", "num_tokens", edges, 0),
        ("confidence of 0.95 or more", "confidence", np.linspace(0, 1, 21), 10),
    ):
        histograms = [np.histogram(ads[column][first:], bins)[0] for ads in (now, before)]
        assert found[name].distance == pytest.approx(jensenshannon(*histograms, base=2))
    labels = sorted(set(now["label"]) | set(before["label"]))
    shares = [
        ads["label"].value_counts(normalize=True).reindex(labels, fill_value=0)
        for ads in (now, before)
    ]
    assert found["label shares"].distance == pytest.approx(jensenshannon(*shares, base=2))
    changes = (shares[0] - shares[1]).sort_values(key=abs, ascending=False)[:3]
    assert drift(manifest, previous).largest == ", ".join(
        f"{k} {100 * v:+.2f}" for k, v in changes.items()
    )


def test_drift_of_two_samples_of_one_source_is_none():
    result = drift(run(1)[1], run(2)[1])
    assert result.moved == []
    assert result.bundle_before == ""


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"length": 4.0}, "tokens per ad"),
        ({"length": 3.2}, "tokens per ad"),
        ({"sure": 4.0}, "confidence of 0.95 or more"),
        ({"ood": 0.03}, "OOD rate"),
        ({"ood": 0.0}, "OOD rate"),
        ({"unseen": 0.05}, "unseen cities"),
    ],
)
def test_drift_names_what_moved_and_nothing_else(change, moved):
    assert drift(run(1, **change)[1], run(2)[1]).moved == [moved]


def test_drift_of_a_rate_that_changes_by_little_is_none():
    result = drift(
        run(1, ood=0.001, unseen=0.025)[1], run(2, ood=0.004)[1]
    )  # four times as many, and few all the same
    assert result.moved == []


def test_drift_names_labels_that_move():
    now, before = run(1)[1], run(2)[1]
    classes = {"Обувь" if k == "Шины" else k: count for k, count in now.classes.items()}
    result = drift(changed(now, classes=classes), before)
    assert result.moved == ["label shares"]
    assert {move.split(" ")[0] for move in result.largest.split(", ")[:2]} == {
        "Обувь",
        "Шины",
    }


def test_drift_names_another_bundle():
    now, before = run(1)[1], run(2)[1]
    older = changed(before, bundle={"version": "v0", "fingerprint": "a" * 64})
    assert drift(now, older).bundle_before == "v0"


@pytest.mark.parametrize("missing", ["token_histogram", "confidence_histogram", "cities"])
def test_drift_of_what_one_run_did_not_count_is_none(missing):
    now, before = run(1, length=5, sure=1, unseen=0.5)[1], run(2)[1]
    row = {
        "token_histogram": "tokens per ad",
        "confidence_histogram": "confidence of 0.95 or more",
        "cities": "unseen cities",
    }.get(missing)
    for pair in ((now, before), (before, now)):
        content = pair[1].model_dump()
        del content[missing]
        old = [pair[0], Manifest.model_validate_json(to_json(content))]
        result = drift(*old)
        assert row not in result.moved
        assert len(result.rows) == 7
        old[1] = changed(
            old[1], token_histogram=[1, 2, 3]
        )  # another version, in other bins
        assert rows(*old)["tokens per ad"].distance is None


def test_drift_of_runs_without_an_ad_is_none():
    empty = changed(
        run(1)[1],
        classes={},
        confidence_histogram=[0] * 20,
        token_histogram=None,
        cities=None,
        counts=dict.fromkeys(Counts.model_fields, 0),
    )
    for pair in ((empty, run(2)[1]), (run(2)[1], empty), (empty, empty)):
        assert drift(*pair).moved == []
