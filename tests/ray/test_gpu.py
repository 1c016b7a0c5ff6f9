"""The GPU paths: bf16 autocast, pinned memory, NCCL. Skipped where torch sees no GPU."""

import numpy as np
import pytest
import torch

from rubert_ood.ads.dataset import load_dataset
from rubert_ood.bundle import load_bundle
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.errors import SettingsError


def test_asking_for_a_gpu_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        SettingsError, match=r"compute\.use_gpu is true, but torch sees no GPU"
    ):
        choose_device(True)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@needs_gpu
def test_gpu_agrees_with_cpu(trained_bundle, labelled_ads):
    folder = load_bundle(trained_bundle).folder
    texts = labelled_ads["description"].to_pylist()[:200]
    cpu, gpu = Classifier.load(folder), Classifier.load(folder, use_gpu=True)
    ids = tokenize(cpu.tokenizer, texts, 48)
    (logits, cls), (gpu_logits, gpu_cls) = (
        model.run(ids, token_budget=4096) for model in (cpu, gpu)
    )
    assert (
        np.mean(logits.argmax(1) == gpu_logits.argmax(1)) > 0.98
    )  # bf16 has 8 bits of mantissa
    np.testing.assert_allclose(cls, gpu_cls, atol=0.1)


@needs_gpu
def test_training_on_a_gpu_learns(ray_local, train_settings, tmp_path):
    from rubert_ood.training.fine_tune import fine_tune

    compute = train_settings.compute.model_copy(
        update={"num_workers": 1, "use_gpu": True}
    )
    settings = train_settings.model_copy(
        update={"compute": compute, "output_uri": str(tmp_path)}
    )
    trained = fine_tune(
        load_dataset(settings), settings, run_name="gpu", work_dir=str(tmp_path / "work")
    )
    assert trained.history[-1]["valid_macro_f1"] > 0.9
