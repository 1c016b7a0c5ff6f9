"""One normal form of labels: what looks the same is the same class.

NFC, no control or format characters (zero-width, soft hyphen, byte order mark), white space of any
kind and length as one space, none at the ends. Case stays, and so do Latin letters among Cyrillic
ones: labels that differ in nothing else are named in a warning.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

import pyarrow as pa

from rubert_ood.ads.schema import as_text, decoded
from rubert_ood.errors import SchemaError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog

log = StepLog("data")

RESERVED_LABEL = "Other"
MISSING_WORDS = frozenset(("nan", "null", "none", "<na>"))
"""What programs write for a missing value, in any case."""
INVISIBLE = ("Cc", "Cf")
NUM_SHOWN = 5
MAX_SHOWN = 60
"""Characters of a label that a message quotes."""
DIGITS = re.compile(r"\d(?:[\s()+.-]*\d){6}")
"""As many as a phone number has."""
LATIN, CYRILLIC = "abcehkmoptxy", "авсенкмортху"
"""Letters that look the same in lower case or in capitals."""
LOOKALIKES = str.maketrans(LATIN, CYRILLIC)


def normal_label(text: str) -> str:
    """Return the normal form; "" if nothing is left."""
    words = " ".join(unicodedata.normalize("NFC", text).split())
    if words.isprintable():
        return words
    visible = "".join(
        letter for letter in words if unicodedata.category(letter) not in INVISIBLE
    )
    return " ".join(unicodedata.normalize("NFC", visible).split())


class Rewriter:
    """Brings labels into normal form, and counts what it changes."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._changed: Counter[str] = Counter()

    def normal(self, text: str) -> str:
        """Return the normal form of a label."""
        if text not in self._known:
            self._known[text] = normal_label(text)
        label = self._known[text]
        if label != text:
            self._changed[text] += 1
        return label

    def add(self, other: "Rewriter") -> None:
        """Count what another one has changed, in another range of rows."""
        self._known |= other._known
        self._changed += other._changed

    def report(self) -> None:
        """Say in one line what was changed; nothing if nothing was."""
        if not self._changed:
            return
        named = [
            _change(text, self._known[text])
            for text, _ in self._changed.most_common(NUM_SHOWN)
        ]
        rest = len(self._changed) - len(named)
        log.warning(
            "rewrote %s in normal form, %s in all: %s%s",
            count_of(self._changed.total(), "label"),
            count_of(len(self._changed), "spelling"),
            ", ".join(named),
            f", and {rest} more" if rest else "",
        )


def _change(text: str, label: str) -> str:
    """Show both forms so that they differ to the eye: letters in pieces look like whole ones."""
    if shown(label) != repr(label):
        return shown(label)
    looks_same = unicodedata.normalize("NFC", repr(text)) == repr(label)
    return f"{ascii(text) if looks_same else repr(text)} -> {label!r}"


def shown(label: str) -> str:
    """Quote a label in a message; of what can be an ad, from a wrong column, tell the length."""
    if len(label) > MAX_SHOWN or DIGITS.search(label):
        return f"(a text of {len(label):,} characters)"
    return repr(label)


def is_missing(label: str) -> bool:
    """Say whether a normal label stands for none."""
    return not label or label.casefold() in MISSING_WORDS


def read_labels(
    uri: str, name: str, column: pa.ChunkedArray, rewriter: Rewriter, *, start: int = 0
) -> pa.Array:
    """Return the labels of a column in normal form; `rewriter` counts what was changed.

    start: the row of the file with which the column begins. Raises SchemaError that names file, row
    and column of the first label that is missing, reserved or not UTF-8.
    """
    labels = []
    for row, value in enumerate(decoded(as_text(column)), start):
        where = f"{uri}: row {row + 1} (without the header): column {name!r}"
        if isinstance(value, bytes):
            raise SchemaError(
                f"{where} holds a label that is not UTF-8. Write it as UTF-8"
            )
        label = rewriter.normal(value or "")
        if is_missing(label):
            written = f" but {label!r}" if label else ""
            raise SchemaError(
                f"{where} has no label{written}. Fill it in, or drop the row"
            )
        if label == RESERVED_LABEL:
            raise SchemaError(
                f"{where} holds the label {RESERVED_LABEL!r}, which is"
                " reserved for doubtful ads. Rename it"
            )
        labels.append(label)
    return pa.array(labels, pa.string())


def check_known(
    uri: str, name: str, column: pa.Array, known: Iterable[str], *, start: int = 0
) -> None:
    """Raise SchemaError that names file, row and column of the first label that is not known."""
    index = label_index(known)
    for row, label in enumerate(column.to_pylist(), start):
        if label not in index:
            advice = hint(label, known) or ". Correct the label, or drop the row"
            raise SchemaError(
                f"{uri}: row {row + 1} (without the header): column"
                f" {name!r}: the training split has no label"
                f" {shown(label)}{advice}"
            )


def check_subcategories(uri: str, name: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Raise SchemaError, naming the column, where a sub-category has the name of doubtful ads; warn
    of those of one category that look alike.

    pairs: (category, sub-category), each once.
    """
    names = []
    for category, subcategory in pairs:
        if subcategory == RESERVED_LABEL:
            raise SchemaError(
                f"{uri}: column {name!r}: a sub-category of {shown(category)} is called"
                f" {RESERVED_LABEL!r}, which is reserved for doubtful ads. Rename it"
            )
        names.append(f"{category} / {subcategory}")
    warn_of_alike(names)


def warn_of_alike(labels: Iterable[str]) -> None:
    """Name labels that differ only in case, or in letters that look the same: probably one class
    that became several."""
    ordered = sorted(labels)
    of_case = _groups(ordered, str.casefold)
    _warn("case", [" / ".join(map(shown, group)) for group in of_case])
    one_of_each = {label.casefold(): label for label in reversed(ordered)}
    of_letters = _groups(sorted(one_of_each.values()), _look)
    named = [" / ".join(map(_with_latin, group)) for group in of_letters]
    _warn("letters of two alphabets", named)


def _groups(labels: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(key(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _look(label: str) -> str:
    """Return what labels that look the same have in common."""
    return label.casefold().translate(LOOKALIKES)


def _with_latin(label: str) -> str:
    """Show a label with its Latin letters beside it, since the eye does not see them."""
    latin = "".join(letter for letter in label if letter.casefold() in LATIN)
    return f"{shown(label)} (Latin: {latin})" if latin else shown(label)


def _warn(what: str, alike: list[str]) -> None:
    if alike:
        named = "; ".join(alike[:NUM_SHOWN])
        more = f", and {len(alike) - NUM_SHOWN} more" if len(alike) > NUM_SHOWN else ""
        log.warning(
            "some classes differ only in %s, and train as different classes: %s%s",
            what,
            named,
            more,
        )


def label_index(labels: Iterable[str]) -> dict[str, int]:
    """Number the labels of a bundle, and their normal forms, which older bundles lack."""
    exact = {label: number for number, label in enumerate(labels)}
    return {normal_label(label): number for label, number in exact.items()} | exact


def hint(label: str, known: Iterable[str]) -> str:
    """Suggest the known label that differs from an unknown one only in case, or in letters that
    look the same, or nothing."""
    names = list(known)
    for name in names:
        if name.casefold() == label.casefold():
            return f". Did you mean {shown(name)}?"
    for name in names:
        if _look(name) == _look(label):
            return f". Did you mean {_with_latin(name)}, and not {_with_latin(label)}?"
    return ""
