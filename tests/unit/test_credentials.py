import pytest

from rubert_ood.credentials import NOT_SHOWN, holds_credentials, shown

WITH = [
    "s3://AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY@bucket/ads",
    "s3://KEY:SECRET@bucket/ads",
    "s3://KEY:SECRET/ads",
    "s3a://KEY@bucket/ads",
    "https://user:pw@host/ads.csv",
    "https://user:p/w@host/ads.csv",
    "https://user@host/ads.csv",
    "ray://user:pw@host:10001",
    "https://b.s3.amazonaws.com/a?X-Amz-Algorithm=AWS4&X-Amz-Signature=abc",
    "https://b.s3.amazonaws.com/a?AWSAccessKeyId=x&Expires=1",
    "https://a.blob.core.windows.net/c?sv=1&sig=abc",
    "s3://bucket/ads?access_token=x",
    "s3://bucket/ads?aws_secret_access_key=x",
    "ASIAIOSFODNN7EXAMPLE",
]
WITHOUT = [
    "s3://bucket/ads/run_date=2026-11-24/part-*.parquet",
    "s3://bucket/a@b:c",
    "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/ads/x",
    "ray://host:10001",
    "127.0.0.1:6379",
    "http://host:8265/path",
    "/data/user@host:8/ads.csv",
    "out [prod]?",
    "DeepPavlov/rubert-base-cased",
    r"(\+?\d[\d\-\s]{6,}\d)",
]


@pytest.mark.parametrize("text", WITH)
def test_credentials_in_a_uri_are_seen_and_never_shown(text: str) -> None:
    assert holds_credentials(text)
    assert shown(text) == shown({"uri": text}) == shown([text]) == NOT_SHOWN


@pytest.mark.parametrize("text", WITHOUT)
def test_a_uri_without_credentials_is_shown(text: str) -> None:
    assert not holds_credentials(text)
    assert shown(text) == repr(text)


def test_a_long_value_is_shown_short_and_plain() -> None:
    assert shown("x" * 1000) == "'" + "x" * 119 + "..."
    assert shown("\x1b[31m") == r"'\x1b[31m'"
