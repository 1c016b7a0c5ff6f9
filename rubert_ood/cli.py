"""`rubert-ood VERB`: every job and every step of it, with the same settings in YAML, environment
and flags."""

import argparse
import importlib
import logging
import os
import signal
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from rubert_ood import __version__, interrupts, terminal
from rubert_ood.errors import InputError, RubertOodError

if TYPE_CHECKING:
    from rubert_ood.settings import JobSettings

INTERRUPTED, TERMINATED, CLOSED_PIPE = 130, 143, 141
"""Exit codes, as shells give them for SIGINT, SIGTERM and SIGPIPE."""
STARTS_ANEW = ". Run the same command again to start anew"
GOES_ON = {
    "score": ". Run the same command again to resume",
    "backfill": ". Run the same command again to resume",
    "submit": ". The job goes on. Run the same command again to wait for it",
    "train": (
        ". Run it again with the same --version to resume from its newest checkpoint"
    ),
    "pretrain": (
        ". Run it again with the same --version to resume from its newest checkpoint"
    ),
}


@dataclass(frozen=True)
class Verb:
    """A sub-command: what it may be given, and what runs it."""

    settings_name: str
    workflow: str
    """MODULE:FUNCTION, imported only when the verb runs: `--help` stays fast."""
    summary: str

    @property
    def settings(self) -> "type[JobSettings]":
        """The settings, imported only now: a signal before that ends the command in one line."""
        found: type[JobSettings] = getattr(_settings(), self.settings_name)
        return found


def _settings() -> ModuleType:
    return importlib.import_module("rubert_ood.settings")


VERBS = {
    "demo": Verb(
        "DemoSettings",
        "demo:demo",
        "run every step on a generated catalogue, with a small BERT",
    ),
    "pretrain": Verb(
        "PretrainSettings",
        "pretrain:pretrain",
        "pretrain a base model on unlabelled ads (masked language modelling)",
    ),
    "train": Verb(
        "TrainSettings",
        "train:train",
        "fine-tune a model, fit the OOD rule, evaluate, write a bundle",
    ),
    "evaluate": Verb(
        "EvaluateSettings",
        "evaluate:evaluate_bundle",
        "measure a bundle on labelled ads",
    ),
    "tune": Verb(
        "TuneSettings",
        "tune:tune",
        "choose the thresholds for a target, write a new bundle",
    ),
    "subheads": Verb(
        "SubheadsSettings",
        "subheads:subheads",
        "train sub-heads (finer classes), write a new bundle",
    ),
    "plan": Verb(
        "PlanSettings",
        "plan:plan",
        "check the input of a scoring job and estimate its time (dry run)",
    ),
    "score": Verb(
        "ScoreSettings",
        "score:score",
        "score a catalogue, verify, publish, report (resumes a stopped run)",
    ),
    "diff": Verb(
        "DiffSettings",
        "diff:diff",
        "compare two runs ad by ad, or two bundles on the same ads",
    ),
    "backfill": Verb(
        "BackfillSettings",
        "backfill:backfill",
        "score past days again, compare, publish each through the gate",
    ),
    "verify": Verb(
        "VerifySettings",
        "verify:verify",
        "check the parts of a run against its receipts",
    ),
    "publish": Verb(
        "PublishSettings",
        "publish:publish",
        "publish a run: apply the gate, swap the pointer",
    ),
    "sign": Verb(
        "SignSettings",
        "sign:sign",
        "sign a bundle with a private key",
    ),
    "push": Verb(
        "PushSettings",
        "push:push",
        "push a bundle to the Hugging Face hub, in one commit",
    ),
    "register": Verb(
        "RegisterSettings",
        "register:register",
        "send a bundle's training to MLflow, and register the bundle",
    ),
    "promote": Verb(
        "PromoteSettings",
        "promote:promote",
        "compare a bundle with the champion, and replace the champion",
    ),
    "rollback": Verb(
        "RollbackSettings",
        "rollback:rollback",
        "go back to the previous run, or to the previous champion",
    ),
    "submit": Verb(
        "SubmitSettings",
        "submit:submit",
        "submit a job to a Ray cluster, wait for it, end with its exit code",
    ),
    "predict": Verb(
        "PredictSettings", "predict:predict", "classify texts and print the decision"
    ),
    "export-annotate": Verb(
        "ExportAnnotateSettings",
        "export_annotate:export_annotate",
        "pick ads of a run for people to label (Label Studio, CSV)",
    ),
    "import-annotate": Verb(
        "ImportAnnotateSettings",
        "import_annotate:import_annotate",
        "make labelled ads of the answers, and measure the run",
    ),
    "audit-labels": Verb(
        "AuditLabelsSettings",
        "audit_labels:audit_labels",
        "find labels that are probably wrong (confident learning)",
    ),
    "ui": Verb(
        "UiSettings", "ui:ui", "serve a page to try texts, and to look into a run"
    ),
}


def main(*before: str) -> int:
    """Run the command line of this process, with `before` in front; return its exit code
    (docs: reference, exit codes).

    A job on Ray runs in a process of its own, and ends with this one: Ray may end its process
    without a word.
    """
    arguments = [*before, *sys.argv[1:]]
    interrupts.install()
    name = arguments[0] if arguments else ""
    try:
        return _main(arguments)
    except KeyboardInterrupt:  # while modules were being imported
        return _interrupted(name)


def _main(arguments: list[str]) -> int:
    terminal.prepare()
    verb = VERBS.get(arguments[0]) if arguments else None
    if verb is None or not issubclass(verb.settings, _settings().RayJobSettings):
        try:
            return run(arguments)
        finally:
            interrupts.ending()
    goes_on = GOES_ON.get(arguments[0], STARTS_ANEW)
    return interrupts.watched(
        lambda: run(arguments), lambda line: terminal.say(line + goes_on)
    )


def run(arguments: list[str]) -> int:
    """Run a verb in this process; return its exit code. A user's mistake is one line, never a
    stack trace."""
    name = arguments[0] if arguments else ""
    try:
        name, rest = _verb(arguments)
        _check_working_directory()
        loaded = _settings().load_settings(
            VERBS[name].settings, rest, program=f"rubert-ood {name}"
        )
        module, function = VERBS[name].workflow.split(":")
        getattr(importlib.import_module(f"rubert_ood.workflows.{module}"), function)(
            loaded
        )
    except RubertOodError as error:
        if not interrupts.received():
            for line in error.lines:
                terminal.say(f"error: {line}")
            return error.exit_code
        # what the error says is how the interrupt looked from below
        return _interrupted(name)
    except KeyboardInterrupt:
        return _interrupted(name)
    except terminal.ClosedPipeError:
        return CLOSED_PIPE
    except Exception:
        if (
            interrupts.received()
        ):  # a library turned the interrupt into an error of its own
            return _interrupted(name)
        logging.exception("internal error. Please report it with this trace")
        return 1
    return 0


def _check_working_directory() -> None:
    """Raise InputError where there is none: relative paths and MKL would fail in words of their
    own."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise InputError(
            "the working directory was removed. Change to another one"
        ) from None


def _verb(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the verb of a command line, and what follows it."""
    parser = _settings().PlainParser(
        prog="rubert-ood",
        description=(
            "Classify Russian private ads with RuBERT,"
            " and know when not to trust the answer."
        ),
        epilog=(
            "`rubert-ood VERB --help` shows every setting. Flags override"
            " RUBERT_OOD_* variables, which override the --config file."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"rubert_ood {__version__}"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        verbs.add_parser(name, help=verb.summary, add_help=False)
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.verb == "submit":
        rest = _settings().with_job(rest)
    return chosen.verb, rest


def _interrupted(verb: str) -> int:
    terminated = interrupts.received() == signal.SIGTERM
    terminal.say(
        f"{'terminated' if terminated else 'interrupted'}{GOES_ON.get(verb, STARTS_ANEW)}"
    )
    return TERMINATED if terminated else INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
