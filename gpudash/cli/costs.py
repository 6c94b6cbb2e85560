"""`costs`: what was spent, from the ledger alone."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import jsonview, words
from gpudash.cli.verb import DURATION, Run, Verb, pass_run
from gpudash.clock import iso
from gpudash.errors import ExitCode, UsageError
from gpudash.model.money import Amount

if TYPE_CHECKING:
    from gpudash.fleet.spending import Month, Spending
    from gpudash.ledger import CostBy, CostLine

DAYS_BACK = timedelta(days=30)


@click.command(cls=Verb)
@click.option("--since", type=DURATION, help="How far back.  [default: 30d]")
@click.option("--month", "this_month", is_flag=True, help="The calendar month so far (UTC).")
@click.option("--by", type=click.Choice(["day", "account", "instance"]), default="instance", show_default=True)
@pass_run
def costs(run: Run, since: timedelta | None, this_month: bool, by: str) -> int:
    """What was spent, by day (UTC), account or instance. Asks no cloud. --json has all three.

    Every account that has a monthly budget is told with what this month has cost so far.
    """
    from gpudash.fleet import spending
    from gpudash.ledger import CostBy

    if since is not None and this_month:
        raise UsageError("--month and --since are two spans.", hint="Leave out one of them.")
    with run.session() as session:
        now = session.clock.now()
        start = spending.month_start(now) if this_month else now - (since or DAYS_BACK)
        report = spending.report(session.ledger, run.config, start, now, now)
    if run.out.json:
        run.out.document(document(report))
        return int(ExitCode.OK)
    for text in table(report, CostBy(by)):
        run.out.line(text)
    for text in spending.over_budget(report.months):
        run.out.talk(f"gpudash: {text}.")
    return int(ExitCode.OK)


def document(report: Spending) -> dict[str, Any]:
    """The report as one JSON document."""
    months = {month.account: month for month in report.months}
    known = {line.label for line in report.accounts}
    return {
        "as_of": iso(report.as_of),
        "since": iso(report.since),
        "total_usd": _usd(report.total),
        "total_unknown": report.total.unknown,
        "month_usd": _usd(report.month),
        "month_unknown": report.month.unknown,
        "days": [{"day": line.label, **_sums(line)} for line in report.days],
        "accounts": [
            *({"account": line.label, **_month(months.get(line.label)), **_sums(line)} for line in report.accounts),
            *({"account": name, **_month(month), **_NOTHING} for name, month in months.items() if name not in known),
        ],
        "instances": [
            {"account": line.account, "id": line.key.id if line.key else None, "name": line.label, **_sums(line)}
            for line in report.instances
        ],
    }


def table(report: Spending, by: CostBy) -> list[str]:
    """The report as text, with its sum and the month so far."""
    lines = report.lines(by)
    where = ("ACCOUNT",) if by == "instance" else ()
    titles = (by.upper(), *where, "COMPUTE", "DISK", "TOTAL")
    rows = [
        (line.label, *(line.account or words.NOT_APPLICABLE for _ in where), *map(words.amount, _parts(line)))
        for line in lines
    ]
    drawn = words.table(titles, rows, right=frozenset(range(1 + len(where), len(titles)))) if rows else []
    started = f"{report.since.astimezone():%Y-%m-%d %H:%M}"
    sums = [f"spent {words.amount(report.total)} since {started} · this month {words.amount(report.month)}"]
    return [*drawn, *sums, *(budget_line(month) for month in report.months if month.budget is not None)]


def budget_line(month: Month) -> str:
    """``aws: $312.40 of $500.00 this month, 62 %``."""
    used = "" if month.used is None or month.budget == 0 else f", {month.used:.0%}"
    over = ", OVER BUDGET" if month.is_over else ""
    return f"{month.account}: {words.amount(month.spent)} of ${month.budget:,.2f} this month{used}{over}"


def _parts(line: CostLine) -> tuple[Amount, Amount, Amount]:
    return line.compute, line.storage, line.total


def _sums(line: CostLine) -> dict[str, Any]:
    return {
        "compute_usd": _usd(line.compute),
        "storage_usd": _usd(line.storage),
        "total_usd": _usd(line.total),
        "unknown": line.total.unknown,
        "estimated": line.total.estimated,
    }


_NOTHING = {"compute_usd": 0.0, "storage_usd": 0.0, "total_usd": 0.0, "unknown": False, "estimated": False}


def _month(month: Month | None) -> dict[str, Any]:
    if month is None:
        return {"monthly_budget_usd": None, "month_usd": 0.0, "month_unknown": False}
    return {
        "monthly_budget_usd": None if month.budget is None else float(month.budget),
        "month_usd": _usd(month.spent),
        "month_unknown": month.spent.unknown,
    }


def _usd(amount: Amount) -> float | None:
    """The known part; `unknown` beside it says where that is not all."""
    known: Decimal | None = amount.known
    return None if known is None else float(known.quantize(jsonview.MICRO_USD))
