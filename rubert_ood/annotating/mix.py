"""The kinds of ads that are annotated, and how many of each."""

from collections.abc import Mapping

from rubert_ood.settings import MixSettings

RANDOM, LEAST_SURE = "random", "least_sure"
KINDS = (RANDOM, "sub_unsure", "near_limit", "far", LEAST_SURE)
"""In the order in which they choose: the random control from all ads, so that it stays random, the
least sure last, since they fill what the others lack."""


def numbers(num: int, mix: MixSettings) -> dict[str, int]:
    """Share ads out among the kinds by largest remainders; the numbers add up to `num`."""
    shares = {kind: num * getattr(mix, kind) for kind in KINDS}
    given = {kind: int(share) for kind, share in shares.items()}
    by_rest = sorted(KINDS, key=lambda kind: given[kind] - shares[kind])
    for kind in by_rest[: num - sum(given.values())]:
        given[kind] += 1
    return given


def lacking(wanted: Mapping[str, int], taken: Mapping[str, int]) -> dict[str, int]:
    """Return by how many ads each kind falls short, of those that do."""
    short = {kind: wanted[kind] - taken.get(kind, 0) for kind in wanted}
    return {kind: number for kind, number in short.items() if number > 0}
