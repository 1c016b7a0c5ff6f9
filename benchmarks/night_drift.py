"""Which changes of a night are seen: by the tests on confidence and ood_p of all its ads, as the
run report has them, and by a classifier that tells CLS vectors of two nights apart (C2ST, Lopez-Paz
and Oquab 2017) on a bounded sample. Needs no bundle; a minute of one core.

    python -m benchmarks.night_drift

Gaussian classes with heavy tails, a logistic regression, Mahalanobis as `train` fits it. A change
is seen where p <= 0.001; of confidence and ood_p, where a share moved by half a point as well.
"""

import argparse
from collections import defaultdict

import numpy as np
from scipy.stats import mannwhitneyu, norm
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from rubert_ood.ood.conformal import conformal_p
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.temperature import fit_temperature, softmax
from rubert_ood.ood.two_samples import histogram_test, holm
from rubert_ood.reports.good import MOVED_POINTS
from rubert_ood.reports.noise import CHANCE
from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS, binned

H, NUM_CLASSES = 32, 10
NIGHT, VECTORS = 100_000, 2_000
SHARES = (0.01, 0.05, 0.1, 0.3, 1.0)
FOREIGN_SPREAD = {"near foreign": 1.5, "far foreign": 2.0}
NEW_FORM_STEP = {"new form": 1.0, "strong new form": 3.0}
KINDS = (*FOREIGN_SPREAD, "one text often", *NEW_FORM_STEP, "as sure, as far")
CLASSIFIERS = {
    "CLS, linear": lambda: RidgeClassifier(),
    "CLS, trees": lambda: HistGradientBoostingClassifier(max_iter=40),
}


class World:
    """Classes, what scores their ads, and directions that no logit sees."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.means_CH = rng.normal(size=(NUM_CLASSES, H)) * 0.6
        x, y = self.draw(4_000)
        self.model = LogisticRegression(max_iter=200).fit(x, y)
        self.statistics = fit_mahalanobis(x, y, NUM_CLASSES)
        x, y = self.draw(1_000)
        logits = self.model.decision_function(x)
        self.temperature = fit_temperature(logits, y, of="confidence").temperature
        self.far_n = np.sort(self.statistics.distance(x)[0])
        weights_CH = self.model.coef_ - self.model.coef_.mean(0)
        self.unseen_UH = np.linalg.svd(weights_CH)[2][NUM_CLASSES:]

    def draw(self, num: int) -> tuple[np.ndarray, np.ndarray]:
        y = self.rng.choice(NUM_CLASSES, num)
        return self.means_CH[y] + self.rng.standard_t(6, (num, H)), y

    def changed(self, x: np.ndarray, kind: str) -> np.ndarray:
        """Change all of some ads."""
        if kind in FOREIGN_SPREAD:
            return self.rng.normal(size=x.shape) * FOREIGN_SPREAD[kind]
        if kind in NEW_FORM_STEP:
            return x + self.unseen_UH[0] * NEW_FORM_STEP[kind]
        if kind == "one text often":
            return x[0] + 0.1 * self.rng.normal(size=x.shape)
        return self._alike(x)

    def _alike(self, x: np.ndarray) -> np.ndarray:
        """Move ads to one side where no logit looks, and closer together, so that their distance
        stays in the mean."""
        inside_NU = x @ self.unseen_UH.T
        spread = inside_NU.var(0).sum()
        nearer_NU = inside_NU * np.sqrt(0.5)
        nearer_NU[:, 0] += np.sqrt(0.5 * spread)
        return x + (nearer_NU - inside_NU) @ self.unseen_UH

    def counts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(x):
            return np.zeros(len(CONFIDENCE_LIMITS), int), np.zeros(len(P_LIMITS), int)
        logits = self.model.decision_function(x)
        confidence = softmax(logits, self.temperature).max(1)
        p = conformal_p(self.statistics.distance(x)[0], self.far_n)
        return binned(confidence, CONFIDENCE_LIMITS), binned(p, P_LIMITS)


def seen_by_counts(now: tuple, before: tuple) -> bool:
    tests = [histogram_test(*pair) for pair in zip(now, before, strict=True)]
    adjusted = holm([test.p for test in tests])
    return any(
        p <= CHANCE and test.difference >= MOVED_POINTS
        for p, test in zip(adjusted, tests, strict=True)
    )


def seen_by_classifier(name: str, now: np.ndarray, before: np.ndarray) -> bool:
    """Fit on a half, ask about the other (AUROC, Mann and Whitney 1947), and the other way."""
    x, is_now = np.r_[now, before], np.arange(len(now) + len(before)) < len(now)
    order = np.random.default_rng(0).permutation(len(x))
    deviations = []
    for fitted, asked in (np.array_split(order, 2), np.array_split(order, 2)[::-1]):
        model = CLASSIFIERS[name]().fit(x[fitted], is_now[fitted])
        score = model.decision_function(x[asked])
        above, below = score[is_now[asked]], score[~is_now[asked]]
        p = mannwhitneyu(above, below, alternative="greater", method="asymptotic").pvalue
        deviations.append(norm.isf(p))
    return bool(norm.sf(sum(deviations) / np.sqrt(2)) <= CHANCE)


def measure(rng: np.random.Generator, num_worlds: int) -> dict:
    seen = defaultdict(list)
    for _ in range(num_worlds):
        world = World(rng)
        before, now = world.draw(NIGHT)[0], world.draw(NIGHT)[0]
        counts_before = world.counts(before)
        for kind in KINDS:
            new = world.changed(now, kind)
            for share in (0.0, *SHARES) if kind == KINDS[0] else SHARES:
                name = f"{kind} {share:.0%}" if share else "nothing"
                changed = int(share * NIGHT)
                parts = world.counts(new[:changed]), world.counts(now[changed:])
                counts = tuple(map(np.add, *parts))
                found = seen_by_counts(counts, counts_before)
                seen[name, "confidence, ood_p"].append(found)
                first = int(share * VECTORS)
                sample = np.r_[new[:first], now[first:VECTORS]]
                for classifier in CLASSIFIERS:
                    found = seen_by_classifier(classifier, sample, before[:VECTORS])
                    seen[name, classifier].append(found)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=5)
    seen = measure(np.random.default_rng(0), parser.parse_args().worlds)
    columns = list(dict.fromkeys(column for _, column in seen))
    print(f"{'':30}", *[f"{column:>18}" for column in columns])
    for row in dict.fromkeys(row for row, _ in seen):
        found = [seen[row, column] for column in columns]
        counts = [f"{sum(one)} of {len(one)}" for one in found]
        print(f"{row:30}", *[f"{count:>18}" for count in counts])


if __name__ == "__main__":
    main()
