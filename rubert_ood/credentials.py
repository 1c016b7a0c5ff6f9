"""Credentials where they do not belong: recognised, so that they are refused, never echoed."""

import os
import re

from rubert_ood.plain import printable

SHOWN_CHARACTERS = 120
NOT_SHOWN = "a value that is not shown, since it holds credentials"
NO_PLACE = (
    "holds credentials, which no setting may hold. Put S3 credentials in"
    " the AWS environment"
)

_USER = re.compile(r"://[^/?#\s]*@|://[^/?#\s:]*:(?!\d{1,5}(?:[/?#]|$))[^?#\s]*@")
"""user@host, user:password@host (the password may hold a slash); HOST:PORT is neither."""
_BUCKET = re.compile(r"\b(s3a?://)(?!arn:)[^/?#\s]*:")
"""KEY:SECRET for a bucket."""
_QUERY = re.compile(
    r"[?&;](?:x-amz-(?:signature|credential|security-token)|awsaccesskeyid|signature|sig|"
    r"[a-z_-]*(?:token|secret|password|passwd|api[_-]?key|access[_-]?key)[a-z_-]*)=",
    re.IGNORECASE,
)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
_PATTERNS = (_USER, _BUCKET, _QUERY, _KEY_ID)


def holds_credentials(text: str) -> bool:
    """Say whether a URI or a value names a user, a key, a signature or a password."""
    return any(pattern.search(text) for pattern in _PATTERNS)


_REDACTED = (
    (_USER, "://***/"),
    (re.compile(rf"{_BUCKET.pattern}\S*"), r"\1***"),
    (re.compile(f"({_QUERY.pattern})[^&;#\\s'\"]*", re.IGNORECASE), r"\1***"),
    (_KEY_ID, "***"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+", re.IGNORECASE), r"\1 ***"),
)
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|ACCESS_KEY|API_KEY|HEADERS|NOTIFY_URL", re.IGNORECASE
)
"""Of environment variables whose value is shown nowhere; not those that hold a path to one."""
_SHORTEST_SECRET = 6


def without_credentials(text: str) -> str:
    """Return a text with *** in place of users, keys, signatures and passwords, and of what the
    environment holds as secret (tokens, the webhook's address)."""
    for name, value in os.environ.items():
        is_secret = _SECRET_NAME.search(name) and not name.upper().endswith("PATH")
        if is_secret and len(value.strip()) >= _SHORTEST_SECRET:
            text = text.replace(value.strip(), "***")
    for pattern, shown_as in _REDACTED:
        text = pattern.sub(shown_as, text)
    return text


def shown(value: object) -> str:
    """Return a value as an error message may show it: one short line, without credentials."""
    text = repr(value)
    if holds_credentials(str(value)) or holds_credentials(text):
        return NOT_SHOWN
    text = printable(text)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
