"""Trainings that differ in their seed; they are run in tests/ray/test_recipe.py."""

from rubert_ood.settings import OptimiserSettings, TrainSettings
from rubert_ood.training.ray_trainer import TrainedModel
from rubert_ood.training.seeds import best_model, seeded


def _model(seed: int, *scores: float) -> TrainedModel:
    history = [{"epoch": n, "valid_macro_f1": s} for n, s in enumerate(scores, start=1)]
    return TrainedModel("", "", scores.index(max(scores)) + 1, history, seed)


def test_seeded_counts_on_from_the_seed_and_the_first_keeps_the_name():
    settings = TrainSettings(
        input_uri="in", seeds=3, optimiser=OptimiserSettings(seed=7, num_epochs=2)
    )
    runs = list(seeded(settings, "v1"))
    assert [name for name, _ in runs] == ["v1", "v1-seed8", "v1-seed9"]
    assert [one.optimiser.seed for _, one in runs] == [7, 8, 9]
    assert {one.optimiser.num_epochs for _, one in runs} == {2}
    assert [name for name, _ in seeded(TrainSettings(input_uri="in"), "v2")] == ["v2"]


def test_best_model_is_the_first_with_the_best_epoch():
    models = [_model(1, 0.5, 0.6), _model(2, 0.7, 0.1), _model(3, 0.2, 0.7)]
    assert best_model(models).seed == 2
    assert best_model(models).best["epoch"] == 1
