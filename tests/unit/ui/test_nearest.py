"""The nearest ads are those of a plain loop over the sample."""

import numpy as np

from rubert_ood.ui.nearest import NUM_NEAREST, NearestAds


def test_nearest_ads_are_those_of_the_formula(referenced, reference, model):
    cls_H = model.embed(["Диван угловой"])[0]
    precision_HH = referenced.fitted.statistics.precision_HH
    expected = []
    for row, other_H in enumerate(reference.train.cls_NH):
        difference_H = other_H.astype(np.float64) - cls_H.astype(np.float64)
        expected.append((float(difference_H @ precision_HH @ difference_H), row))
    expected.sort()
    found = NearestAds(referenced).of(cls_H)
    assert [ad.row for ad in found] == [row for _, row in expected[:NUM_NEAREST]]
    np.testing.assert_allclose(
        [ad.d2 for ad in found], [d2 for d2, _ in expected[:NUM_NEAREST]], rtol=1e-9
    )
    for ad in found:
        number = reference.train.labels_N[ad.row]
        assert ad.label == referenced.fitted.labels[number]


def test_nearest_ad_of_an_ad_of_the_sample_is_itself(referenced, reference):
    nearest = NearestAds(referenced).of(reference.train.cls_NH[7])[0]
    assert nearest.d2 < 1e-9
    same = reference.train.cls_NH[nearest.row] == reference.train.cls_NH[7]
    assert same.all()


def test_nearest_of_a_bundle_without_a_sample_is_empty(bundle, model):
    nearest = NearestAds(bundle)
    assert nearest.of(model.embed(["Диван"])[0]) == []
    assert nearest.num_ads == 0
