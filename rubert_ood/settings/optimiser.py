"""The settings of the fine-tuning loop, and the recipes that their defaults come from."""

from typing import Literal

from pydantic import Field

from rubert_ood.settings.kinds import Seed
from rubert_ood.settings.shared import Group

RecipeName = Literal["default", "notebook"]


class OptimiserSettings(Group):
    """The fine-tuning loop: AdamW with linear decay. Defaults are those of `recipe: default`, and
    values that you give override the recipe."""

    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate of the head and the top layer. A model from scratch needs about 1e-3.
    Recipe notebook: 2e-5. Default: 5e-5 x (768 / width of the network)^2, so 5e-5 for RuBERT."""
    layer_decay: float = Field(0.9, gt=0, le=1)
    """Learning rate of each layer relative to the layer above it. The embeddings lie below the
    first layer. Recipe notebook: 1."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay of AdamW. Biases and layer norms are exempt."""
    batch_size: int = Field(16, gt=0)
    """Ads per worker and step."""
    eval_batch_size: int = Field(32, gt=0)
    """Ads per worker and step when valid is measured."""
    num_epochs: int = Field(8, gt=0)
    """Largest number of training epochs. Valid is measured after each. Recipe notebook: 3."""
    patience: int | None = Field(3, gt=0)
    """Epochs without a better macro-F1 on valid after which training ends (null: never). Recipe
    notebook: null."""
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0. Recipe notebook: 0."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient norm to which each step is clipped."""
    seed: Seed = 42
    """Seed of initialisation, shuffling and dropout. With `seeds` the next trainings count on from
    it."""

    def by(self, recipe: RecipeName) -> "OptimiserSettings":
        """Return what was given, and for the rest the values of a recipe."""
        given = self.model_dump(exclude_unset=True)
        return OptimiserSettings(**{**RECIPES[recipe], **given})


NOTEBOOK: dict[str, object] = {
    "learning_rate": 2e-5,
    "layer_decay": 1.0,
    "num_epochs": 3,
    "patience": None,
    "warmup_fraction": 0.0,
}
"""The loop of the notebook: what the default recipe does differently."""
RECIPES: dict[RecipeName, dict[str, object]] = {"default": {}, "notebook": NOTEBOOK}
