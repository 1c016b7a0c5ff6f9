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
    """What is removed from an ad before the network reads it: what training removes, but for the
    names of cities, which are known to training alone."""

    phone_pattern: str = PHONE_PATTERN
    """Regular expression of phone numbers."""
    noise_words: tuple[str, ...] = NOISE_WORDS
    """Words of every ad, removed as whole words, in any case."""


class MaskingSettings(Group):
    """What the network has to guess."""

    word_fraction: float = Field(0.15, gt=0, le=0.5)
    """Share of the words that are hidden, whole words, others in each epoch. Of their tokens 80 %
    become the mask token, 10 % any token, 10 % stay."""
    held_out_fraction: float = Field(0.02, gt=0, lt=1)
    """Share of the texts, by their hash, that are not trained on and measure the loss; of very many
    the first 20,000."""


class PretrainOptimiserSettings(Group):
    """The pretraining loop: AdamW with linear decay."""

    learning_rate: float = Field(5e-5, gt=0)
    """Peak learning rate; 5e-5 suits a pretrained BERT, a model from scratch needs 1e-3 or so."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW weight decay; biases and layer norms are exempt."""
    batch_size: int = Field(32, gt=0)
    """Ads per worker and step."""
    num_epochs: int = Field(1, gt=0)
    """Passes over the ads; the held-out texts are measured after each."""
    warmup_fraction: float = Field(0.06, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient norm to which each step is clipped."""
    seed: Seed = 42
    """Seed of hidden words, shuffling, dropout, and of weights that the checkpoint lacks."""


class PretrainComputeSettings(TrainingComputeSettings):
    """What pretraining runs on."""

    precision: Precision | None = None
    """Numeric precision on a GPU; weights are fp32. Default: bf16 where the GPU has it. On CPU it
    is fp32."""
    token_budget: int | None = Field(None, gt=0)
    """Tokens of one forward pass, with its padding where there is some. A step with more takes
    several passes whose gradients add up, and stays one step. Default: a step is one pass."""


class PretrainSettings(RayJobSettings):
    """Pretrain a BERT-type model on unlabelled ads: it guesses hidden words. Writes a checkpoint
    that `train --base_model` takes."""

    input_uri: str = Field(min_length=1)
    """Ads, Parquet or CSV (file, folder or glob), without labels."""
    output_uri: str = "output"
    """The checkpoint goes to OUTPUT/pretrained/VERSION, those of the way to
    OUTPUT/pretraining/."""
    base_model: str = "DeepPavlov/rubert-base-cased"
    """BERT checkpoint to start from: hub name, folder or s3:// URI. Code inside a checkpoint is
    never run."""
    version: str | None = Field(None, pattern=PLAIN_NAME)
    """Name of the checkpoint, and of the run: the same name resumes it. Default: UTC time of the
    start."""
    max_length: int = Field(196, ge=8)
    """Tokens read of an ad, from its start, special tokens included."""
    columns: ColumnSettings = ColumnSettings()
    cleaner: PretrainCleanerSettings = PretrainCleanerSettings()
    masking: MaskingSettings = MaskingSettings()
    optimiser: PretrainOptimiserSettings = PretrainOptimiserSettings()
    compute: PretrainComputeSettings = PretrainComputeSettings()
