"""What detectors of OOD texts reach on a finished bundle, alone and combined: python -m
benchmarks.detectors BUNDLE ADS OOD

ADS are labelled ads that did not train the bundle, OOD a table with the columns text and kind. A
first half of the ads calibrates, the second measures. AUROC by kind; the share that is detected at
1 % false alarms of the measured ads; and the false alarms of each at alpha = 1 % over 2,000 random
splits of the ads in two: their mean must not be above 1 %.

The rules that combine the p-values of the same detectors: the harmonic mean (which scoring takes)
and Fisher's sum (Fisher 1932), each with a conformal p of its own (Bates et al. 2023, "Testing for
outliers with conformal p-values"), and three that are valid under any dependence, or nearly,
without it: the harmonic mean (Wilson 2019; its valid multiple e log K from Vovk and Wang 2020),
Cauchy's (Liu and Xie 2020), Simes's. All are ranked for AUROC; their own bound is what the last two
columns show.
"""

import argparse
import logging
from collections.abc import Callable

import numpy as np
from scipy.stats import cauchy

from rubert_ood.ads.dataset import clean_labelled, read_labelled
from rubert_ood.ads.extra_texts import load_extra_texts
from rubert_ood.bundle import Bundle, load_bundle, load_reference
from rubert_ood.ood.comparison import leave_classes_out
from rubert_ood.ood.conformal import combine, combine_calibration, conformal_p
from rubert_ood.ood.detectors import COMBINED, TITLES, fit_detectors
from rubert_ood.ood.metrics import ood_metrics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.settings import (
    ColumnSettings,
    DetectorName,
    EvaluationSettings,
    FeatureComputeSettings,
)
from rubert_ood.training.features import bundle_outputs

ALPHA, NUM_SPLITS = 0.01, 2_000
Scores = dict[str, np.ndarray]
"""By kind of text; `test` and `calibration` are ads."""


def fisher(p_DN: np.ndarray) -> np.ndarray:
    """Return -2 sum log p, large where p is small."""
    return -2 * np.log(p_DN).sum(axis=0)


def harmonic(p_DN: np.ndarray) -> np.ndarray:
    """Return the valid multiple of the harmonic mean, at most 1."""
    num = len(p_DN)
    return np.minimum(np.e * np.log(num) * num / (1 / p_DN).sum(axis=0), 1)


def cauchy_p(p_DN: np.ndarray) -> np.ndarray:
    """Return Cauchy's combination."""
    return cauchy.sf(np.mean(np.tan((0.5 - p_DN.clip(1e-12, 1 - 1e-12)) * np.pi), axis=0))


def simes(p_DN: np.ndarray) -> np.ndarray:
    """Return Simes's combination."""
    ranks = np.arange(1, len(p_DN) + 1)[:, None]
    return np.minimum((np.sort(p_DN, axis=0) * len(p_DN) / ranks).min(axis=0), 1)


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "without ranks": harmonic,
    "Cauchy": cauchy_p,
    "Simes": simes,
}
WAYS = ("harmonic mean", "Fisher", *RULES)


def p_values(scores: list[Scores], kind: str) -> np.ndarray:
    """Return the conformal p of each detector, (D, N)."""
    return np.array([conformal_p(own[kind], ranked_of(own)) for own in scores])


def ranked_of(scores: Scores) -> np.ndarray:
    """Return the scores of the calibration ads, ascending."""
    return np.sort(scores["calibration"])


def parts_of(scores: dict[str, Scores], name: DetectorName) -> list[Scores]:
    """Return the scores of the detectors that one is combined of."""
    return [scores[TITLES[part]] for part in COMBINED[name]]


def p_by_way(scores: dict[str, Scores], kind: str) -> Scores:
    """Return p of each detector and of each combination for one kind of text."""
    found = {}
    for name, own in scores.items():
        found[name] = conformal_p(own[kind], ranked_of(own))
    for name in COMBINED:
        parts = parts_of(scores, name)
        p_DN = p_values(parts, kind)
        among_Dn = [own["calibration"] for own in parts]
        one = 1 / (len(among_Dn[0]) + 1)
        ranked_Dn = p_values(parts, "calibration") - one
        for way in WAYS:
            if way == "harmonic mean":
                p_N = conformal_p(combine(list(p_DN)), combine_calibration(among_Dn))
            elif way == "Fisher":
                p_N = conformal_p(fisher(p_DN), np.sort(fisher(ranked_Dn)))
            else:
                p_N = RULES[way](p_DN)
            found[f"{TITLES[name]}: {way}"] = p_N
    return found


def ranking(scores: dict[str, Scores], way: str, kind: str) -> np.ndarray:
    """Return what orders the texts: the score itself, or the combination of p-values."""
    if way in scores:
        return scores[way][kind]
    title, _, rule = way.partition(": ")
    (name,) = (name for name in COMBINED if TITLES[name] == title)
    p_DN = p_values(parts_of(scores, name), kind)
    if rule == "harmonic mean":
        return combine(list(p_DN))
    return fisher(p_DN) if rule == "Fisher" else -np.log(RULES[rule](p_DN))


def false_alarms(parts: dict[str, Scores]) -> dict[str, np.ndarray]:
    """Return, by way, the share of one half of the ads that is far by the other, for each split."""
    rates: dict[str, list[float]] = {}
    rng = np.random.default_rng(0)
    joined = {}
    for name, scores in parts.items():
        joined[name] = np.concatenate([scores["calibration"], scores["test"]])
    num_ads = len(joined[TITLES["mahalanobis"]])
    for _ in range(NUM_SPLITS):
        order = rng.permutation(num_ads)
        half = order[: num_ads // 2], order[num_ads // 2 :]
        split = {
            name: {"calibration": scores[half[0]], "test": scores[half[1]]}
            for name, scores in joined.items()
        }
        for way, p_N in p_by_way(split, "test").items():
            rates.setdefault(way, []).append(float(np.mean(p_N <= ALPHA)))
    return {way: np.array(found) for way, found in rates.items()}


def scores_of(
    bundle: Bundle, reference: Reference, splits: dict[str, Outputs]
) -> dict[str, Scores]:
    """Return the scores of every detector."""
    train, fitted = reference.train, bundle.fitted
    detectors = fit_detectors(
        train,
        statistics=fitted.statistics,
        temperature=fitted.temperature.temperature,
    )
    return {
        title: {name: found(split) for name, split in splits.items()}
        for title, found in detectors.items()
    }


def outputs_of(bundle: Bundle, arguments: argparse.Namespace) -> dict[str, Outputs]:
    """Run the bundle on the ads, cut in two, and on the OOD texts."""
    labels = bundle.fitted.labels
    table = read_labelled(arguments.ads, ColumnSettings(), known=labels)
    ads = clean_labelled(table, bundle.cleaner, labels)
    extra = load_extra_texts(
        EvaluationSettings(ood_uri=arguments.ood), bundle.cleaner, bundle.fitted.labels
    )
    compute = FeatureComputeSettings()
    found = bundle_outputs(
        bundle, {"ads": ads, **extra.splits}, compute=compute, executor="local"
    )
    order = np.random.default_rng(0).permutation(len(ads))
    halves = np.array_split(order, 2)
    kinds = {name.removeprefix("ood/"): split for name, split in found.items()}
    whole = kinds.pop("ads")
    return {"calibration": whole.take(halves[0]), "test": whole.take(halves[1]), **kinds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("bundle", "ads", "ood"):
        parser.add_argument(name)
    arguments = parser.parse_args()
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    bundle = load_bundle(arguments.bundle)
    reference = load_reference(bundle)
    if reference is None:
        raise SystemExit(f"{bundle.uri}: it has no reference.safetensors")
    splits = outputs_of(bundle, arguments)
    parts = scores_of(bundle, reference, splits)
    kinds = [name for name in splits if name not in ("calibration", "test")]
    near = leave_classes_out(
        Reference(reference.train, splits["calibration"]),
        splits["test"],
        temperature=bundle.fitted.temperature.temperature,
    )
    rates = false_alarms(parts)
    print(f"{len(splits['test'])} measured ads, as many calibrate; {COMBINED}")
    head = ["way", *kinds, "left out", "detected", "false alarms", "95 % of splits"]
    print(f"| {' | '.join(head)} |", "|---" * len(head) + "|", sep="\n")
    for way in rates:
        inside_N = ranking(parts, way, "test")
        outside = [ranking(parts, way, kind) for kind in kinds]
        cells = [f"{ood_metrics(inside_N, scores).auroc:.3f}" for scores in outside]
        title = way.removesuffix(": harmonic mean")
        cells.append(f"{near[title].auroc:.3f}" if title in near else "")
        limit = np.quantile(inside_N, 1 - ALPHA)
        cells.append(" / ".join(f"{np.mean(scores > limit):.0%}" for scores in outside))
        cells += [f"{rates[way].mean():.2%}", f"{np.quantile(rates[way], 0.95):.2%}"]
        print(f"| {' | '.join([way, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
