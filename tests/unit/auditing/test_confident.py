import numpy as np
import pytest

from rubert_ood.auditing.confident import suspect


def _by_the_paper(p_NC: np.ndarray, labels_N: np.ndarray) -> list[tuple[int, int]]:
    """Equations 1 and 2, one ad after the other: (row, class) of each off-diagonal ad, but of those
    whose label is the most probable class, which cleanlab leaves out as well."""
    classes = range(p_NC.shape[1])
    limits = [p_NC[labels_N == k, k].mean() for k in classes]
    found = []
    for row, p_C in enumerate(p_NC):
        able = [k for k in classes if p_C[k] >= limits[k]]
        if able:
            best = max(able, key=lambda k: p_C[k])
            if best != labels_N[row] and p_C.argmax() != labels_N[row]:
                found.append((row, best))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_suspects_are_those_of_the_paper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels_N = np.concatenate([np.arange(4), rng.integers(0, 4, 196)])
    p_NC = rng.dirichlet(np.ones(4), 200)
    p_NC[np.arange(200), labels_N] += 1
    p_NC /= p_NC.sum(axis=1, keepdims=True)
    found = suspect(p_NC, labels_N)
    rows = found.suspects(labels_N)
    expected = _by_the_paper(p_NC, labels_N)
    assert sorted((row, found.suggested_N[row]) for row in rows.tolist()) == expected
    margins = []
    for row in rows:
        others = np.delete(p_NC[row], labels_N[row])
        margins.append(p_NC[row, labels_N[row]] - others.max())
    assert margins == sorted(margins)


def test_class_without_ads_is_never_suggested() -> None:
    p_NC = np.array([[0.1, 0.0, 0.9], [0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    found = suspect(p_NC, np.array([0, 0, 1]))
    assert np.isnan(found.thresholds_C[2])
    assert 2 not in found.suggested_N


def test_ad_whose_label_is_its_most_probable_class_is_not_a_suspect() -> None:
    p_NC = np.array([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    labels_N = np.array([0, 0, 1, 0])
    found = suspect(p_NC, labels_N)  # limits: 0.57 and 0.3
    assert found.suggested_N.tolist() == [0, 0, 0, 1]
    assert found.suspects(labels_N).tolist() == [3, 2]
    p_NC = np.array([[0.55, 0.45], [0.95, 0.05], [0.7, 0.3]])
    labels_N = np.array([0, 0, 1])
    found = suspect(
        p_NC, labels_N
    )  # limits: 0.75 and 0.3, so that the first exceeds that of 1
    assert found.suggested_N.tolist() == [1, 0, 1]
    assert found.suspects(labels_N).tolist() == []


def test_small_class_is_never_suggested() -> None:
    p_NC = np.array(
        [[0.4, 0.55, 0.05], [0.9, 0.1, 0], [0, 0.95, 0.05], [0, 1, 0], [0.5, 0.49, 0.01]]
    )
    labels_N = np.array([0, 0, 1, 1, 2])
    found = suspect(p_NC, labels_N)  # limits: 0.65, 0.975 and 0.01
    assert found.suspects(labels_N).tolist() == [0]
    assert found.suggested_N[0] == 2
    found = suspect(p_NC, labels_N, np.array([False, False, True]))
    assert found.suspects(labels_N).tolist() == []
