"""Pretraining on a real local Ray: what it learns, and that a kill costs no step."""

import contextlib
import json
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from rubert_ood.ads.splits import share_of
from rubert_ood.ads.text import TextCleaner
from rubert_ood.classifier.checkpoint import load_network
from rubert_ood.settings import (
    MaskingSettings,
    PretrainComputeSettings,
    PretrainOptimiserSettings,
    PretrainSettings,
)
from rubert_ood.workflows.pretrain import pretrain
from tests.conftest import write_parquet

pytestmark = pytest.mark.usefixtures("ray_local")

EPOCHS = 3


@pytest.fixture(scope="module")
def settings(labelled_ads, tiny_bert, tmp_path_factory) -> PretrainSettings:
    folder = tmp_path_factory.mktemp("pretraining")
    texts = labelled_ads.select(["title", "description"])
    for number in range(4):  # several files, several shards
        part = texts.slice(number * 500, 500)
        write_parquet(folder / "ads" / f"{number}.parquet", part)
    return PretrainSettings(
        input_uri=str(folder / "ads"),
        output_uri=str(folder / "out"),
        base_model=tiny_bert,
        version="whole",
        max_length=32,
        masking=MaskingSettings(held_out_fraction=0.1),
        optimiser=PretrainOptimiserSettings(
            learning_rate=3e-3, num_epochs=EPOCHS, batch_size=16, warmup_fraction=0.1
        ),
        compute=PretrainComputeSettings(num_workers=2),
    )


@pytest.fixture(scope="module")
def whole(settings) -> str:
    return pretrain(settings)


def _record(uri: str) -> dict:
    return json.loads(Path(uri, "pretraining.json").read_text())


def test_hidden_words_are_guessed_better_from_epoch_to_epoch(whole):
    history = _record(whole)["history"]
    losses = [entry["held_out_loss"] for entry in history]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * np.log(3000)
    assert len({entry["held_out_tokens"] for entry in history}) == 1


def test_every_token_is_read_once_in_each_epoch(whole, settings, labelled_ads):
    tokenizer, lengths = AutoTokenizer.from_pretrained(whole), []
    for row in labelled_ads.to_pylist():
        text = TextCleaner().clean(f"{row['title']} {row['description']}")
        ids = tokenizer(text, truncation=True, max_length=32)["input_ids"]
        is_held_out = share_of(text, 0) < settings.masking.held_out_fraction
        if set(ids) - set(tokenizer.all_special_ids) and not is_held_out:
            lengths.append(len(ids))
    record = _record(whole)
    assert record["num_train"] == len(lengths)
    missing = [sum(lengths) - entry["train_tokens"] for entry in record["history"]]
    if len(lengths) % 2:  # another ad stays out in each epoch
        assert all(3 <= number <= 32 for number in missing)
    else:
        assert missing == [0] * EPOCHS


def test_checkpoint_has_no_training_state_and_loads_for_training(whole, tiny_bert):
    names = {path.name for path in Path(whole).iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".pt", "state.json"))]
    weights = load_file(Path(whole, "model.safetensors"))
    network = load_network(whole, ["а", "б", "в"])
    found = network.bert.encoder.layer[0].output.dense.weight.detach().numpy()
    np.testing.assert_array_equal(
        found, weights["bert.encoder.layer.0.output.dense.weight"]
    )
    before = load_file(Path(tiny_bert, "model.safetensors"))
    name = "bert.embeddings.word_embeddings.weight"
    assert not np.array_equal(weights[name], before[name])


def test_model_of_the_hub_fills_masks_with_it(whole):
    tokenizer = AutoTokenizer.from_pretrained(whole)
    network = AutoModelForMaskedLM.from_pretrained(whole).eval()
    inputs = tokenizer(f"продается {tokenizer.mask_token} диван", return_tensors="pt")
    assert network(**inputs).logits.shape[-1] == len(tokenizer)


def _kill_a_training_worker() -> bool:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("RayTrainWorker" in part for part in process.cmdline()):
                process.kill()
                return True
    return False


class _Watch:
    """Kills a worker once Ray Train's newest checkpoint lies within the second epoch."""

    def __init__(self, run: Path) -> None:
        self.run, self.killed_at = run, None
        self.before: dict[str, tuple[int, int]] = {}
        self.after: dict[str, tuple[int, int]] = {}

    def look(self, ended: threading.Event) -> None:
        while not ended.wait(0.02):
            with contextlib.suppress(OSError, ValueError, TypeError):
                seen = self.before if self.killed_at is None else self.after
                for path in self.run.glob("checkpoint_*/state.json"):
                    seen[path.parent.name] = self._place(path.parent)
                if self.killed_at is None:
                    self._kill()

    def _place(self, folder: Path) -> tuple[int, int]:
        state = json.loads((folder / "state.json").read_text())
        return state["epoch"], state["step"]

    def _kill(self) -> None:
        kept = json.loads((self.run / "checkpoint_manager_snapshot.json").read_text())
        newest = self.run / kept["latest_checkpoint_result"]["checkpoint_dir_name"]
        place = self._place(newest)
        if place[0] == 1 and place[1] > 0 and _kill_a_training_worker():
            self.killed_at = place


def test_a_killed_worker_changes_no_weight(whole, settings):
    """It goes on within the epoch; rows, hidden words and dropout are those of the step."""
    often = settings.compute.model_copy(update={"checkpoint_every_s": 0.5})
    settings = settings.model_copy(update={"version": "killed", "compute": often})
    watch = _Watch(Path(settings.output_uri, "pretraining", "killed"))
    ended = threading.Event()
    killer = threading.Thread(target=watch.look, args=(ended,))
    killer.start()
    resumed = pretrain(settings)
    ended.set()
    killer.join()
    assert watch.killed_at is not None
    written_after = set(watch.after) - set(watch.before)
    assert min(watch.after[name] for name in written_after) > watch.killed_at
    expected = load_file(Path(whole, "model.safetensors"))
    for name, weight in load_file(Path(resumed, "model.safetensors")).items():
        np.testing.assert_allclose(weight, expected[name], rtol=1e-4, atol=1e-5)
    tokens = [entry["train_tokens"] for entry in _record(whole)["history"]]
    assert [entry["train_tokens"] for entry in _record(resumed)["history"]] == tokens
