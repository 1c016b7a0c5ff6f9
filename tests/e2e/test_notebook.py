"""The demo's numbers, computed again by the notebook's formulas in plain numpy, sklearn and
transformers.

Nothing of rubert_ood computes here: the data is read from the demo's files, cleaned with plain
regular expressions, split with scikit-learn, and every ad goes through the network alone.
"""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from scipy.optimize import minimize_scalar
from sklearn.covariance import LedoitWolf
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

pytestmark = pytest.mark.timeout(1200)  # the first one waits for the demo


def _softmax(logits, t=1.0):
    e = np.exp(logits / t - (logits / t).max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def demo(notebook_demo):
    return notebook_demo


@pytest.fixture(scope="module")
def again(demo):
    """Logits, CLS and labels of train, valid and test, one ad at a time."""
    ads = pd.concat(
        [
            pd.read_parquet(path)
            for path in sorted((demo.folder / "ads" / "train").glob("*.parquet"))
        ]
    )
    encoder = LabelEncoder().fit(ads.category)
    y = encoder.transform(ads.category)
    rest, test = train_test_split(
        np.arange(len(ads)), test_size=0.2, stratify=y, random_state=42
    )
    train, valid = train_test_split(
        rest, test_size=0.1, stratify=y[rest], random_state=42
    )
    cities = sorted(set(ads.city.iloc[train].dropna()), key=len, reverse=True)
    city = re.compile(rf"\b(?:{'|'.join(map(re.escape, cities))})\b", re.IGNORECASE)
    noise = re.compile(
        r"\b(?:в наличии|продам|куплю|обмен|торг|договор)\b", re.IGNORECASE
    )
    phone = re.compile(r"(\+?\d[\d\-\s]{6,}\d)")

    def clean(text):
        return re.sub(
            r"\s+", " ", noise.sub(" ", city.sub(" ", phone.sub(" ", text))).lower()
        ).strip()

    texts = [
        clean(f"{title or ''} {text or ''}")
        for title, text in zip(ads.title, ads.description, strict=True)
    ]
    tokenizer = AutoTokenizer.from_pretrained(demo.bundle)
    model = AutoModelForSequenceClassification.from_pretrained(demo.bundle).eval()
    torch.set_num_threads(1)
    parts = {}
    for name, rows in (("train", train), ("valid", valid), ("test", test)):
        rows = [row for row in rows if texts[row]]
        logits, cls = [], []
        with torch.inference_mode():
            for row in rows:
                batch = tokenizer(
                    texts[row], truncation=True, max_length=196, return_tensors="pt"
                )
                out = model(**batch, output_hidden_states=True)
                logits.append(out.logits[0].numpy())
                cls.append(out.hidden_states[-1][0, 0].numpy())
        parts[name] = (np.array(logits, np.float64), np.array(cls, np.float64), y[rows])
    return parts, list(encoder.classes_)


@pytest.fixture(scope="module")
def headline(demo):
    return json.loads((demo.bundle / "evaluation.json").read_text())["headline"]


@pytest.fixture(scope="module")
def statistics(again):
    """Means, precision scaled to mean d2 = H, and d2 of each split as the notebook computes it:
    class by class."""
    parts, names = again
    _, x, y = parts["train"]
    mu = np.stack([x[y == c].mean(0) for c in range(len(names))])
    r = x - mu[y]
    precision = LedoitWolf().fit(r).precision_
    precision = precision * (x.shape[1] / np.mean(np.sum((r @ precision) * r, 1)))
    d2 = {
        name: np.min(
            [np.sum(((part[1] - m) @ precision) * (part[1] - m), 1) for m in mu], 0
        )
        for name, part in parts.items()
    }
    own = np.mean(np.sum((r @ precision) * r, 1))
    return mu, precision, d2, own


@pytest.fixture(scope="module")
def temperature(again):
    logits, _, y = again[0]["valid"]
    found = minimize_scalar(
        lambda t: log_loss(y, _softmax(logits, t), labels=range(50)),
        bounds=(0.5, 10),
        method="bounded",
    )
    return found.x


def test_notebook_metrics_are_those_of_the_evaluation(again, headline):
    logits, _, y = again[0]["test"]
    assert headline["accuracy"] == accuracy_score(y, logits.argmax(1))
    assert headline["macro_f1"] == pytest.approx(
        f1_score(y, logits.argmax(1), average="macro"), abs=1e-12
    )
    assert headline["nll_before"] == pytest.approx(
        log_loss(y, _softmax(logits), labels=range(50)), rel=1e-4
    )


def test_notebook_temperature_is_that_of_the_bundle(temperature, headline, demo):
    assert headline["temperature"] == pytest.approx(temperature, rel=1e-3)
    assert (
        json.loads((demo.bundle / "temperature.json").read_text())["temperature"]
        == headline["temperature"]
    )


def test_notebook_statistics_are_those_of_the_bundle(statistics, headline, demo):
    mu, precision, d2, own = statistics
    stored = load_file(demo.bundle / "ood_statistics.safetensors")
    np.testing.assert_allclose(stored["means"], mu, atol=1e-4)
    scale = np.abs(precision).max()
    np.testing.assert_allclose(stored["precision"] / scale, precision / scale, atol=1e-3)
    assert own == pytest.approx(128, rel=1e-9)
    assert headline["mean_d2_own_class"] == pytest.approx(128, rel=1e-6)
    for name in ("train", "valid", "test"):
        assert headline["mean_d2"][name] == pytest.approx(d2[name].mean(), rel=1e-3)
    np.testing.assert_allclose(stored["calibration_d2"], np.sort(d2["valid"]), rtol=5e-3)


def test_notebook_thresholds_are_those_of_the_bundle(statistics, headline, demo):
    d2 = statistics[2]["valid"]
    assert headline["threshold"] == pytest.approx(np.quantile(d2, 0.995), rel=5e-3)
    assert headline["mu"] == pytest.approx(d2.mean(), rel=1e-3)
    assert headline["sigma"] == pytest.approx(d2.std(ddof=1), rel=1e-3)
    rule = json.loads((demo.bundle / "ood_threshold.json").read_text())
    assert rule["threshold"] == headline["threshold"]
    expected = {
        "alpha": 1.10,
        "z_thr": 4.0,
        "ood_conf_gate": 0.75,
        "tau_other": 0.35,
        "top_k": 5,
    }
    assert {name: rule[name] for name in expected} == expected


def test_notebook_rates_are_those_of_the_run(again, statistics, temperature, headline):
    """The decision rule, written out; a rate may differ by one ad that lies on a threshold."""
    logits, _, y = again[0]["test"]
    d2, valid = statistics[2]["test"], statistics[2]["valid"]
    conf = _softmax(logits, temperature).max(1)
    z = (d2 - valid.mean()) / (valid.std(ddof=1) + 1e-9)
    ood = (d2 > 1.10 * np.quantile(valid, 0.995)) & (z > 4) & (conf < 0.75)
    other = ood | (conf < 0.35)
    assert headline["ood_rate"] == pytest.approx(ood.mean(), abs=1.01 / len(y))
    assert headline["other_rate"] == pytest.approx(other.mean(), abs=1.01 / len(y))
