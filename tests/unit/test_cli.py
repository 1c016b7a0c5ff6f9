import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rubert_ood import __version__, cli, errors
from rubert_ood.settings import VerifySettings

SURFACE = Path(__file__).parent / "cli_surface.txt"
UPDATE = os.environ.get("RUBERT_OOD_UPDATE") == "1"
VERBS = [
    *("audit-labels", "backfill", "demo", "diff", "evaluate", "export-annotate"),
    *("import-annotate", "plan", "predict", "pretrain", "promote", "publish", "push"),
    "register",
    *("rollback", "score", "sign", "subheads", "submit", "train", "tune", "ui", "verify"),
]
SCORE = ["--input_uri", "in", "--bundle_uri", "b", "--output_uri", "out"]


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("RUBERT_OOD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, list[str]]]:
    """Run the command line in this process; return the exit code, the output and the lines of
    errors."""

    def call(*arguments: str) -> tuple[int, str, list[str]]:
        try:
            code = cli.run(list(arguments))
        except SystemExit as stop:
            code = stop.code
        output, error = capsys.readouterr()
        assert "Traceback" not in error
        return code, output, error.splitlines()

    return call


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], Any]], None]:
    """Put a function in the place of the workflow of `verify`."""

    def put(function: Callable[[Any], Any]) -> None:
        monkeypatch.setitem(
            cli.VERBS, "verify", cli.Verb("VerifySettings", "replaced:function", "")
        )
        monkeypatch.setitem(
            sys.modules,
            "rubert_ood.workflows.replaced",
            SimpleNamespace(function=function),
        )

    return put


# the surface


def flags(help_text: str) -> list[str]:
    """Return the settings of a help page, one `--name type: default` a line, sorted."""
    found = []
    options = help_text[help_text.index("\n\n") :]
    for option in re.split(r"\n  (?=\S)", options):
        name, _, description = option.partition("  ")
        default = re.search(
            r"\((?:(required)|default: (.*))\)\s*$",
            description.split("\n\n")[0],
        )
        if default:
            found.append(f"  {name.strip()}: {default[1] or default[2]}")
    return sorted(found)


def test_cli_surface_is_the_recorded_one(run) -> None:
    """Scripts and job files depend on every name and default; RUBERT_OOD_UPDATE=1 records an
    intended change."""
    lines = []
    for verb in VERBS:
        code, help_text, _ = run(verb, "--help")
        assert code == 0
        lines += [verb, *flags(help_text), ""]
    surface = "\n".join(lines)
    if UPDATE:
        SURFACE.write_text(surface, encoding="utf-8")
    assert surface == SURFACE.read_text(encoding="utf-8")


def test_the_recorded_surface_lists_every_setting() -> None:
    """The help pages are parsed as text; the models must have as many leaves."""

    def leaves(model: type) -> int:
        kinds = [field.annotation for field in model.model_fields.values()]
        return sum(leaves(kind) if hasattr(kind, "model_fields") else 1 for kind in kinds)

    blocks = [
        block.splitlines()
        for block in SURFACE.read_text(encoding="utf-8").strip().split("\n\n")
    ]
    recorded = {verb: len(lines) for verb, *lines in blocks}
    assert recorded == {verb: leaves(cli.VERBS[verb].settings) for verb in VERBS}


def test_help_lists_every_verb(run) -> None:
    code, output, _ = run("--help")
    assert code == 0
    assert sorted(re.findall(r"^    ([\w-]+)\s", output, flags=re.MULTILINE)) == VERBS
    for verb in cli.VERBS.values():
        assert verb.summary in output


def test_version_is_printed(run) -> None:
    assert run("--version")[:2] == (0, f"rubert_ood {__version__}\n")


def test_help_of_a_verb_begins_with_a_short_usage_and_what_it_does(run) -> None:
    code, output, _ = run("predict", "--help")
    assert code == 0
    assert output.splitlines()[:3] == [
        "usage: rubert-ood predict [--SETTING VALUE ...] [TEXTS ...]",
        "",
        "Classify texts (arguments, or one per line on standard input), and print the decisions.",
    ]
    assert run("verify", "--help")[1].startswith(
        "usage: rubert-ood verify [--SETTING VALUE ...]\n\n"
    )


# errors


def argparse_lines(lines: list[str], usage: str, error: str) -> None:
    assert len(lines) == 2
    assert lines[0].startswith(f"usage: {usage}")
    assert lines[1].startswith(error)


def test_unknown_verb_is_refused_with_the_verbs(run) -> None:
    code, _, lines = run("classify")
    assert code == 2
    argparse_lines(
        lines,
        "rubert-ood ",
        "rubert-ood: error: argument VERB: invalid choice: 'classify' (choose from ",
    )


def test_command_without_a_verb_is_refused(run) -> None:
    code, _, lines = run()
    assert code == 2
    argparse_lines(
        lines,
        "rubert-ood ",
        "rubert-ood: error: the following arguments are required: VERB",
    )


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_flag_is_refused_and_named(run, verb: str) -> None:
    code, _, lines = run(verb, "--nope", "1")
    assert code == 2
    argparse_lines(
        lines,
        f"rubert-ood {verb} ",
        f"rubert-ood {verb}: error: unrecognized arguments: --nope",
    )


def test_shortened_flag_is_unknown(run) -> None:
    code, _, lines = run("train", "--input", "x")
    assert code == 2
    argparse_lines(
        lines,
        "rubert-ood train ",
        "rubert-ood train: error: unrecognized arguments: --input (did you mean --input_uri?)",
    )


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["train", "--input_uri", "x", "--split.seed", "x"], "split.seed: "),
        (
            ["train", "--input_uri", "x", "--optimiser.learning_rate", "fast"],
            "optimiser.learning_rate: ",
        ),
        (["score", *SCORE, "--run_date", "tomorrow"], "run_date: "),
        (["plan", *SCORE, "--on_bad_file", "ignore"], "on_bad_file: "),
        (
            ["publish", "--run_uri", "x", "--gate.max_ood_rate", "2"],
            "gate.max_ood_rate: ",
        ),
        (["demo", "--num_train", "10"], "num_train: "),
        (["verify"], "run_uri: missing. Pass --run_uri, or set it in the YAML file"),
        (
            ["predict", "текст"],
            "bundle_uri: missing. Pass --bundle_uri, or set it in the YAML file",
        ),
        (
            ["evaluate", "--bundle_uri", "b"],
            "input_uri: missing. Pass --input_uri, or set it in the YAML file",
        ),
        (
            ["train"],
            (
                "input_uri: there must be one kind of input. Set it alone, or set"
                " train_uri, valid_uri and test_uri together"
            ),
        ),
    ],
)
def test_a_bad_setting_is_one_line(run, arguments: list[str], lines: str) -> None:
    code, output, (line,) = run(*arguments)
    assert (code, output) == (2, "")
    assert line.startswith(f"error: {lines}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "input_uri: x\noptimizer: {seed: 1}\n",
            ("optimizer: no such setting (did you mean optimiser?). `--help` lists them"),
        ),
        (
            "input_uri: x\noptimiser: {sead: 1}\n",
            (
                "optimiser.sead: no such setting (did you mean optimiser.seed?)."
                " `--help` lists them"
            ),
        ),
        ("input_uri: [x\n: }\n", "{uri}: the file is not valid YAML: "),
        ("- input_uri\n", "{uri}: the file must hold lines of `setting: value`"),
        (None, "config: {uri}: no such file, folder or bucket"),
    ],
)
def test_a_bad_file_is_one_line(
    run, tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "job.yaml"
    if content is not None:
        path.write_text(content)
    code, output, (line,) = run("train", "--config", str(path))
    assert (code, output) == (2, "")
    assert line.startswith("error: " + reason.format(uri=path))


# outcomes

ERRORS = [getattr(errors, name) for name in dir(errors) if name.endswith("Error")]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_of_ours_is_one_line_with_its_exit_code(
    run, workflow, error: type[errors.RubertOodError]
) -> None:
    def fail(_settings: VerifySettings) -> None:
        raise error(
            "ads.csv: the file has no column 'x'. Run `rubert-ood verify` on its run"
        )

    workflow(fail)
    assert run("verify", "--run_uri", "x") == (
        error.exit_code,
        "",
        [
            (
                "error: ads.csv: the file has no column 'x'. Run `rubert-ood verify` on"
                " its run"
            )
        ],
    )


def test_success_is_0_and_the_workflow_gets_the_settings(run, workflow) -> None:
    given = []
    workflow(given.append)
    assert run("verify", "--run_uri", "x") == (0, "", [])
    assert [settings.run_uri for settings in given] == ["x"]


def test_interrupted_verb_exits_130(run, workflow) -> None:
    def interrupt(_settings: VerifySettings) -> None:
        raise KeyboardInterrupt

    workflow(interrupt)
    code, _, lines = run("verify", "--run_uri", "x")
    assert (code, lines) == (
        130,
        ["interrupted. Run the same command again to start anew"],
    )
    assert set(cli.GOES_ON) < set(cli.VERBS)


def test_a_fault_of_the_program_is_1_and_keeps_its_trace(
    workflow, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_settings: VerifySettings) -> None:
        raise ZeroDivisionError("division by zero")

    workflow(fail)
    assert cli.run(["verify", "--run_uri", "x"]) == 1
    (record,) = caplog.records
    assert record.getMessage() == "internal error. Please report it with this trace"
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "error", [errors.OutputError("x"), errors.PartialRunError("x"), RuntimeError("x")]
)
def test_what_an_interrupt_looks_like_from_below_is_still_an_interrupt(
    run, workflow, monkeypatch: pytest.MonkeyPatch, number: int, error: Exception
) -> None:
    """DuckDB, for one, turns it into a RuntimeError."""

    def fail(_settings: VerifySettings) -> None:
        monkeypatch.setattr(cli.interrupts._State, "first", number)
        raise error

    workflow(fail)
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert run("verify", "--run_uri", "x") == (
        128 + number,
        "",
        [f"{word}. Run the same command again to start anew"],
    )


def test_a_terminated_job_is_143(run, workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate(_settings: VerifySettings) -> None:
        monkeypatch.setattr(cli.interrupts._State, "first", signal.SIGTERM)
        raise cli.interrupts.Terminated

    workflow(terminate)
    assert run("verify", "--run_uri", "x")[0] == 143


def test_a_reader_that_left_is_141_without_a_word(run, workflow) -> None:
    def leave(_settings: VerifySettings) -> None:
        raise cli.terminal.ClosedPipeError

    workflow(leave)
    assert run("verify", "--run_uri", "x") == (141, "", [])


def test_an_error_is_one_plain_line_whatever_is_in_it(run, workflow) -> None:
    def fail(_settings: VerifySettings) -> None:
        raise errors.InputError("a\x1b[2J\nb\udcff.csv: no such file")

    workflow(fail)
    assert run("verify", "--run_uri", "x") == (
        3,
        "",
        [r"error: a\x1b[2J\nb\udcff.csv: no such file"],
    )


@pytest.mark.parametrize(
    "arguments", [["--run_uri", "x"], ["\x1b[31m"], ["s3://K:SECRET@b/x"]]
)
def test_a_wrong_verb_echoes_neither_controls_nor_credentials(
    run, arguments: list[str]
) -> None:
    code, _, lines = run(*arguments)
    assert code == 2
    assert not [line for line in lines if "\x1b" in line or "SECRET" in line]


def test_working_directory_that_was_removed_is_one_line(
    run, workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ran: list[VerifySettings] = []
    workflow(ran.append)
    line = "error: the working directory was removed. Change to another one"
    assert run("verify", "--run_uri", "out/run") == (3, "", [line])
    assert ran == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_workflow_exists(verb: str) -> None:
    """The module is not imported (it may need torch): its file must define the function."""
    module, function = cli.VERBS[verb].workflow.split(":")
    source = Path(cli.__file__).parent / "workflows" / f"{module}.py"
    assert re.search(
        rf"^def {function}\(settings: ",
        source.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )


@pytest.mark.parametrize("text", ["", "import rubert_ood.interrupts\n"])
def test_settings_are_imported_after_the_handlers(text: str) -> None:
    code = (
        f"{text}import sys; from rubert_ood import cli; print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_an_interrupt_during_the_imports_is_130_in_one_line(monkeypatch, capsys) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_settings", interrupted)
    monkeypatch.setattr(cli.interrupts, "install", lambda: None)
    monkeypatch.setattr(cli.terminal, "prepare", lambda: None)
    monkeypatch.setattr(sys, "argv", ["rubert-ood"])
    assert cli.main("verify") == 130
    assert (
        capsys.readouterr().err
        == "interrupted. Run the same command again to start anew\n"
    )
