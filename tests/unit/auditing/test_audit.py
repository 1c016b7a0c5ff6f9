import numpy as np

from rubert_ood.auditing.audit import audit
from rubert_ood.auditing.material import AuditAds

LABELS = ["мебель", "редкость", "шины"]


def _ads(labels_N: np.ndarray) -> AuditAds:
    num = len(labels_N)
    texts = [f"вещь {row}" for row in range(num)]
    return AuditAds(
        files=["a.csv"] * num,
        rows=list(range(1, num + 1)),
        ad_ids=[""] * num,
        texts=texts,
        keys_N=np.array(texts, object),
        labels_N=labels_N,
        labels=LABELS,
        num_unreadable=0,
    )


def test_class_of_one_ad_is_named_and_draws_no_suspects() -> None:
    labels_N = np.array([0] * 10 + [2] * 10 + [1])
    p_NC = np.full((21, 3), 0.02)
    p_NC[:10, 0], p_NC[:10, 2] = 0.9, 0.08
    p_NC[10:, 2], p_NC[10:, 0] = 0.9, 0.08
    p_NC[0] = [0.4, 0.05, 0.55]  # doubtful, and of no class for sure
    p_NC[1] = [0.03, 0.02, 0.95]  # a wrong label
    p_NC[20] = [0.5, 0.001, 0.499]
    found = audit(_ads(labels_N), p_NC, folds=5)
    assert found.small_classes == ["редкость"]
    assert found.suspects["row"].to_pylist() == [2]
    assert found.suspects["suggested"].to_pylist() == ["шины"]
    assert found.suspects["ad_id"].to_pylist() == [None]
