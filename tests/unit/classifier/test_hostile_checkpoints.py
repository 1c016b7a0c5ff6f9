"""Checkpoints that want more than to be read: nothing in them is executed, and nothing is fetched
for them."""

import json
import os
import pickle
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rubert_ood.classifier.checkpoint import (
    load_config,
    load_network,
    load_pretrained_tokenizer,
    max_positions,
)
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.errors import BundleError
from tests.unit.bundle.signed import edit

CODE = "import pathlib\npathlib.Path({marker!r}).touch()\nclass Planted: pass\n"


@pytest.fixture
def checkpoint(small_checkpoint, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture(autouse=True)
def offline(monkeypatch) -> list[tuple]:
    """Note every attempt to reach another machine, and let it fail."""
    attempts: list[tuple] = []

    def refuse(*arguments, **_):
        attempts.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    return attempts


@pytest.fixture
def marker(tmp_path, checkpoint) -> Path:
    """What appears when code of the checkpoint runs, of any of its modules."""
    path = tmp_path / "executed"
    names = (
        "modeling_planted",
        "configuration_planted",
        "tokenization_planted",
        "custom_generate/generate",
        "setup",
    )
    for name in names:
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / f"{name}.py").write_text(CODE.format(marker=str(path)))
    return path


AUTO_MAP = {
    "AutoConfig": "configuration_planted.Planted",
    "AutoModelForSequenceClassification": "modeling_planted.Planted",
}
REMOTE_MAP = {name: f"somebody/model--{value}" for name, value in AUTO_MAP.items()}
IGNORED = {
    "auto_map": {"auto_map": AUTO_MAP},
    "auto_map_of_a_hub": {"auto_map": REMOTE_MAP},
    "trust_remote_code": {"trust_remote_code": True, "auto_map": AUTO_MAP},
    "custom_pipelines": {
        "custom_pipelines": {"text": {"impl": "modeling_planted.Planted", "pt": ["x"]}}
    },
    "attention_internal": {
        "_attn_implementation_internal": "kernels-community/flash-attn"
    },
    "experts": {"_experts_implementation_internal": "kernels-community/megablocks"},
    "name": {"_name_or_path": "somebody/model"},
    "kernels": {
        "use_kernels": True,
        "kernel_config": {"RMSNorm": "somebody/kernel:RMSNorm"},
    },
}


@pytest.mark.parametrize("name", IGNORED)
def test_a_config_that_asks_for_code_is_loaded_without_it(
    checkpoint, marker, offline, name
):
    edit(checkpoint, "config.json", **IGNORED[name])
    ours = Classifier.load(str(checkpoint)).network
    assert type(ours).__module__ == "rubert_ood.classifier.bert"
    theirs = load_network(str(checkpoint))
    assert type(theirs).__module__ == "transformers.models.bert.modeling_bert"
    assert theirs.config._attn_implementation == "sdpa"
    assert not marker.exists()
    assert offline == []


REFUSED = {
    "kernel": (
        {"_attn_implementation": "kernels-community/flash-attn"},
        "asks for the attention 'kernels-community/f",
    ),
    "kernel_public": (
        {"attn_implementation": "kernels-community/flash-attn"},
        "asks for the attention",
    ),
    "kernel_function": (
        {"_attn_implementation": "somebody/kernel@v1:attention"},
        "asks for the attention",
    ),
    "flash": (
        {"attn_implementation": "flash_attention_2"},
        "asks for the attention 'flash_attention_2'",
    ),
    "attention_number": ({"_attn_implementation": 5}, "asks for the attention 5"),
    "quantised": (
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        "are quantised",
    ),
    "unknown_type": (
        {"model_type": "planted", "auto_map": AUTO_MAP},
        "the checkpoint does not load",
    ),
    "unknown_type_of_a_hub": (
        {"model_type": "planted", "auto_map": REMOTE_MAP},
        "the checkpoint does not load",
    ),
    "size_text": ({"hidden_size": "x"}, "the checkpoint does not load"),
    "activation": ({"hidden_act": "planted"}, "the checkpoint does not load"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_config_that_cannot_do_without_is_refused_in_one_line(
    checkpoint, marker, offline, name
):
    changes, message = REFUSED[name]
    edit(checkpoint, "config.json", **changes)
    with pytest.raises(BundleError, match=message) as caught:
        Classifier.load(str(checkpoint))
    assert str(caught.value).startswith(f"{checkpoint}: ")
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    assert offline == []


@pytest.mark.parametrize(
    "changes",
    [
        {
            "auto_map": {
                "AutoTokenizer": [
                    "tokenization_planted.Planted",
                    "tokenization_planted.Planted",
                ]
            }
        },
        {"auto_map": {"AutoTokenizer": ["somebody/model--t.P", "somebody/model--t.P"]}},
        {"tokenizer_class": "PlantedTokenizer"},
        {"tokenizer_class": "os.system"},
        {"chat_template": "{{ ''.__class__.__mro__ }}"},
        {"fix_mistral_regex": True},
    ],
)
def test_a_tokenizer_of_its_own_class_runs_no_code(checkpoint, marker, offline, changes):
    edit(checkpoint, "tokenizer_config.json", **changes)
    with suppress(BundleError):  # a class that is not known may be refused
        tokenizer = load_pretrained_tokenizer(str(checkpoint))
        assert tokenizer("диван")["input_ids"][0] == tokenizer.cls_token_id
    assert not marker.exists()
    assert offline == []


def test_an_adapter_beside_the_weights_is_refused_and_not_followed_to_its_base_model(
    checkpoint, offline
):
    adapter = {"base_model_name_or_path": "somebody/model", "peft_type": "LORA"}
    (checkpoint / "adapter_config.json").write_text(json.dumps(adapter))
    with pytest.raises(
        BundleError,
        match=r"holds an adapter, not a whole model. Merge it into its base model first",
    ):
        load_network(str(checkpoint))
    assert offline == []


class Planted:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("way", ["pickle", "torch", "torch_old", "in_a_state"])
def test_a_pytorch_bin_with_code_is_refused_and_not_executed(checkpoint, marker, way):
    weights = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    planted, path = Planted(str(marker)), checkpoint / "pytorch_model.bin"
    if way == "pickle":
        path.write_bytes(pickle.dumps(planted, protocol=2))
    else:
        content = (
            {**weights, "extra": planted} if way == "in_a_state" else {"weight": planted}
        )
        torch.save(content, path, _use_new_zipfile_serialization=way != "torch_old")
    with pytest.raises(BundleError, match="the checkpoint does not load") as caught:
        load_network(str(checkpoint), ["а", "б"])
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json"]
)
@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"\xff\xfe", b'"x"', b"{", b"[" * 100_000],
    ids=range(7),
)
def test_a_damaged_document_of_a_checkpoint_is_one_line(
    checkpoint, offline, name, content
):
    (checkpoint / name).write_bytes(content)
    load = load_config if name == "config.json" else load_pretrained_tokenizer
    with pytest.raises(BundleError) as caught:
        load(str(checkpoint))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert offline == []


@pytest.mark.parametrize("value", ["", {"a": 1}, [5]])
def test_a_tokenizer_that_loads_and_cannot_encode_is_one_line(checkpoint, value):
    edit(checkpoint, "tokenizer_config.json", model_max_length=value)
    with pytest.raises(BundleError, match="the checkpoint does not load"):
        load_pretrained_tokenizer(str(checkpoint))


def test_max_positions_come_from_a_checked_config(checkpoint):
    edit(checkpoint, "config.json", attn_implementation="kernels-community/flash-attn")
    with pytest.raises(BundleError, match="asks for the attention"):
        max_positions(str(checkpoint))
