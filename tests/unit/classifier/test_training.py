"""The driver's side of training that needs no Ray cluster."""

import json
from types import SimpleNamespace

import pytest
import ray.train

from rubert_ood.classifier.training import _best_checkpoint
from rubert_ood.errors import RubertOodError


def _checkpoint(folder, epoch):
    folder.mkdir()
    (folder / "model.safetensors").write_text(f"weights of epoch {epoch}")
    (folder / "optimiser.pt").write_text("state")
    history = [{"epoch": number} for number in range(1, epoch + 1)]
    (folder / "state.json").write_text(json.dumps({"epoch": epoch, "history": history}))
    return ray.train.Checkpoint.from_directory(str(folder))


def test_history_is_whole_though_the_newest_checkpoint_is_not_among_the_best(tmp_path):
    """Ray Train lists the two best; the newest of four epochs may be neither."""
    two, three, four = (_checkpoint(tmp_path / str(epoch), epoch) for epoch in (2, 3, 4))
    best = [(two, {"valid_macro_f1": 0.9, "epoch": 2}), (three, {"valid_macro_f1": 0.95, "epoch": 3})]
    trained = _best_checkpoint(SimpleNamespace(best_checkpoints=best, checkpoint=four), str(tmp_path), str(tmp_path))
    assert [entry["epoch"] for entry in trained.history] == [1, 2, 3, 4]
    assert trained.epoch == 3
    assert trained.checkpoint_uri == str(tmp_path / "3")
    copied = {path.name: path.read_text() for path in (tmp_path / "best_checkpoint").iterdir()}
    assert copied == {"model.safetensors": "weights of epoch 3"}


def test_equal_scores_take_the_earlier_epoch(tmp_path):
    one, two = (_checkpoint(tmp_path / str(epoch), epoch) for epoch in (1, 2))
    best = [(two, {"valid_macro_f1": 0.9, "epoch": 2}), (one, {"valid_macro_f1": 0.9, "epoch": 1})]
    result = SimpleNamespace(best_checkpoints=best, checkpoint=two)
    assert _best_checkpoint(result, str(tmp_path), str(tmp_path)).epoch == 1


def test_a_run_without_a_checkpoint_is_an_error(tmp_path):
    with pytest.raises(RubertOodError, match="reported no checkpoint"):
        _best_checkpoint(SimpleNamespace(best_checkpoints=[], checkpoint=None, path="x"), "", str(tmp_path))
