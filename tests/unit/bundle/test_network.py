"""The network of a bundle, checked without torch, against what transformers makes of its config."""

import json

import pytest
from transformers import BertConfig, BertForSequenceClassification

from rubert_ood.bundle.network import bert_shapes, check_config
from rubert_ood.classifier.network_config import BertSizes

LABELS = ["а", "б"]


@pytest.fixture
def config() -> BertConfig:
    return BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=20,
        architectures=["BertForSequenceClassification"],
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )


def _read(config: BertConfig, **changes) -> BertSizes:
    content = json.loads(config.to_json_string(use_diff=False)) | changes
    return BertSizes.model_validate_json(json.dumps(content))


def test_shapes_of_the_weights_are_those_of_transformers(config):
    weights = BertForSequenceClassification(config).state_dict()
    expected = {name: tuple(weight.shape) for name, weight in weights.items()}
    assert bert_shapes(_read(config), len(LABELS)) == expected


def test_a_config_that_fits_is_accepted(config):
    check_config(_read(config), LABELS, hidden=8, max_length=20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["BertModel"]},
            "an encoder ...ForSequenceClassification is expected",
        ),
        ({"is_decoder": True}, "an encoder ...ForSequenceClassification is expected"),
        (
            {"id2label": {"0": "а", "1": "в"}},
            "class 1 is 'в', not 'б'",
        ),
        ({"id2label": {"0": "а"}}, "it has 1 classes"),
        ({"label2id": {"а": 1, "б": 0}}, "label2id is not the inverse"),
        ({"hidden_size": 16}, "the statistics were fitted on H = 8"),
        ({"max_position_embeddings": 19}, "at most 19 tokens"),
    ],
)
def test_a_config_of_another_model_is_named(config, changes, message):
    with pytest.raises(ValueError, match=message):
        check_config(_read(config, **changes), LABELS, hidden=8, max_length=20)
