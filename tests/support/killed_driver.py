"""A process that drives one operation and kills itself with SIGKILL at a chosen point.

    python -m support.killed_driver POINT launch NAME
    python -m support.killed_driver POINT extend|push|stop|terminate|start KEY [UNTIL]

Points: ``intended`` (the intent is on disk), ``sent`` (so is that it goes out now), ``called`` (the cloud or the host
has answered, nothing is written yet), ``step:NAME`` (that step is written as done), a stage, or ``never``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from gpudash.clock import parse_iso
from gpudash.config import Config, Defaults
from gpudash.fleet import guarding, steps
from gpudash.fleet.desk import SENT_AT
from gpudash.fleet.session import Session
from gpudash.model.offer import OfferFilter
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction

CONFIG = Config(Defaults(refresh=timedelta(seconds=0.4)))
"""Asks the sandbox more often than it would be asked, so that tests wait less."""


def die() -> None:
    """As a power cut would have it."""
    os.kill(os.getpid(), signal.SIGKILL)


def is_there(point: str, operation: Operation) -> bool:
    """The operation has come to that point."""
    if point == "intended":
        return operation.stage is Stage.INTENDED and SENT_AT not in operation.params
    if point == "sent":
        return SENT_AT in operation.params
    if point.startswith("step:"):
        return steps.is_done(operation.steps, point.removeprefix("step:"))
    return operation.stage.value == point


def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, and death before its answer is written down."""

    def called(*args: Any, **more: Any) -> None:
        call(*args, **more)
        die()

    return called


def main(point: str, verb: str, what: str, until: str = "") -> None:
    """Drive it."""
    with Session.open(CONFIG, actor="driver") as session:
        session.poll(60)
        show = session.desk.on_operation

        def moved(operation: Operation) -> None:
            if is_there(point, operation):
                die()
            show(operation)

        session.desk.on_operation = moved
        if point == "called":
            provider: Any = session.providers["sandbox"]
            for name in ("launch", "stop", "start", "terminate"):
                setattr(provider, name, deadly(getattr(provider, name)))
            from gpudash.hosts import client

            client.StatusClient.extend = deadly(client.StatusClient.extend)  # type: ignore[method-assign]
            guarding._read_back = deadly(guarding._read_back)
        if verb == "launch":
            (listing,) = session.offers(OfferFilter(instance_type="1x-t4", region="sandbox-east", spot=False), 60)
            operation = session.actions.launch(session.actions.plan_launch(listing.items[0], name=what))
        else:
            key = session.resolve(what).key
            session.read_hosts(60)
            operation = {
                "extend": lambda: session.actions.extend(key, parse_iso(until)),
                "push": lambda: session.actions.push(key),
                "start": lambda: session.actions.start(key),
                "stop": lambda: session.actions.end(key, EndAction.STOP),
                "terminate": lambda: session.actions.end(key, EndAction.TERMINATE),
            }[verb]()
        session.settle_until(operation.id, 60)


if __name__ == "__main__":
    main(*sys.argv[1:])
