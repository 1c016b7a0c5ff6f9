"""The exception tree. Each class carries the exit code of the job that it ends.

RubertOodError                 1
|- VerificationError           1
|- SettingsError               2
|- SchemaError                 2
|- BundleError                 2
|- OutputError                 2
|- InputError                  3
|- ErrorRateError              4
|- PublicationRefusedError     5
|- PartialRunError             6
   |- InputChangedError        6
   |- StorageUnavailableError  6
   `- JobFailedError           6
"""

from rubert_ood.plain import printable


class RubertOodError(Exception):
    """Base of all errors that are raised on purpose; the message is one line for the user."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        """Keep the message; a control character in it, of a path say, becomes its escape."""
        super().__init__(printable(message))

    @property
    def lines(self) -> list[str]:
        """What a terminal shows: one line for each problem."""
        return [str(self)]


class VerificationError(RubertOodError):
    """The parts of a run do not match its receipts."""

    exit_code = 1


class SettingsError(RubertOodError):
    """A setting is wrong or missing, or several are."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        """Keep what is wrong with each setting; the message has all in one line."""
        super().__init__("; ".join(problems))
        self.problems = problems

    @property
    def lines(self) -> list[str]:
        """What a terminal shows: one line for each problem."""
        return list(map(printable, self.problems))


class SchemaError(RubertOodError):
    """A table lacks a column, or a column has the wrong type or content."""

    exit_code = 2


class BundleError(RubertOodError):
    """A bundle or checkpoint is missing, damaged or does not fit."""

    exit_code = 2


class OutputError(RubertOodError):
    """The output cannot be written."""

    exit_code = 2


class InputError(RubertOodError):
    """The input is missing, unreadable or empty."""

    exit_code = 3


class ErrorRateError(RubertOodError):
    """More rows were rejected than the settings allow."""

    exit_code = 4


class PublicationRefusedError(RubertOodError):
    """The gate refused the run; the output is kept."""

    exit_code = 5


class PartialRunError(RubertOodError):
    """The run stopped half-way; the same command resumes it."""

    exit_code = 6


class InputChangedError(PartialRunError):
    """A file was replaced, grew, shrank or went away after it was planned."""


class StorageUnavailableError(PartialRunError):
    """Storage did not answer; what is done stays done."""


class JobFailedError(PartialRunError):
    """The submitted job failed, and its exit code is this one, or it was ended from outside."""

    def __init__(self, message: str = "", exit_code: int = 6) -> None:
        """Keep the exit code of the job, 1 to 6."""
        super().__init__(message)
        self.exit_code = exit_code


def reason_of(error: BaseException) -> str:
    """Return the message of an error of ours; of another only its class, which quotes no ad."""
    return str(error) if isinstance(error, RubertOodError) else type(error).__name__
