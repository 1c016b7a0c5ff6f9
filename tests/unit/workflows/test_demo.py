"""The demo makes its material once for the same settings."""

import json
import shlex
from pathlib import Path

import pytest

from rubert_ood.settings import DemoSettings
from rubert_ood.synthetic.demo_ads import DemoAds
from rubert_ood.workflows import demo


@pytest.fixture
def generated(monkeypatch) -> list[int]:
    """Generate nothing; returns the seeds that would have been generated."""
    seeds = []

    def generate(settings, ads, small_bert):
        seeds.append(settings.seed)

    monkeypatch.setattr(demo, "_generate", generate)
    return seeds


def _made(folder: Path, **changes: int) -> str:
    settings = DemoSettings(output_uri=str(folder), **changes)
    return demo._made(settings, DemoAds(str(folder / "ads")), str(folder / "bert"))


def test_material_is_made_once_for_the_same_settings(generated, tmp_path):
    first = _made(tmp_path, seed=1)
    assert _made(tmp_path, seed=1, num_epochs=2, num_pretrain_epochs=1) == first
    assert generated == [1]
    _made(tmp_path, seed=2)
    assert generated == [1, 2]


def test_material_of_other_code_is_made_anew(generated, tmp_path):
    _made(tmp_path, seed=1)
    place = tmp_path / "ads" / "made.json"
    content = json.loads(place.read_text())
    content["settings"]["code"] = "another"
    place.write_text(json.dumps(content))
    _made(tmp_path, seed=1)
    assert generated == [1, 1]


def test_material_that_was_interrupted_is_made_again(monkeypatch, generated, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo, "_generate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _made(tmp_path, seed=1)
    _made(tmp_path, seed=1)
    assert generated == [1]


def test_command_to_try_is_one_that_a_shell_reads(tmp_path, capsys):
    bundle = tmp_path / "демо [1]" / "bundles" / "v 1"
    demo._show_places(str(bundle), str(tmp_path / "run"))
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if line.startswith("try:")]
    program, verb, flag, path, text = shlex.split(line.removeprefix("try:"))
    assert (program, verb, flag) == ("rubert-ood", "predict", "--bundle_uri")
    assert Path(path).resolve() == bundle
    assert text.startswith("Продам")
