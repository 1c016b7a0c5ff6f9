"""What a night without labels can be told, under shifts that are planted, against the truth. Needs
no bundle; a minute each.

    python -m benchmarks.nights accuracy   estimated in four ways: mean error in points, its sign
    python -m benchmarks.nights shares     of the classes: error of the worst class, in points

Gaussian classes with heavy tails and a logistic regression, T fitted as `train` fits it; and
scikit-learn's handwritten digits.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from rubert_ood.nights.shares import class_shares
from rubert_ood.ood.accuracy import Worth, estimated_accuracy
from rubert_ood.ood.shares import Posteriors, corrected_shares
from rubert_ood.ood.temperature import fit_temperature, softmax
from rubert_ood.runs.night_sample import ADS, NightSample

H = 32
Scores = Callable[[np.ndarray], np.ndarray]
Nights = Iterator[tuple[str, np.ndarray, np.ndarray]]


class World:
    """Classes of which some ads are drawn, and a model that was trained on others."""

    def __init__(self, rng: np.random.Generator, *, train_C: np.ndarray) -> None:
        self.rng = rng
        self.means_CH = rng.normal(size=(len(train_C), H)) * rng.uniform(0.25, 0.6)
        self.train_C = train_C
        x, y = self.draw(4_000, train_C)
        self.model = LogisticRegression(max_iter=200, C=rng.choice([0.02, 1])).fit(x, y)

    def draw(self, num: int, share_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = self.rng.choice(len(share_C), num, p=share_C)
        return self.means_CH[y] + self.rng.standard_t(6, (num, H)), y

    def nights(self, num: int = 20_000) -> Nights:
        rng, share_C = self.rng, self.train_C
        yield "none", *self.draw(num, share_C)
        yield "label shift", *self.draw(num, rng.dirichlet(np.ones(len(share_C))))
        for size in (0.5, 1.0):
            x, y = self.draw(num, share_C)
            yield f"noise {size}", x + size * rng.normal(size=x.shape), y
        x, y = self.draw(num, share_C)
        yield "a third lost", np.where(rng.random(x.shape) < 0.3, 0, x), y
        x, y = self.draw(num, share_C)
        yield "all moved", x + rng.normal(size=H) * 0.4, y
        x, y = self.draw(num, share_C)
        moved_CH = rng.normal(size=self.means_CH.shape) * 0.15
        yield "classes moved", x + moved_CH[y], y
        for share in (0.05, 0.2):
            x, y = self.draw(num, share_C)
            foreign = int(share * num)
            x[:foreign], y[:foreign] = rng.normal(size=(foreign, H)) * 1.5, -1
            yield f"foreign {share}", x, y


def estimators(
    p_NC: np.ndarray, labels_N: np.ndarray, night_MC: np.ndarray
) -> dict[str, float]:
    """Estimate the accuracy of a night from calibration ads, in several ways."""
    confidence_N, right_N = p_NC.max(1), p_NC.argmax(1) == labels_N
    now_M, accuracy = night_MC.max(1), right_N.mean()
    worth = Worth.of(confidence_N, right_N)
    sums = len(now_M), float(now_M.sum()), float((now_M**2).sum())
    edges = np.quantile(confidence_N, np.linspace(0, 1, 11)[1:-1])
    bins_N, bins_M = np.digitize(confidence_N, edges), np.digitize(now_M, edges)
    right_B = np.bincount(bins_N, right_N, 10) + accuracy
    per_bin_B = right_B / (np.bincount(bins_N, minlength=10) + 1)
    threshold = np.quantile(confidence_N, 1 - accuracy)
    return {
        "mean confidence": float(now_M.mean()),
        "difference": estimated_accuracy(*sums, worth=worth, num_texts=len(now_M)).value,
        "thresholded": float((now_M >= threshold).mean()),
        "by bins": float(per_bin_B[bins_M].mean()),
    }


def _calibrated(model: LogisticRegression, x: np.ndarray, y: np.ndarray) -> Scores:
    fit = fit_temperature(model.decision_function(x), y, of="confidence")
    return lambda ads: softmax(model.decision_function(ads), fit.temperature)


def _digits(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Nights:
    yield "digits: none", x, y
    share_N = rng.dirichlet(np.ones(10))[y]
    rows = rng.choice(len(x), len(x), p=share_N / share_N.sum())
    yield "digits: label shift", x[rows], y[rows]
    for size in (0.1, 0.2, 0.3):
        yield f"digits: noise {size}", x + size * rng.normal(size=x.shape), y
    for share in (0.1, 0.3):
        yield f"digits: {share} lost", x * (rng.random(x.shape) > share), y


def accuracy(rng: np.random.Generator, num_worlds: int) -> None:
    errors = defaultdict(list)

    def measure(scores: Scores, x: np.ndarray, y: np.ndarray, nights: Nights) -> None:
        for shift, now, truth in nights:
            p = scores(now)
            right = (p.argmax(1) == truth).mean()
            for name, found in estimators(scores(x), y, p).items():
                errors[shift, name].append(100 * (found - right))

    for _ in range(num_worlds):
        share_C = np.full(num := int(rng.choice([6, 10, 25])), 1 / num)
        world = World(rng, train_C=share_C)
        x, y = world.draw(1_000, share_C)
        measure(_calibrated(world.model, x, y), x, y, world.nights())
    images, digits = load_digits(return_X_y=True)
    for _ in range(num_worlds // 2):
        train, kept, test = np.split(rng.permutation(len(images)), [600, 1_100])
        model = LogisticRegression(max_iter=500).fit(images[train] / 16, digits[train])
        scores = _calibrated(model, images[kept] / 16, digits[kept])
        many = np.repeat(test, 10)
        nights = _digits(rng, images[many] / 16, digits[many])
        measure(scores, images[kept] / 16, digits[kept], nights)
    _print(errors, lambda e: f"{np.abs(e).mean():6.2f} ({np.mean(e):+6.2f})")


def _best(p_NC: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    best_Nk = np.argsort(-p_NC, axis=1)[:, :k]
    return best_Nk, np.take_along_axis(p_NC, best_Nk, axis=1)


def _by_em(
    night_NC: np.ndarray, p_nC: np.ndarray, source_C: np.ndarray, k: int
) -> np.ndarray:
    posteriors = Posteriors.of(*_best(night_NC, k), p_nC)
    weights = np.ones((len(night_NC), 1))
    return corrected_shares(posteriors, source_C[:, None], weights)[:, 0]


def _bbse(p_nC: np.ndarray, labels_n: np.ndarray, night_NC: np.ndarray) -> np.ndarray:
    """Black box shift estimation (Lipton et al. 2018), from probabilities."""
    num = p_nC.shape[1]
    share_C = np.bincount(labels_n, minlength=num) / len(labels_n)
    together_CC = p_nC.T @ np.eye(num)[labels_n] / len(labels_n)
    times_C = np.linalg.lstsq(together_CC, night_NC.mean(0), rcond=None)[0]
    found_C = np.clip(times_C * share_C, 0, None)
    return found_C / found_C.sum()


def share_estimators(
    p_nC: np.ndarray, labels_n: np.ndarray, night_NC: np.ndarray
) -> dict[str, np.ndarray]:
    """Estimate the class shares of a night from calibration ads, in several ways."""
    num, mean_C = p_nC.shape[1], p_nC.mean(0)
    label_C = np.bincount(labels_n, minlength=num) / len(labels_n)
    return {
        "counted": np.bincount(night_NC.argmax(1), minlength=num) / len(night_NC),
        "mean probability": night_NC.mean(0),
        "BBSE": _bbse(p_nC, labels_n, night_NC),
        "EM, all classes": _by_em(night_NC, p_nC, mean_C, num),
        "EM, 5 best": _by_em(night_NC, p_nC, mean_C, min(5, num)),
        "EM, 1 best": _by_em(night_NC, p_nC, mean_C, 1),
        "EM, label shares": _by_em(night_NC, p_nC, label_C, num),
    }


def _sample(night_NC: np.ndarray) -> NightSample:
    best_Nk, p_Nk = _best(night_NC, min(5, night_NC.shape[1]))
    numbers = list(range(len(night_NC)))
    names = [str(number) for number in range(night_NC.shape[1])]
    best, p = best_Nk.tolist(), p_Nk.tolist()
    return NightSample(key=numbers, text=numbers, names=names, best=best, p=p)


def _share_nights(world: World) -> Nights:
    rng, share_C = world.rng, world.train_C
    shifts = {
        "none": share_C,
        "mild": rng.dirichlet(share_C * 40),
        "strong": rng.dirichlet(np.ones(len(share_C))),
    }
    for name, shifted_C in shifts.items():
        x, _ = world.draw(ADS, shifted_C)
        yield name, x, shifted_C
    y = rng.choice(len(share_C), ADS, p=shifts["strong"])
    moved_CH = rng.normal(size=world.means_CH.shape) * 0.15
    x = (world.means_CH + moved_CH)[y] + rng.standard_t(6, (ADS, H))
    yield "strong, moved", x, shifts["strong"]


def shares(rng: np.random.Generator, num_worlds: int) -> None:
    errors, held = defaultdict(list), defaultdict(list)
    for _ in range(num_worlds):
        share_C = rng.dirichlet(np.full(int(rng.choice([6, 10, 25, 50])), 5.0))
        world = World(rng, train_C=share_C)
        x, y = world.draw(1_000, share_C)
        scores = _calibrated(world.model, x, y)
        p_nC, names = scores(x), [str(number) for number in range(len(share_C))]
        for shift, now, truth_C in _share_nights(world):
            night_NC = scores(now)
            for name, found_C in share_estimators(p_nC, y, night_NC).items():
                errors[shift, name].append(100 * np.abs(found_C - truth_C).max())
            found = class_shares(_sample(night_NC), names, p_nC, y)
            for share in found.classes:
                truth = truth_C[int(share.name)]
                held[shift, "inside"].append(100 * (share.low <= truth <= share.high))
                held[shift, "half width"].append(50 * (share.high - share.low))
    _print(errors, lambda e: f"{np.mean(e):6.2f}")
    _print(held, lambda e: f"{np.mean(e):6.2f}")


def _print(table: dict, written: Callable[[list], str]) -> None:
    columns = list(dict.fromkeys(name for _, name in table))
    print(f"{'':22}", *[f"{name:>17}" for name in columns])
    for row in dict.fromkeys(name for name, _ in table):
        print(f"{row:22}", *[f"{written(table[row, name]):>17}" for name in columns])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["accuracy", "shares"])
    parser.add_argument("--worlds", type=int, default=24)
    given = parser.parse_args()
    measure = {"accuracy": accuracy, "shares": shares}[given.what]
    measure(np.random.default_rng(0), given.worlds)


if __name__ == "__main__":
    main()
