"""The S3 client of this package: s3fs, which says with every request whose bucket it expects."""

import os
import re
from typing import Any

from aiobotocore.session import AioSession
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from rubert_ood.errors import SettingsError

OWNER_VARIABLE = "RUBERT_OOD_BUCKET_OWNER"
OWNER_PARAMETERS = ("ExpectedBucketOwner", "ExpectedSourceBucketOwner")


def bucket_owner() -> str | None:
    """Return the AWS account that every bucket must belong to, if one was named."""
    owner = os.environ.get(OWNER_VARIABLE)
    if owner is not None and not re.fullmatch("[0-9]{12}", owner):
        raise SettingsError(
            f"{OWNER_VARIABLE}: {owner!r} is not an AWS account. Set its 12 digits"
        )
    return owner


class OwnedS3FileSystem(S3FileSystem):
    """s3fs that names the `ExpectedBucketOwner`: S3 itself denies another account's bucket.

    Bucket names are taken again by others when they become free.
    """

    session: Any
    cachable = False
    """One per process (`storage._s3`), and anew after a change of the environment."""

    async def set_session(self, refresh: bool = False, kwargs: Any = None) -> Any:
        """Make a session of our own, whose requests name the owner."""
        if self.session is None or refresh:
            self.session = AioSession(**self.kwargs)
            self.session.register("provide-client-params.s3", _add_owner)
            self._session_is_owned = False  # or s3fs would replace it
        try:
            return await super().set_session(refresh=refresh)
        except ValueError as error:  # of botocore, before any request
            if "Invalid endpoint" not in str(error):
                raise
            raise SettingsError(
                "AWS_ENDPOINT_URL, or endpoint_url of the AWS profile: this is not an"
                " address. Set it to one such as https://HOST:PORT"
            ) from error

    _connect = set_session
    connect = sync_wrapper(set_session)

    async def _exists(self, path: str) -> bool:
        """Ask for a bucket as for an object: of one s3fs says no, whatever the failure was."""
        try:
            await self._info(path)
        except FileNotFoundError:
            return False
        return True

    exists = sync_wrapper(_exists)


def _add_owner(params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any] | None:
    """Add the account to the parameters of an operation that knows it."""
    owner = bucket_owner()
    known = model.input_shape.members if model.input_shape else {}
    missing = [name for name in OWNER_PARAMETERS if name in known and name not in params]
    return {**params, **dict.fromkeys(missing, owner)} if owner and missing else None
