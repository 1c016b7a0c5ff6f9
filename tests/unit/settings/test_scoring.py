"""Settings of the jobs that use a bundle: defaults, and values that are refused."""

from datetime import UTC, date, datetime

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import (
    BackfillSettings,
    DiffSettings,
    PredictSettings,
    load_settings,
)
from tests.unit.settings.jobs import SCORE, SECRET_URI, message, score


def test_score_settings_defaults_are_these() -> None:
    loaded = score(*SCORE)
    assert loaded.run_date == datetime.now(UTC).date()
    assert loaded.model_dump(
        include={"run_id", "on_bad_file", "shard_rows", "compute", "publish"}
    ) == {
        "run_id": None,
        "on_bad_file": "fail",
        "shard_rows": None,
        "compute": {
            "use_gpu": False,
            "precision": None,
            "token_budget": None,
            "num_workers": None,
        },
        "publish": True,
    }


@pytest.mark.parametrize(
    "texts", [["Шины, диски"], ["a,b", "[1, 2]", '"в кавычках", да'], ["-5 рублей"], []]
)
def test_texts_to_predict_stay_whole(texts: list[str]) -> None:
    loaded = load_settings(
        PredictSettings, ["--bundle_uri", "b", "--", *texts], program="rubert-ood predict"
    )
    assert loaded.texts == texts


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("run_date", "tomorrow", "date"),
        ("run_id", "a/b", "pattern"),
        ("run_id", "../x", "pattern"),
        ("run_id", "", "pattern"),
        ("on_bad_file", "ignore", "'fail' or 'quarantine'"),
        ("shard_rows", "0", "greater than 0"),
        ("compute.token_budget", "0", "greater than 0"),
        ("compute.num_workers", "0", "greater than 0"),
        ("input_uri", "", "at least 1 character"),
        ("output_uri", "", "at least 1 character"),
        ("bundle_uri", "", "at least 1 character"),
        ("gate.max_error_rate", "1.1", "less than or equal to 1"),
        ("gate.max_ood_rate", "-1", "greater than or equal to 0"),
        ("gate.max_other_rate", "x", "number"),
        ("gate.max_class_shift", "2", "less than or equal to 1"),
        ("gate.min_rows_ratio", "-1", "greater than or equal to 0"),
    ],
)
def test_a_bad_scoring_value_names_the_setting(
    setting: str, value: str, reason: str
) -> None:
    line = message(score, *SCORE, f"--{setting}={value}")
    assert line.startswith(f"{setting}: ")
    assert reason in line
    assert line.endswith(f"(got '{value}')")


def test_a_diff_names_two_things_by_place_or_in_its_file(config, monkeypatch) -> None:
    by_place = load_settings(
        DiffSettings, ["--output_uri", "o", "s3://a,b/x", "y"], program="rubert-ood diff"
    )
    assert (by_place.a_uri, by_place.b_uri, by_place.output_uri) == (
        "s3://a,b/x",
        "y",
        "o",
    )
    by_file = load_settings(
        DiffSettings,
        ["--config", config("a_uri: x\nb_uri: y\n")],
        program="rubert-ood diff",
    )
    assert (by_file.a_uri, by_file.b_uri) == ("x", "y")
    for arguments in ([], ["x"]):
        with pytest.raises(SettingsError, match="Use two runs or two bundles"):
            load_settings(DiffSettings, arguments, program="rubert-ood diff")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"--to_date": "2026-11-17"},
            r"to_date: 2026-11-17 is before from_date \(2026-11-18\)\. Choose a later day",
        ),
        ({"--input_uri": "in"}, r"several days would have one input. Write \{run_date\}"),
    ],
)
def test_a_backfill_is_a_range_of_days(changes, complaint) -> None:
    flags = {
        "--from_date": "2026-11-18",
        "--to_date": "2026-11-20",
        "--input_uri": "in/{run_date}",
    }
    flags |= {"--bundle_uri": "b", "--output_uri": "out"}

    def load(flags: dict[str, str]) -> BackfillSettings:
        return load_settings(
            BackfillSettings,
            [word for pair in flags.items() for word in pair],
            program="backfill",
        )

    loaded = load(flags)
    assert (loaded.from_date, loaded.to_date) == (date(2026, 11, 18), date(2026, 11, 20))
    assert (
        load(flags | {"--to_date": "2026-11-18", "--input_uri": "in"}).input_uri == "in"
    )
    with pytest.raises(SettingsError, match=complaint):
        load(flags | changes)


def test_a_text_to_predict_may_hold_credentials() -> None:
    loaded = load_settings(
        PredictSettings, ["--bundle_uri", "b", SECRET_URI], program="rubert-ood predict"
    )
    assert loaded.texts == [SECRET_URI]
