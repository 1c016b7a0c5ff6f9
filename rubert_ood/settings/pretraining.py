"""The settings of the job that makes a base model know the words of a catalogue."""

from pydantic import Field

from rubert_ood.settings.base import PLAIN_NAME, RayJobSettings
from rubert_ood.settings.kinds import Seed
from rubert_ood.settings.shared import ColumnSettings, Group, Precision
from rubert_ood.settings.training import (
    NOISE_WORDS,
    PHONE_PATTERN,
    TrainingComputeSettings,
)


class PretrainCleanerSettings(Group):
    """What is removed from an ad before the network reads it. City names stay, because only
    training knows them."""

    phone_pattern: str = PHONE_PATTERN
    """Regular expression of phone numbers."""
    noise_words: tuple[str, ...] = NOISE_WORDS
    """Words to remove, as whole words in any case."""


class MaskingSettings(Group):
    """Masked language modelling: what the network has to predict."""

    word_fraction: float = Field(0.15, gt=0, le=0.5)
    """Share of whole words to mask, drawn anew in each epoch. Of their tokens 80 % become the mask
    token, 10 % a random token, 10 % stay."""
    held_out_fraction: float = Field(0.02, gt=0, lt=1)
    """Share of the texts, by their hash, that measure the loss and are not trained on. At most
    20,000 texts."""


class PretrainOptimiserSettings(Group):
    """The pretraining loop: AdamW with linear decay."""

    learning_rate: float = Field(5e-5, gt=0)
    """Peak learning rate. 5e-5 suits a pretrained BERT, a model from scratch needs about 1e-3."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay of AdamW. Biases and layer norms are exempt."""
    batch_size: int = Field(32, gt=0)
    """Ads per worker and step."""
    num_epochs: int = Field(1, gt=0)
    """Number of epochs. The held-out texts are measured after each."""
    warmup_fraction: float = Field(0.06, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient norm to which each step is clipped."""
    seed: Seed = 42
    """Seed of masking, shuffling, dropout, and of weights that the checkpoint lacks."""


class PretrainComputeSettings(TrainingComputeSettings):
    """What pretraining runs on."""

    precision: Precision | None = None
    """Numeric precision on a GPU, with weights in fp32. On CPU it is always fp32. Default: bf16
    where the GPU has it."""
    token_budget: int | None = Field(None, gt=0)
    """Tokens per forward pass, padding included. A step with more takes several passes whose
    gradients add up. Default: a step is one pass."""


class PretrainSettings(RayJobSettings):
    """Pretrain a BERT-type model on unlabelled ads (masked language modelling). Write a checkpoint
    for `train --base_model`."""

    input_uri: str = Field(min_length=1)
    """Ads without labels, Parquet or CSV (file, folder or glob)."""
    output_uri: str = "output"
    """Root of the output, OUTPUT. The checkpoint goes to OUTPUT/pretrained/VERSION, those of the
    training to OUTPUT/pretraining/."""
    base_model: str = "DeepPavlov/rubert-base-cased"
    """BERT checkpoint to start from (hub name, folder or s3:// URI). Code inside a checkpoint is
    never run."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the checkpoint and of the training. The same name resumes a stopped training.
    Default: the UTC time of the start."""
    max_length: int = Field(196, ge=8)
    """Tokens to read from the start of an ad, special tokens included."""
    columns: ColumnSettings = ColumnSettings()
    cleaner: PretrainCleanerSettings = PretrainCleanerSettings()
    masking: MaskingSettings = MaskingSettings()
    optimiser: PretrainOptimiserSettings = PretrainOptimiserSettings()
    compute: PretrainComputeSettings = PretrainComputeSettings()
