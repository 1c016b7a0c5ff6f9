"""Settings under the names that they had before 0.4: taken for this version, each with a warning.

The one table of it, and what applies it to flags, variables, YAML files and keyword arguments.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from rubert_ood.errors import SettingsError
from rubert_ood.progress import StepLog

log = StepLog("settings")

RENAMED = (
    ("num_actors", "compute.num_workers", "Score Plan Backfill Diff"),
    ("use_gpu", "compute.use_gpu", "Score Plan Backfill Diff"),
    ("precision", "compute.precision", "Score Plan Backfill Train"),
    ("token_budget", "compute.token_budget", "Score Plan Backfill"),
    ("max_failed_shards", "max_quarantined_shards", "Score Backfill"),
    ("calibration_s", "estimate_s", "Plan"),
    ("num_workers", "compute.num_workers", "Demo"),
    ("workers.num_workers", "compute.num_workers", "Train Tune"),
    ("workers.use_gpu", "compute.use_gpu", "Train Tune"),
    ("workers.cpus_per_worker", "compute.cpus_per_worker", "Train Tune"),
    ("workers.max_failures", "compute.max_failures", "Train"),
    ("optimiser.max_length", "text.max_length", "Train"),
    ("long_text.mode", "text.mode", "Train"),
    ("long_text.stride", "text.stride", "Train"),
    ("long_text.max_chunks", "text.max_windows", "Train"),
)
"""Old name, new name, jobs that had it."""
IDLE = (
    ("executor", "Plan"),
    ("ray_address", "Plan"),
    ("max_quarantined_shards", "Plan"),
    ("max_failed_shards", "Plan"),
    ("no_progress_timeout_s", "Plan"),
    ("publish", "Plan"),
    ("report_changes", "Plan Backfill"),
    ("run_timezone", "Backfill"),
    ("workers.max_failures", "Tune"),
)
"""Names that a job takes and makes nothing of: `plan` and `backfill` read the file of `score`."""
SWITCHES = ("use_gpu", "workers.use_gpu", "publish", "report_changes")
"""Those of the names above whose flag has no value, and a twin `--no-`."""

Spelling = Callable[[str], str]
"""How a name is written in the source that it comes from."""


def renamed(job: type) -> dict[str, str]:
    """Return the new name of each old one that a job takes."""
    return {old: new for old, new, jobs in RENAMED if _is_one_of(job, jobs)}


def idle(job: type) -> list[str]:
    """Return the names that a job takes without effect."""
    return [name for name, jobs in IDLE if _is_one_of(job, jobs)]


def old_names() -> Iterator[str]:
    """Yield every old name, of whatever job."""
    for old, _, _ in RENAMED:
        yield old
    for name, _ in IDLE:
        yield name


def moved(job: type, given: Mapping[str, Any], spelled: Spelling = str) -> dict[str, Any]:
    """Return the values of one source by their new names.

    Raises SettingsError when a value has both its old and its new name there.
    """
    values = dict(given)
    _check_groups(job, values, spelled)
    for old, new in renamed(job).items():
        if _holds(values, old):
            _put(values, new, _pop(values, old), spelled(old), spelled(new))
            _warn(spelled(old), spelled(new))
    for name in idle(job):
        if _holds(values, name):
            _pop(values, name)
            _say_idle(spelled(name))
    return values


def moved_flags(job: type, arguments: list[str]) -> list[str]:
    """Return a command line with new names; what stands behind `--` stays as it is."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = [word.partition("=")[0] for word in arguments[:end]]
    new_flags, idle_flags = _new_flags(job), _idle_flags(job)
    result: list[str] = []
    skipped = False
    for word, flag in zip(arguments[:end], flags, strict=True):
        is_value = skipped and not word.startswith("--")
        skipped = False
        if flag in new_flags:
            new = new_flags[flag]
            name = new.removeprefix("--no-").removeprefix("--")
            if f"--{name}" in flags or f"--no-{name}" in flags:
                raise SettingsError(_both(flag, new))
            _warn(flag, new)
            result.append(new + word.removeprefix(flag))
        elif flag in idle_flags:
            _say_idle(flag)
            skipped = word == flag and idle_flags[flag]
        elif not is_value:
            result.append(word)
    return result + arguments[end:]


def _check_groups(job: type, values: Mapping[str, Any], spelled: Spelling) -> None:
    """Raise SettingsError when an old group is given a value of its own."""
    for old in renamed(job):
        group, dot, _ = old.partition(".")
        is_old = dot and group in values and group not in getattr(job, "model_fields", {})
        if is_old and not isinstance(values[group], Mapping | BaseModel):
            names = [
                name for name in renamed(job).items() if name[0].startswith(f"{group}.")
            ]
            said = ", ".join([f"{spelled(a)} is now {spelled(b)}" for a, b in names])
            raise SettingsError(
                f"{spelled(group)}: this is not a group of settings. Use the new"
                f" names: {said}"
            )


def _is_one_of(job: type, jobs: str) -> bool:
    bases = {base.__name__ for base in job.__mro__}
    return any(f"{name}Settings" in bases for name in jobs.split())


def _new_flags(job: type) -> dict[str, str]:
    flags = {}
    for old, new in renamed(job).items():
        flags[f"--{old}"] = f"--{new}"
        if old in SWITCHES:
            flags[f"--no-{old}"] = f"--no-{new}"
    return flags


def _idle_flags(job: type) -> dict[str, bool]:
    """Return the flags without effect, and whether a value follows."""
    flags = {}
    for name in idle(job):
        flags[f"--{name}"] = name not in SWITCHES
        if name in SWITCHES:
            flags[f"--no-{name}"] = False
    return flags


def _holds(values: Mapping[str, Any], name: str) -> bool:
    group, _, last = name.rpartition(".")
    holder = values.get(group) if group else values
    return isinstance(holder, Mapping) and last in holder


def _pop(values: dict[str, Any], name: str) -> object:
    """Take a value out; a group that is left empty goes with it."""
    group, _, last = name.rpartition(".")
    if not group:
        return values.pop(last)
    left = dict(values.pop(group))
    value = left.pop(last)
    if left:
        values[group] = left
    return value


def _put(values: dict[str, Any], name: str, value: object, old: str, new: str) -> None:
    group, _, last = name.rpartition(".")
    if not group:
        holder = values
    elif isinstance(values.get(group), BaseModel):
        holder = values[group] = values[group].model_dump(exclude_unset=True)
    elif isinstance(values.get(group, {}), Mapping):
        holder = values[group] = dict(values.get(group, {}))
    else:
        return  # not a group: what it is instead is refused by the model
    if last in holder:
        raise SettingsError(_both(old, new))
    holder[last] = value


def _both(old: str, new: str) -> str:
    return (
        f"{old} and {new}: these are the old and the new name of one setting."
        f" Leave {old} out"
    )


def _warn(old: str, new: str) -> None:
    log.warning(
        "%s: this setting is now %s. Use the new name, the next version drops"
        " the old one",
        old,
        new,
    )


def _say_idle(name: str) -> None:
    log.info("%s: this job ignores it", name)
