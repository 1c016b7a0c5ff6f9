"""Switches on a command line: `--x`, `--no-x`, and `--x true` as in YAML."""

from collections.abc import Iterable

from rubert_ood.credentials import shown
from rubert_ood.errors import SettingsError

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def plain_switches(
    arguments: list[str], switches: Iterable[str], *, positional: bool
) -> list[str]:
    """Return a command line whose switches have no value.

    A word behind a switch is its value if it is true or false, and no text can stand there
    (`positional`). Raises SettingsError when what follows `=` is neither.
    """
    flags = {f"--{name}" for name in switches}
    result: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*result, word, *words]
        flag, equals, value = word.partition("=")
        before = result[-1] if result else ""
        if equals and flag in flags:
            result.append(_switch(flag, value))
        elif before in flags and not positional and word.lower() in ("true", "false"):
            result[-1] = _switch(before, word)
        else:
            result.append(word)
    return result


def _switch(flag: str, value: str) -> str:
    no_flag = f"--no-{flag.removeprefix('--')}"
    if value.lower() in YES:
        return flag
    if value.lower() in NO:
        return no_flag
    raise SettingsError(
        f"{flag}: a switch takes true or false, not {shown(value)}. Write"
        f" {flag} or {no_flag}"
    )
