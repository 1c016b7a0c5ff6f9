"""Measure a bundle and the champion on the same texts.

Shapes: N test ads that all can read, M that one can. What belongs to the new bundle comes first.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubert_ood.ads.labels import normal_label
from rubert_ood.bundle import Bundle, check_compute
from rubert_ood.errors import InputError
from rubert_ood.ood.decision import OTHER
from rubert_ood.ood.metrics import ece, ood_metrics
from rubert_ood.predictor import Model
from rubert_ood.promotion.answers import Answers, Timed, ask
from rubert_ood.promotion.classes import Judged, changes, class_rows, confusion_rows
from rubert_ood.promotion.document import Churn, Comparison, LabelMove, Measures
from rubert_ood.promotion.material import Material, read_material
from rubert_ood.settings import PromoteSettings

NUM_MOVES = 50


@dataclass(frozen=True)
class Asked:
    """The answers of one bundle, by what was asked."""

    test: Answers
    ood: dict[str, Answers]
    sample: Answers

    @classmethod
    def of(cls, answers: Answers, material: Material) -> "Asked":
        """Part the answers to all texts of the material, in its order."""
        start = len(material.texts)
        test, ood = answers.take(slice(0, start)), {}
        for kind, texts in material.ood.items():
            ood[kind] = answers.take(slice(start, start + len(texts)))
            start += len(texts)
        return cls(test, ood, answers.take(slice(start, None)))


def compare(
    new: Bundle, champion: Bundle | None, settings: PromoteSettings
) -> Comparison:
    """Ask both bundles for the same texts; without a champion measure the new one alone.

    Raises SettingsError where one was not fitted for such hardware, SchemaError for a label that
    neither knows, InputError without a test ad that both can read.
    """
    bundles = [new] if champion is None else [new, champion]
    for bundle in bundles:
        check_compute(bundle, settings.compute)
    known = sorted({label for bundle in bundles for label in bundle.fitted.labels})
    material = read_material(settings, known, new.cleaner)
    compute = settings.compute
    models = []
    for bundle in bundles:
        budget = compute.token_budget
        models.append(Model(bundle, use_gpu=compute.use_gpu, token_budget=budget))
    texts = list(material.texts)
    for of_kind in material.ood.values():
        texts += of_kind
    timed = ask(models, texts + material.sample)
    return _measured(bundles, material, timed, settings)


def _measured(
    bundles: Sequence[Bundle],
    material: Material,
    timed: Timed,
    settings: PromoteSettings,
) -> Comparison:
    asked = [Asked.of(answers, material) for answers in timed.answers]
    is_read_N = np.logical_and.reduce([side.test.is_read_N for side in asked])
    if not is_read_N.any():
        raise InputError(
            f"{settings.test_uri}: every ad is empty for one of the two"
            " bundles after cleaning. Use other labelled ads"
        )
    tests = [side.test.take(is_read_N) for side in asked]
    judged = _judged(bundles, material, tests, is_read_N)
    measured = _measures(judged, tests, asked, timed.ads_per_s)
    is_pair = len(bundles) > 1
    changed = changes(judged, settings.limits.confidence) if is_pair else None
    labels = [{*map(normal_label, bundle.fitted.labels)} for bundle in bundles]
    return Comparison(
        test_uri=settings.test_uri,
        num_ads=len(judged.labels_N),
        num_unreadable=int((~is_read_N).sum()) + material.num_not_utf8,
        sample_uri=settings.sample_uri,
        device="GPU" if settings.compute.use_gpu else "CPU",
        new=measured[0],
        champion=measured[1] if is_pair else None,
        accuracy=changed.accuracy if changed else None,
        macro_f1=changed.macro_f1 if changed else None,
        discordant=judged.discordant() if is_pair else None,
        classes=class_rows(judged, changed),
        confusions=confusion_rows(judged),
        churn=_churn(asked) if is_pair and material.sample else None,
        speed_ratio=timed.speed_ratio if is_pair else None,
        labels_added=sorted(labels[0] - labels[-1]),
        labels_removed=sorted(labels[-1] - labels[0]),
    )


def _judged(
    bundles: Sequence[Bundle],
    material: Material,
    tests: Sequence[Answers],
    is_read_N: NDArray[np.bool_],
) -> Judged:
    """Number labels and answers alike, over the classes of both bundles."""
    names = set[str]()
    for bundle in bundles:
        names.update(map(normal_label, bundle.fitted.labels))
    ordered = sorted(names)
    number = {name: position for position, name in enumerate(ordered)}
    labels = [number[label] for label in material.labels]
    best = []
    for test in tests:
        best.append(np.array([number[normal_label(name)] for name in test.best_N]))
    return Judged(ordered, np.array(labels, np.int64)[is_read_N], best)


def _measures(
    judged: Judged,
    tests: Sequence[Answers],
    asked: Sequence[Asked],
    ads_per_s: Sequence[float],
) -> list[Measures]:
    rows = []
    is_text_M = np.logical_or.reduce([side.test.is_read_N for side in asked])
    for number, metrics in enumerate(judged.metrics()):
        test, is_right_N = tests[number], judged.best[number] == judged.labels_N
        is_other_M = asked[number].test.label_N[is_text_M] == OTHER
        measured = Measures(
            accuracy=metrics.accuracy,
            macro_f1=metrics.macro_f1,
            ece=_ece(test.confidence_N, is_right_N),
            false_alarms=float(test.is_ood_N.mean()),
            other_rate=float(is_other_M.mean()),
            ood_auroc=_aurocs(test, asked[number].ood),
            ads_per_s=ads_per_s[number],
        )
        rows.append(measured)
    return rows


def _ece(confidence_N: NDArray[np.float64], is_right_N: NDArray[np.bool_]) -> float:
    """Return the calibration error of the best classes: as of two classes, ours and the rest."""
    best_N2 = np.column_stack([confidence_N, np.zeros_like(confidence_N)])
    return ece(best_N2, np.where(is_right_N, 0, 1))


def _aurocs(test: Answers, ood: dict[str, Answers]) -> dict[str, float]:
    """Return AUROC for each kind of OOD text of which there is something to read."""
    aurocs = {}
    for kind, answers in ood.items():
        far_N = answers.far_N[answers.is_read_N]
        if len(far_N):
            aurocs[kind] = ood_metrics(test.far_N, far_N).auroc
    return aurocs


def _churn(asked: Sequence[Asked]) -> Churn:
    new, champion = [side.sample.label_N.tolist() for side in asked]
    pairs = Counter(zip(champion, new, strict=True))
    moves = []
    for (before, now), count in pairs.items():
        if before != now:
            moves.append(LabelMove(champion_label=before, label=now, count=count))
    moves.sort(key=lambda move: (-move.count, move.champion_label, move.label))
    changed = sum(move.count for move in moves)
    return Churn(num_ads=len(new), changed=changed, moves=moves[:NUM_MOVES])
