"""`import rubert_ood` is quick and offers everything; what is heavy comes when it is used."""

import json
import os
import pickle
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

import rubert_ood
from rubert_ood.settings import GateSettings, ScoreSettings
from tests.conftest import read_parts, write_parquet

HEAVY = ("torch", "ray", "pandas", "pyarrow", "numpy", "transformers", "pydantic")
IMPORT = f"""
import sys, time
started = time.perf_counter()
import rubert_ood
print(time.perf_counter() - started, *[name for name in {HEAVY} if name in sys.modules])
"""


def _python(code: str, **environment: str) -> str:
    root = str(Path(rubert_ood.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": root} | environment
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_takes_less_than_50_ms_and_brings_nothing_heavy():
    seconds, *heavy = min(_python(IMPORT).split() for _ in range(5))
    assert heavy == []
    assert float(seconds) < 0.05


def test_every_name_of_the_api_is_there_and_pickles():
    assert dir(rubert_ood) == rubert_ood.__all__
    for name in rubert_ood.__all__:
        value = getattr(rubert_ood, name)
        if isinstance(value, type):
            assert pickle.loads(pickle.dumps(value)) is value
    assert rubert_ood.errors.RubertOodError.exit_code == 1


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(
        AttributeError, match="module 'rubert_ood' has no attribute 'nothing'"
    ):
        _ = rubert_ood.nothing


@pytest.mark.parametrize(
    ("verb", "wanted"),
    [
        ("diff", "DiffSettings"),
        ("promote", "PromoteSettings"),
        ("publish", "PublishSettings"),
        ("rollback", "RollbackSettings"),
        ("score", "ScoreSettings"),
        ("train", "TrainSettings"),
        ("verify", "VerifySettings"),
    ],
)
def test_each_verb_names_the_settings_that_it_wants(verb, wanted):
    for given in (None, {}, "x", GateSettings(), wanted):
        with pytest.raises(rubert_ood.errors.SettingsError) as caught:
            getattr(rubert_ood, verb)(given)
        assert str(caught.value).endswith(f" does not fit. Use a {wanted}")
        assert "\n" not in str(caught.value)


def test_the_package_says_that_it_is_typed():
    assert Path(rubert_ood.__file__).with_name("py.typed").exists()


@pytest.fixture(scope="module")
def settings(ads, bundle, tmp_path_factory) -> ScoreSettings:
    folder = tmp_path_factory.mktemp("api")
    for name, start in (("a", 0), ("b", 40)):
        write_parquet(folder / "in" / f"{name}.parquet", ads.slice(start, 40))
    open_gate = {"max_ood_rate": 1, "max_other_rate": 1, "max_duplicate_rate": 1}
    return ScoreSettings(
        input_uri=str(folder / "in"),
        bundle_uri=bundle.uri,
        output_uri=str(folder / "out"),
        run_date=date(2026, 11, 26),
        run_id="night",
        shard_rows=20,
        gate=GateSettings(**open_gate),
        executor="local",
    )


@pytest.fixture(scope="module")
def run(settings) -> "rubert_ood.Run":
    return rubert_ood.score(settings)


def test_score_gives_a_run_that_reads_its_parts(run, settings):
    assert run.uri == f"{settings.output_uri}/run_date=2026-11-26/run_id=night"
    assert run.manifest.outcome == "published"
    assert run.manifest.counts.rows_scored == 80
    expected = read_parts(run.uri)
    assert run.to_table().equals(expected)
    assert run.to_table(["label"]).equals(expected.select(["label"]))
    assert run.to_pandas().equals(expected.to_pandas())
    assert Path(run.report_uri).read_text("utf-8").startswith("<!doctype html>")


def test_run_reads_a_folder_that_is_there(run, settings):
    again = rubert_ood.Run(f"{run.uri}/")
    assert again.manifest == run.manifest
    assert again.to_table().equals(run.to_table())


def test_score_with_the_local_executor_imports_no_ray(settings, run, tmp_path):
    """In a process of its own, through the real command: the same files."""
    values = settings.model_dump(mode="json") | {"output_uri": str(tmp_path / "out")}
    code = f"""
import json, sys

values = json.loads({json.dumps(json.dumps(values))})
from rubert_ood.settings import ScoreSettings
import rubert_ood
run = rubert_ood.score(ScoreSettings(**values))
print(run.manifest.outcome, "ray" in sys.modules)
"""
    assert _python(code).split() == ["published", "False"]
    other = tmp_path / "out" / "run_date=2026-11-26" / "run_id=night"
    paths = sorted(Path(run.uri).glob("*.parquet"))
    assert [path.name for path in paths] == ["data-00000-of-00001.parquet"]
    for path in paths:
        assert (other / path.name).read_bytes() == path.read_bytes()
