import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    BertModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from rubert_ood.classifier.checkpoint import (
    load_network,
    load_tokenizer,
    max_positions,
)
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.tokens import length_batches, num_tokens, tokenize
from rubert_ood.errors import BundleError


@pytest.fixture
def checkpoint(small_checkpoint, tmp_path) -> str:
    """A copy that a test may damage."""
    return shutil.copytree(small_checkpoint, tmp_path / "checkpoint", dirs_exist_ok=True).as_posix()


@pytest.fixture(scope="module")
def texts(ad_texts) -> list[str]:
    return [*ad_texts[:70], "", "диван", "слово " * 400]


@pytest.fixture(scope="module")
def expected(small_checkpoint, one_by_one, texts):
    return one_by_one(small_checkpoint, texts, 196)


@pytest.mark.parametrize("token_budget", [1, 300, 4096, 10**6])
def test_classifier_run_in_any_batches_equals_one_ad_at_a_time(
    small_checkpoint, texts, expected, token_budget
):
    classifier = Classifier.load(small_checkpoint)
    ids = tokenize(classifier.tokenizer, texts, 196)
    logits_NC, cls_NH = classifier.run(ids, token_budget=token_budget)
    assert logits_NC.dtype == cls_NH.dtype == np.float32
    np.testing.assert_array_equal(logits_NC.argmax(1), expected[0].argmax(1))
    np.testing.assert_allclose(logits_NC, expected[0], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(cls_NH, expected[1], atol=1e-5, rtol=1e-5)
    assert len(set(expected[0].argmax(1))) > 2
    assert expected[0].std(axis=0).min() > 0.1


@pytest.fixture
def padded(small_checkpoint) -> Classifier:
    """The way of GPUs and of other architectures."""
    classifier = Classifier.load(small_checkpoint)
    classifier._packs = False
    return classifier


@pytest.mark.parametrize("token_budget", [1, 300, 10**6])
def test_classifier_run_padded_equals_one_ad_at_a_time(padded, texts, expected, token_budget):
    ids = tokenize(padded.tokenizer, texts, 196)
    for got, wanted in zip(padded.run(ids, token_budget=token_budget), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("token_budget", [1, 300, 10**6])
def test_classifier_counts_as_padding_what_the_network_sees_beside_tokens(
    padded, small_checkpoint, texts, token_budget
):
    masks = []
    padded.network.register_forward_pre_hook(
        lambda _, __, inputs: masks.append(inputs["attention_mask"]), with_kwargs=True
    )
    ids = tokenize(padded.tokenizer, texts, 196)
    padded.run(ids, token_budget=token_budget)
    assert padded.padded_tokens(ids, token_budget=token_budget) == sum(
        int((mask == 0).sum()) for mask in masks
    )
    assert sum(int(mask.sum()) for mask in masks) == num_tokens(ids).sum()
    assert Classifier.load(small_checkpoint).padded_tokens(ids, token_budget=token_budget) == 0
    assert padded.padded_tokens(tokenize(padded.tokenizer, [], 196), token_budget=token_budget) == 0


def test_classifier_pads_other_architectures(small_checkpoint, texts):
    config = RobertaConfig(
        vocab_size=1000, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_labels=5
    )
    tokenizer = load_tokenizer(small_checkpoint)
    network = RobertaForSequenceClassification(config)
    classifier = Classifier(network, tokenizer, choose_device(False))
    ids = tokenize(tokenizer, texts[:20], 196)
    logits_NC, cls_NH = classifier.run(ids, token_budget=500)
    for row, one in enumerate(ids.to_pylist()):
        with torch.no_grad():
            output = network(input_ids=torch.tensor([one]), output_hidden_states=True)
        np.testing.assert_allclose(logits_NC[row], output.logits[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(cls_NH[row], output.hidden_states[-1][0, 0].numpy(), atol=1e-5)


def test_classifier_runs_each_layer_once_a_batch_and_the_last_on_cls_alone(small_checkpoint, texts):
    classifier = Classifier.load(small_checkpoint)
    rows: dict[str, list[int]] = {}
    *_, before, last = classifier.network.bert.encoder.layer
    for name, module in (
        ("before", before.intermediate),
        ("last", last.intermediate),
        ("pooler", classifier.network.bert.pooler),
    ):
        module.register_forward_hook(
            lambda _, inputs, __, name=name: rows.setdefault(name, []).append(len(inputs[0]))
        )
    ids = tokenize(classifier.tokenizer, texts, 196)
    classifier.run(ids, token_budget=700)
    batches = length_batches(num_tokens(ids), 700)
    assert len(batches) > 3
    assert sorted(rows["before"]) == sorted(
        num_tokens(ids)[batch].sum() for batch in batches
    )  # threads, any order
    assert sorted(rows["last"]) == sorted(rows["pooler"]) == sorted(len(batch) for batch in batches)


def test_classifier_run_of_no_texts_gives_empty_arrays(small_checkpoint):
    classifier = Classifier.load(small_checkpoint)
    logits_NC, cls_NH = classifier.run(tokenize(classifier.tokenizer, [], 196), token_budget=100)
    assert logits_NC.shape == (0, 5)
    assert cls_NH.shape == (0, 32)


def test_classifier_run_has_no_gradient_and_no_dropout(small_checkpoint):
    classifier = Classifier(
        load_network(small_checkpoint).train(),
        load_tokenizer(small_checkpoint),
        choose_device(False),
    )
    assert not classifier.network.training
    ids_NL = torch.tensor([[2, 5, 3]])
    logits_NC, cls_NH = classifier.forward(ids_NL, torch.ones_like(ids_NL))
    assert not logits_NC.requires_grad
    assert not cls_NH.requires_grad


def test_classifier_of_pytorch_bin_equals_that_of_safetensors(checkpoint, texts, expected):
    weights = os.path.join(checkpoint, "model.safetensors")
    torch.save(load_file(weights), os.path.join(checkpoint, "pytorch_model.bin"))
    os.unlink(weights)
    classifier = Classifier.load(checkpoint)
    logits_NC, cls_NH = classifier.run(
        tokenize(classifier.tokenizer, texts, 196), token_budget=4096
    )
    np.testing.assert_allclose(logits_NC, expected[0], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(cls_NH, expected[1], atol=1e-5, rtol=1e-5)


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
def test_load_network_does_not_execute_code_inside_a_checkpoint(checkpoint, tmp_path, model_type):
    marker = tmp_path / "executed"
    code = f"open({str(marker)!r}, 'w').close()\nclass Planted: pass\n"
    for name in ("modeling_planted.py", "configuration_planted.py", "tokenization_planted.py"):
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
            "AutoTokenizer": ["tokenization_planted.Planted", "tokenization_planted.Planted"]
        },
    )
    if model_type == "bert":
        assert type(Classifier.load(checkpoint).network).__name__ == "BertForSequenceClassification"
    else:
        with pytest.raises(BundleError, match="checkpoint"):
            Classifier.load(checkpoint)
    assert not marker.exists()


def test_load_network_of_a_missing_folder_is_one_line(tmp_path):
    folder = str(tmp_path / "nothing")
    for load in (load_network, load_tokenizer, max_positions):
        with pytest.raises(BundleError) as error:
            load(folder)
        assert str(error.value).startswith(f"{folder}: no checkpoint that loads")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_load_network_of_damaged_weights_is_a_bundle_error(checkpoint, damage):
    path = os.path.join(checkpoint, "model.safetensors")
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write({"cut": data[:-1000], "empty": b"", "noise": b"\xff" * 64}[damage])
    with pytest.raises(BundleError, match="no checkpoint that loads"):
        load_network(checkpoint)


def test_load_tokenizer_without_cls_first_is_refused(checkpoint):
    path = os.path.join(checkpoint, "tokenizer.json")
    _edit(path, post_processor=None)
    tokenizer_class = {"tokenizer_class": "PreTrainedTokenizerFast"}
    _edit(os.path.join(checkpoint, "tokenizer_config.json"), **tokenizer_class)
    with pytest.raises(BundleError, match="puts no CLS token first"):
        load_tokenizer(checkpoint)


def test_max_positions_come_from_config_and_tokenizer(small_checkpoint, tmp_path):
    assert max_positions(small_checkpoint) == 512
    RobertaConfig(max_position_embeddings=514).save_pretrained(tmp_path)
    assert max_positions(str(tmp_path)) == 512


def test_load_network_with_other_labels_gets_a_new_head_on_the_same_encoder(small_checkpoint):
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


def _edit(path: str, **changes) -> None:
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content | changes, file, ensure_ascii=False)


def test_classifier_threads_have_own_batches_and_give_the_same_bits(small_checkpoint, texts):
    classifier = Classifier.load(small_checkpoint)
    ids = tokenize(classifier.tokenizer, texts, 196)
    threads: list[int] = []
    pack = classifier._forward_packed
    classifier._forward_packed = lambda *batch: (
        threads.append(torch.get_num_threads()) or pack(*batch)
    )
    before = torch.get_num_threads()
    try:
        outputs = []
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            outputs.append(classifier.run(ids, token_budget=300))
            assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}
    for one, *others in zip(*outputs, strict=True):
        assert all(np.array_equal(one, other) for other in others)


def test_classifier_gives_a_single_batch_all_threads(small_checkpoint, texts):
    classifier = Classifier.load(small_checkpoint)
    threads: list[int] = []
    pack = classifier._forward_packed
    classifier._forward_packed = lambda *batch: (
        threads.append(torch.get_num_threads()) or pack(*batch)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        classifier.run(tokenize(classifier.tokenizer, texts[:3], 196), token_budget=10**6)
    finally:
        torch.set_num_threads(before)
    assert threads == [2]
