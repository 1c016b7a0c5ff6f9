"""What reaches the terminal, and terminals that are gone, closed or know few letters."""

import logging
import os
import subprocess
import sys

import pytest

from rubert_ood.terminal import PlainFormatter

SHOW = (
    "from rubert_ood import terminal\nfrom rubert_ood.errors import"
    " RubertOodError\nterminal.prepare()\n"
)


def run(code: str, *, shell: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with redirections of the shell behind it."""
    command = ["sh", "-c", f'"$0" -c "$1" {shell}', sys.executable, SHOW + code]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **env}
    )


def test_a_log_record_is_one_plain_line_whatever_is_in_it() -> None:
    record = logging.LogRecord(
        "x", logging.INFO, "", 0, "file %s", ("a\x1b[2J\nb\u202e.csv",), None
    )
    assert PlainFormatter("%(message)s").format(record) == r"file a\x1b[2J\nb\u202e.csv"


def test_a_stack_trace_keeps_its_lines_and_loses_its_controls() -> None:
    try:
        raise ValueError("a\x1b[31m")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "fault", (), sys.exc_info())
    lines = PlainFormatter("%(message)s").format(record).split("\n")
    assert lines[:2] == ["fault", "Traceback (most recent call last):"]
    assert lines[-1] == r"ValueError: a\x1b[31m"


def test_terminal_logs_of_a_process_are_plain() -> None:
    result = run(
        r"import logging; logging.getLogger('rubert_ood').info('%s', 'диван\x1b]0;x\x07\udcff')"
    )
    assert result.stderr[8:] == "  диван\\x1b]0;x\\x07\\udcff\n"


def test_terminal_say_writes_one_plain_line() -> None:
    assert run(r"terminal.say('error: a\nb\x1bc')").stderr == "error: a\\nb\\x1bc\n"


def test_a_terminal_that_is_not_utf8_gets_escapes_for_what_it_lacks() -> None:
    code = (
        "terminal.show('диван'); terminal.say('ошибка');"
        " terminal.say(str(terminal.encodes_everything()))"
    )
    result = run(code, PYTHONIOENCODING="ascii")
    assert result.stdout == r"\u0434\u0438\u0432\u0430\u043d" + "\n"
    assert result.stderr.split("\n")[1:] == ["False", ""]
    assert run(code, PYTHONIOENCODING="utf-8").stdout == "диван\n"


def test_a_reader_that_leaves_is_told_apart_from_a_fault() -> None:
    code = "import sys\ntry:\n    [terminal.show('x' * 10000) for _ in range(1000)]\n"
    result = run(
        f"{code}except terminal.ClosedPipeError:\n    sys.exit(141)",
        shell="| head -c 5; true",
    )
    assert (result.stdout, result.stderr) == ("xxxxx", "")


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [
        (">&-", "standard output is closed"),
        ("> /dev/full", "standard output: [Errno 28]"),
    ],
)
def test_results_that_nobody_can_get_are_an_error(redirection: str, reason: str) -> None:
    code = (
        "try:\n    terminal.show('x')\nexcept RubertOodError as error:\n   "
        " terminal.say(str(error))"
    )
    result = run(code, shell=redirection)
    assert result.stderr.startswith(reason)
    assert result.stderr.count("\n") == 1
    assert result.returncode == 0


def test_terminal_streams_that_are_closed_are_not_taken_by_the_next_file() -> None:
    code = "import os; f = open(os.devnull); terminal.say('x'); os._exit(f.fileno())"
    assert run(code, shell="<&- >&- 2>&-").returncode == 3
