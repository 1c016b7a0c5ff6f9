"""What may stand in log and manifest of somebody else's errors."""

import pyarrow as pa
import pytest
import sqlalchemy as sa
from deltalake.exceptions import DeltaError
from pyiceberg.exceptions import NoSuchTableError

from rubert_ood.credentials import NOT_SHOWN
from rubert_ood.errors import SchemaError
from rubert_ood.tables.reason import CHARACTERS, reason_of

PHONE = "+7 916 123-45-67"


def caught(action) -> BaseException:
    with pytest.raises(BaseException) as found:  # noqa: PT011
        action()
    return found.value


def test_reason_of_errors_that_may_quote_a_file_is_their_class_and_place():
    error = caught(lambda: pa.array([PHONE]).cast(pa.int64()))
    assert PHONE in str(error)
    assert reason_of(error).startswith("ArrowInvalid in pyarrow.")
    error = caught(lambda: int(PHONE))
    assert PHONE in str(error)
    assert reason_of(error).startswith(f"ValueError in {__name__}, line ")
    assert reason_of(KeyError(PHONE)) == "KeyError in an unknown place"


def test_reason_of_errors_of_catalogs_and_stores_is_their_first_line(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/is/not/there.db")
    error = caught(engine.connect)
    assert reason_of(error) == "(sqlite3.OperationalError) unable to open database file"
    assert reason_of(ConnectionError("no\troute")) == "no route"
    assert reason_of(NoSuchTableError("no table a.b")) == "no table a.b"
    assert len(reason_of(OSError("x" * 1000))) == CHARACTERS
    assert reason_of(OSError()) == "OSError in an unknown place"


def test_reason_of_an_error_of_the_delta_log_repeats_nothing_that_it_quotes():
    error = DeltaError(f'Json error: failed to parse "{PHONE}" as Int64\n  0: <unknown>')
    assert reason_of(error) == "Json error: failed to parse ... as Int64"


def test_reason_of_our_own_errors_is_whole_without_credentials():
    assert reason_of(SchemaError("long " * 100 + "end")) == "long " * 100 + "end"
    assert reason_of(SchemaError("s3://key:secret@bucket/x")) == NOT_SHOWN
