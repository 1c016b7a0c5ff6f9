"""What is relied on in config.json, as transformers writes it and where it is wrong."""

import json

import pytest
from pydantic import ValidationError
from transformers import BertConfig, DebertaV2Config, DistilBertConfig, PreTrainedConfig

from rubert_ood.classifier.network_config import BertSizes, NetworkConfig

SIZES = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 20,
}


def written(config: PreTrainedConfig, **changes) -> str:
    config.architectures = ["SomeForSequenceClassification"]
    return json.dumps(json.loads(config.to_json_string()) | changes)


def test_bert_sizes_are_those_that_transformers_writes():
    read = BertSizes.model_validate_json(written(BertConfig(**SIZES)))
    assert read.model_dump(include=set(SIZES)) == SIZES
    assert read.type_vocab_size == BertConfig().type_vocab_size


@pytest.mark.parametrize("config", [DebertaV2Config(), DistilBertConfig()])
def test_config_of_another_encoder_needs_no_sizes_of_a_bert(config):
    read = NetworkConfig.model_validate_json(written(config))
    assert read.vocab_size == config.vocab_size
    with pytest.raises(ValidationError, match="type_vocab_size"):
        BertSizes.model_validate_json(written(config))


@pytest.mark.parametrize("name", [*SIZES, "type_vocab_size"])
@pytest.mark.parametrize("value", [None, 0, "8", 2.5, 10**9])
def test_bert_sizes_without_one_of_them_name_it(name, value):
    with pytest.raises(ValidationError) as caught:
        BertSizes.model_validate_json(written(BertConfig(**SIZES), **{name: value}))
    assert [problem["loc"] for problem in caught.value.errors()] == [(name,)]


def test_bert_sizes_whose_heads_do_not_fit_say_so():
    wrong = written(BertConfig(**SIZES), num_attention_heads=3)
    with pytest.raises(ValidationError, match="hidden_size 8 is not a multiple of"):
        BertSizes.model_validate_json(wrong)
