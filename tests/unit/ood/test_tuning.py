"""The choice against a brute-force search that decides every ad again, with sklearn's scores."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from sklearn.metrics import f1_score

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.ood import tuning
from rubert_ood.ood.fit import fit
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.tuning import choose_decision, measure
from rubert_ood.settings import DecisionSettings, FitSettings

C, H = 4, 7
CENTRES_CH = np.eye(C, H) * 3


def ads(num: int, seed: int, *, off: float = 0.0) -> Outputs:
    rng = np.random.default_rng(seed)
    labels_N = np.arange(num) % C
    cls_NH = CENTRES_CH[labels_N] + 1.5 * rng.normal(size=(num, H))
    cls_NH[:, C:] += off
    return Outputs(
        (cls_NH @ CENTRES_CH.T).astype(np.float32), cls_NH.astype(np.float32), labels_N
    )


TRAIN, CALIBRATION, ADS, OOD = ads(400, 1), ads(199, 2), ads(240, 3), ads(80, 4, off=2.5)


def model(rule: str):
    statistics = fit_mahalanobis(TRAIN.cls_NH, TRAIN.labels_N, C)
    labels = [str(c) for c in range(C)]
    decision = DecisionSettings(rule=rule)
    return fit(
        statistics, CALIBRATION, labels=labels, settings=FitSettings(), decision=decision
    )


def by_hand(fitted, ood) -> dict[str, float]:
    """Decide every ad and ask sklearn."""
    decided = fitted.decide(ADS)
    predicted = [str(label) for label in decided.label_N]
    true = [fitted.labels[c] for c in ADS.labels_N]
    kept = [p != "Other" for p in predicted]
    right = sum(p == t for p, t in zip(predicted, true, strict=True))
    labels, num_kept = fitted.labels, sum(kept)
    if ood is not None:
        others = [str(label) for label in fitted.decide(ood).label_N]
        predicted, true, labels = (
            predicted + others,
            true + ["Other"] * len(others),
            [*labels, "Other"],
        )
        num_kept += sum(p != "Other" for p in others)
    return {
        "precision": right / num_kept if num_kept else 0.0,
        "kept": num_kept,
        "coverage": float(np.mean(kept)),
        "macro_f1": f1_score(
            true, predicted, labels=labels, average="macro", zero_division=0
        ),
    }


@pytest.mark.parametrize("rule", ["notebook", "conformal"])
@pytest.mark.parametrize("ood", [None, OOD])
def test_tuning_measures_are_those_of_sklearn(rule, ood):
    for tau, gate, alpha in product((0.0, 0.5, 0.93), (0.0, 0.8, 1.01), (0.02, 0.2)):
        decision = DecisionSettings(
            rule=rule,
            alpha=alpha * 5,
            z_thr=alpha,
            conformal_alpha=alpha,
            ood_conf_gate=gate,
            tau_other=tau,
        )
        fitted = replace(model(rule), decision=decision)
        got, expected = measure(fitted, ADS, ood), by_hand(fitted, ood)
        del expected["kept"]
        assert {name: getattr(got, name) for name in expected} == pytest.approx(expected)
        assert got.precision_low < got.precision


@pytest.mark.parametrize("rule", ["notebook", "conformal"])
@pytest.mark.parametrize(
    ("ood", "min_precision"), [(None, None), (None, 0.93), (OOD, None), (OOD, 0.8)]
)
def test_tuning_finds_the_best_combination(rule, min_precision, ood, monkeypatch):
    monkeypatch.setattr(tuning, "TAUS_T", np.array([0.0, 0.4, 0.6, 0.8, 0.95]))
    monkeypatch.setattr(tuning, "GATES", (0.0, 0.7, 0.9, 1.01))
    monkeypatch.setattr(tuning, "FAR_SHARES", (0.01, 0.05, 0.2))
    fitted = model(rule)
    chosen = choose_decision(fitted, ADS, ood, min_precision=min_precision)
    ours = by_hand(replace(fitted, decision=chosen), ood)
    name = "macro_f1" if min_precision is None else "coverage"
    tried = 0
    for settings, tau in product(
        tuning.candidates(fitted) if ood else [fitted.decision], tuning.TAUS_T
    ):
        theirs = by_hand(
            replace(
                fitted, decision=settings.model_copy(update={"tau_other": float(tau)})
            ),
            ood,
        )
        enough = min_precision is None or theirs["kept"] >= 1 / (1 - min_precision)
        if enough and theirs["precision"] >= (min_precision or 0):
            tried += 1
            assert theirs[name] <= ours[name] + 1e-12
    assert tried > 1
    assert min_precision is None or ours["kept"] >= 1 / (1 - min_precision)
    assert min_precision is None or ours["precision"] >= min_precision
    assert chosen.rule == rule
    if ood is None:
        assert chosen == fitted.decision.model_copy(
            update={"tau_other": chosen.tau_other}
        )


@pytest.mark.parametrize("rule", ["notebook", "conformal"])
def test_tuning_strength_calls_that_share_of_calibration_ads_far(rule):
    fitted = model(rule)
    for share in (0.01, 0.05, 0.2):
        stronger = replace(
            fitted,
            decision=fitted.decision.model_copy(update=tuning._strength(fitted, share)),
        )
        far = stronger.decide(CALIBRATION).is_far_N
        assert far.mean() == pytest.approx(share, abs=2 / len(CALIBRATION))


def test_ood_texts_make_the_choice_stricter():
    fitted = model("conformal")
    loose, strict = (
        choose_decision(fitted, ADS, ood, min_precision=0.93) for ood in (None, OOD)
    )
    kept = [
        measure(replace(fitted, decision=decision), ADS, OOD).ood_kept
        for decision in (loose, strict)
    ]
    assert kept[1] < kept[0]


def test_tuning_to_a_target_out_of_reach_is_refused():
    rng = np.random.default_rng(0)
    noise = Outputs(
        rng.normal(size=(100, C)), rng.normal(size=(100, H)), rng.integers(0, C, 100)
    )
    with pytest.raises(
        PublicationRefusedError,
        match=r"reaches 0\.95 on at least 20 kept ads .best: 0\.[1-5]",
    ):
        choose_decision(model("notebook"), noise, None, min_precision=0.95)
    with pytest.raises(
        PublicationRefusedError, match="on at least 1,000 kept ads"
    ):  # there are only 100
        choose_decision(model("notebook"), noise, None, min_precision=0.999)
