"""What a comparison must keep for the new bundle to be promoted."""

from dataclasses import dataclass, field

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.promotion.document import ClassRow, Comparison, Measures
from rubert_ood.runs.manifest import Check
from rubert_ood.settings import PromotionLimits


@dataclass(frozen=True)
class _Checks:
    """The limits, and what was compared with them."""

    limits: PromotionLimits
    done: list[Check] = field(default_factory=list)

    def at_most(self, name: str, value: float) -> None:
        self._add(name, value, value <= getattr(self.limits, name))

    def at_least(self, name: str, value: float) -> None:
        self._add(name, value, value >= getattr(self.limits, name))

    def _add(self, name: str, value: float, ok: bool) -> None:
        limit = getattr(self.limits, name)
        check = Check(check=name, value=value, limit=limit, ok=ok)
        self.done.append(check)


def check_limits(found: Comparison, limits: PromotionLimits) -> list[Check]:
    """Compare what was measured with the limits; what was not measured has no entry."""
    new, checks = found.new, _Checks(limits)
    checks.at_least("min_test_ads", found.num_ads)
    checks.at_least("min_accuracy", new.accuracy)
    checks.at_least("min_macro_f1", new.macro_f1)
    checks.at_most("max_ece", new.ece)
    checks.at_most("max_false_alarms", new.false_alarms)
    checks.at_most("max_other_rate", new.other_rate)
    if new.ood_auroc:
        worst = min(new.ood_auroc.values())
        checks.at_least("min_ood_auroc", worst)
    if found.champion is not None:
        _against(found.champion, found, checks)
    return checks.done


def _against(champion: Measures, found: Comparison, checks: _Checks) -> None:
    new = found.new
    if found.accuracy is not None:
        loss = -found.accuracy.lower
        checks.at_most("max_accuracy_loss", loss)
    if found.macro_f1 is not None:
        loss = -found.macro_f1.lower
        checks.at_most("max_macro_f1_loss", loss)
    row = worst_class(found, checks.limits)
    loss = -row.change.value if row and row.change else 0.0
    checks.at_most("max_class_f1_loss", loss)
    checks.at_most("max_ece_rise", new.ece - champion.ece)
    rise = new.false_alarms - champion.false_alarms
    checks.at_most("max_false_alarm_rise", rise)
    rise = new.other_rate - champion.other_rate
    checks.at_most("max_other_rise", rise)
    losses = []
    for kind, auroc in new.ood_auroc.items():
        before = champion.ood_auroc.get(kind, auroc)
        losses.append(before - auroc)
    if losses:
        checks.at_most("max_ood_auroc_loss", max(losses))
    if found.churn is not None:
        checks.at_most("max_churn", found.churn.rate)
    if found.speed_ratio is not None:
        checks.at_least("min_speed_ratio", found.speed_ratio)


def worst_class(found: Comparison, limits: PromotionLimits) -> ClassRow | None:
    """Return the class that lost most F1 where that is not chance; None without any."""
    worst, loss = None, 0.0
    for row in found.classes:
        if row.change is None or row.discordant is None:
            continue
        is_chance = row.discordant.p > 1 - limits.confidence
        if not is_chance and -row.change.value > loss:
            worst, loss = row, -row.change.value
    return worst


def refusal(
    uri: str, checks: list[Check], worst: ClassRow | None
) -> PublicationRefusedError | None:
    """Return the error that names the limits which are not kept; None when all are."""
    reasons = []
    for check in checks:
        if check.ok:
            continue
        reason = f"limits.{check.against()}"
        if worst is not None and check.check == "max_class_f1_loss":
            reason += f" (class {worst.label})"
        reasons.append(reason)
    if not reasons:
        return None
    return PublicationRefusedError(
        f"{uri}: the limits refuse this bundle, which is kept but not"
        f" promoted: {', '.join(reasons)}"
    )
