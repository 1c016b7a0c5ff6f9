import inspect
import pickle
import re

import pytest

from rubert_ood import errors

EXIT_CODES = {
    "RubertOodError": 1,
    "VerificationError": 1,
    "SettingsError": 2,
    "SchemaError": 2,
    "BundleError": 2,
    "OutputError": 2,
    "InputError": 3,
    "ErrorRateError": 4,
    "PublicationRefusedError": 5,
    "PartialRunError": 6,
    "InputChangedError": 6,
    "StorageUnavailableError": 6,
    "JobFailedError": 6,
}


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_errors_have_these_exit_codes(name: str, code: int) -> None:
    error = getattr(errors, name)(
        "ads.csv: the file has no column 'x'. Run `rubert-ood verify` on its run"
    )
    assert isinstance(error, errors.RubertOodError)
    assert error.exit_code == code
    assert (
        str(error)
        == "ads.csv: the file has no column 'x'. Run `rubert-ood verify` on its run"
    )


def test_error_message_with_a_line_feed_is_one_line() -> None:
    error = errors.InputError("a\nb\x1b[0m: no such file")
    assert str(error) == "a\\nb\\x1b[0m: no such file"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_errors_docstring_shows_the_tree_of_classes() -> None:
    classes = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    assert classes == EXIT_CODES.keys()
    documented = dict(re.findall(r"(\w+Error) +(\d)", errors.__doc__))
    assert documented == {name: str(code) for name, code in EXIT_CODES.items()}
