"""The report behind `costs` and the costs screen: month, budgets, and what is not known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gpudash.clock import ManualClock
from gpudash.config import Account, Config
from gpudash.fleet.health import AccountNote
from gpudash.fleet.spending import (
    Month,
    Spending,
    at_month_end,
    budget_notes,
    month_end,
    month_start,
    over_budget,
    report,
)
from gpudash.fleet.store import FleetStore
from gpudash.ledger import CostBy, Ledger
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.money import Amount, Price

HOUR = timedelta(hours=1)
START = datetime(2026, 2, 28, 20, tzinfo=UTC)
TWO = Price(Decimal(2), "api")


def lived(path: Path, price: Price | None = TWO, budget: str | None = "10") -> Spending:
    """One instance for ten hours, four of them in February."""
    clock = ManualClock(START)
    ledger = Ledger.open(path / "ledger.db", clock)
    item = Instance(
        InstanceKey("lab", "east", "i-1"), "lambda", "train", InstanceState.RUNNING, "running",
        price=price, created_at=START, started_at=START,
    )  # fmt: skip
    for _ in range(2):
        now = clock.now()
        ledger.observe(Listing("lab", "east", (item,), True, now, now), now)
        clock.advance(10 * 3600)
    limit = None if budget is None else Decimal(budget)
    config = Config(accounts={"lab": Account("lab", "lambda", monthly_budget_usd=limit)})
    now = START + 10 * HOUR
    try:
        return report(ledger, config, START - 24 * HOUR, now, now)
    finally:
        ledger.close()


def test_the_three_ways_add_up_to_the_same(tmp_path: Path) -> None:
    spending = lived(tmp_path)
    for by in CostBy:
        assert sum((line.total for line in spending.lines(by)), Amount()) == spending.total == Amount(Decimal(20))
    assert [line.label for line in spending.lines(CostBy.DAY)] == ["2026-02-28", "2026-03-01"]
    assert spending.days[0].label == "2026-02-27"


def test_the_month_begins_at_midnight_utc(tmp_path: Path) -> None:
    spending = lived(tmp_path)
    (month,) = spending.months
    assert (month.account, month.spent, month.budget, month.is_over) == ("lab", Amount(Decimal(12)), Decimal(10), True)
    assert month.used == pytest.approx(1.2)
    assert spending.month == Amount(Decimal(12))
    assert over_budget(spending.months) == ["lab has spent $12.00 of its $10.00 this month"]


def test_without_a_budget_nothing_is_over(tmp_path: Path) -> None:
    (month,) = lived(tmp_path, budget=None).months
    assert (month.used, month.is_over) == (None, False)


def test_an_unknown_price_stays_unknown(tmp_path: Path) -> None:
    spending = lived(tmp_path, price=None)
    assert spending.total.unknown
    assert spending.months[0].spent.unknown
    assert spending.lines(CostBy.INSTANCE)[0].total.known is None


def test_a_budget_without_a_cost_is_told_too() -> None:
    class Nothing:
        def costs(self, since: datetime, until: datetime, by: CostBy = CostBy.DAY) -> list[object]:
            return []

    config = Config(accounts={"lab": Account("lab", "lambda", monthly_budget_usd=Decimal(50))})
    assert report(Nothing(), config, START, START, START).months == (Month("lab", Amount(), Decimal(50)),)  # type: ignore[arg-type]


def test_the_months_end_is_an_estimate_at_todays_burn() -> None:
    now = datetime(2026, 3, 31, 22, tzinfo=UTC)
    assert (month_start(now).isoformat(), month_end(now).isoformat()) == (
        "2026-03-01T00:00:00+00:00",
        "2026-04-01T00:00:00+00:00",
    )
    month = Month("lab", Amount(Decimal(100)), Decimal(110))
    assert at_month_end(month, Amount(Decimal(3)), now) == Amount(Decimal(106), estimated=True)
    assert at_month_end(month, Amount(), now) == Amount(Decimal(100))
    assert at_month_end(month, Amount(unknown=True), now).unknown


def test_a_budget_is_spoken_of_when_it_is_nearly_used_up() -> None:
    def months(*spent: int) -> list[Month]:
        return [Month(f"a{usd}", Amount(Decimal(usd)), Decimal(100)) for usd in spent]

    assert budget_notes([*months(79, 80, 100, 130), Month("free", Amount(Decimal(900)))]) == {
        "a80": AccountNote("budget 80%"),
        "a100": AccountNote("budget 100%"),
        "a130": AccountNote("OVER BUDGET $130 of $100", is_urgent=True),
    }


def test_a_note_stays_until_its_source_takes_it_back() -> None:
    store = FleetStore()
    assert store.apply_notes("budget", {"lab": AccountNote("budget 80%")}).health
    assert store.apply_notes("balance", {"lab": AccountNote("3 h left", is_urgent=True)}).health
    assert not store.apply_notes("budget", {"lab": AccountNote("budget 80%")})
    assert store.apply_notes("budget", {}).health
    assert store.notes == {("lab", "balance"): AccountNote("3 h left", is_urgent=True)}
