"""What says of an index: index.json, which names its files, and what its results depend on."""

import hashlib
from collections.abc import Mapping

from pydantic import Field, TypeAdapter

from rubert_ood import storage
from rubert_ood.reuse.layout import Layout
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.record import Count, PlainName, Record, parse
from rubert_ood.runs.reuse import IndexName

FORMAT = 1
DOCUMENT = "index.json"
DEPENDS_ON = ("bundle", "precision", "code version")
"""Of the identity of a plan: all that changes the result of a text."""


class IndexFile(Record):
    """One file of an index; its name tells its content."""

    name: PlainName
    sha256: str
    size: Count


class IndexDocument(Record):
    """What stands in index.json."""

    format: int
    run_id: PlainName
    identity: dict[str, str]
    """See `result_identity`."""
    parts: str
    """Digest of the parts that it was made of."""
    layout: Layout
    texts: Count
    files: list[IndexFile] = Field([])
    """By the head of the keys, in equal ranges."""


INDEX = TypeAdapter(IndexDocument)


def result_identity(plan: Plan) -> dict[str, str]:
    """Return what must agree for the result of a text to be taken over."""
    return {name: plan.identity.get(name, "") for name in DEPENDS_ON}


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Name what differs between two identities of results."""
    return [name for name in ours if ours[name] != theirs.get(name)]


def index_uri(run_uri: str) -> str:
    """Return the folder of the index of a run."""
    return storage.join(run_uri, "_run", "reuse")


def document_uri(run_uri: str) -> str:
    """Return where the index.json of a run lies."""
    return storage.join(index_uri(run_uri), DOCUMENT)


def read_document(run_uri: str) -> tuple[IndexDocument, str]:
    """Read the index.json of a run, and its sha256; InputError when it is missing."""
    data = storage.read_bytes(document_uri(run_uri))
    return parse_document(run_uri, data), sha256_of(data)


def parse_document(run_uri: str, data: bytes) -> IndexDocument:
    """Read index.json; InputError, which leaves it to the caller to say what to do, when it is
    damaged."""
    return parse(document_uri(run_uri), data, INDEX, mend="")


def name_of(document: IndexDocument, data: bytes) -> IndexName:
    """Return what a manifest says of an index; `data` is index.json."""
    size = len(data) + sum(file.size for file in document.files)
    return IndexName(sha256=sha256_of(data), texts=document.texts, size=size)


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
