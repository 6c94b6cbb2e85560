"""What the ledger lets go of, and what it never does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ledger_builders import KEY, NOON, event, instance, listing, operation

from gpudash.clock import ManualClock
from gpudash.ledger import Ledger, pruning
from gpudash.model.event import Event
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Stage

GONE = InstanceKey("lab", "east", "i-gone")
LATER = pruning.KEPT.total_seconds() + 60


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can reach, and batches smaller than what goes."""
    monkeypatch.setattr(pruning, "BATCH", 2)
    steps = [(table, which, 5 if most else 0) for table, which, most in pruning._STEPS]
    monkeypatch.setattr(pruning, "_STEPS", steps)


@pytest.mark.usefixtures("small")
def test_old_lines_and_settled_intents_go(ledger: Ledger, clock: ManualClock) -> None:
    for number in range(3):
        ledger.add_event(event(f"old {number}", key=GONE))
        ledger.add_operation(operation(number, key=GONE, stage=Stage.PROVED))
    clock.advance(LATER)
    ledger.add_event(event("new", clock.now(), GONE))
    ledger.add_operation(operation(9, key=GONE, stage=Stage.PROVED, requested_at=clock.now()))
    assert ledger.prune() == 6
    assert [line.text for line in ledger.events()] == ["new"]
    assert [one.id for one in ledger.recent_operations()] == ["op-9"]
    assert ledger.prune() == 0


def test_an_open_intent_is_kept_whatever_its_age(ledger: Ledger, clock: ManualClock) -> None:
    ledger.add_operation(operation(key=GONE, stage=Stage.RETRYING))
    clock.advance(LATER)
    assert ledger.prune() == 0
    assert [one.id for one in ledger.open_operations()] == ["op-1"]


def test_the_story_of_an_instance_that_exists_is_kept(ledger: Ledger, clock: ManualClock) -> None:
    ledger.observe(listing(NOON, [instance()]), NOON)
    ledger.add_event(event("launched", key=KEY))
    ledger.add_operation(operation(key=KEY, stage=Stage.PROVED))
    clock.advance(LATER)
    assert ledger.prune() == 0
    for _ in range(2):
        clock.advance(60)
        ledger.observe(listing(clock.now()), clock.now())
    assert ledger.prune() == 2


def test_money_is_kept_for_ever(ledger: Ledger, clock: ManualClock) -> None:
    ledger.observe(listing(NOON, [instance()]), NOON)
    for _ in range(3):
        clock.advance(60)
        ledger.observe(listing(clock.now()), clock.now())
    before = ledger.intervals(KEY), ledger.spent(NOON - timedelta(days=1), clock.now())
    clock.advance(10 * LATER)
    ledger.prune()
    assert (ledger.intervals(KEY), ledger.spent(NOON - timedelta(days=1), clock.now())) == before
    assert before[0]


@pytest.mark.usefixtures("small")
def test_beyond_the_limit_the_oldest_of_an_account_go(ledger: Ledger) -> None:
    for number in range(8):
        ledger.add_event(event(f"{number}"))
        ledger.add_operation(operation(number, stage=Stage.RETRYING if number == 0 else Stage.PROVED))
    ledger.add_event(Event(NOON, "stop", "another account's", "other"))
    ledger.prune()
    assert [line.text for line in ledger.events() if line.account == "lab"] == ["7", "6", "5", "4", "3"]
    assert [one.id for one in ledger.recent_operations()] == ["op-7", "op-6", "op-5", "op-4", "op-3", "op-0"]
    assert [line.text for line in ledger.events() if line.account == "other"] == ["another account's"]


def test_a_clock_that_runs_ahead_decides_over_its_own_accounts_only(ledger: Ledger, clock: ManualClock) -> None:
    ledger.add_event(event("of the lab"))
    ledger.add_event(Event(NOON, "stop", "of the sandbox", "sandbox"))
    clock.advance(LATER)
    assert ledger.prune(["sandbox"]) == 1
    assert [line.text for line in ledger.events()] == ["of the lab"]
