import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    RobertaConfig,
    RobertaForSequenceClassification,
)

from rubert_ood.classifier.checkpoint import (
    load_network,
)
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.classifier.tokens import num_tokens, packed_batches, tokenize
from tests.small_model import padded_classifier


@pytest.fixture
def checkpoint(small_checkpoint, tmp_path) -> str:
    """A copy that a test may damage."""
    return shutil.copytree(
        small_checkpoint, tmp_path / "checkpoint", dirs_exist_ok=True
    ).as_posix()


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
    logits_NC, cls_NH, _ = classifier.run(ids, token_budget=token_budget)
    assert logits_NC.dtype == cls_NH.dtype == np.float32
    np.testing.assert_array_equal(logits_NC.argmax(1), expected[0].argmax(1))
    np.testing.assert_allclose(logits_NC, expected[0], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(cls_NH, expected[1], atol=1e-5, rtol=1e-5)
    assert len(set(expected[0].argmax(1))) > 2
    assert expected[0].std(axis=0).min() > 0.1


@pytest.fixture
def padded(small_checkpoint) -> Classifier:
    return padded_classifier(small_checkpoint)


@pytest.mark.parametrize("token_budget", [1, 300, 10**6])
def test_classifier_run_padded_equals_one_ad_at_a_time(
    padded, texts, expected, token_budget
):
    ids = tokenize(padded.tokenizer, texts, 196)
    for got, wanted in zip(
        padded.run(ids, token_budget=token_budget), expected, strict=True
    ):
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
    assert (
        Classifier.load(small_checkpoint).padded_tokens(ids, token_budget=token_budget)
        == 0
    )
    assert (
        padded.padded_tokens(
            tokenize(padded.tokenizer, [], 196), token_budget=token_budget
        )
        == 0
    )


def test_classifier_pads_other_architectures(small_checkpoint, texts):
    config = RobertaConfig(
        vocab_size=1000,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=5,
    )
    tokenizer = load_tokenizer(small_checkpoint)
    network = RobertaForSequenceClassification(config)
    classifier = Classifier(network, tokenizer, choose_device(False))
    ids = tokenize(tokenizer, texts[:20], 196)
    logits_NC, cls_NH, _ = classifier.run(ids, token_budget=500)
    for row, one in enumerate(ids.to_pylist()):
        with torch.no_grad():
            output = network(input_ids=torch.tensor([one]), output_hidden_states=True)
        np.testing.assert_allclose(logits_NC[row], output.logits[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(
            cls_NH[row], output.hidden_states[-1][0, 0].numpy(), atol=1e-5
        )


def test_classifier_runs_each_layer_once_a_batch_and_the_last_on_cls_alone(
    small_checkpoint, texts
):
    classifier = Classifier.load(small_checkpoint)
    rows: dict[str, list[int]] = {}
    *_, before, last = classifier.network.bert.encoder.layer
    for name, module in (
        ("before", before.intermediate),
        ("last", last.intermediate),
        ("pooler", classifier.network.bert.pooler),
    ):
        module.register_forward_hook(
            lambda _, inputs, __, name=name: rows.setdefault(name, []).append(
                len(inputs[0])
            )
        )
    ids = tokenize(classifier.tokenizer, texts, 196)
    classifier.run(ids, token_budget=700)
    batches = packed_batches(num_tokens(ids), 700)
    assert len(batches) > 3
    assert sorted(rows["before"]) == sorted(
        num_tokens(ids)[batch].sum() for batch in batches
    )  # threads, any order
    assert (
        sorted(rows["last"])
        == sorted(rows["pooler"])
        == sorted(len(batch) for batch in batches)
    )


def test_classifier_run_of_no_texts_gives_empty_arrays(small_checkpoint):
    classifier = Classifier.load(small_checkpoint)
    logits_NC, cls_NH, _ = classifier.run(
        tokenize(classifier.tokenizer, [], 196), token_budget=100
    )
    assert logits_NC.shape == (0, 5)
    assert cls_NH.shape == (0, 32)


def test_classifier_run_has_no_gradient_and_no_dropout(small_checkpoint, padded):
    ids, ids_NL = pa.array([[2, 5, 3]]), torch.tensor([[2, 5, 3]])
    network = load_network(small_checkpoint).train()
    tokenizer = load_tokenizer(small_checkpoint)
    packed = Classifier(network, tokenizer, choose_device(False))
    assert not packed.network.training
    assert not padded.network.training
    for found in (
        packed.outputs(ids, token_budget=100),
        padded.forward(ids_NL, torch.ones_like(ids_NL)),
    ):
        assert not found.logits.requires_grad
        assert not found.cls.requires_grad


def test_classifier_of_pytorch_bin_equals_that_of_safetensors(
    checkpoint, texts, expected
):
    weights = os.path.join(checkpoint, "model.safetensors")
    torch.save(load_file(weights), os.path.join(checkpoint, "pytorch_model.bin"))
    os.unlink(weights)
    classifier = Classifier.load(checkpoint)
    logits_NC, cls_NH, _ = classifier.run(
        tokenize(classifier.tokenizer, texts, 196), token_budget=4096
    )
    np.testing.assert_allclose(logits_NC, expected[0], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(cls_NH, expected[1], atol=1e-5, rtol=1e-5)


def test_classifier_threads_have_own_batches_and_give_the_same_bits(
    small_checkpoint, texts
):
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
