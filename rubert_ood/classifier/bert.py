"""BERT for scoring, in plain torch: an ordinary one is loaded without the networks of transformers.

Their import takes longer than that of torch, in each process that scores. Modules, names of weights
and numbers are those of `BertForSequenceClassification` there (Devlin et al., 2019); packed.py runs
over them. What is unusual in any way `load` leaves to transformers, which loads or refuses it.

Shapes: N rows, T tokens, H hidden.
"""

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from rubert_ood.classifier.local_checkpoint import ADAPTER, CONFIG, WEIGHTS
from rubert_ood.classifier.network_config import BertSizes

NUMBERS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def gelu_new(rows: torch.Tensor) -> torch.Tensor:
    """Return GELU by tanh, written out (Hendrycks and Gimpel, 2016, section 2)."""
    inner = math.sqrt(2 / math.pi) * (rows + 0.044715 * torch.pow(rows, 3))
    return 0.5 * rows * (1 + torch.tanh(inner))


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": gelu_new,
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
    "tanh": torch.tanh,
}


class BertConfig(BertSizes):
    """An ordinary config.json. What stands here as None or False is what may not stand there."""

    model_type: Literal["bert"]
    architectures: tuple[Literal["BertForSequenceClassification"]]
    id2label: dict[str, str] = Field(min_length=1)
    hidden_act: str
    layer_norm_eps: float = Field(gt=0, allow_inf_nan=False)
    is_decoder: Literal[False] = False
    add_cross_attention: Literal[False] = False
    position_embedding_type: Literal["absolute"] = "absolute"
    pruned_heads: dict[str, None] | None = None
    per_layer_config: None = None
    num_labels: None = None
    attn_implementation: None = None
    attention_of_older_files: None = Field(None, alias="_attn_implementation")
    quantization_config: None = None
    configuration_files: None = None
    transformers_weights: None = None


def load(folder: str) -> "BertForSequenceClassification | None":
    """Load a checkpoint in fp32, its weights mapped from the file where they are fp32 there.

    None unless all is as expected: files, config, names, shapes, every number finite.
    """
    if os.path.exists(os.path.join(folder, ADAPTER)):
        return None
    try:
        with open(os.path.join(folder, CONFIG), "rb") as file:
            config = BertConfig.model_validate_json(file.read())
        weights = load_file(os.path.join(folder, WEIGHTS))
    except (OSError, ValidationError, SafetensorError):
        return None
    if config.hidden_act not in ACTIVATIONS:
        return None
    for name, weight in weights.items():
        if weight.dtype not in NUMBERS or not torch.isfinite(weight).all():
            return None
        weights[name] = weight.float()
    network = BertForSequenceClassification(config)
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError:  # other names or shapes
        return None
    return network.requires_grad_(False)


# Weights are without numbers (on the meta device) until they are loaded.


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Make a layer without numbers."""
    return nn.Linear(inputs, outputs, device="meta")


def table(rows: int, hidden: int) -> nn.Embedding:
    """Make an embedding without numbers; of its own accord torch would draw some, and import its
    compiler for that."""
    return nn.Embedding.from_pretrained(torch.empty(rows, hidden, device="meta"))


def norm(config: BertConfig) -> nn.LayerNorm:
    """Make a norm without numbers."""
    return nn.LayerNorm(config.hidden_size, config.layer_norm_eps, device="meta")


class Embeddings(nn.Module):
    """Words, places and one kind of token."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.word_embeddings = table(config.vocab_size, hidden)
        self.position_embeddings = table(config.max_position_embeddings, hidden)
        self.token_type_embeddings = table(config.type_vocab_size, hidden)
        self.LayerNorm = norm(config)

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor
    ) -> torch.Tensor:
        """Return (1, T, H) of ids and places (1, T)."""
        rows = self.word_embeddings(input_ids) + self.token_type_embeddings.weight[0]
        return self.LayerNorm(rows + self.position_embeddings(position_ids))


class SelfAttention(nn.Module):
    """The products around attention, which itself is in attention.py."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.num_attention_heads = config.num_attention_heads
        self.attention_head_size = hidden // config.num_attention_heads
        self.query = linear(hidden, hidden)
        self.key = linear(hidden, hidden)
        self.value = linear(hidden, hidden)


class Output(nn.Module):
    """A product, then the norm of its sum with what went in."""

    def __init__(self, config: BertConfig, inputs: int) -> None:
        super().__init__()
        self.dense = linear(inputs, config.hidden_size)
        self.LayerNorm = norm(config)

    def forward(self, rows: torch.Tensor, before_NH: torch.Tensor) -> torch.Tensor:
        """Return (N, H)."""
        return self.LayerNorm(self.dense(rows) + before_NH)


class Attention(nn.Module):
    """Attention, and what is made of its context."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Output(config, config.hidden_size)


class Intermediate(nn.Module):
    """The first half of the feed-forward layer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, rows_NH: torch.Tensor) -> torch.Tensor:
        """Return as many rows of the intermediate size."""
        return self.activation(self.dense(rows_NH))


class Layer(nn.Module):
    """A layer of the encoder."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config, config.intermediate_size)

    def feed_forward_chunk(self, rows_NH: torch.Tensor) -> torch.Tensor:
        """Return (N, H); the name is that of transformers."""
        return self.output(self.intermediate(rows_NH), rows_NH)


class Encoder(nn.Module):
    """All layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        layers = [Layer(config) for _ in range(config.num_hidden_layers)]
        self.layer = nn.ModuleList(layers)


class Pooler(nn.Module):
    """What the head sees of the CLS vector."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size)

    def forward(self, rows_NLH: torch.Tensor) -> torch.Tensor:
        """Return (N, H) of the first of L vectors."""
        return torch.tanh(self.dense(rows_NLH[:, 0]))


class Bert(nn.Module):
    """The encoder with its embeddings and pooler."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config)


class BertForSequenceClassification(nn.Module):
    """A BERT and its head; `packed.forward` runs it."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config)
        self.dropout = nn.Identity()
        self.classifier = linear(config.hidden_size, len(config.id2label))

    def get_input_embeddings(self) -> Any:
        """Return the table of words, as networks of transformers do."""
        return self.bert.embeddings.word_embeddings
