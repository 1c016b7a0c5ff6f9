"""The result of a text as a record of fixed width, and back.

Shapes: T texts, k best classes, H hidden.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from rubert_ood.errors import InputError
from rubert_ood.runs.part import (
    LENGTH_FIELDS,
    SCORE_FIELDS,
    SCORED_IN,
    STATUS_OK,
    SUBHEAD_FIELDS,
)
from rubert_ood.runs.record import Count, Record

NONE = 2**16 - 1
"""Code of a null."""
NULL_AS_NAN = "sub_confidence"
CODED = ("label", "topk_labels", "sub_label", SCORED_IN.name)
Records = NDArray[np.void]


class Layout(Record):
    """What all records of an index share."""

    top_k: Count
    hidden_size: Count | None = None
    """Of the embedding; None without one."""
    subheads: bool = False
    names: list[str] = Field([])
    """Labels, sub-labels and ids of runs by their code."""

    @property
    def fields(self) -> list[pa.Field]:
        """The columns of a text, but for its key."""
        fields = [*SCORE_FIELDS, *LENGTH_FIELDS, SCORED_IN]
        fields += SUBHEAD_FIELDS if self.subheads else []
        if self.hidden_size is not None:
            kind = pa.list_(pa.float16(), self.hidden_size)
            fields.append(pa.field("embedding", kind))
        return fields

    @property
    def schema(self) -> pa.Schema:
        """Of the tables that records become."""
        return pa.schema([pa.field("text_key", pa.string()), *self.fields])

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Of a record. `tail` is the second half of the text key."""
        parts: list[tuple[str, str, tuple[int, ...]]] = [("tail", "<u8", ())]
        for field in self.fields:
            shape = self._shape(field.name)
            kind = field.type.value_type if shape else field.type
            is_coded = field.name in CODED
            code = "<u2" if is_coded else np.dtype(kind.to_pandas_dtype()).str
            parts.append((field.name, code, shape))
        return np.dtype(parts)

    def _shape(self, name: str) -> tuple[int, ...]:
        if name == "embedding":
            return (self.hidden_size or 0,)
        return (self.top_k,) if name.startswith("topk_") else ()

    def to_table(self, keys: list[str], records_T: Records) -> pa.Table:
        """Lay records out as columns, beside the keys of their texts.

        Raises InputError where a record holds a code without a name.
        """
        names = pa.array([*self.names], pa.string())
        columns = [pa.array(keys, pa.string())]
        for field in self.fields:
            values = records_T[field.name]
            flat = values.reshape(-1)
            if field.name in CODED:
                is_none = flat == NONE
                if (flat[~is_none] >= len(names)).any():
                    raise InputError(f"a record has an unknown {field.name}")
                codes = pa.array(flat.astype(np.int32), mask=is_none)
                array = names.take(codes)
            else:
                is_null = field.name == NULL_AS_NAN
                array = pa.array(np.ascontiguousarray(flat), from_pandas=is_null)
            columns.append(_as_lists(array, field.type, values.shape[1:]))
        return pa.Table.from_arrays(columns, schema=self.schema)


def _as_lists(flat: pa.Array, kind: pa.DataType, shape: tuple[int, ...]) -> pa.Array:
    if not shape:
        return flat.cast(kind)
    (size,) = shape
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(flat, size)
    offsets = np.arange(0, len(flat) + 1, size or 1, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


class RecordWriter:
    """Makes records of the rows of a run, and codes of the names in them as they come."""

    def __init__(self, like: pa.Table) -> None:
        """Take top_k, H and the sub-heads from a table of texts that were scored."""
        kind = like.schema
        hidden_size, top_k = None, 0
        if "embedding" in kind.names:
            hidden_size = kind.field("embedding").type.list_size
        if like.num_rows:
            top_k = len(like["topk_labels"][0])
        subheads = "sub_label" in kind.names
        self._layout = Layout(top_k=top_k, hidden_size=hidden_size, subheads=subheads)
        self.dtype = self._layout.dtype
        self._codes: dict[str | None, int] = {None: NONE}

    def layout(self) -> Layout:
        """Return the layout, with the names that came so far."""
        names = [name for name in self._codes if name is not None]
        return self._layout.model_copy(update={"names": names})

    def records(self, texts: pa.Table) -> tuple[NDArray[np.uint64], Records]:
        """Return the first half of each text key, uint64 (T,), and the records (T,)."""
        keys_T2 = key_numbers(texts["text_key"].to_pylist())
        records_T = np.empty(texts.num_rows, self.dtype)
        records_T["tail"] = keys_T2[:, 1]
        for field in self._layout.fields:
            array = texts[field.name].combine_chunks()
            shape = records_T[field.name].shape
            flat = array.flatten() if len(shape) > 1 else array
            coded = field.name in CODED
            values = self._coded(flat) if coded else flat.to_numpy(zero_copy_only=False)
            records_T[field.name] = values.reshape(shape)
        return keys_T2[:, 0], records_T

    def _coded(self, names: pa.Array) -> NDArray[np.int64]:
        found = names.dictionary_encode(null_encoding="encode")
        codes = []
        for name in found.dictionary.to_pylist():
            codes.append(self._codes.setdefault(name, len(self._codes) - 1))
        if len(self._codes) > NONE:
            raise InputError("an index holds at most 65,535 labels and runs")
        return np.array(codes, np.int64)[found.indices.to_numpy()]


def scored_texts(rows: pa.Table, run_id: str) -> pa.Table:
    """Return the rows that have scores; those of older parts were scored in this run."""
    rows = rows.filter(pc.equal(rows["status"], STATUS_OK))
    if SCORED_IN.name in rows.schema.names:
        return rows
    own = pa.repeat(pa.scalar(run_id), rows.num_rows)
    return rows.append_column(SCORED_IN, own)


def key_numbers(keys: Iterable[str]) -> NDArray[np.uint64]:
    """Return text keys, of 32 hex digits each, as two numbers: uint64 (T, 2)."""
    raw = bytes.fromhex("".join(keys))
    return np.frombuffer(raw, ">u8").astype(np.uint64).reshape(-1, 2)
