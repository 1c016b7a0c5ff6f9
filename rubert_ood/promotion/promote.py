"""Make a bundle the champion: judged by its comparison, in one swap, with a record beside.

The record and its page are put before the swap, so that who follows the pointer finds them; each
attempt has its own, also one that is refused. Two promotions at once: one is first, the other is
told so, since nobody has compared its bundle with the new champion.
"""

from rubert_ood import __version__, storage
from rubert_ood.bundle import CHAMPION_FILE, Bundle
from rubert_ood.clock import utc_now
from rubert_ood.errors import BundleError, PartialRunError, PublicationRefusedError
from rubert_ood.pointers.champion import (
    Champion,
    ChampionPlace,
    look,
    name_of,
)
from rubert_ood.pointers.pointer import is_swapped, swap
from rubert_ood.progress import StepLog
from rubert_ood.promotion.document import Comparison, Promotion
from rubert_ood.promotion.limits import check_limits, refusal, worst_class
from rubert_ood.runs.manifest import until_swapped
from rubert_ood.runs.plan import BundleName
from rubert_ood.settings import PromoteSettings

log = StepLog("promote")

RECORDS = "_promotions"
"""Folder of the records, beside the bundles; no version has such a name."""
RECORD, PAGE = "promotion.json", "promotion.html"
UNSAFE = (
    "this server ignores conditional puts (If-Match, If-None-Match). Start"
    " one promotion at a time, or the history may lose one"
)


def is_champion(place: ChampionPlace, bundle: Bundle) -> bool:
    """Say whether a bundle is the champion already; BundleError where another one lies there."""
    named = place.pointer
    if named is None or not place.names(bundle.uri):
        return False
    if named.fingerprint != bundle.fingerprint:
        raise BundleError(
            f"{bundle.uri}: this is not the promoted bundle, though"
            f" {place.uri} names it. Restore that bundle, or write the"
            " new one under another version"
        )
    return True


def check_not_taken_back(place: ChampionPlace, bundle: Bundle | BundleName) -> None:
    """Raise PublicationRefusedError when the bundle was rolled back and not promoted since."""
    if not place.took_back(bundle.uri) or place.pointer is None:
        return
    last = place.pointer.rolled_back
    is_this = last is not None and last.path == place.path_of(bundle.uri)
    reason = last.reason if last and is_this else f"{place.uri} says so"
    raise PublicationRefusedError(
        f"{bundle.uri}: this bundle was rolled back ({reason}). Pass --force"
        " REASON to promote it again"
    )


def judge(
    bundle: Bundle,
    champion: BundleName | None,
    found: Comparison,
    settings: PromoteSettings,
) -> Promotion:
    """Compare with the limits; the refusal, if any, is in the answer.

    A champion that nothing was compared with is passed over by force alone.
    """
    limits = settings.limits
    checks = check_limits(found, limits)
    error = refusal(bundle.uri, checks, worst_class(found, limits))
    is_compared = champion is None or found.champion is not None
    outcome = "accepted"
    if error is not None or not is_compared:
        outcome = "forced" if settings.force else "refused"
    content = {
        "bundle": name_of(bundle),
        "champion": champion,
        "created_at": utc_now("milliseconds"),
        "code_version": __version__,
        "confidence": limits.confidence,
        "comparison": found,
        "checks": checks,
        "outcome": outcome,
        "forced": settings.force,
        "refusal_reason": str(error) if error else "",
    }
    return Promotion.model_validate(content)


def put_record(root_uri: str, promotion: Promotion, page: str) -> str:
    """Write record and page of an attempt; return the path of the record below the root."""
    moment = promotion.created_at.partition("+")[0].replace(":", "")
    path = f"{RECORDS}/{moment}-{promotion.bundle.version}/{RECORD}"
    uri, data = storage.join(root_uri, path), storage.to_json(promotion)
    is_ours = storage.create_bytes(uri, data)
    if not is_ours and storage.read_bytes(uri) != data:
        raise PartialRunError(
            f"{uri}: another promotion of this bundle began at the same"
            " moment. Start again"
        )
    if storage.ignores_conditions(uri, data):
        log.warning("%s: %s", root_uri, UNSAFE)
    storage.put_bytes(storage.join(uri.rpartition("/")[0], PAGE), page.encode())
    return path


def make_champion(root_uri: str, promotion: Promotion, record: str) -> Champion:
    """Swap the pointer from the bundle that was compared with; return the one that is there then.

    That names another bundle where another promotion followed.
    Raises PartialRunError where another bundle was promoted, or rolled back to, in the meantime,
    PublicationRefusedError where this one was promoted and rolled back.
    """
    compared = promotion.champion

    def attempt() -> Champion | None:
        place = look(root_uri)
        now = place.champion
        if place.pointer and place.names(promotion.bundle.uri):
            return place.pointer  # by the same command, at the same time
        if _fingerprint(now) != _fingerprint(compared):
            version = now.version if now else "no bundle"
            raise PartialRunError(
                f"{place.uri}: {version} became the champion meanwhile. Run"
                " the same command again to compare with it"
            )
        if not promotion.forced:
            check_not_taken_back(place, promotion.bundle)
        new = place.pointer_to(
            promotion.bundle,
            promotion=record,
            forced=promotion.forced,
        )
        pointer = new.replacing(place.pointer)
        after = swap(place, pointer)
        path, older = pointer.path, place.pointer
        return after if is_swapped(after, path, older) else None

    busy = f"other promotions keep swapping {CHAMPION_FILE}. Promote again"
    return until_swapped(attempt, f"{root_uri}: {busy}")


def _fingerprint(name: BundleName | None) -> str:
    return name.fingerprint if name else ""
