"""What a run cost: the nodes that it held, at the price of the settings."""

from rubert_ood.runs.record import Record
from rubert_ood.settings import PriceSettings

HOUR_S = 3600


class Cost(Record):
    """An estimate of compute alone, of the last start that scored."""

    node_seconds: float
    per_node_hour: float
    currency: str
    amount: float

    @property
    def text(self) -> str:
        """The amount with its currency, such as `12.30 USD`."""
        return f"{self.amount:,.2f} {self.currency}"


def cost_of(node_seconds: float, price: PriceSettings) -> Cost | None:
    """Return the cost of so many node-seconds; None without a price."""
    if price.per_node_hour is None:
        return None
    return Cost(
        node_seconds=node_seconds,
        per_node_hour=price.per_node_hour,
        currency=price.currency,
        amount=node_seconds / HOUR_S * price.per_node_hour,
    )
