"""What was spent in a span of time, three ways, and how the calendar month stands against each account's budget.

One report for the costs screen and for `gpudash costs`. Days and months are those of UTC, as on the clouds' invoices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from gpudash.config import Config
from gpudash.fleet.health import AccountNote
from gpudash.ledger import CostBy, CostLine
from gpudash.model.money import Amount


class Costs(Protocol):
    """The part of a ledger that a report is made of."""

    def costs(self, since: datetime, until: datetime, by: CostBy = CostBy.DAY) -> list[CostLine]: ...


@dataclass(frozen=True, slots=True)
class Month:
    """One account in the calendar month so far."""

    account: str
    spent: Amount
    budget: Decimal | None = None
    """`monthly_budget_usd` of the settings; None where there is none."""

    @property
    def used(self) -> float | None:
        """The part of the budget that is known to be spent; above 1 it is exceeded. None without a budget."""
        if self.budget is None:
            return None
        return float(self.spent.usd / self.budget) if self.budget else float("inf")

    @property
    def is_over(self) -> bool:
        """More is spent than the budget allows; what is unknown comes on top."""
        return self.budget is not None and self.spent.usd > self.budget


@dataclass(frozen=True, slots=True)
class Spending:
    """A report."""

    since: datetime
    until: datetime
    as_of: datetime
    days: tuple[CostLine, ...] = ()
    """Oldest first, every day of the span."""
    accounts: tuple[CostLine, ...] = ()
    """The dearest first."""
    instances: tuple[CostLine, ...] = ()
    """The dearest first, those that are gone included."""
    months: tuple[Month, ...] = ()
    """Every account that has a budget or a cost in this month, by name."""

    @property
    def total(self) -> Amount:
        """All of the span."""
        return sum((line.total for line in self.accounts), Amount())

    @property
    def month(self) -> Amount:
        """All of the calendar month so far."""
        return sum((month.spent for month in self.months), Amount())

    def lines(self, by: CostBy) -> tuple[CostLine, ...]:
        """The lines of one grouping that cost something, or nobody knows what."""
        lines = {CostBy.DAY: self.days, CostBy.ACCOUNT: self.accounts, CostBy.INSTANCE: self.instances}[by]
        return tuple(line for line in lines if line.total.usd or line.total.unknown)


def month_start(now: datetime) -> datetime:
    """Midnight UTC of the first of the month."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_end(now: datetime) -> datetime:
    """Midnight UTC of the first of the next month."""
    return month_start(month_start(now) + timedelta(days=32))


def report(ledger: Costs, config: Config, since: datetime, until: datetime, now: datetime) -> Spending:
    """Add up a span. Reads the ledger only; blocking, for lanes and commands.

    Raises:
        LedgerError: it cannot be read.
    """
    return Spending(
        since,
        until,
        now,
        days=tuple(ledger.costs(since, until, CostBy.DAY)),
        accounts=tuple(ledger.costs(since, until, CostBy.ACCOUNT)),
        instances=tuple(ledger.costs(since, until, CostBy.INSTANCE)),
        months=months(ledger, config, now),
    )


def months(ledger: Costs, config: Config, now: datetime) -> tuple[Month, ...]:
    """The calendar month so far, account by account."""
    spent = {line.label: line.total for line in ledger.costs(month_start(now), now, CostBy.ACCOUNT)}
    budgets = budgets_of(config)
    return tuple(
        Month(account, spent.get(account, Amount()), budgets.get(account)) for account in sorted({*spent, *budgets})
    )


def budgets_of(config: Config) -> Mapping[str, Decimal]:
    """What each account may spend a month, where the settings say."""
    return {
        name: account.monthly_budget_usd
        for name, account in config.accounts.items()
        if account.monthly_budget_usd is not None
    }


def at_month_end(month: Month, burn: Amount, now: datetime) -> Amount:
    """What the month will have cost if all goes on at `burn` (USD an hour) until its end: an estimate."""
    rest = Decimal(str((month_end(now) - now).total_seconds())) / 3600
    more = Amount(burn.usd * rest, estimated=True, unknown=burn.unknown)
    return month.spent + more if burn.usd or burn.unknown else month.spent


WARN_AT = 0.8
"""The part of a budget from which on the dashboard speaks of it."""


def budget_notes(months: Iterable[Month]) -> dict[str, AccountNote]:
    """What to say beside an account whose budget is nearly or wholly used up."""
    return {
        month.account: AccountNote(
            f"OVER BUDGET ${month.spent.usd:,.0f} of ${month.budget:,.0f}"
            if month.is_over
            else f"budget {month.used:.0%}",
            is_urgent=month.is_over,
        )
        for month in months
        if month.used is not None and (month.is_over or month.used >= WARN_AT)
    }


def over_budget(months: Iterable[Month]) -> list[str]:
    """Accounts over their budget, in a few words each; nothing where all is well."""
    return [
        f"{month.account} has spent ${month.spent.usd:,.2f} of its ${month.budget:,.2f} this month"
        for month in months
        if month.is_over
    ]
