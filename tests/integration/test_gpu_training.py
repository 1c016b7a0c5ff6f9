"""Steps of training as `make gpu-training` measures them, on CPU."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from benchmarks import gpu_training
from benchmarks.gpu import FIGURES, Steps
from benchmarks.gpu_report import markdown
from benchmarks.gpu_steps import Work, train
from benchmarks.gpu_training import Ours

NAMES = [
    "ours",
    "Trainer's step",
    "ours, one graph of the GPU",
    "ours, torch.compile",
]


@pytest.fixture(scope="module")
def work(bundle, ads, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    shutil.copytree(bundle.folder, folder / "base/bundle")
    (folder / "ads-base").mkdir()
    pq.write_table(ads, folder / "ads-base/0.parquet")
    return Work(folder, "cpu", "base")


def test_every_way_learns_as_the_padded_one_and_is_measured(work):
    assert train(work)
    lines = (work.folder / FIGURES).read_text().splitlines()
    figures = [json.loads(line) for line in lines]
    assert [line["name"] for line in figures] == NAMES
    report = {"title": "", "part": "training", "date": "", "command": "", "machine": {}}
    text = markdown(report | {"steps": [], "shapes": ["base"], "figures": figures})
    for line in figures:
        assert line["tokens_per_s"] > 0
        assert f"| {line['name']} | 8 | {line['tokens_per_s']:,.0f} |" in text


def test_a_way_that_learns_something_else_is_not_measured(work, monkeypatch):
    class Wrong(Ours):
        def take(self, batch):
            loss = super().take(batch)
            weight = self.model.network.bert.embeddings.word_embeddings.weight
            weight.grad.neg_()
            return loss

    monkeypatch.setattr(gpu_training, "ways", lambda _: {"wrong": Wrong})
    (work.folder / FIGURES).unlink(missing_ok=True)
    assert not train(work)
    (line,) = (work.folder / FIGURES).read_text().splitlines()
    assert json.loads(line)["kind"] == "failed"
    assert "the cosine of their gradients" in json.loads(line)["reason"]


def test_training_of_a_gpu_is_its_kernels_its_steps_and_a_whole_training(tmp_path):
    steps = Steps("cuda", tmp_path, ["base"], "").of("training")
    names = [step.name for step in steps]
    assert names == ["prepare", "kernels", "base: steps of training", "training"]
    assert sum(step.limit_s for step in steps) <= 620
