"""The end of a training on GPU: its bundle is promoted in a task of Ray."""

import pytest

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.pointers.champion import look
from rubert_ood.workflows import promote_trained as workflow
from rubert_ood.workflows.promote_trained import _on_a_gpu
from tests.unit.promotion.bundles import OPEN, make_pair


def test_promotion_in_a_task_promotes_or_says_why_it_does_not(
    ray_local, bundle, ads, tmp_path, monkeypatch
):
    monkeypatch.setattr(workflow, "ON_A_GPU", {"num_cpus": 1})
    pair = make_pair(bundle, ads, tmp_path)
    limits = OPEN.model_copy(update={"max_accuracy_loss": 0.05})
    champion = _on_a_gpu(pair.settings(pair.good, limits=limits))
    assert champion == look(pair.root).pointer
    assert champion.version == "good"
    with pytest.raises(
        PublicationRefusedError, match=r"limits\.max_accuracy_loss"
    ) as caught:
        _on_a_gpu(pair.settings(pair.bad, limits=limits))
    assert caught.value.exit_code == 5
    assert look(pair.root).pointer == champion
