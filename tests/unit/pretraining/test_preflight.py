"""What would fail in every attempt to pretrain is one line before the first."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel, RobertaConfig, RobertaForMaskedLM

from rubert_ood.errors import BundleError, InputError, SettingsError
from rubert_ood.pretraining.preflight import check_counts, check_pretraining
from rubert_ood.settings import PretrainComputeSettings, PretrainSettings
from tests.unit.bundle.signed import edit


@pytest.fixture
def checkpoint(small_checkpoint, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))


def _settings(checkpoint: Path | str = "x", **changes) -> PretrainSettings:
    return PretrainSettings(input_uri="ads", base_model=str(checkpoint), **changes)


def _refusal(settings: PretrainSettings, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        check_pretraining(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_checkpoint_of_a_bert_is_taken_with_its_head_or_without(checkpoint):
    check_pretraining(_settings(checkpoint))
    BertModel.from_pretrained(checkpoint).save_pretrained(checkpoint)
    check_pretraining(_settings(checkpoint, max_length=512))


def test_tokenizer_without_a_mask_token_is_refused(checkpoint):
    edit(checkpoint, "tokenizer_config.json", mask_token=None)
    message = _refusal(_settings(checkpoint), BundleError)
    assert "the tokenizer has no mask token" in message


def test_checkpoint_of_another_type_is_refused(checkpoint):
    config = RobertaConfig(
        vocab_size=1000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    RobertaForMaskedLM(config).save_pretrained(checkpoint)
    message = _refusal(_settings(checkpoint), BundleError)
    assert "pretraining needs a BERT encoder, and this one is 'roberta'" in message


def test_length_that_the_model_lacks_is_refused(checkpoint):
    message = _refusal(_settings(checkpoint, max_length=513), SettingsError)
    assert message == (
        "max_length: the model reads at most 512 tokens, and 513 are set. Lower max_length"
    )


def test_damaged_weights_are_refused(checkpoint):
    mapped = load_file(checkpoint / "model.safetensors")
    # copies: the file that these are mapped from is written over
    weights = {key: tensor.clone() for key, tensor in mapped.items()}
    name = "bert.encoder.layer.0.output.dense.weight"
    whole = weights.pop(name)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert f"such as {name}." in _refusal(_settings(checkpoint), BundleError)
    weights[name] = torch.full_like(whole, torch.nan)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert "NaN or infinite" in _refusal(_settings(checkpoint), BundleError)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            (0, 0),
            ("ads: no ad has readable text. Check columns.description, or use other ads"),
        ),
        ((63, 9), "ads: 63 ads do not fill one batch of each worker (64 ads). Add more"),
        (
            (64, 1),
            (
                "ads: only 1 of 65 ads are held out, fewer than compute.num_workers. Add"
                " more ads"
            ),
        ),
    ],
)
def test_too_few_ads_are_refused(counts, message):
    settings = _settings(compute=PretrainComputeSettings(num_workers=2))
    with pytest.raises(InputError) as caught:
        check_counts(settings, *counts)
    assert str(caught.value).startswith(message)
    check_counts(settings, 64, 2)
