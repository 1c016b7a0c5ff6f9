"""Each command that a report advises is read by the settings of its verb."""

import shlex
from dataclasses import replace
from typing import get_args

import pytest

from rubert_ood import cli
from rubert_ood.errors import SettingsError
from rubert_ood.reports import mend
from rubert_ood.reports.checks import WORDS
from rubert_ood.reports.evaluation import Finding
from rubert_ood.reports.mend import EVALUATION, GATE, NIGHT, PROMOTION, Mend
from rubert_ood.reports.verdict import ORDER
from rubert_ood.settings import (
    DetectorName,
    GateSettings,
    PromotionLimits,
    load_settings,
)

TABLES = {"evaluation": EVALUATION, "gate": GATE, "night": NIGHT, "promotion": PROMOTION}
MENDS = {
    f"{table}.{name}": m for table, found in TABLES.items() for name, m in found.items()
}
MENDS["unknown"] = mend.UNKNOWN
MENDS |= {f"let {name} decide": mend.let_decide(name) for name in get_args(DetectorName)}


@pytest.mark.parametrize("name", MENDS)
def test_mend_command_is_read_by_the_settings_of_its_verb(name):
    program, verb, *flags = shlex.split(MENDS[name].filled({}))
    assert program == "rubert-ood"
    settings = load_settings(cli.VERBS[verb].settings, flags, program=verb)
    given = {flag.removeprefix("--") for flag in flags if flag.startswith("--")}
    for path in given:
        value = settings
        for part in path.split("."):
            value = getattr(value, part)
        assert value is not None


def test_mend_command_with_a_setting_that_was_renamed_is_refused():
    wrong = Mend("x", MENDS["gate.max_ood_rate"].command + " --calibrations_uri X")
    _, verb, *flags = shlex.split(wrong.filled({}))
    with pytest.raises((SettingsError, SystemExit), match=r"calibrations_uri|2"):
        load_settings(cli.VERBS[verb].settings, flags, program=verb)


def test_mend_tables_have_every_check():
    assert set(GATE) == set(GateSettings.model_fields)
    assert set(PROMOTION) == set(PromotionLimits.model_fields) - {"confidence"}
    assert set(GATE) | set(PROMOTION) <= set(WORDS)
    assert set(ORDER) <= set(EVALUATION)


def test_mend_of_rejected_rows_scores_again_since_plan_reads_no_rows():
    for check in (GATE["max_error_rate"], NIGHT["rejected"]):
        assert check.command.startswith("score ")
        assert "_errors" in check.advice


def test_mend_fills_in_known_uris_as_one_word_each():
    known = {"BUNDLE": "/b/my bundles/v1", "ADS": ""}
    filled = MENDS["gate.max_ood_rate"].filled(known)
    assert filled == "rubert-ood tune --bundle_uri '/b/my bundles/v1' --input_uri ADS"


def test_finding_has_a_command_only_where_it_calls_for_attention():
    bad, good = Finding(False, "Bad."), Finding(True, "Good.")
    mended = bad.mended_by(EVALUATION["calibration"])
    assert mended == replace(
        bad,
        advice="Fit T on other ads",
        command="rubert-ood tune --bundle_uri BUNDLE --input_uri ADS",
    )
    assert good.mended_by(EVALUATION["calibration"]) == good
