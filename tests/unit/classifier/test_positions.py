import pytest

from rubert_ood.classifier.positions import max_positions_of


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "bert", "max_position_embeddings": 256}, 256),
        ({"model_type": "bert", "max_position_embeddings": 256, "pad_token_id": 5}, 256),
        (
            {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1},
            512,
        ),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 0}, 513),
        (
            {
                "model_type": "camembert",
                "max_position_embeddings": 514,
                "pad_token_id": None,
            },
            512,
        ),
        ({"model_type": "bert", "max_position_embeddings": None}, 512),
        ({"model_type": "bert"}, 512),
    ],
)
def test_max_positions_by_config(config, expected):
    assert max_positions_of(config) == expected


def test_max_positions_of_a_roberta_are_what_it_reads_and_not_one_more():
    import torch
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=16,
        pad_token_id=3,
    )
    network = RobertaModel(config).eval()
    limit = max_positions_of(config.to_dict())
    assert limit == 12
    network(torch.full((1, limit), 7))
    with pytest.raises((IndexError, RuntimeError)):
        network(torch.full((1, limit + 1), 7))
