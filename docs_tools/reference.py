"""The pages of docs/reference/, made from the code when the site is built."""

import re
from collections.abc import Iterator
from pathlib import Path
from tomllib import loads

import griffe

from docs_tools.columns import columns_page
from docs_tools.exit_codes import exit_codes_page
from docs_tools.files import BUNDLE_FILES, RUN_FILES, Package, files_page, schemas
from docs_tools.metrics import metrics_page
from docs_tools.settings import settings_page

ROOT = Path(__file__).resolve().parents[1]
INDEX = """# Reference

These pages are made from the code when the site is built, so they say what this version does.

- [Settings](settings.md): every setting of every verb, with unit, default and limits
- [Columns](columns.md): what a row of the predictions holds
- [Exit codes](exit_codes.md): what a job ends with, and whether the same command helps
- [Files of a run](run_files.md) and [files of a bundle](bundle_files.md), with their JSON schemas
- [Metrics](metrics.md): every series that a run sends, with kind and unit
- [Python API](python.md): what `import rubert_ood` offers
- [Modules](modules.md): which module does what, floor by floor
"""
PYTHON = """# Python API

`import rubert_ood` is light: torch and Ray are imported when a name needs them. What goes wrong
is an error of [`rubert_ood.errors`](exit_codes.md) whose message is one line. `train`, `promote`,
`verify`, `publish`, `rollback` and `diff` take the [settings](settings.md) of their verb.

"""
API = [
    "rubert_ood.predictor.load",
    "rubert_ood.predictor.Model",
    "rubert_ood.api.score",
    "rubert_ood.runs.run.Run",
    "rubert_ood.workflows.train.train",
    "rubert_ood.workflows.promote.promote",
    "rubert_ood.workflows.verify.verify",
    "rubert_ood.workflows.publish.publish",
    "rubert_ood.workflows.rollback.rollback",
    "rubert_ood.workflows.diff.diff",
]
MEMBERS = {
    "Model": ["labels", "hidden_size", "d2_limit", "with_network", "predict", "embed"]
}
"""Of a class whose other members are for the jobs."""


def pages() -> dict[str, str]:
    """Return each page of the reference, and each schema, by its place on the site."""
    package = griffe.load("rubert_ood", search_paths=[ROOT])
    made = {
        "index.md": INDEX,
        "settings.md": settings_page(),
        "columns.md": columns_page(),
        "exit_codes.md": exit_codes_page(),
        "run_files.md": files_page("Files of a run", RUN_FILES, package),
        "bundle_files.md": files_page("Files of a bundle", BUNDLE_FILES, package),
        "metrics.md": metrics_page(),
        "python.md": python_page(),
        "modules.md": modules_page(package),
        **schemas(package),
    }
    return {f"reference/{name}": content for name, content in made.items()}


def python_page() -> str:
    """Return the page that mkdocstrings fills."""
    return PYTHON + "\n".join(_blocks())


def _blocks() -> Iterator[str]:
    for path in API:
        yield f"::: {path}\n"
        if members := MEMBERS.get(path.rpartition(".")[2]):
            yield f"    options: {{members: [{', '.join(members)}]}}\n"


def floors() -> list[list[str]]:
    """Return the rooms of the package, highest floor first, as import-linter checks them."""
    project = loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    return [re.findall(r"rubert_ood\.(\w+)", floor) for floor in contract["layers"]]


def modules_page(package: Package) -> str:
    """Return what each module does, by the first sentence of its docstring."""
    lines = ["# Modules", ""]
    lines += ["A module imports only from floors below its own; `make check` holds that."]
    for floor in floors():
        lines += ["", f"## {' · '.join(floor)}"]
        for room in floor:
            lines += ["", *_room(package[room])]
    return "\n".join(lines) + "\n"


def _room(room: Package) -> Iterator[str]:
    yield f"**{room.name}**: {_first_sentence(room)}"
    modules = room.modules.items()
    inside = {name: module for name, module in modules if not module.is_alias}
    if inside:
        yield ""
    for name in sorted(inside):
        yield f"- `{name}`: {_first_sentence(inside[name])}"


def _first_sentence(module: Package) -> str:
    text = module.docstring.value if module.docstring else ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return paragraph.replace("<", "&lt;").replace("*", r"\*")
