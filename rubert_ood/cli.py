"""`rubert-ood VERB`: every job and every step of it, with the same settings in YAML, environment and flags."""

import argparse
import importlib
import logging
import sys
from dataclasses import dataclass

from rubert_ood import __version__, settings
from rubert_ood.errors import RubertOodError

INTERRUPTED = 130
GOES_ON = {
    "score": "; the same command goes on from here",
    "backfill": "; the same command goes on from here",
    "train": "; with the same --version it goes on from its newest checkpoint",
}


@dataclass(frozen=True)
class Verb:
    settings: type[settings.JobSettings]
    workflow: str
    """MODULE:FUNCTION, imported only when the verb runs: `--help` stays fast."""
    summary: str


VERBS = {
    "demo": Verb(settings.DemoSettings, "demo:demo", "run everything on a generated catalogue and a small BERT"),
    "train": Verb(settings.TrainSettings, "train:train", "fine-tune, fit, evaluate, write a bundle"),
    "evaluate": Verb(settings.EvaluateSettings, "evaluate:evaluate_bundle", "measure a bundle on labelled ads"),
    "tune": Verb(settings.TuneSettings, "tune:tune", "choose thresholds for a target, write a new bundle version"),
    "subheads": Verb(
        settings.SubheadsSettings, "subheads:subheads", "train finer classes on a bundle, as a new version"
    ),
    "plan": Verb(
        settings.PlanSettings, "plan:plan", "check the input of a scoring job, estimate its time; write nothing"
    ),
    "score": Verb(settings.ScoreSettings, "score:score", "score a catalogue, verify, publish, report; or resume"),
    "diff": Verb(settings.DiffSettings, "diff:diff", "compare two runs, or two bundles on the same ads"),
    "backfill": Verb(settings.BackfillSettings, "backfill:backfill", "score past days again, compare, publish by gate"),
    "verify": Verb(settings.VerifySettings, "score:verify", "check the parts of a run against its receipts"),
    "publish": Verb(settings.PublishSettings, "score:publish", "apply the gate to a run and swap the pointer"),
    "rollback": Verb(settings.RollbackSettings, "score:rollback", "publish the run before the present one again"),
    "predict": Verb(settings.PredictSettings, "predict:predict", "classify texts and print the decision"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; return the exit code of docs/design.md. A user's mistake is one line, never a stack trace."""
    parser = argparse.ArgumentParser(
        prog="rubert-ood",
        description="Classify Russian private ads with RuBERT, and know when not to trust the answer.",
        epilog="`rubert-ood VERB --help` shows every setting. Flags beat RUBERT_OOD_* variables, those beat --config.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rubert_ood {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        verbs.add_parser(name, help=verb.summary, add_help=False)
    chosen, rest = parser.parse_known_args(arguments)
    logging.basicConfig(format="%(asctime)s  %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("rubert_ood").setLevel(logging.INFO)  # of libraries only warnings
    verb = VERBS[chosen.verb]
    try:
        loaded = settings.load_settings(verb.settings, rest, program=f"rubert-ood {chosen.verb}")
        module, function = verb.workflow.split(":")
        getattr(importlib.import_module(f"rubert_ood.workflows.{module}"), function)(loaded)
    except RubertOodError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"interrupted{GOES_ON.get(chosen.verb, '; the same command starts anew')}", file=sys.stderr)
        return INTERRUPTED
    except Exception:
        logging.exception("internal error, please report it")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
