"""Every step on a generated catalogue and a small BERT, with one command.

The tables, the small BERT and its pretraining are made once for the same settings and the same
code; a stopped demo resumes its pretraining.
"""

import os
import shlex
import time
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from rubert_ood import storage, terminal
from rubert_ood.ads.text import TextCleaner
from rubert_ood.bundle import version_name
from rubert_ood.plain import printable
from rubert_ood.pretraining.texts import clean_texts, look_at_catalogue
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import ray_session
from rubert_ood.scoring.planning import code_digest
from rubert_ood.settings import (
    ColumnSettings,
    DemoSettings,
    EvaluationSettings,
    OptimiserSettings,
    PretrainComputeSettings,
    PretrainOptimiserSettings,
    PretrainSettings,
    ScoreSettings,
    ScoringComputeSettings,
    TrainSettings,
)
from rubert_ood.synthetic.demo_ads import DemoAds
from rubert_ood.synthetic.small_bert import build_small_bert
from rubert_ood.workflows.pretrain import pretrain
from rubert_ood.workflows.score import score
from rubert_ood.workflows.train import train

log = StepLog("generate")

SHARD_ROWS = 4_000
"""Small, so that the demo shows several shards on their way."""
MATERIAL = {"num_train", "num_score", "seed"}
"""Settings that the tables and the small BERT depend on."""


def demo(settings: DemoSettings) -> None:
    """Generate, build, train, fit, evaluate, score, verify, publish; print a table of results."""
    started = time.monotonic()
    root = os.path.abspath(settings.output_uri)
    ads = DemoAds(storage.join(root, "ads"))
    small_bert = storage.join(root, "small_bert")
    version = _made(settings, ads, small_bert)
    with ray_session(settings):
        base_model = small_bert
        if settings.num_pretrain_epochs:
            base_model = pretrain(_pretraining(settings, ads, small_bert, version))
        bundle, evaluation = train(_training_settings(settings, root, ads, base_model))
        manifest = score(
            ScoreSettings(
                input_uri=ads.catalogue,
                bundle_uri=bundle.uri,
                output_uri=storage.join(root, "scored"),
                carry_columns=("city", "price"),
                shard_rows=SHARD_ROWS,
                compute=ScoringComputeSettings(use_gpu=settings.compute.use_gpu),
            )
        )
    headline, counts = evaluation.headline, manifest.counts
    accuracy, macro_f1 = f"{headline.accuracy:.4f}", f"{headline.macro_f1:.4f}"
    if baseline := evaluation.baseline:
        accuracy += f" ({baseline.accuracy:.4f})"
        macro_f1 += f" ({baseline.macro_f1:.4f})"
    results = {
        "test accuracy (TF-IDF + LinearSVC)": accuracy,
        "test macro-F1 (TF-IDF + LinearSVC)": macro_f1,
        "temperature T": f"{headline.temperature:.3f}",
        "mean d2 of train ads to their own class (= H)": f"{headline.mean_d2_own_class:,.1f}",
        "mean d2 of test ads to the nearest class": f"{headline.mean_d2['test']:,.1f}",
        "ads scored": f"{counts.rows_scored:,}",
        "OOD rate": f"{counts.rows_ood / counts.rows_scored:.2%}",
        "Other rate": f"{counts.rows_other / counts.rows_scored:.2%}",
        "speed with start-up": f"{manifest.rows_per_s:,.0f} ads/s",
        "time": f"{time.monotonic() - started:.0f} s",
    }
    _show(results)
    _show_places(bundle.uri, manifest.run_uri)


def _show(results: Mapping[str, str]) -> None:
    table = Table(title="rubert_ood demo")
    table.add_column("result")
    table.add_column("value", justify="right")
    for name, value in results.items():
        table.add_row(name, value)
    console = Console()
    with console.capture() as drawn:
        console.print(table)
    terminal.show(drawn.get().rstrip("\n"))


def _show_places(bundle_uri: str, run_uri: str) -> None:
    bundle_path = shlex.quote(os.path.relpath(bundle_uri))
    places = {
        "evaluation": storage.join(bundle_uri, "evaluation.html"),
        "run report": storage.join(run_uri, "_run", "report.html"),
        "predictions": run_uri,
        "try": f"rubert-ood predict --bundle_uri {bundle_path} 'Продам диван б/у, самовывоз'",
    }
    for name, place in places.items():
        terminal.show(f"{name + ':':<12} {printable(place)}")


def _pretraining(
    settings: DemoSettings, ads: DemoAds, small_bert: str, version: str
) -> PretrainSettings:
    return PretrainSettings(
        input_uri=ads.catalogue,
        output_uri=os.path.abspath(settings.output_uri),
        base_model=small_bert,
        version=f"{version}-{settings.num_pretrain_epochs}",
        optimiser=PretrainOptimiserSettings(
            learning_rate=1e-3,
            num_epochs=settings.num_pretrain_epochs,
            batch_size=16,
            warmup_fraction=0.1,
            seed=settings.seed,
        ),
        compute=PretrainComputeSettings(**settings.compute.model_dump()),
    )


def _training_settings(
    settings: DemoSettings, root: str, ads: DemoAds, base_model: str
) -> TrainSettings:
    return TrainSettings(
        input_uri=ads.train,
        output_uri=root,
        base_model=base_model,
        recipe=settings.recipe,
        baseline="compare" if settings.recipe == "notebook" else "stack",
        optimiser=OptimiserSettings(
            learning_rate=1e-3,
            layer_decay=1.0,  # the weights are random: no layer holds what a small rate would keep
            num_epochs=settings.num_epochs,
            warmup_fraction=0.1,
            seed=settings.seed,
        ),
        compute=settings.compute,
        evaluation=EvaluationSettings(
            hard_cases_uri=ads.hard_cases, ood_uri=ads.out_of_domain
        ),
    )


def _made(settings: DemoSettings, ads: DemoAds, small_bert: str) -> str:
    """Make the tables and the small BERT, unless they are there; name the pretraining on them.

    What says that they are there is written last.
    """
    place = storage.join(ads.folder, "made.json")
    wanted = settings.model_dump(mode="json", include=MATERIAL) | {"code": code_digest()}
    made = storage.read_json(place) if storage.exists(place) else {}
    if made.get("settings") == wanted:
        log.info("reuses %s and %s of an earlier demo", ads.folder, small_bert)
        return str(made["pretrained"])
    version = version_name(None)
    _generate(settings, ads, small_bert)
    storage.put_json(place, {"settings": wanted, "pretrained": version})
    return version


def _generate(settings: DemoSettings, ads: DemoAds, small_bert: str) -> None:
    """Write the tables, and a small BERT whose word pieces are those of the catalogue."""
    started = time.monotonic()
    ads.write(
        num_train=settings.num_train, num_score=settings.num_score, seed=settings.seed
    )
    elapsed_s = time.monotonic() - started
    log.info(
        f"generated {settings.num_train:,} labelled ads and"
        f" {settings.num_score:,} ads to score  {elapsed_s:.0f} s"
    )
    texts = list[str]()
    for file in look_at_catalogue(ads.catalogue, ColumnSettings()):
        texts += clean_texts(file, TextCleaner())[1]
    build_small_bert(texts, small_bert, seed=settings.seed)
    StepLog("model").info(
        "built a small BERT (2 layers, width 128, random weights): %s", small_bert
    )
