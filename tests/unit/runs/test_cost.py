import pytest

from rubert_ood.runs.cost import cost_of
from rubert_ood.settings import PriceSettings


def test_cost_is_node_hours_times_the_price():
    cost = cost_of(5_400.0, PriceSettings(per_node_hour=2.5, currency="EUR"))
    assert cost.amount == pytest.approx(1.5 * 2.5)
    assert cost.text == "3.75 EUR"


def test_cost_without_a_price_is_none():
    assert cost_of(5_400.0, PriceSettings()) is None
