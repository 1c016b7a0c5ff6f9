import pytest

from rubert_ood.credentials import (
    NOT_SHOWN,
    holds_credentials,
    shown,
    without_credentials,
)

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


KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("text", "without"),
    [
        (f"s3://{KEY_ID}:{SECRET}@bucket/ads: gone", "s3://***/bucket/ads: gone"),
        (f"s3://{KEY_ID}:{SECRET}/ads is gone", "s3://*** is gone"),
        ("https://user:p/w@host/ads.csv", "https://***/host/ads.csv"),
        ("(ray://user@host:10001)", "(ray://***/host:10001)"),
        (
            "GET https://b/a?X-Amz-Date=1&X-Amz-Signature=abc&X-Amz-Credential=d: 403",
            "GET https://b/a?X-Amz-Date=1&X-Amz-Signature=***&X-Amz-Credential=***",
        ),
        ("'https://h/c?sv=1&sig=abc', twice", "'https://h/c?sv=1&sig=***', twice"),
        (f"the key {KEY_ID} is unknown", "the key *** is unknown"),
        ("Authorization: Bearer abc.DEF-1", "Authorization: Bearer ***"),
    ],
)
def test_text_without_credentials_has_what_is_around_them(text, without) -> None:
    assert without_credentials(text).startswith(without)
    for secret in (KEY_ID, SECRET, "p/w", "abc", "user", "=d"):
        assert secret not in without_credentials(text)


@pytest.mark.parametrize("text", WITHOUT)
def test_text_without_credentials_stays_where_there_are_none(text) -> None:
    assert without_credentials(text) == text


def test_text_without_credentials_lacks_secrets_of_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("RUBERT_OOD_NOTIFY_URL", "https://hooks.example/T0/B1/xyz")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/etc/ray/token")
    text = "at https://hooks.example/T0/B1/xyz, 0123456789abcdef of /etc/ray/token"
    assert without_credentials(text) == "at ***, *** of /etc/ray/token"
