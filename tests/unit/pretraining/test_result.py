"""The checkpoint that a pretraining leaves is written once, with its card."""

import pytest
import yaml

from rubert_ood import storage
from rubert_ood.errors import InputError, SettingsError
from rubert_ood.pretraining.result import (
    Pretraining,
    check_free,
    pretrained_uri,
    read_finished,
    write_pretrained,
)

IDENTITY = {"catalogue": "abc", "optimiser": "{}"}


def _record(**changes) -> Pretraining:
    metrics = {
        "train_loss": 3.25,
        "held_out_loss": 3.0,
        "held_out_perplexity": 20.09,
        "held_out_accuracy": 0.4321,
        "train_tokens": 12_345.0,
    }
    values = {
        "version": "v1",
        "base_model": "org/*bert*",
        "created_at": "2026-11-27T00:00:00+00:00",
        "code_version": "0.5.0",
        "identity": IDENTITY,
        "num_train": 980,
        "num_held_out": 20,
        "epoch": 2,
        "history": [{"epoch": 1.0, **metrics}, {"epoch": 2.0, **metrics}],
        "settings": {"max_length": 48},
    }
    return Pretraining(**values | changes)


@pytest.fixture
def written(tmp_path) -> str:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    uri = pretrained_uri(str(tmp_path / "out"), "v1")
    write_pretrained(uri, str(folder), _record())
    return uri


def test_finished_checkpoint_is_found_by_what_it_was_made_of(written):
    found = read_finished(written, IDENTITY)
    assert found == _record()
    assert found.kept["epoch"] == 2
    assert read_finished(written + "-other", IDENTITY) is None


def test_finished_checkpoint_of_other_settings_is_refused(written):
    with pytest.raises(
        SettingsError, match=r"made with another value of optimiser. Choose another"
    ):
        read_finished(written, IDENTITY | {"optimiser": "{...}"})


def test_damaged_record_is_one_line(written):
    storage.put_bytes(f"{written}/pretraining.json", b'{"format": 1}')
    with pytest.raises(
        InputError, match=r"pretraining.json: the file is damaged .version: Field"
    ):
        read_finished(written, IDENTITY)


def test_folder_that_holds_something_else_is_refused_before_hours_of_training(tmp_path):
    uri = pretrained_uri(str(tmp_path), "mine")
    check_free(uri, "org/bert")
    (tmp_path / "pretrained" / "mine").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"mine: it holds something else .* version"):
        check_free(uri, "org/bert")
    with pytest.raises(SettingsError, match="holds something else"):
        check_free("s3://b/pretrained/mine", "s3://b/pretrained/mine/")
    check_free("s3://b/pretrained/mine", "s3://b/other")


def test_card_has_data_settings_and_metrics_and_no_markup_of_others(written):
    card = storage.read_bytes(f"{written}/README.md").decode()
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head)["pipeline_tag"] == "fill-mask"
    assert yaml.safe_load(head)["base_model"] == "org/*bert*"
    assert r"from org/\*bert\* on 980 unlabelled ads" in text
    assert "| 2 | 3.2500 | 3.0000 | 20.09 | 43.21% | 12,345 |" in text
    assert "max_length: 48" in text
