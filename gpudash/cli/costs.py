"""`costs`: what was spent, from the ledger alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import jsonview, words
from gpudash.cli.verb import DURATION, Run, Verb, pass_run
from gpudash.clock import iso
from gpudash.errors import ExitCode
from gpudash.model.money import Amount

if TYPE_CHECKING:
    from gpudash.ledger import CostLine


@click.command(cls=Verb)
@click.option("--since", type=DURATION, default="30d", show_default=True, help="How far back.")
@click.option("--by", type=click.Choice(["day", "account", "instance"]), default="instance", show_default=True)
@pass_run
def costs(run: Run, since: timedelta, by: str) -> int:
    """What was spent, by day (UTC), account or instance. Asks no cloud. --json has all three."""
    from gpudash.ledger import CostBy

    with run.session() as session:
        until = session.clock.now()
        start = until - since
        accounts = run.config.accounts
        ask = session.ledger.costs
        if run.out.json:
            run.out.document(
                {
                    "as_of": iso(until),
                    "since": iso(start),
                    "total_usd": _usd(session.ledger.spent(start, until)),
                    "total_unknown": session.ledger.spent(start, until).unknown,
                    "days": [{"day": line.label, **_sums(line)} for line in ask(start, until, CostBy.DAY)],
                    "accounts": [
                        {
                            "account": line.account or line.label,
                            "monthly_budget_usd": _budget(accounts.get(line.account or line.label)),
                            **_sums(line),
                        }
                        for line in ask(start, until, CostBy.ACCOUNT)
                    ],
                    "instances": [
                        {
                            "account": line.account,
                            "id": line.key.id if line.key else None,
                            "name": line.label,
                            **_sums(line),
                        }
                        for line in ask(start, until, CostBy.INSTANCE)
                    ],
                }
            )
            return int(ExitCode.OK)
        lines = [line for line in ask(start, until, CostBy(by)) if line.total.usd or line.total.unknown]
        for text in table(lines, by, session.ledger.spent(start, until), start):
            run.out.line(text)
        return int(ExitCode.OK)


def table(lines: list[CostLine], by: str, total: Amount, start: datetime) -> list[str]:
    """The report as text, with its sum."""
    titles = (by.upper(), "ACCOUNT", "COMPUTE", "DISK", "TOTAL")
    rows = [
        (
            line.label,
            line.account or words.NOT_APPLICABLE,
            words.amount(line.compute),
            words.amount(line.storage),
            words.amount(line.total),
        )
        for line in lines
    ]
    drawn = words.table(titles, rows, right=frozenset({2, 3, 4})) if rows else []
    return [*drawn, f"spent {words.amount(total)} since {start.astimezone():%Y-%m-%d %H:%M}"]


def _sums(line: CostLine) -> dict[str, Any]:
    return {
        "compute_usd": _usd(line.compute),
        "storage_usd": _usd(line.storage),
        "total_usd": _usd(line.total),
        "unknown": line.total.unknown,
        "estimated": line.total.estimated,
    }


def _usd(amount: Amount) -> float | None:
    """The known part; `unknown` beside it says where that is not all."""
    known = amount.known
    return None if known is None else float(known.quantize(jsonview.MICRO_USD))


def _budget(account: Any) -> float | None:
    budget = getattr(account, "monthly_budget_usd", None)
    return None if budget is None else float(budget)
