"""Read a YAML file strictly: what a reader of the file may overlook is refused with its line."""

from typing import Any

import yaml

from rubert_ood import storage
from rubert_ood.errors import InputError, SettingsError
from rubert_ood.plain import printable
from rubert_ood.storage.retry import explained, retried

MAX_BYTES = 2**20
MAX_DEPTH = 20
MAX_NODES = 20_000
"""Values of a file, those of an alias counted wherever it stands."""
TEXT_TAG, MERGE_TAG = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
TIME_TAG = "tag:yaml.org,2002:timestamp"


def read_yaml(uri: str) -> dict[str, Any]:
    """Return the settings in a YAML file; SettingsError names the file, and the line of what is
    wrong."""
    try:
        data = _read(uri)
    except InputError as error:
        raise SettingsError(f"config: {error}") from error
    if len(data) > MAX_BYTES:
        raise SettingsError(
            f"{uri}: the file is larger than {MAX_BYTES:,} bytes. Use a"
            " YAML file of settings"
        )
    try:
        content = _parsed(data)
    except yaml.YAMLError as error:
        raise SettingsError(
            f"{uri}: the file is not valid YAML: {_reason(error)}"
        ) from error
    except _RefusedError as error:
        raise SettingsError(f"{uri}: {error}") from error
    except (
        RecursionError,
        ValueError,
        OverflowError,
    ) as error:  # e.g. a number of 5,000 digits
        reason = (
            "the file is nested too deeply"
            if isinstance(error, RecursionError)
            else printable(str(error))
        )
        raise SettingsError(f"{uri}: {reason}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{uri}: the file must hold lines of `setting: value`")
    return content


class _Loader(yaml.SafeLoader):
    """Dates stay text: the setting that holds one says what is wrong with it."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [(tag, regexp) for tag, regexp in found if tag != TIME_TAG]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _RefusedError(Exception):
    """It is YAML, but not as settings are written."""


@retried
def _read(uri: str) -> bytes:
    """Read at most one byte more than a file may have: it may be a device, or the wrong file."""
    fs, path = storage.filesystem(uri)
    with explained(uri):
        if storage.is_s3(uri):
            return (
                fs.cat_file(path, start=0, end=MAX_BYTES + 1)
                if fs.info(path)["size"]
                else b""
            )
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)


def _parsed(data: bytes) -> object:
    loader = _Loader(data)
    try:
        root = loader.get_single_node()
        if root is None:
            return {}
        _Check().visit(root, "", 1)
        return loader.construct_document(root) or {}
    finally:
        loader.dispose()


class _Check:
    """One walk over a document, into every alias."""

    def __init__(self) -> None:
        self.num_nodes = 0

    def visit(self, node: yaml.Node, place: str, depth: int) -> None:
        """Raise when a document is too deep or too large, or a key is not text or given twice."""
        self.num_nodes += 1
        if depth > MAX_DEPTH or self.num_nodes > MAX_NODES:
            kind = (
                "is nested too deeply"
                if depth > MAX_DEPTH
                else (f"has too many values (more than {MAX_NODES:,}, aliases included)")
            )
            raise _RefusedError(f"line {_line(node)}: the file {kind}")
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self.visit(item, place, depth + 1)
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                name = f"{place}{_key(key)}"
                if key.tag != MERGE_TAG and name in lines:
                    raise _RefusedError(
                        f"line {_line(key)}: {name} is given twice, first in"
                        f" line {lines[name]}. Remove one"
                    )
                lines[name] = _line(key)
                self.visit(
                    value, place if key.tag == MERGE_TAG else f"{name}.", depth + 1
                )


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _RefusedError(
            f"line {_line(node)}: a list or a group is not the name of a setting"
        )
    if node.tag not in (TEXT_TAG, MERGE_TAG):
        kind = node.tag.rpartition(":")[2]
        raise _RefusedError(
            f"line {_line(node)}: the {kind} {printable(node.value)!r} is"
            " not the name of a setting"
        )
    return printable(node.value)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _reason(error: yaml.YAMLError) -> str:
    """Say what is wrong and where, without quoting the file: it may hold what is nobody's
    business."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return printable(" ".join(str(error).split()))
    mark = error.problem_mark
    said = [
        error.context,
        error.problem,
        f"line {mark.line + 1}, column {mark.column + 1}",
    ]
    hint = (
        "indent with spaces, not with tabs" if "'\\t'" in (error.problem or "") else None
    )
    return printable(", ".join([part for part in (*said, hint) if part]))
