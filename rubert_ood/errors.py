"""The exception tree. Each class carries the exit code of the job that it ends.

RubertOodError                 1  a fault of ours
|- VerificationError           1  the parts of a run do not match its receipts
|- SettingsError               2  a setting is wrong or missing
|- SchemaError                 2  a table lacks a column, or a column has the wrong type or content
|- BundleError                 2  a bundle or checkpoint is missing, damaged or does not fit
|- OutputError                 2  the output cannot be written: denied, no such bucket, disk full
|- InputError                  3  the input is missing, unreadable or empty
|- ErrorRateError              4  more rows were rejected than the settings allow
|- PublicationRefusedError     5  the acceptance gate said no; the output is kept
|- PartialRunError             6  the run stopped half-way; the same command resumes it
   |- InputChangedError        6  an input file changed since the plan; the same command plans anew
   `- StorageUnavailableError  6  storage did not answer, also not after many attempts
"""


class RubertOodError(Exception):
    """Base of every error that this package raises on purpose; its message is one line for the
    user."""

    exit_code = 1


class VerificationError(RubertOodError):
    exit_code = 1


class SettingsError(RubertOodError):
    exit_code = 2


class SchemaError(RubertOodError):
    exit_code = 2


class BundleError(RubertOodError):
    exit_code = 2


class OutputError(RubertOodError):
    exit_code = 2


class InputError(RubertOodError):
    exit_code = 3


class ErrorRateError(RubertOodError):
    exit_code = 4


class PublicationRefusedError(RubertOodError):
    exit_code = 5


class PartialRunError(RubertOodError):
    exit_code = 6


class InputChangedError(PartialRunError):
    """A file was replaced, grew, shrank or went away after it was planned."""


class StorageUnavailableError(PartialRunError):
    """Storage did not answer; what is done stays done."""
