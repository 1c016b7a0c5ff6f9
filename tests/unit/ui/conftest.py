"""A model with a reference sample, and the page's state around it."""

from dataclasses import replace

import numpy as np
import pytest

from rubert_ood.bundle import load_bundle
from rubert_ood.bundle.bundle import derive_bundle
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
    reader = model.reader()
    for text in ads["description"].to_pylist()[:100]:
        reader.add(text)
    outputs = model.outputs(reader.finish()[0])
    labels_N = np.arange(len(outputs)) % len(model.labels)
    outputs = replace(
        outputs, logits_NC=np.zeros_like(outputs.logits_NC), labels_N=labels_N
    )
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
