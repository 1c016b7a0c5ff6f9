"""Whether the night of a run was an ordinary one, from its manifest and the one before."""

from dataclasses import dataclass

from rubert_ood.plain import count_of
from rubert_ood.reports.drift import Drift
from rubert_ood.reports.mend import BEFORE, BUNDLE, CATALOGUE, OUTPUT, RUN
from rubert_ood.reports.night_checks import NightCheck, night_checks
from rubert_ood.runs.manifest import Manifest


@dataclass(frozen=True)
class Night:
    """What the run report says first."""

    is_ordinary: bool
    sentence: str
    """The verdict, with what stands out most."""
    state: str
    """What readers see, and what to do."""
    checks: list[NightCheck]
    """The most urgent first."""
    known: dict[str, str]
    """URIs of the run, by the words that stand for them in a command."""

    @property
    def standing_out(self) -> list[NightCheck]:
        """The checks that call for attention."""
        return [check for check in self.checks if not check.ok]

    def command(self, check: NightCheck) -> str:
        """Return the command that mends what a check found."""
        return check.mend.filled(self.known)


def judged(manifest: Manifest, previous: Manifest | None, drift: Drift | None) -> Night:
    """Judge a run by its outcome, its gate, its input, and what moved since the run before.

    previous: the run that it is compared with; None for the first one. drift: of the two.
    """
    checks = night_checks(manifest, previous, drift)
    known = {RUN: manifest.run_uri, CATALOGUE: manifest.input_uri}
    known[BUNDLE] = manifest.bundle.uri
    known[OUTPUT] = manifest.output_uri
    if previous is not None:
        known[BEFORE] = previous.run_uri
    lead = _lead(manifest)
    found = _found(checks)
    if lead or found:
        why = ". ".join([part for part in (lead, found) if part])
        sentence = f"Not an ordinary night: {why}."
        return Night(False, sentence, _state(manifest), checks, known)
    return Night(True, _ordinary(manifest, previous), _state(manifest), checks, known)


def _lead(manifest: Manifest) -> str:
    """Return what became of the run where that alone is not ordinary."""
    if manifest.forced:
        return "the run was published by force"
    if manifest.outcome == "refused":
        return "the gate refused the run"
    if manifest.outcome == "rolled_back":
        return "the run was rolled back"
    if not manifest.is_whole:
        counts = manifest.counts
        done = f"{counts.rows_in:,} of {count_of(counts.rows_planned, 'ad')}"
        return f"the run stopped after {done}"
    return ""


def _found(checks: list[NightCheck]) -> str:
    """Return how many checks stand out, and the first of them."""
    found = [check for check in checks if not check.ok]
    if not found:
        return ""
    number = f"{len(found)} of {count_of(len(checks), 'check')}"
    if len(found) == 1:
        return f"{number} stands out, {found[0].brief}"
    return f"{number} stand out, first {found[0].brief}"


def _ordinary(manifest: Manifest, previous: Manifest | None) -> str:
    counts = manifest.counts
    rejected = f", {counts.rows_rejected:,} rejected" if counts.rows_rejected else ""
    done = f"{count_of(counts.rows_scored, 'ad')} scored{rejected}"
    if previous is None:
        return (
            f"An ordinary night, as far as a first run can tell: {done} and nothing"
            " quarantined."
        )
    return (
        f"An ordinary night: {done}, nothing quarantined, and no share moved by more"
        " than its usual noise."
    )


def _state(manifest: Manifest) -> str:
    outcome = manifest.outcome
    if outcome == "published" and not manifest.pointers and manifest.format > 1:
        return "It was published, and a later run has replaced it since."
    if outcome == "published":
        names = " and of ".join(manifest.pointers or ["latest.json"])
        return f"It is published: readers of {names} see this run."
    if outcome == "complete":
        return "It is complete and verified, and not published."
    if outcome == "rolled_back":
        reason = manifest.rollback_reason.rstrip(".")
        return f"Readers see the run before it. The reason given is “{reason}”."
    if outcome == "refused":
        return "It is not published, so readers see what they saw before. The output is kept."
    return "Nothing of it is published. Start the same command again to go on from there."
