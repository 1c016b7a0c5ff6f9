"""What would fail in every attempt to train is one line before the first; no Ray is started
here."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertForPreTraining,
    BertModel,
    RobertaConfig,
    RobertaModel,
)

from rubert_ood.ads.dataset import Dataset, LabelledAds
from rubert_ood.ads.text import TextCleaner
from rubert_ood.classifier.checkpoint import load_network
from rubert_ood.errors import BundleError, SchemaError, SettingsError
from rubert_ood.settings import TextSettings, TrainingComputeSettings, TrainSettings
from rubert_ood.training import preflight
from rubert_ood.training.preflight import (
    check_training,
    precision_of_training,
    precision_of_workers,
)
from tests.unit.bundle.signed import edit

LABELS = ["а", "б", "в"]


@pytest.fixture
def checkpoint(small_checkpoint, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def settings(checkpoint, tmp_path) -> TrainSettings:
    return TrainSettings(
        input_uri="unused", output_uri=str(tmp_path), base_model=str(checkpoint)
    )


def part(rows: int) -> LabelledAds:
    return LabelledAds(
        [f"вещь {row}" for row in range(rows)], np.arange(rows) % len(LABELS)
    )


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(LABELS, TextCleaner(), part(48), part(6), part(6))


def _line(error: type[Exception], dataset: Dataset, settings: TrainSettings) -> str:
    with pytest.raises(error) as caught:
        check_training(dataset, settings)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_base_model_that_fits_passes_and_says_which_weights_are_new(
    dataset, settings, caplog
):
    caplog.set_level("INFO")
    check_training(dataset, settings)
    assert [record.getMessage() for record in caplog.records] == [
        (
            f"train     starts these weights anew, which {settings.base_model} does"
            " not have: classifier.bias, classifier.weight"
        )
    ]


@pytest.mark.parametrize(
    ("num_valid", "num_calibration", "name"), [(1, None, "valid"), (6, 1, "calibration")]
)
def test_preflight_refuses_one_row_to_calibrate_on(
    dataset, settings, num_valid, num_calibration, name
):
    calibration = None if num_calibration is None else part(num_calibration)
    few = dataclasses.replace(dataset, valid=part(num_valid), calibration=calibration)
    assert _line(SchemaError, few, settings) == (
        f"thresholds need at least 2 {name} ads with text, and there are 1. Add more"
    )


def test_preflight_accepts_one_valid_row_beside_a_calibration_split(dataset, settings):
    check_training(
        dataclasses.replace(dataset, valid=part(1), calibration=part(2)), settings
    )


def test_preflight_refuses_classes_of_one_text_each(dataset, settings):
    same = LabelledAds(["а", "б", "в"] * 16, np.arange(48) % 3)
    line = _line(SchemaError, dataclasses.replace(dataset, train=same), settings)
    assert line.startswith("no class has two different training texts")


def test_preflight_refuses_fewer_ads_than_a_batch_of_every_worker(dataset, settings):
    four = settings.model_copy(update={"compute": TrainingComputeSettings(num_workers=4)})
    assert _line(SchemaError, dataset, four).startswith(
        "48 training ads do not fill one batch of each worker (64 ads). Add more"
        " ads, or lower"
    )


def test_preflight_refuses_more_tokens_than_positions(dataset, settings):
    long = settings.model_copy(update={"text": TextSettings(max_length=513)})
    assert (
        _line(SettingsError, dataset, long)
        == "text.max_length: the model reads at most 512 tokens, and 513 are set."
        " Lower text.max_length"
    )


def test_preflight_refuses_a_tokenizer_without_pad_token(dataset, settings, checkpoint):
    edit(
        checkpoint,
        "tokenizer_config.json",
        del_pad_token=0,
        tokenizer_class="PreTrainedTokenizerFast",
    )
    assert _line(BundleError, dataset, settings) == (
        f"{checkpoint}: the tokenizer has no pad token. Set pad_token in"
        " tokenizer_config.json"
    )


def test_preflight_refuses_ids_beyond_the_embedding(dataset, settings, checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    key = "bert.embeddings.word_embeddings.weight"
    weights[key] = weights[key][:300].clone()
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    edit(checkpoint, "config.json", vocab_size=300)
    largest = len(AutoTokenizer.from_pretrained(checkpoint)) - 1
    assert _line(BundleError, dataset, settings) == (
        f"{checkpoint}: token ids go up to {largest}, but the network has"
        " embeddings for 0 to 299. Use the tokenizer of this network"
    )


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            3,
            (
                "has 16 weights missing or of another shape, such as"
                " bert.encoder.layer.2.attention.output.LayerNorm.bias"
            ),
        ),
        (
            1,
            (
                "has 16 weights that config.json does not describe, such as"
                " bert.encoder.layer.1.attention.output.LayerNorm.bias"
            ),
        ),
    ],
)
def test_preflight_refuses_missing_layers_and_too_many(
    dataset, settings, checkpoint, layers, message
):
    edit(checkpoint, "config.json", num_hidden_layers=layers)
    assert (
        _line(BundleError, dataset, settings)
        == f"{checkpoint}: the checkpoint {message}. Use a complete checkpoint"
    )


def test_preflight_refuses_weights_that_are_not_finite(dataset, settings, checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.bias"][3] = float("inf")
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    assert (
        "the weight bert.encoder.layer.0.output.dense.bias holds NaN or infinite numbers"
    ) in _line(BundleError, dataset, settings)


def test_a_network_that_fails_on_long_texts_is_found_by_running_it(
    dataset, settings, checkpoint, monkeypatch
):
    monkeypatch.setattr(preflight, "max_positions", lambda uri: 4096)
    long = settings.model_copy(update={"text": TextSettings(max_length=600)})
    assert _line(BundleError, dataset, long).startswith(
        f"{checkpoint}: the network fails on a text of 600 tokens ("
    )


def test_preflight_refuses_a_base_model_that_is_missing(dataset, settings):
    gone = settings.model_copy(update={"base_model": f"{settings.base_model}-gone"})
    assert "-gone: this folder does not exist" in _line(BundleError, dataset, gone)


@pytest.mark.parametrize("kind", [BertModel, BertForPreTraining, AutoModelForMaskedLM])
def test_a_checkpoint_of_another_task_gets_a_head_and_keeps_its_encoder(
    small_checkpoint, tmp_path, caplog, kind
):
    torch.manual_seed(0)
    kind.from_pretrained(small_checkpoint).save_pretrained(tmp_path)
    caplog.set_level("INFO")
    network = load_network(str(tmp_path), LABELS)
    before = load_file(Path(small_checkpoint, "model.safetensors"))
    for name, weight in network.bert.encoder.state_dict().items():
        assert torch.equal(weight, before[f"bert.encoder.{name}"]), name
    (line,) = [record.getMessage() for record in caplog.records]
    pooler = (
        "bert.pooler.dense.bias, bert.pooler.dense.weight, "
        if kind is AutoModelForMaskedLM
        else ""
    )
    assert line.endswith(f": {pooler}classifier.bias, classifier.weight")


SMALL = {
    "vocab_size": 40,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        ("roberta", SMALL | {"hidden_size": 16}),
        ("xlm-roberta", SMALL | {"hidden_size": 16}),
        ("electra", SMALL | {"hidden_size": 16, "embedding_size": 8}),
        ("albert", SMALL | {"hidden_size": 16, "embedding_size": 8}),
        ("deberta-v2", SMALL | {"hidden_size": 16}),
        (
            "distilbert",
            {"vocab_size": 40, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 8},
        ),
    ],
)
def test_other_encoders_get_a_head_and_come_back_whole(tmp_path, model_type, sizes):
    AutoModel.from_config(AutoConfig.for_model(model_type, **sizes)).save_pretrained(
        tmp_path / "encoder"
    )
    network = load_network(str(tmp_path / "encoder"), LABELS)
    network.save_pretrained(tmp_path / "classifier")
    again = load_network(str(tmp_path / "classifier"))
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert again.config.id2label == dict(enumerate(LABELS))


SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
READ_PADDING = {
    "convbert": {
        "embedding_size": 16,
        "num_attention_heads": 4,
        "initializer_range": 0.3,
    },
    "fnet": {},
    "xlnet": {"n_layer": 2, "d_model": 16, "n_head": 2, "d_inner": 32},
}


@pytest.mark.parametrize("model_type", READ_PADDING)
def test_preflight_refuses_an_encoder_that_reads_padding(
    dataset, settings, checkpoint, model_type
):
    sizes = SIZES | READ_PADDING[model_type]
    config = AutoConfig.for_model(model_type, vocab_size=1000, **sizes)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(checkpoint)
    short = settings.model_copy(update={"text": TextSettings(max_length=32)})
    assert _line(BundleError, dataset, short) == (
        f"{checkpoint}: the network reads padding as if it were text, so that scores"
        " depend on the batch. Use a BERT-type checkpoint"
    )


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        ("electra", SIZES | {"embedding_size": 16, "num_attention_heads": 4}),
        ("deberta-v2", SIZES | {"num_attention_heads": 4}),
    ],
)
def test_preflight_accepts_an_encoder_that_reads_no_padding(
    dataset, settings, checkpoint, model_type, sizes
):
    config = AutoConfig.for_model(model_type, vocab_size=1000, **sizes)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(checkpoint)
    check_training(dataset, settings)


def test_weights_of_another_architecture_are_refused(
    tmp_path, checkpoint, dataset, settings
):
    RobertaModel(RobertaConfig(**SMALL, hidden_size=16)).save_pretrained(
        tmp_path / "other"
    )
    shutil.copyfile(
        tmp_path / "other" / "model.safetensors", checkpoint / "model.safetensors"
    )
    assert "the checkpoint has " in _line(BundleError, dataset, settings)


def test_a_classifier_with_a_layer_missing_is_never_loaded_with_random_numbers(
    checkpoint,
):
    mapped = load_file(checkpoint / "model.safetensors")
    # copies: the file that these are mapped from is written over
    weights = {key: tensor.clone() for key, tensor in mapped.items()}
    for name in (
        "classifier.weight",
        "bert.pooler.dense.weight",
        "bert.encoder.layer.0.output.dense.weight",
    ):
        save_file(
            {key: value for key, value in weights.items() if key != name},
            checkpoint / "model.safetensors",
        )
        with pytest.raises(
            BundleError,
            match=f"has 1 weight missing or of another shape, such as {name}",
        ):
            load_network(str(checkpoint))


@pytest.mark.parametrize(
    ("use_gpu", "wanted", "expected"),
    [
        (False, None, "fp32"),
        (False, "int8", "fp32"),
        (False, "bf16", "fp32"),
        (True, None, None),
        (True, "int8", None),
        (True, "bf16", "bf16"),
        (True, "fp32", "fp32"),
    ],
)
def test_training_on_cpu_is_fp32_and_on_gpu_what_is_wanted(use_gpu, wanted, expected):
    compute = TrainingComputeSettings(use_gpu=use_gpu, precision=wanted)
    assert precision_of_training(compute) == expected


def test_on_cpu_the_precision_needs_nobody_to_be_asked():
    assert precision_of_workers(TrainingComputeSettings()) == "fp32"
    assert precision_of_workers(TrainingComputeSettings(precision="int8")) == "int8"


@pytest.mark.parametrize(
    ("gpu", "bf16", "wanted", "expected"),
    [
        (True, True, None, "bf16"),
        (True, False, None, "fp32"),
        (
            True,
            False,
            "bf16",
            (
                "compute.precision: this GPU does not support bf16. Train with"
                " compute.precision fp32"
            ),
        ),
        (True, False, "int8", "int8"),
        (
            False,
            False,
            None,
            (
                "compute.use_gpu: torch finds no GPU on this machine. Set it to false, or"
                " install a GPU build of torch"
            ),
        ),
    ],
)
def test_a_worker_with_a_gpu_is_asked_what_it_has(
    monkeypatch, gpu, bf16, wanted, expected
):
    class Remote:
        """Runs at once what Ray would run on a worker."""

        def __init__(self, **resources):
            assert resources == {"num_gpus": 1, "num_cpus": 1, "max_retries": 2}

        def __call__(self, function):
            self.remote = function
            return self

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    monkeypatch.setattr(preflight.ray, "remote", Remote)
    monkeypatch.setattr(preflight.ray, "get", lambda answer: answer)
    monkeypatch.setattr(preflight.ray, "cluster_resources", lambda: {"CPU": 4, "GPU": 1})
    compute = TrainingComputeSettings(use_gpu=True, precision=wanted)
    if expected in ("bf16", "fp32", "int8"):
        assert precision_of_workers(compute) == expected
    else:
        with pytest.raises(SettingsError, match=expected):
            precision_of_workers(compute)


def test_the_tokenizer_config_of_the_test_has_a_pad_token(checkpoint):
    """Otherwise the test above would delete nothing."""
    assert (
        json.loads((checkpoint / "tokenizer_config.json").read_text())["pad_token"]
        == "[PAD]"
    )
