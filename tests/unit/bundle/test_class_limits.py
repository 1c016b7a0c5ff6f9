"""Limits of the classes as a bundle keeps them, and bundles from before there were any."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rubert_ood.bundle import derive_bundle, load_bundle
from rubert_ood.errors import BundleError
from rubert_ood.ood.class_limits import ClassLimits
from tests.unit.bundle.signed import edit, sign

LIMITS = ClassLimits(
    np.array([0.01, 0.0, 0.025, 0.025, 0.3]),
    np.array([120, 3, 40, 60, 500]),
    np.array([False, False, True, True, False]),
)


@pytest.fixture
def limited(bundle, tmp_path):
    thresholds = replace(bundle.fitted.thresholds, by_class=LIMITS)
    fitted = replace(bundle.fitted, thresholds=thresholds)
    return derive_bundle(bundle, str(tmp_path / "v2"), fitted=fitted)


def test_limits_are_read_as_written(limited):
    found = limited.fitted.thresholds.by_class
    for name in ("alpha_C", "num_rows_C", "is_pooled_C"):
        np.testing.assert_array_equal(getattr(found, name), getattr(LIMITS, name))
        assert getattr(found, name).dtype == getattr(LIMITS, name).dtype
    content = json.loads(Path(limited.folder, "ood_threshold.json").read_text())
    assert content["class_limits"][2] == {
        "label": limited.fitted.labels[2],
        "alpha": 0.025,
        "num_rows": 40,
        "is_pooled": True,
    }


def test_bundles_without_limits_are_written_as_before_and_read(bundle, limited, tmp_path):
    content = json.loads(Path(bundle.folder, "ood_threshold.json").read_text())
    assert "class_limits" not in content
    assert bundle.fitted.thresholds.by_class is None
    thresholds = replace(limited.fitted.thresholds, by_class=None)
    fitted = replace(limited.fitted, thresholds=thresholds)
    again = derive_bundle(limited, str(tmp_path / "v3"), fitted=fitted)
    path = Path(again.folder, "ood_threshold.json")
    assert path.read_bytes() == Path(bundle.folder, "ood_threshold.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda listed: listed.pop(), "are not those of the classes"),
        (lambda listed: listed.reverse(), "are not those of the classes"),
        (lambda listed: listed[0].update(alpha=1.5), "alpha: expected less than 1"),
        (lambda listed: listed[2].update(alpha=0.2), "pooled have different limits"),
        (lambda listed: listed[0].pop("num_rows"), "lacks"),
    ],
)
def test_limits_that_do_not_fit_the_classes_are_refused(limited, change, message):
    folder = Path(limited.folder)
    listed = json.loads((folder / "ood_threshold.json").read_text())["class_limits"]
    change(listed)
    edit(folder, "ood_threshold.json", class_limits=listed)
    sign(folder)
    with pytest.raises(BundleError, match=message):
        load_bundle(limited.uri)
