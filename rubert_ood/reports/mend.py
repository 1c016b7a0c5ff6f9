"""The command that mends what a report finds, with words in capitals to fill in.

A test reads each with the settings of its verb.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

PROGRAM = "rubert-ood"
BUNDLE, ADS, RUN, OUTPUT = "BUNDLE", "ADS", "RUN", "OUTPUT"
"""Words that stand for a URI: of a bundle, of labelled ads, of a run, of the published output."""
CATALOGUE, OOD_TEXTS, BEFORE = "CATALOGUE", "OOD_TEXTS", "BEFORE"
CHAMPION = "CHAMPION"


@dataclass(frozen=True)
class Mend:
    """What to do about a check that failed."""

    advice: str
    """What it is good for, as the beginning of a sentence."""
    command: str
    """Verb and flags."""

    def filled(self, known: Mapping[str, str]) -> str:
        """Return the command with the URIs that are known, each one word of a shell."""
        words = [PROGRAM]
        for word in shlex.split(self.command):
            words.append(shlex.quote(known.get(word) or word))
        return " ".join(words)


_TRAIN = f"train --train_uri {ADS} --valid_uri VALID --test_uri TEST"
_TUNE = f"tune --bundle_uri {BUNDLE} --input_uri {ADS}"
_SCORE = f"score --input_uri {CATALOGUE} --bundle_uri {BUNDLE} --output_uri {OUTPUT}"
_PUBLISH = f"publish --run_uri {RUN}"
_DIFF = f"diff {BEFORE} {RUN}"
_PROMOTE = f"promote --bundle_uri {BUNDLE} --test_uri {ADS}"


def let_decide(detector: str, only_if: str = "") -> Mend:
    """Return how to make another detector decide."""
    return Mend(
        f"Let {detector} decide{only_if}",
        f"{_TUNE} --evaluation.ood_uri {OOD_TEXTS} --detector {detector}",
    )


EVALUATION = {
    "test_ads": Mend(
        "Measure on more ads", f"evaluate --bundle_uri {BUNDLE} --input_uri {ADS}"
    ),
    "accuracy": Mend("Mix words with the network", f"{_TRAIN} --baseline stack"),
    "more_ads": Mend("Train with more ads", _TRAIN),
    "words": Mend("Train without them", f"{_TRAIN} --baseline compare"),
    "calibration": Mend("Fit T on other ads", _TUNE),
    "at_bound": Mend(
        "Widen the bounds of T",
        f"{_TUNE} --fit.temperature_min 0.1 --fit.temperature_max 50",
    ),
    "calibration_rows": Mend("Fit T and thresholds on ads of their own", _TUNE),
    "false_alarms": Mend(
        "Choose the thresholds again", f"{_TUNE} --evaluation.ood_uri {OOD_TEXTS}"
    ),
    "classes": Mend("Train with more ads of these classes", _TRAIN),
    "ood_texts": Mend(
        "Choose the thresholds on such texts",
        f"{_TUNE} --evaluation.ood_uri {OOD_TEXTS}",
    ),
    "detectors": Mend(
        "Measure which detector tells such texts apart, and let it decide",
        f"evaluate --bundle_uri {BUNDLE} --input_uri {ADS} --evaluation.ood_uri {OOD_TEXTS}",
    ),
    "hard_cases": Mend("Train with ads like these", _TRAIN),
}
"""By finding of the evaluation."""

GATE = {
    "max_error_rate": Mend(
        "See which files cannot be read, mend them, and score again",
        f"plan --input_uri {CATALOGUE} --bundle_uri {BUNDLE} --output_uri {OUTPUT}"
        " --on_bad_file quarantine",
    ),
    "max_quarantined_share": Mend(
        "See which files cannot be read, mend them, and score again",
        f"plan --input_uri {CATALOGUE} --bundle_uri {BUNDLE} --output_uri {OUTPUT}"
        " --on_bad_file quarantine",
    ),
    "max_duplicate_rate": Mend(
        "Remove the duplicate ids from the input, then score again", _SCORE
    ),
    "max_ignored_files": Mend(
        "Choose the files to read as the input, then score again", _SCORE
    ),
    "max_ood_rate": Mend("Choose the thresholds again on labelled ads", _TUNE),
    "max_other_rate": Mend("Choose the thresholds again on labelled ads", _TUNE),
    "max_class_shift": Mend("See which ads have another label now", _DIFF),
    "min_rows_ratio": Mend(
        "Complete the input, then score again, or accept fewer ads",
        f"{_PUBLISH} --gate.min_rows_ratio 0.4",
    ),
    "max_churn": Mend("See which ads have another label now", _DIFF),
}
"""By setting of the gate."""

UNKNOWN = Mend("Read the files of the run again", f"verify --run_uri {RUN}")
"""For a check that another version made."""

NIGHT = {
    "quarantined": GATE["max_quarantined_share"],
    "shards": Mend("Score them again", f"{_SCORE} --run_id NEW"),
    "duplicates": GATE["max_duplicate_rate"],
    "ignored": GATE["max_ignored_files"],
    "reuse": Mend("Score every text, without reuse", f"{_SCORE} --reuse never"),
    "rejected": GATE["max_error_rate"],
    "rows": Mend("See which ads came and went", _DIFF),
    "drift": Mend("See which ads have another label now", _DIFF),
    "calibration": Mend(
        "Label a sample of its ads, then choose the thresholds again on them with tune",
        f"export-annotate --run_uri {RUN} --num 500",
    ),
    "accuracy": Mend(
        "Label a sample of its ads", f"export-annotate --run_uri {RUN} --num 500"
    ),
    "speed": Mend(
        "Estimate the speed of this machine",
        f"plan --input_uri {CATALOGUE} --bundle_uri {BUNDLE} --output_uri {OUTPUT}"
        " --estimate_s 60",
    ),
}
"""By check of a night."""

_SAMPLE = f"{_PROMOTE} --sample_uri {CATALOGUE}"
PROMOTION = {
    "min_test_ads": Mend("Compare on more labelled ads", _PROMOTE),
    "min_accuracy": EVALUATION["more_ads"],
    "min_macro_f1": EVALUATION["classes"],
    "max_ece": EVALUATION["calibration"],
    "max_false_alarms": EVALUATION["false_alarms"],
    "max_other_rate": EVALUATION["false_alarms"],
    "min_ood_auroc": EVALUATION["detectors"],
    "max_accuracy_loss": Mend("Compare on more labelled ads", _PROMOTE),
    "max_macro_f1_loss": Mend("Compare on more labelled ads", _PROMOTE),
    "max_class_f1_loss": EVALUATION["classes"],
    "max_ece_rise": EVALUATION["calibration"],
    "max_false_alarm_rise": EVALUATION["false_alarms"],
    "max_other_rise": EVALUATION["false_alarms"],
    "max_ood_auroc_loss": EVALUATION["detectors"],
    "max_churn": Mend(
        "See which ads get another label",
        f"diff {CHAMPION} {BUNDLE} --input_uri {CATALOGUE}",
    ),
    "min_speed_ratio": Mend("Measure the speed again on a quiet machine", _SAMPLE),
}
"""By limit of a promotion."""
