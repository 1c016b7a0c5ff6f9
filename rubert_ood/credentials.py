"""Credentials where they do not belong: recognised, so that they are refused, never echoed."""

import re

from rubert_ood.plain import printable

SHOWN_CHARACTERS = 120
NOT_SHOWN = "a value that is not shown, since it holds credentials"
NO_PLACE = (
    "holds credentials, which no setting may hold. Put S3 credentials in"
    " the AWS environment"
)

_USER = re.compile(
    r"://[^/?#\s]*@|://[^/?#\s:]*:(?!\d{1,5}(?:[/?#]|$))[^?#\s]*@|\bs3a?://(?!arn:)[^/?#\s]*:"
)
"""user@host, user:password@host (the password may hold a slash), KEY:SECRET for a bucket;
HOST:PORT is neither."""
_QUERY = re.compile(
    r"[?&;](?:x-amz-(?:signature|credential|security-token)|awsaccesskeyid|signature|sig|"
    r"[a-z_-]*(?:token|secret|password|passwd|api[_-]?key|access[_-]?key)[a-z_-]*)=",
    re.IGNORECASE,
)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")


def holds_credentials(text: str) -> bool:
    """Say whether a URI or a value names a user, a key, a signature or a password."""
    return any(pattern.search(text) for pattern in (_USER, _QUERY, _KEY_ID))


def shown(value: object) -> str:
    """Return a value as an error message may show it: one short line, without credentials."""
    text = repr(value)
    if holds_credentials(str(value)) or holds_credentials(text):
        return NOT_SHOWN
    text = printable(text)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
