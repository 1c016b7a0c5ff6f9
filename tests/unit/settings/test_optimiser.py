"""Recipes: where settings of the loop come from that nobody gave."""

import pytest

from rubert_ood.settings import OptimiserSettings, TrainSettings
from tests.unit.settings.jobs import TRAIN, message, train

NOTEBOOK = {
    "learning_rate": 2e-5,
    "layer_decay": 1.0,
    "weight_decay": 0.01,
    "batch_size": 16,
    "eval_batch_size": 32,
    "num_epochs": 3,
    "patience": None,
    "warmup_fraction": 0.0,
    "max_grad_norm": 1.0,
    "seed": 42,
}


def test_recipe_notebook_is_the_loop_of_the_notebook():
    assert train(*TRAIN, "--recipe", "notebook").optimiser.model_dump() == NOTEBOOK


def test_recipe_default_is_what_the_settings_say():
    assert train(*TRAIN).optimiser == OptimiserSettings()
    assert TrainSettings(input_uri="in").optimiser == OptimiserSettings()


def test_what_is_given_wins_over_the_recipe():
    flags = ("--optimiser.num_epochs", "5", "--optimiser.seed", "7")
    loaded = train(*TRAIN, "--recipe", "notebook", *flags)
    assert loaded.optimiser.model_dump() == NOTEBOOK | {"num_epochs": 5, "seed": 7}
    same = TrainSettings(
        input_uri="in", recipe="notebook", optimiser=OptimiserSettings(patience=2)
    )
    assert same.optimiser.model_dump() == NOTEBOOK | {"patience": 2}


def test_recipe_notebook_fits_t_on_all_classes_unless_told_otherwise():
    assert train(*TRAIN).fit.temperature_of == "confidence"
    notebook = (*TRAIN, "--recipe", "notebook")
    assert train(*notebook).fit.temperature_of == "classes"
    given = train(*notebook, "--fit.temperature_of", "confidence")
    assert given.fit.temperature_of == "confidence"


def test_patience_null_never_stops():
    loaded = train(*TRAIN, "--optimiser.patience", "null")
    assert loaded.optimiser.patience is None


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("recipe", "notebooks", "'default' or 'notebook'"),
        ("seeds", "0", "greater than 0"),
        ("optimiser.layer_decay", "0", "greater than 0"),
        ("optimiser.layer_decay", "1.1", "less than or equal to 1"),
        ("optimiser.patience", "0", "greater than 0"),
        ("fit.temperature_of", "nll", "'confidence' or 'classes'"),
    ],
)
def test_a_bad_value_of_a_recipe_names_the_setting(setting, value, reason):
    line = message(train, *TRAIN, f"--{setting}={value}")
    assert line.startswith(f"{setting}: ")
    assert reason in line
