"""The network of a bundle, checked without loading it.

Config, header of the weights, tokenizer and labels fit. The driver of a run does without torch,
which takes seconds to import. The numbers themselves, and the layers of other architectures than
BERT, are checked where they are loaded (classifier/checkpoint.py). Shapes: C classes, H hidden, I
intermediate.
"""

from tokenizers import Tokenizer

from rubert_ood.bundle.arrays import Layout, check_layouts, layouts
from rubert_ood.classifier.local_checkpoint import WEIGHTS
from rubert_ood.classifier.network_config import BertSizes, NetworkConfig
from rubert_ood.classifier.positions import max_positions_of
from rubert_ood.classifier.tokenizer import largest_id, read_backend

FLOATS = ("F64", "F32", "F16", "BF16")
HEAD = "ForSequenceClassification"

Shapes = dict[str, tuple[int, ...]]


def check_config(
    config: NetworkConfig, labels: list[str], *, hidden: int, max_length: int
) -> None:
    """Raise ValueError unless it describes a classifier of these labels, H and lengths."""
    if not config.architectures[0].endswith(HEAD) or config.is_decoder:
        raise ValueError(
            f"it describes the network {config.architectures[0]!r}, where an"
            f" encoder ...{HEAD} is expected"
        )
    names = []
    for number in range(len(config.id2label)):
        names.append(config.id2label.get(str(number)))
    if names != labels:
        wrong = [
            number
            for number, pair in enumerate(zip(names, labels, strict=False))
            if pair[0] != pair[1]
        ]
        where = (
            f"class {wrong[0]} is {names[wrong[0]]!r}"
            if wrong
            else f"it has {len(names)} classes"
        )
        wanted = repr(labels[wrong[0]]) if wrong else len(labels)
        raise ValueError(
            f"id2label differs from label_mapping.json: {where}, not {wanted}"
        )
    if config.label2id is not None and config.label2id != {
        name: number for number, name in enumerate(labels)
    }:
        raise ValueError("label2id is not the inverse of id2label")
    if config.hidden_size not in (None, hidden):
        raise ValueError(
            f"hidden_size is {config.hidden_size}, but the statistics were"
            f" fitted on H = {hidden}"
        )
    limit = max_positions_of(config.model_dump())
    if max_length > limit:
        raise ValueError(
            f"the network reads at most {limit:,} tokens, but text.json has"
            f" max_length {max_length:,}"
        )


def check_weights(folder: str, shapes: Shapes | None) -> None:
    """Raise ValueError unless model.safetensors holds numbers, of these shapes where they are
    known."""
    found = layouts(folder, WEIGHTS)
    for key, layout in found.items():
        if layout.dtype not in FLOATS:
            raise ValueError(
                f"the weight {key} is {layout}, where floating-point numbers are expected"
            )
    if shapes is not None:
        # any width of number will do: it is computed in float32
        expected = {key: Layout("F32", shape) for key, shape in shapes.items()}
        check_layouts(
            {key: Layout("F32", layout.shape) for key, layout in found.items()}, expected
        )


def bert_shapes(config: BertSizes, num_classes: int) -> Shapes:
    """Return the shape of every weight of BertForSequenceClassification, by name."""
    hidden, inner = config.hidden_size, config.intermediate_size
    embeddings = {
        "word": config.vocab_size,
        "position": config.max_position_embeddings,
        "token_type": config.type_vocab_size,
    }
    shapes = _norm("bert.embeddings.LayerNorm", hidden)
    for name, rows in embeddings.items():
        shapes[f"bert.embeddings.{name}_embeddings.weight"] = (rows, hidden)
    for number in range(config.num_hidden_layers):
        layer = f"bert.encoder.layer.{number}"
        for name in ("query", "key", "value"):
            shapes |= _linear(f"{layer}.attention.self.{name}", hidden, hidden)
        shapes |= _linear(f"{layer}.attention.output.dense", hidden, hidden)
        shapes |= _norm(f"{layer}.attention.output.LayerNorm", hidden)
        shapes |= _linear(f"{layer}.intermediate.dense", inner, hidden)
        shapes |= _linear(f"{layer}.output.dense", hidden, inner)
        shapes |= _norm(f"{layer}.output.LayerNorm", hidden)
    shapes |= _linear("bert.pooler.dense", hidden, hidden)
    return shapes | _linear("classifier", num_classes, hidden)


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def check_tokenizer(folder: str, config: NetworkConfig) -> Tokenizer:
    """Return tokenizer.json; ValueError unless it loads and each of its ids has an embedding."""
    backend = read_backend(folder)
    largest = largest_id(backend)
    if not 0 <= largest < config.vocab_size:
        raise ValueError(
            f"its token ids go up to {largest}, but the network has"
            f" embeddings for 0 to {config.vocab_size - 1}"
        )
    return backend
