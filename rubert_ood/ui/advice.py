"""Thresholds that somebody tried, as flags and as YAML to copy."""

import yaml

from rubert_ood.ui.flips import QUANTILE, Choice


def flags(choice: Choice) -> str:
    """Return the flags of `train` that set what was changed; "" where nothing was."""
    found = []
    for group, values in _groups(choice).items():
        for name, value in values.items():
            found.append(f"--{group}.{name} {value}")
    return " ".join(found)


def as_yaml(choice: Choice) -> str:
    """Return the same for the file of `train --config`."""
    groups = _groups(choice)
    if not groups:
        return ""
    return yaml.safe_dump(groups, sort_keys=False)


def _groups(choice: Choice) -> dict[str, dict[str, float | str]]:
    changed = choice.model_dump(exclude_none=True)
    groups: dict[str, dict[str, float | str]] = {}
    for name, value in changed.items():
        group = "fit" if name == QUANTILE else "decision"
        groups.setdefault(group, {})[name] = value
    return groups
