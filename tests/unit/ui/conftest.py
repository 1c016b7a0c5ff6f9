"""A model with a reference sample, and the page's state around it."""

import numpy as np
import pytest

from rubert_ood.bundle import load_bundle
from rubert_ood.bundle.bundle import derive_bundle
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.predictor import Model
from rubert_ood.ui.nearest import NearestAds
from rubert_ood.ui.state import State


@pytest.fixture(scope="session")
def model(bundle):
    return Model(bundle).with_network()


@pytest.fixture(scope="session")
def reference(model, ads):
    """The outputs of 100 ads, in a bundle beside the one without any."""
    texts = ads["description"].to_pylist()[:100]
    cls_NH = model.embed(texts)
    known = np.flatnonzero(np.isfinite(cls_NH).all(axis=1))
    labels_N = np.arange(len(known)) % len(model.labels)
    logits_NC = np.zeros((len(known), len(model.labels)), np.float32)
    outputs = Outputs(logits_NC, cls_NH[known], labels_N.astype(np.int64))
    return Reference(outputs, outputs)


@pytest.fixture(scope="session")
def referenced(bundle, reference, tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("referenced") / "v2")
    derive_bundle(bundle, uri, reference=reference)
    return load_bundle(uri)


@pytest.fixture(scope="session")
def state(referenced):
    model = Model(referenced).with_network()
    return State(model, NearestAds(referenced))
