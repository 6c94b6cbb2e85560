"""The watchdog's rounds beside ends: what it does for the ledger."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from support.memory_cloud import CLOUD, Cloud, open_session

from gpudash.clock import ManualClock
from gpudash.ledger import pruning
from gpudash.model.event import Event
from gpudash.watchdog import loop


def test_a_watchdog_without_a_dashboard_keeps_the_ledger_small(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(datetime(2026, 3, 1, 12, 0, tzinfo=UTC))
    monkeypatch.setattr(loop, "PRUNE_EVERY", 2)
    with open_session(Cloud(clock), clock) as session:
        session.ledger.add_event(Event(clock.now(), "stop", "long ago", CLOUD))
        clock.advance(pruning.KEPT.total_seconds() + 60)
        stop, rounds = threading.Event(), list[str]()

        def say(line: loop.Line) -> None:
            rounds.append(line.kind)
            if rounds.count("summary") == 2:
                stop.set()

        loop.Watchdog(session, say).run(0, stop)
        assert [event.text for event in session.ledger.events() if event.kind == "stop"] == []
