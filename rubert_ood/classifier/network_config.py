"""What this program relies on in config.json; transformers reads the rest. torch is not needed."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[int, Field(gt=0, le=10_000_000)]


class NetworkConfig(BaseModel):
    """The config of any encoder."""

    model_config = ConfigDict(frozen=True, strict=True)

    model_type: str
    architectures: tuple[str, ...] = Field(min_length=1)
    id2label: dict[str, str] = {"0": "LABEL_0", "1": "LABEL_1"}
    """The default is that of transformers, which leaves its defaults out."""
    label2id: dict[str, int] | None = None
    vocab_size: Size
    hidden_size: Size | None = None
    max_position_embeddings: Size | None = None
    pad_token_id: int | None = None
    is_decoder: bool = False


class BertSizes(NetworkConfig):
    """The config of a BERT: the shapes of all its weights follow from it."""

    hidden_size: Size
    num_hidden_layers: int = Field(gt=0, le=1000)
    num_attention_heads: Size
    intermediate_size: Size
    max_position_embeddings: Size
    type_vocab_size: Size

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size:,} is not a multiple of"
                f" num_attention_heads {self.num_attention_heads:,}"
            )
        return self
