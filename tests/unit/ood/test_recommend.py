"""The recommended detector: the least regret at its worst kind."""

from rubert_ood.ood.recommend import recommend

AUROCS = {
    "Mahalanobis": {"news": 0.97, "near": 0.80},
    "energy": {"news": 0.90, "near": 0.95},
    "combined": {"news": 0.96, "near": 0.94},
}


def test_recommend_takes_the_one_that_is_nowhere_far_behind():
    found = recommend(AUROCS, "mahalanobis")
    assert found.detector == "combined"
    assert round(found.behind, 6) == 0.01
    assert (round(found.behind_now, 6), found.worst_kind_now) == (0.15, "near")


def test_recommend_keeps_the_present_one_where_another_gains_little():
    close = AUROCS | {"Mahalanobis": {"news": 0.962, "near": 0.936}}
    assert recommend(close, "mahalanobis").detector == "mahalanobis"
    assert recommend(close, "energy").detector == "combined"


def test_recommend_without_kinds_says_nothing():
    assert recommend({"Mahalanobis": {}}, "mahalanobis") is None
