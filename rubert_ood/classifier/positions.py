"""How many tokens an encoder can number, from its config alone; torch is not needed."""

from collections.abc import Mapping
from typing import Any

DEFAULT = 512
FROM_PADDING = frozenset(
    (
        "camembert",
        "data2vec-text",
        "ibert",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    )
)
"""Model types that number their positions from pad_token_id + 1, as fairseq did."""


def max_positions_of(config: Mapping[str, Any]) -> int:
    """Return the longest input in tokens, special ones included."""
    limit = int(config.get("max_position_embeddings") or DEFAULT)
    if config.get("model_type") not in FROM_PADDING:
        return limit
    padding = config.get("pad_token_id")
    return limit - 1 - (1 if padding is None else int(padding))
