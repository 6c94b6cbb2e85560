"""`watchdog`: the command around `gpudash.watchdog`."""

from __future__ import annotations

import json
import signal
import threading
from datetime import timedelta
from typing import Any

import click

from gpudash.cli.verb import DURATION, Run, Verb, pass_run
from gpudash.clock import iso
from gpudash.errors import ExitCode, Refused, UsageError
from gpudash.watchdog.loop import MAX_ENDS, Line, Watchdog


@click.command(cls=Verb)
@click.option("--once", is_flag=True, help="Look once and leave, with an exit code that says how it went.")
@click.option("--enforce", is_flag=True, help="End what is due. Without it nothing is ended, only told.")
@click.option("--max-ends", type=click.IntRange(0), default=MAX_ENDS, show_default=True, help="Ends in one look.")
@click.option("--grace", type=DURATION, default="5m", show_default=True, help="After the lease, before an end.")
@click.option("--interval", type=DURATION, default="1m", show_default=True, help="Between two looks.")
@click.option("--account", "accounts", multiple=True, metavar="A", help="Only that account; may be repeated.")
@click.option("--timeout", type=DURATION, default="2m", show_default=True, help="How long to wait for each proof.")
@click.option("--jsonl", is_flag=True, help="One JSON document a line.")
@pass_run
def watchdog(
    run: Run,
    once: bool,
    enforce: bool,
    max_ends: int,
    grace: timedelta,
    interval: timedelta,
    accounts: tuple[str, ...],
    timeout: timedelta,
    jsonl: bool,
) -> int:
    """End managed instances that are past lease and grace, or past their hard deadline.

    A dry run without --enforce. Acts only on instances that gpudash launched or adopted, and only on a whole and
    present answer of their cloud; anything less is an alarm.

    \b
    With --once:  0 nothing due, or all ended and proved; also a dry run
                  1 an end failed, or the ledger cannot be read
                  4 more were due than --max-ends
                  5 a cloud did not answer in full
                  6 an end is not proved yet
    """
    from gpudash.cli.offers import check_account

    for account in accounts:
        check_account(run.config, account)
    if run.out.json and not once:
        raise UsageError("--json prints one document, and a watchdog has no end.", hint="Use --jsonl, or --once.")
    forbidden = run.forbids() if enforce else None
    if forbidden:
        raise Refused(f"watchdog --enforce: {forbidden}.", hint="Leave out --enforce for a dry run.")
    lines: list[dict[str, Any]] = []

    def say(line: Line) -> None:
        if run.out.json:
            lines.append(line.json())
        elif jsonl:
            run.out.line(json.dumps(line.json(), ensure_ascii=False))
        else:
            mark = "ALARM " if line.kind == "alarm" else ""
            run.out.line(f"{line.at.astimezone():%Y-%m-%d %H:%M:%S}  {mark}{line.text}")

    with run.session(accounts or None, actor="watchdog") as session:
        dog = Watchdog(session, say, enforce=enforce, max_ends=max_ends, grace=grace, proof_s=timeout.total_seconds())
        if not once:
            stop = stop_on_signals()
            dog.run(interval.total_seconds(), stop)
            run.out.talk("gpudash: watchdog ends; every deadline on the hosts stands.")
            return int(ExitCode.OK)
        report = dog.look()
        if run.out.json:
            *told, summary = lines
            run.out.document({"as_of": iso(session.clock.now()), "lines": told, "summary": summary})
        return int(report.exit_code)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM, SIGINT and SIGHUP set, instead of what they do otherwise."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    return stop
