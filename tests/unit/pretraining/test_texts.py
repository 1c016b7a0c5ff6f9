"""Unlabelled ads become token ids; what has no text stays out, some are held out by their text."""

import numpy as np
import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from rubert_ood.ads.labelled_table import cut
from rubert_ood.ads.text import TextCleaner
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.pretraining.texts import (
    HELD_OUT,
    Piece,
    TokenReader,
    digest_of_files,
    look_at_catalogue,
)
from rubert_ood.settings import ColumnSettings
from tests.conftest import write_parquet


def _reader(checkpoint: str, **changes) -> TokenReader:
    options = {"max_length": 16, "held_out_fraction": 0.2} | changes
    return TokenReader(TextCleaner(), checkpoint, **options)


def _read(uri: str, reader: TokenReader) -> tuple[np.ndarray, pa.Table]:
    (file,) = look_at_catalogue(uri, ColumnSettings())
    return reader(Piece(file, 100))


def test_reader_gives_the_ids_of_the_cleaned_text_and_the_rows(
    small_checkpoint, ads, ad_texts, tmp_path
):
    uri = write_parquet(tmp_path / "ads.parquet", ads.slice(0, 50))
    counts, block = _read(uri, _reader(small_checkpoint))
    tokenizer = AutoTokenizer.from_pretrained(small_checkpoint)
    texts = []
    for row in ads.slice(0, 50).to_pylist():
        texts.append(TextCleaner().clean(f"{row['title']} {row['description']}"))
    expected = tokenizer(texts, truncation=True, max_length=16)["input_ids"]
    assert block["ids"].to_pylist() == expected
    assert block["row"].to_pylist() == list(range(100, 150))
    assert counts.tolist() == np.bincount(block["label"].to_numpy(), minlength=2).tolist()


def test_reader_leaves_out_what_has_nothing_to_guess(small_checkpoint, tmp_path):
    texts = ["диван", None, "", "  ", "+7 900 123-45-67", "продам", "☃☃", "стол"]
    bad = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    column = pa.chunked_array([pa.array(texts), bad])
    uri = write_parquet(tmp_path / "ads.parquet", pa.table({"description": column}))
    counts, block = _read(uri, _reader(small_checkpoint))
    assert block["row"].to_pylist() == [100, 107]
    assert counts.sum() == 2


def test_held_out_ads_are_chosen_by_their_text_alone(small_checkpoint, ads, tmp_path):
    reader = _reader(small_checkpoint)
    table = ads.select(["title", "description"])
    uris = [
        write_parquet(tmp_path / "a.parquet", table),
        write_parquet(tmp_path / "b.parquet", table.take(np.arange(len(table))[::-1])),
    ]
    (counts, first), (_, second) = (_read(uri, reader) for uri in uris)
    assert counts[HELD_OUT] / counts.sum() == pytest.approx(0.2, abs=0.06)
    assert first["label"].to_pylist() == second["label"].to_pylist()[::-1]


def test_catalogue_without_rows_or_text_column_is_refused(tmp_path):
    empty = write_parquet(
        tmp_path / "empty.parquet", pa.table({"description": pa.array([], pa.string())})
    )
    with pytest.raises(
        InputError,
        match=r"empty.parquet: the table has no rows. Use a table with ads",
    ):
        look_at_catalogue(empty, ColumnSettings())
    other = write_parquet(tmp_path / "other.parquet", pa.table({"text": ["диван"]}))
    with pytest.raises(SchemaError, match=r"no column 'description'"):
        look_at_catalogue(other, ColumnSettings())
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="no Parquet or CSV file is here"):
        look_at_catalogue(str(tmp_path / "folder"), ColumnSettings())


def test_digest_of_files_tells_a_changed_file(ads, tmp_path):
    digests = []
    for number in (5, 5, 6):
        uri = write_parquet(tmp_path / "ads.parquet", ads.slice(0, number))
        files = look_at_catalogue(uri, ColumnSettings())
        digests.append(digest_of_files(files))
        assert digests[-1] == digest_of_files(look_at_catalogue(uri, ColumnSettings()))
        assert sum(map(len, cut(files))) == number
    assert len(set(digests)) == 3  # written anew is another version
