"""What the package offers beside its workflows."""

from rubert_ood.runs.run import Run
from rubert_ood.settings import ScoreSettings
from rubert_ood.settings.problems import expect
from rubert_ood.workflows import score as workflow


def score(settings: ScoreSettings) -> Run:
    """Score a catalogue, or go on with a stopped run, as `rubert-ood score` does.

    `executor="local"` in the settings does without Ray. Raises RubertOodError, whose message is one
    line.
    """
    expect(settings, ScoreSettings)
    return Run(workflow.score(settings).run_uri)
