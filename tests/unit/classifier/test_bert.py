"""Our BERT beside that of transformers, of the same folder: the same bits by the packed pass, the
numbers of transformers' own pass; whatever is unusual is left to transformers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from rubert_ood.classifier import bert, onednn
from rubert_ood.classifier.checkpoint import load_for_scoring, load_network
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.precision import Device
from rubert_ood.errors import BundleError
from tests.unit.bundle.signed import edit

SHAPES = {
    "small": {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2},
    "one head": {"hidden_size": 16, "num_attention_heads": 1, "num_hidden_layers": 1},
    "deep": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 5},
}
VOCAB, PLACES, CLASSES = 60, 40, 4


def save(folder: Path, shape: str = "small", **changes) -> str:
    """Write a random BERT of transformers whose numbers are large enough to tell steps apart."""
    options = {
        "vocab_size": VOCAB,
        "intermediate_size": 44,
        "max_position_embeddings": PLACES,
        "initializer_range": 0.3,
        "num_labels": CLASSES,
        "layer_norm_eps": 1e-3,
    }
    torch.manual_seed(0)
    config = BertConfig(**(options | SHAPES[shape] | changes))
    network = BertForSequenceClassification(config)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "LayerNorm" in name or name.endswith("bias"):
                weight.add_(torch.randn_like(weight) * 0.2)
    network.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def ids() -> pa.ListArray:
    rng = np.random.default_rng(1)
    lengths = [1, 3, 3, 9, PLACES, 12, 9]
    return pa.array([rng.integers(0, VOCAB, length) for length in lengths])


def answers(network, ids: pa.ListArray, precision: str) -> list[torch.Tensor]:
    """Return logits, CLS and token means by the packed pass."""
    classifier = Classifier(network, None, Device(torch.device("cpu"), precision))
    return list(classifier.outputs(ids, token_budget=30))


@pytest.mark.parametrize("has_onednn", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_network_gives_the_bits_of_transformers_modules(
    tmp_path, ids, monkeypatch, shape, precision, has_onednn
):
    if not has_onednn:
        monkeypatch.setattr(onednn, "can_use", lambda *_: False)
    folder = save(tmp_path, shape)
    ours = answers(bert.load(folder), ids, precision)
    theirs = answers(load_network(folder), ids, precision)
    for got, wanted in zip(ours, theirs, strict=True):
        assert torch.equal(got, wanted)
        assert wanted.std() > 0.01


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("activation", bert.ACTIVATIONS)
def test_network_of_each_activation_is_that_of_transformers(
    tmp_path, ids, activation, precision
):
    folder = save(tmp_path, hidden_act=activation)
    ours = answers(bert.load(folder), ids, precision)
    theirs = answers(load_network(folder), ids, precision)
    for got, wanted in zip(ours, theirs, strict=True):
        assert torch.equal(got, wanted)
    if precision == "fp32":
        own = by_transformers(folder, ids)
        for got, wanted in zip(ours, own, strict=True):
            torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def by_transformers(folder: str, ids: pa.ListArray) -> list[torch.Tensor]:
    """Return the same by transformers alone, one ad at a time."""
    network = BertForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    for one in ids.to_pylist():
        with torch.inference_mode():
            found = network(torch.tensor([one]), output_hidden_states=True)
        *_, before, last = found.hidden_states
        rows.append((found.logits[0], last[0, 0], before[0].mean(0)))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("stored", [torch.float64, torch.float16, torch.bfloat16])
def test_load_makes_fp32_of_whatever_is_stored(copy, stored):
    path = copy / "model.safetensors"
    narrow = {name: weight.to(stored) for name, weight in load_file(path).items()}
    save_file(narrow, path, {"format": "pt"})
    found, theirs = bert.load(str(copy)).state_dict(), load_network(str(copy))
    assert set(found) == set(theirs.state_dict())
    for name, weight in theirs.state_dict().items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], weight), name


UNUSUAL = {
    "decoder": {"is_decoder": True},
    "cross attention": {"add_cross_attention": True},
    "relative places": {"position_embedding_type": "relative_key"},
    "quantised": {"quantization_config": {"quant_method": "gptq"}},
    "attention": {"attn_implementation": "somebody/kernel"},
    "attention of older files": {"_attn_implementation": "somebody/kernel"},
    "weights elsewhere": {"transformers_weights": "other.safetensors"},
    "config elsewhere": {"configuration_files": ["config.4.0.0.json"]},
    "heads that were cut": {"pruned_heads": {"0": [1]}},
    "layers that differ": {"per_layer_config": {"0": {"hidden_act": "relu"}}},
    "activation": {"hidden_act": "laplace"},
    "task": {"architectures": ["BertModel"]},
    "two tasks": {"architectures": ["BertForSequenceClassification", "BertModel"]},
    "type": {"model_type": "roberta"},
    "no labels": {"id2label": {}},
    "other number of labels": {"id2label": {"0": "а"}},
    "number of labels beside them": {"num_labels": 3},
    "heads that do not fit": {"num_attention_heads": 5},
    "size in words": {"hidden_size": "24"},
    "size of nothing": {"vocab_size": 0},
    "more layers than any": {"num_hidden_layers": 10**9},
    "layers that the file lacks": {"num_hidden_layers": 3},
    "layers that the file has beside them": {"num_hidden_layers": 1},
    "no size": {"intermediate_size": None},
    "eps": {"layer_norm_eps": -1.0},
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_load_leaves_an_unusual_config_to_transformers(copy, name):
    assert bert.load(str(copy)) is not None
    edit(copy, "config.json", **UNUSUAL[name])
    assert bert.load(str(copy)) is None


def test_load_takes_a_config_without_the_keys_that_mean_nothing_else(copy):
    path = copy / "config.json"
    kept = set(bert.BertConfig.model_fields)
    content = json.loads(path.read_text("utf-8"))
    plain = {name: value for name, value in content.items() if name in kept}
    path.write_text(json.dumps(plain | {"directionality": "bidi"}), "utf-8")
    assert bert.load(str(copy)) is not None


def test_load_leaves_an_adapter_and_missing_files_to_transformers(copy, tmp_path):
    assert bert.load(str(tmp_path)) is None
    assert bert.load("somebody/model") is None
    (copy / "adapter_config.json").write_text("{}")
    assert bert.load(str(copy)) is None


FIRST = "bert.encoder.layer.0.attention.self.query.bias"
MISSING = "1 weight missing or of another shape"
DAMAGES = {
    "missing": ({FIRST: None}, f"the checkpoint has {MISSING}, such as {FIRST}"),
    "shape": ({FIRST: torch.ones(23)}, f"the checkpoint has {MISSING}, such as {FIRST}"),
    "unknown": (
        {"bert.planted": torch.ones(2)},
        "has 1 weight that config.json does not describe, such as bert.planted",
    ),
    "nan": ({FIRST: torch.full((24,), torch.nan)}, f"the weight {FIRST} holds NaN"),
    "infinite": ({FIRST: torch.full((24,), torch.inf)}, f"the weight {FIRST} holds NaN"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_weights_that_do_not_fit_are_refused_in_one_line(copy, name):
    changes, message = DAMAGES[name]
    path = copy / "model.safetensors"
    weights = load_file(path) | changes
    kept = {key: weight for key, weight in weights.items() if weight is not None}
    save_file(kept, path, {"format": "pt"})
    assert bert.load(str(copy)) is None
    with pytest.raises(BundleError, match=message) as caught:
        load_for_scoring(str(copy))
    assert str(caught.value).startswith(f"{copy}: ")
    assert "\n" not in str(caught.value)


def test_weights_that_are_whole_numbers_are_left_to_transformers(copy):
    path = copy / "model.safetensors"
    whole = {FIRST: torch.ones(24, dtype=torch.int64)}
    save_file(load_file(path) | whole, path, {"format": "pt"})
    assert bert.load(str(copy)) is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_load_leaves_a_damaged_file_to_transformers(copy, name, content):
    (copy / name).write_bytes(content)
    assert bert.load(str(copy)) is None
