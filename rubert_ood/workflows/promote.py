"""Compare a bundle with the champion of its folder, and make it the champion by limits."""

from rubert_ood import storage
from rubert_ood.bundle import Bundle
from rubert_ood.errors import BundleError, PublicationRefusedError, SettingsError
from rubert_ood.pointers.champion import (
    Champion,
    ChampionPlace,
    load_signed,
    look,
    open_bundle,
)
from rubert_ood.progress import StepLog
from rubert_ood.promotion.compare import compare
from rubert_ood.promotion.document import Promotion
from rubert_ood.promotion.promote import (
    PAGE,
    check_not_taken_back,
    is_champion,
    judge,
    make_champion,
    put_record,
)
from rubert_ood.reports.promotion_page import promotion_html
from rubert_ood.settings import PromoteSettings
from rubert_ood.settings.problems import expect
from rubert_ood.storage import hub

log = StepLog("promote")


def promote(settings: PromoteSettings) -> Champion:
    """Run the promotion; return champion.json as it is then.

    Raises PublicationRefusedError where the limits are not kept; the bundle stays, and the record
    says why.
    """
    expect(settings, PromoteSettings)
    if hub.is_hub(settings.bundle_uri):
        raise SettingsError(
            f"bundle_uri: {settings.bundle_uri} is on a hub, which keeps no champion."
            " Use a bundle in a folder or in S3"
        )
    new = open_bundle(settings.bundle_uri, settings.require_signature)
    root_uri = new.uri.rpartition("/")[0]
    place = look(root_uri)
    if place.pointer and is_champion(place, new):
        log.info("%s is the champion already, nothing to do", new.uri)
        return place.pointer
    if not settings.force:
        check_not_taken_back(place, new)
    champion = _champion(place, settings)
    compared_with = (
        "nothing (it is the first bundle)" if champion is None else champion.version
    )
    log.info("compares %s with %s", new.version, compared_with)
    found = compare(new, champion, settings)
    promotion = judge(new, place.champion, found, settings)
    record = put_record(root_uri, promotion, promotion_html(promotion))
    _say(promotion)
    page_uri = storage.join(root_uri, record.rpartition("/")[0], PAGE)
    StepLog("report").info("%s", page_uri)
    if promotion.outcome == "refused":
        reason = f"{promotion.refusal_reason}. See {page_uri}"
        raise PublicationRefusedError(reason)
    pointer = make_champion(root_uri, promotion, record)
    log.info("promoted %s, fingerprint %s", new.version, new.fingerprint[:12])
    if pointer.path != place.path_of(new.uri):
        log.warning(
            "another promotion followed, so %s is the champion now", pointer.version
        )
    return pointer


def _champion(place: ChampionPlace, settings: PromoteSettings) -> Bundle | None:
    """Load the champion; None before the first promotion, or by force where it is gone."""
    name = place.champion
    if name is None:
        return None
    try:
        champion = load_signed(name.uri, settings.require_signature)
        is_champion(place, champion)
        return champion
    except BundleError as error:
        if not settings.force:
            raise BundleError(
                "the champion cannot be loaded. Restore it, roll back, or"
                " promote without a comparison (--force REASON). Reason:"
                f" {error}"
            ) from error
        log.warning(
            "promotes without a comparison, because the champion cannot be loaded: %s",
            error,
        )
        return None


def _say(promotion: Promotion) -> None:
    found = promotion.comparison
    new, champion = found.new, found.champion
    line = f"accuracy {new.accuracy:.4f}  macro-F1 {new.macro_f1:.4f}  ECE {new.ece:.4f}"
    if champion is not None and found.accuracy is not None:
        change = found.accuracy
        line += (
            f"  (champion {champion.accuracy:.4f}, {champion.macro_f1:.4f},"
            f" {champion.ece:.4f})  accuracy change {change.value:+.4f}"
            f" ({change.lower:+.4f} to {change.upper:+.4f})"
        )
    log.info("%s on %s ads", line, f"{found.num_ads:,}")
