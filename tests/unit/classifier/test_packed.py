"""The packed forward pass beside transformers, one ad at a time; test_classifier has whole runs."""

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from rubert_ood.classifier.packed import can_pack, forward

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
}


@pytest.fixture(scope="module")
def network() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SIZES, num_labels=4)).eval()


@pytest.mark.parametrize(
    "lengths", [[1], [5], [20], [3, 3, 3], [2, 7, 7, 20], [1, 1, 9]], ids=lambda n: str(n)
)
def test_packed_forward_equals_transformers_one_ad_at_a_time(
    network: BertForSequenceClassification, lengths: list[int]
) -> None:
    ids_T = torch.randint(50, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits_NC, cls_NH = forward(network, ids_T, torch.tensor(lengths))
        for ad, ids in enumerate(ids_T.split(lengths)):
            expected = network(input_ids=ids[None], output_hidden_states=True)
            torch.testing.assert_close(logits_NC[ad], expected.logits[0])
            torch.testing.assert_close(cls_NH[ad], expected.hidden_states[-1][0, 0])
    assert logits_NC.shape == (len(lengths), 4)


def test_can_pack_knows_encoders_of_bert_and_no_others(
    network: BertForSequenceClassification,
) -> None:
    roberta = RobertaForSequenceClassification(RobertaConfig(**SIZES))
    decoder = AutoModelForSequenceClassification.from_config(
        BertConfig(**SIZES, is_decoder=True)
    )
    assert can_pack(network)
    assert not can_pack(roberta)
    assert not can_pack(decoder)
