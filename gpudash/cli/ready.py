"""`ready`: start if needed, wait until the service answers, print where."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from gpudash.cli import carry, jsonview
from gpudash.cli.acting import target_of
from gpudash.cli.listing import POLL_S
from gpudash.cli.verb import DURATION, ID, Run, Verb, pass_run
from gpudash.errors import ExitCode, LinkDown, NotFound, Refused
from gpudash.fleet import readiness, tunnels
from gpudash.fleet.ended import explained
from gpudash.model.capability import Verb as Change
from gpudash.model.instance import InstanceState

if TYPE_CHECKING:
    from gpudash.fleet.record import Record
    from gpudash.fleet.session import Session

OFF = frozenset({InstanceState.STOPPED, InstanceState.HIBERNATED})


@click.command(cls=Verb)
@ID
@click.option("--timeout", type=DURATION, default="5m", show_default=True, help="For all of it.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of the service.  [default: the instance's, or 8000]")
@click.option("--health", metavar="PATH", help="What must answer 200.  [default: /health]")
@pass_run
def ready(run: Run, target: str, timeout: timedelta, port: int | None, health: str | None) -> int:
    """Start ID if needed, wait until its service answers 200, and print its base URL.

    That is the instance's own address where it can be reached from here, else a tunnel that is kept.
    """
    path = health if health is None or health.startswith("/") else f"/{health}"
    with run.session_for(target) as session:
        deadline = session.clock.monotonic() + timeout.total_seconds()
        session.poll(POLL_S)
        record = _find(session, target)
        if record.instance.state in OFF:
            _may_be_started(run, session, target)
        key, name = record.key, record.instance.name
        run.out.going_on = f"{name} goes on running and billing."
        url: str | None = None
        try:
            left = max(0.0, deadline - session.clock.monotonic())
            url = readiness.ready(session, key, timeout_s=left, port=port, health_path=path, on_step=run.out.talk)
            detail = f"{name} answers at {url}"
        except LinkDown as exc:
            if session.clock.monotonic() < deadline:
                raise
            detail = exc.text
        session.store.apply_tunnels(tunnels.listed(session.tunnels_dir))
        if run.out.json:
            now, known = session.clock.now(), carry.find(session, key)
            body = jsonview.answer(
                "ready",
                account=key.account,
                id=key.id,
                ok=True,
                proved=url is not None,
                detail=detail,
                instance=jsonview.instance(known, now, session.store.cadence(key.account)) if known else None,
            )
            run.out.document({**body, "url": url})
        elif url:
            run.out.line(url)
        if url is None:
            run.out.talk(f"gpudash: {carry.sentence(detail)}")
        return int(ExitCode.OK if url else ExitCode.UNPROVED)


def _find(session: Session, target: str) -> Record:
    """The record, or what is known of the end of an instance that has no row any more.

    Raises:
        ProviderError: it has ended.
        NotFound: nothing is known of it.
    """
    try:
        return session.resolve(target)
    except NotFound:
        if (gone := explained(target, session.keeper.listed_as_ended.values(), session.ledger)) is not None:
            raise gone from None
        raise


def _may_be_started(run: Run, session: Session, target: str) -> None:
    """Refuse before anything is waited for; unless somebody else has started it meanwhile.

    Raises:
        Refused: it is off and must not be started.
    """
    try:
        target_of(run, session, target, Change.START)
    except Refused:
        session.poll(POLL_S)
        if session.resolve(target).instance.state in OFF:
            raise
