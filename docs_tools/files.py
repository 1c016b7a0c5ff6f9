"""The pages of the files: what lies in a run and in a bundle, with the schema of each JSON file."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import griffe
from pydantic import TypeAdapter

from docs_tools.settings import cell
from rubert_ood.bundle import documents, files
from rubert_ood.bundle.promises import PromisesDocument
from rubert_ood.classifier.tokenizer import SpecialIds
from rubert_ood.comparing.document import DiffDocument
from rubert_ood.pointers.champion import Champion
from rubert_ood.pointers.unsent import Unsent
from rubert_ood.pretraining.result import Pretraining
from rubert_ood.promotion.document import Promotion
from rubert_ood.publishing.pointer import Pointer
from rubert_ood.reports.evaluation import Evaluation
from rubert_ood.reports.tuning import Tuning
from rubert_ood.reuse.document import IndexDocument
from rubert_ood.runs.claim import Claimant
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import QuarantineRecord, Receipt
from rubert_ood.runs.reuse import ReuseStop
from rubert_ood.runs.seals import Layout, Seal

Package = griffe.Object | griffe.Alias


@dataclass(frozen=True)
class FileOfOurs:
    """A file, what it is for, and the record that it holds if it is JSON."""

    path: str
    purpose: str
    record: type | None = None

    @property
    def schema_name(self) -> str:
        """The file name of its schema."""
        assert self.record
        return (
            f"schemas/{self.record.__module__.split('.')[1]}_{self.record.__name__}.json"
        )


RUN_FILES = [
    FileOfOurs("data-00000-of-00012.parquet", "the predictions; [columns](columns.md)"),
    FileOfOurs("_parts/SHARD.scored", "the same by shard, until the run is published"),
    FileOfOurs("_errors/SHARD.rejected", "rejected rows: file, row, id, reason"),
    FileOfOurs("_run/plan.json", "what is scored, and with what; written first", Plan),
    FileOfOurs("_run/runner.json", "the start that may write the run", Claimant),
    FileOfOurs("_run/manifest.json", "what became of the run", Manifest),
    FileOfOurs("_run/report.html", "the same for people"),
    FileOfOurs("_run/receipts/SHARD.json", "says that a part is whole", Receipt),
    FileOfOurs("_run/receipt_log/NUMBER.receipts", "copies of a thousand receipts"),
    FileOfOurs(
        "_run/quarantine/SHARD.json", "why a shard was not scored", QuarantineRecord
    ),
    FileOfOurs("_run/log/START-TOKEN.jsonl", "the log of one start of the job"),
    FileOfOurs("_run/layout.json", "which shards go into which file", Layout),
    FileOfOurs("_run/seals/FILE.json", "says that a published file is whole", Seal),
    FileOfOurs("_run/reuse/index.json", "the index of results by text", IndexDocument),
    FileOfOurs("_run/reuse/texts-NNNN-SHA.sqlite", "the results, sorted by key"),
    FileOfOurs("_run/reuse_stopped.json", "why nothing was reused after all", ReuseStop),
    FileOfOurs("_run/diff.html", "which labels changed since the run before"),
    FileOfOurs("diff.json", "of `diff` and `backfill`: the same, complete", DiffDocument),
    FileOfOurs(
        "OUTPUT/latest.json",
        "the pointer: the run that readers see; a day has one",
        Pointer,
    ),
]
"""What lies below OUTPUT/run_date=DAY/run_id=ID, unless the path says otherwise."""

BUNDLE_FILES = [
    FileOfOurs("manifest.json", "sha256 of every other file", files.Manifest),
    FileOfOurs(
        "config.json, model.safetensors, tokenizer*", "the network, as on the hub"
    ),
    FileOfOurs(
        "special_ids.json", "which ids of tokenizer.json are not of texts", SpecialIds
    ),
    FileOfOurs(
        "label_mapping.json",
        "classes in the order of the logits",
        documents.LabelsDocument,
    ),
    FileOfOurs("temperature.json", "T", documents.TemperatureDocument),
    FileOfOurs("ood_threshold.json", "the decision rule", documents.ThresholdDocument),
    FileOfOurs("promises.json", "what the decision promises", PromisesDocument),
    FileOfOurs(
        "text.json", "the cleaner, and how texts are read", documents.TextDocument
    ),
    FileOfOurs(
        "precision.json",
        "the numeric precision it was fitted in",
        documents.PrecisionDocument,
    ),
    FileOfOurs(
        "ood_statistics.safetensors", "class means, precision matrix, d2; float64"
    ),
    FileOfOurs("reference.safetensors", "features of train and calibration ads"),
    FileOfOurs("subheads.json", "finer classes, if trained", documents.SubheadsDocument),
    FileOfOurs("subheads.safetensors", "their weights"),
    FileOfOurs("stack.json, stack.safetensors", "words beside the network, if they gain"),
    FileOfOurs("evaluation.json", "how good it is, for programs", Evaluation),
    FileOfOurs("evaluation.html, train.html, README.md", "how good it is, for people"),
    FileOfOurs("tuning.json", "of a bundle that `tune` wrote", Tuning),
    FileOfOurs("../champion.json", "the bundle that is promoted", Champion),
    FileOfOurs("../_promotions/*/promotion.json", "each attempt at it", Promotion),
    FileOfOurs("../_unsent/VERSION.json", "what MLflow lacks of a training", Unsent),
    FileOfOurs("pretrained/VERSION/pretraining.json", "of `pretrain`", Pretraining),
]
"""What lies in OUTPUT/bundles/VERSION; what is beside it."""


def files_page(title: str, listed: list[FileOfOurs], package: Package) -> str:
    """Return the files of a folder, and the fields of those that are JSON."""
    lines = [f"# {title}", "", "| file | |", "|---|---|"]
    lines += [f"| `{file.path}` | {file.purpose} |" for file in listed]
    for file in listed:
        if file.record:
            lines += ["", *_fields(file, package)]
    return "\n".join(lines) + "\n"


def schemas(package: Package) -> dict[str, str]:
    """Return the JSON schema of each file by its place."""
    found = {}
    for file in (*RUN_FILES, *BUNDLE_FILES):
        if file.record:
            schema = schema_of(file.record, package)
            found[file.schema_name] = json.dumps(schema, indent=1, ensure_ascii=False)
    return found


def schema_of(record: type, package: Package) -> dict[str, Any]:
    """Return the schema of a record as it is written, with what the code says of each field."""
    schema = TypeAdapter(record).json_schema(mode="serialization")
    for name, text in _said_of(record, package).items():
        for key in (name, _alias(record, name)):
            if key in schema["properties"]:
                schema["properties"][key]["description"] = text
    return schema


def _fields(file: FileOfOurs, package: Package) -> Iterator[str]:
    assert file.record
    schema = schema_of(file.record, package)
    required = schema.get("required", [])
    yield f"## {file.path} {{ #{file.path.rpartition('/')[2].partition('.')[0].lower()} }}"
    yield ""
    text = " ".join(schema.get("description", "").partition("\n\n")[0].split())
    yield f"{text} [Schema]({file.schema_name})."
    yield ""
    yield from ("| field | type | |", "|---|---|---|")
    for name, described in schema["properties"].items():
        words = cell(described.get("description", ""))
        optional = "" if name in required else " *(may be missing)*"
        yield f"| `{name}` | {cell(kind(described))} | {words}{optional} |"


def kind(schema: dict[str, Any]) -> str:
    """Say in words what a schema allows."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2].rpartition("__")[2]
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(kind(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return str(schema.get("const") or schema.get("type", "any"))


def _alias(record: type, name: str) -> str:
    field = getattr(record, "model_fields", {}).get(name)
    return (field and field.alias) or name


def _said_of(record: type, package: Package) -> dict[str, str]:
    """Return the docstring below each field, of a record and of those that it comes from."""
    said: dict[str, str] = {}
    for base in reversed(record.__mro__):
        if not base.__module__.startswith("rubert_ood.") or not _has_fields(base):
            continue
        place = f"{base.__module__}.{base.__qualname__}".partition(".")[2]
        for name, member in package[place].members.items():
            if member.docstring and member.is_attribute:
                said[name] = " ".join(member.docstring.value.split())
    return said


def _has_fields(base: type) -> bool:
    return hasattr(base, "model_fields") or (is_dataclass(base) and bool(fields(base)))
