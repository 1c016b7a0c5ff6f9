"""Settings of a training that were given, and that change nothing beside the others."""

from rubert_ood.progress import StepLog
from rubert_ood.settings import SplitSettings, TrainSettings


def warn_of_idle_settings(settings: TrainSettings) -> None:
    """Name what was set and changes nothing."""
    idle = [
        (
            "text",
            {"stride", "max_windows"},
            "mode truncate",
            settings.text.mode == "truncate",
        ),
        (
            "decision",
            {"alpha", "z_thr"},
            "rule conformal",
            settings.decision.rule == "conformal",
        ),
        ("split", {*SplitSettings.model_fields}, "train_uri", settings.input_uri is None),
    ]
    for group, names, reason, is_idle in idle:
        for name in (
            sorted(names & getattr(settings, group).model_fields_set) if is_idle else []
        ):
            StepLog("settings").warning(
                "%s.%s: this setting has no effect with %s", group, name, reason
            )
