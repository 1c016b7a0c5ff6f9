"""Classify Russian private ads with RuBERT, and know when not to trust the answer.

    model = rubert_ood.load("output/bundles/v7")
    scored = model.predict(ads)
    run = rubert_ood.score(rubert_ood.ScoreSettings(input_uri=..., bundle_uri=..., output_uri=...))

Nothing heavy is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rubert_ood import errors as errors
    from rubert_ood.api import score
    from rubert_ood.predictor import Model, load
    from rubert_ood.runs.run import Run
    from rubert_ood.settings import (
        ColumnSettings,
        DecisionSettings,
        DiffSettings,
        FitSettings,
        GateSettings,
        PromoteSettings,
        PublishSettings,
        RollbackSettings,
        ScoreSettings,
        TablesSettings,
        TrainSettings,
        VerifySettings,
    )
    from rubert_ood.workflows.diff import diff
    from rubert_ood.workflows.promote import promote
    from rubert_ood.workflows.publish import publish
    from rubert_ood.workflows.rollback import rollback
    from rubert_ood.workflows.train import train
    from rubert_ood.workflows.verify import verify

__version__ = "0.4.0"

__all__ = [
    "ColumnSettings",
    "DecisionSettings",
    "DiffSettings",
    "FitSettings",
    "GateSettings",
    "Model",
    "PromoteSettings",
    "PublishSettings",
    "RollbackSettings",
    "Run",
    "ScoreSettings",
    "TablesSettings",
    "TrainSettings",
    "VerifySettings",
    "__version__",
    "diff",
    "errors",
    "load",
    "promote",
    "publish",
    "rollback",
    "score",
    "train",
    "verify",
]

_HOMES = {
    "Model": "predictor",
    "Run": "runs.run",
    "diff": "workflows.diff",
    "load": "predictor",
    "promote": "workflows.promote",
    "publish": "workflows.publish",
    "rollback": "workflows.rollback",
    "score": "api",
    "train": "workflows.train",
    "verify": "workflows.verify",
}
"""Module of each name; what is not here is a class of settings."""


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "errors":
        return import_module(f"{__name__}.errors")
    home = import_module(f"{__name__}.{_HOMES.get(name, 'settings')}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return list(__all__)
