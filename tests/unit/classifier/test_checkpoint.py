import json
import logging
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertModel,
    RobertaConfig,
)

from rubert_ood.classifier.checkpoint import (
    load_config,
    load_for_pretraining,
    load_network,
    load_pretrained_tokenizer,
    max_positions,
)
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.errors import BundleError


@pytest.fixture
def checkpoint(small_checkpoint, tmp_path) -> str:
    """A copy that a test may damage."""
    return shutil.copytree(
        small_checkpoint, tmp_path / "checkpoint", dirs_exist_ok=True
    ).as_posix()


def _edit(path: str, **changes) -> None:
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content | changes, file, ensure_ascii=False)


class Planted:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_load_network_does_not_execute_a_pickle_with_code(checkpoint, tmp_path):
    marker = str(tmp_path / "executed")
    os.unlink(os.path.join(checkpoint, "model.safetensors"))
    with open(os.path.join(checkpoint, "pytorch_model.bin"), "wb") as file:
        pickle.dump(Planted(marker), file, protocol=2)
    with pytest.raises(BundleError, match="checkpoint"):
        Classifier.load(checkpoint)
    torch.save({"weight": Planted(marker)}, os.path.join(checkpoint, "pytorch_model.bin"))
    with pytest.raises(BundleError, match="checkpoint"):
        Classifier.load(checkpoint)
    assert not os.path.exists(marker)


@pytest.mark.parametrize("model_type", ["bert", "planted"])
def test_load_network_does_not_execute_code_inside_a_checkpoint(
    checkpoint, tmp_path, model_type
):
    marker = tmp_path / "executed"
    code = f"open({str(marker)!r}, 'w').close()\nclass Planted: pass\n"
    for name in (
        "modeling_planted.py",
        "configuration_planted.py",
        "tokenization_planted.py",
    ):
        with open(os.path.join(checkpoint, name), "w") as file:
            file.write(code)
    _edit(
        os.path.join(checkpoint, "config.json"),
        model_type=model_type,
        auto_map={
            "AutoConfig": "configuration_planted.Planted",
            "AutoModelForSequenceClassification": "modeling_planted.Planted",
        },
    )
    _edit(
        os.path.join(checkpoint, "tokenizer_config.json"),
        auto_map={
            "AutoTokenizer": [
                "tokenization_planted.Planted",
                "tokenization_planted.Planted",
            ]
        },
    )
    if model_type == "bert":
        assert (
            type(Classifier.load(checkpoint).network).__name__
            == "BertForSequenceClassification"
        )
    else:
        with pytest.raises(BundleError, match="checkpoint"):
            Classifier.load(checkpoint)
    assert not marker.exists()


def test_load_network_of_a_missing_folder_is_one_line(tmp_path):
    folder = str(tmp_path / "nothing")
    for load in (load_network, load_pretrained_tokenizer, max_positions):
        with pytest.raises(BundleError) as error:
            load(folder)
        assert str(error.value).startswith(f"{folder}: this folder does not exist. Use")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_load_network_of_damaged_weights_is_a_bundle_error(checkpoint, damage):
    path = os.path.join(checkpoint, "model.safetensors")
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write({"cut": data[:-1000], "empty": b"", "noise": b"\xff" * 64}[damage])
    with pytest.raises(BundleError, match="the checkpoint does not load"):
        load_network(checkpoint)


def test_load_tokenizer_without_cls_first_is_refused(checkpoint):
    path = os.path.join(checkpoint, "tokenizer.json")
    _edit(path, post_processor=None)
    tokenizer_class = {"tokenizer_class": "PreTrainedTokenizerFast"}
    _edit(os.path.join(checkpoint, "tokenizer_config.json"), **tokenizer_class)
    with pytest.raises(BundleError, match="does not put a CLS token first"):
        load_pretrained_tokenizer(checkpoint)


def test_max_positions_come_from_config_and_tokenizer(small_checkpoint, tmp_path):
    assert max_positions(small_checkpoint) == 512
    RobertaConfig(max_position_embeddings=514).save_pretrained(tmp_path)
    assert max_positions(str(tmp_path)) == 512


def test_load_network_with_other_labels_gets_a_new_head_on_the_same_encoder(
    small_checkpoint,
):
    labels = ["а", "б", "в"]
    network = load_network(small_checkpoint, labels)
    older = AutoModelForSequenceClassification.from_pretrained(small_checkpoint)
    assert network.classifier.weight.shape == (3, 32)
    assert network.config.id2label == dict(enumerate(labels))
    assert network.config.label2id == {"а": 0, "б": 1, "в": 2}
    for name, weight in older.bert.state_dict().items():
        assert torch.equal(weight, network.bert.state_dict()[name]), name


def test_load_network_of_a_bare_encoder_gets_a_head(small_checkpoint, tmp_path):
    BertModel.from_pretrained(small_checkpoint).save_pretrained(tmp_path)
    network = load_network(str(tmp_path), ["а", "б"])
    assert network.classifier.weight.shape == (2, 32)
    word_embeddings = load_file(os.path.join(small_checkpoint, "model.safetensors"))[
        "bert.embeddings.word_embeddings.weight"
    ]
    assert torch.equal(network.bert.embeddings.word_embeddings.weight, word_embeddings)


def test_load_network_gives_the_labels_of_a_saved_head(small_checkpoint):
    assert load_network(small_checkpoint).config.id2label[1] == "Квартиры"


def test_load_for_pretraining_takes_head_and_pooler_and_makes_what_is_missing(
    checkpoint, tmp_path
):
    torch.manual_seed(0)
    first = load_for_pretraining(checkpoint)  # of a classifier: it has no output of words
    weights = load_file(os.path.join(checkpoint, "model.safetensors"))
    for name in ("bert.pooler.dense.weight", "bert.embeddings.word_embeddings.weight"):
        assert torch.equal(first.state_dict()[name], weights[name])
    decoder = first.cls.predictions.decoder.weight
    assert decoder is first.bert.embeddings.word_embeddings.weight
    first.save_pretrained(tmp_path / "first")
    second = load_for_pretraining(str(tmp_path / "first"))
    for name, weight in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], weight), name


def test_hub_that_is_not_reached_is_one_line(monkeypatch):
    """Without a line for each try, and with one full stop."""
    logger = logging.getLogger("huggingface_hub")
    logger.setLevel(logging.WARNING)
    shown = []

    def unreachable(*_, **__):
        shown.append(logger.getChild("utils._http").isEnabledFor(logging.WARNING))
        raise OSError("We couldn't connect to the hub.")

    monkeypatch.setattr(AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(BundleError) as caught:
        load_config("DeepPavlov/rubert-base-cased")
    assert shown == [False]
    assert str(caught.value) == (
        "DeepPavlov/rubert-base-cased: the checkpoint does not load: We couldn't connect"
        " to the hub. Check the hub name, folder or s3:// URI"
    )
