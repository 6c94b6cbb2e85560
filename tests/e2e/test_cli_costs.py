"""`gpudash costs` over a ledger that holds an hour of one instance: three groupings, the month, a budget."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gpudash.clock import ManualClock, SystemClock
from gpudash.ledger import Ledger
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.money import Price
from tests.support.cli import Cli

KEY = InstanceKey("sandbox", "sandbox-east", "sb-1")


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A home whose ledger has seen one instance stop ten seconds ago, and run for an hour before."""
    cli = Cli(tmp_path_factory.mktemp("costs") / "home")
    now = SystemClock().now()
    remember(cli.state / "ledger.db", now - timedelta(hours=1), now - timedelta(seconds=10))
    return cli


def remember(path: Path, start: datetime, stop: datetime) -> None:
    clock = ManualClock(start)
    ledger = Ledger.open(path, clock)
    price = Price(Decimal(720), "test")
    at = start
    while at < stop:
        seen(ledger, at, InstanceState.RUNNING, price, start)
        at += timedelta(minutes=4)
    clock.advance((stop - start).total_seconds())
    seen(ledger, stop, InstanceState.STOPPED, price, start)
    ledger.close()


def seen(ledger: Ledger, at: datetime, state: InstanceState, price: Price, start: datetime) -> None:
    free = Price(Decimal(0), "test")
    item = Instance(
        KEY, "sandbox", "train", state, state.value, price=price, storage_price=free, created_at=start, started_at=start
    )
    ledger.observe(Listing(KEY.account, KEY.region, (item,), True, at, at), at)


@pytest.mark.parametrize(
    ("by", "title", "label"), [("instance", "INSTANCE", "train"), ("account", "ACCOUNT", "sandbox")]
)
def test_groupings(cli: Cli, by: str, title: str, label: str) -> None:
    head, row, *rest = cli("costs", "--by", by).out.splitlines()
    assert head.startswith(title)
    assert row.startswith(label)
    assert "$718.00" in row
    assert rest[0].startswith("spent $718.00 since ")


def test_by_day_the_days_add_up(cli: Cli) -> None:
    head, *days, _ = cli("costs", "--by", "day").out.splitlines()
    assert head.split() == ["DAY", "COMPUTE", "DISK", "TOTAL"]
    assert sum(Decimal(day.split()[-1].lstrip("$")) for day in days) == Decimal("718.00")


def test_a_budget_is_told_and_an_exceeded_one_is_said(cli: Cli) -> None:
    cli.config("[accounts.sandbox]\nmonthly_budget_usd = 100\n")
    answer = cli("costs", "--month")
    (line,) = [line for line in answer.out.splitlines() if line.startswith("sandbox: ")]
    body = cli.ok("costs", "--month")
    (account,) = body["accounts"]
    assert account["monthly_budget_usd"] == 100.0
    assert account["month_usd"] == body["month_usd"]
    spent = account["month_usd"]
    assert f"sandbox: ${spent:,.2f} of $100.00 this month, {spent:.0%}".split(",")[0] in line
    # In the first hour of a month most of it fell into the last one.
    assert ("OVER BUDGET" in line) == (spent > 100) == ("has spent" in answer.err)
    cli.config_file.unlink()


def test_the_document_has_all_three(cli: Cli) -> None:
    body = cli.ok("costs")
    assert list(body) == [
        "as_of", "since", "total_usd", "total_unknown", "month_usd", "month_unknown", "days", "accounts", "instances",
    ]  # fmt: skip
    assert body["total_usd"] == pytest.approx(718.0)
    assert body["instances"] == [
        {
            "account": "sandbox", "id": "sb-1", "name": "train", "compute_usd": pytest.approx(718.0),
            "storage_usd": 0.0, "total_usd": pytest.approx(718.0), "unknown": False, "estimated": False,
        }
    ]  # fmt: skip
    assert [account["account"] for account in body["accounts"]] == ["sandbox"]
    assert len(body["days"]) in (31, 32)


def test_month_and_since_are_two_spans(cli: Cli) -> None:
    answer = cli("costs", "--month", "--since", "3d")
    assert answer.code == 2
    assert "two spans" in answer.err
