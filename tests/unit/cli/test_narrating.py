"""The sentences of `ls --watch`: what is worth one, and how it reads aloud."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from gpudash.cli.narrating import Fleet, greet, see, tell
from gpudash.fleet.health import Health
from gpudash.fleet.record import Record
from gpudash.fleet.totals import sum_up
from gpudash.model.capability import Verb
from gpudash.model.host import HostStatus
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.money import Price
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction, Policy
from gpudash.ui.synthetic.sample import sample_fleet
from tests.conftest import NOON

KEY = InstanceKey("lambda", "us-west-1", "i-1")
M = timedelta(minutes=1)
POLICY = Policy(NOON + 60 * M, NOON + 600 * M, 30 * M, EndAction.STOP)
MACHINE = Instance(
    KEY, "lambda", "train", InstanceState.RUNNING, "active", gpu="H100", gpu_count=8, managed=True,
    price=Price(Decimal("23.92"), "instance"),
)  # fmt: skip


def status(policy: Policy = POLICY, **more: object) -> HostStatus:
    known = sample_fleet().store.records
    body = next(record.status for record in known.values() if record.instance.name == "train-llama")
    assert body is not None
    return replace(body, policy=policy, **more)  # type: ignore[arg-type]


def record(now: datetime = NOON, **changes: object) -> Record:
    plain = Record(MACHINE, now, policy=POLICY, wanted=POLICY, status=status(), status_at=now)
    return replace(plain, **changes)  # type: ignore[arg-type]


def look(*records: Record, now: datetime = NOON, health: Health | None = None) -> Fleet:
    return see(records, [health] if health else [], now)


def said(before: Fleet, after: Fleet) -> list[tuple[str, str]]:
    return [(sentence.kind, sentence.text) for sentence in tell(before, after)]


def test_the_first_look_tells_the_sums_and_each_instance() -> None:
    fleet = look(record())
    first, second = greet(fleet, sum_up([record()], NOON))
    assert first.text == ("1 instance, burning $23.92 an hour, $0.00 of it unguarded; $0.00 spent today")
    assert second.text.startswith("train on lambda: running, 8 H100, $23.92 an hour, guarded, ends at ")
    assert second.text.endswith(" by its lease")


def test_nothing_changed_nothing_said() -> None:
    """Though every countdown runs, and every answer is newer."""
    later = NOON + 10 * M
    assert said(look(record()), look(record(later), now=later)) == []


def test_a_new_state_is_told_with_the_old_one() -> None:
    stopped = replace(MACHINE, state=InstanceState.STOPPED)
    assert said(look(record()), look(record(instance=stopped))) == [
        ("state", "train on lambda: stopped; it was running")
    ]


def test_an_end_that_is_not_proved_is_told_with_the_clouds_words() -> None:
    retrying = Operation(
        "op", Verb.TERMINATE, "lambda", "us-west-1", Stage.RETRYING, NOON, NOON, key=KEY, detail="Lambda: 500"
    )
    ((kind, text),) = said(look(record()), look(record(operation=retrying)))
    assert kind == "state"
    assert "STILL BILLING" in text
    assert "Lambda: 500" in text


def test_a_guard_that_is_lost_and_won() -> None:
    lost = record(status=None, status_at=None)
    ((kind, text),) = said(look(record()), look(lost))
    assert kind == "guard"
    assert text.startswith("train on lambda: NOT GUARDED; it was guarded: ")
    assert said(look(lost), look(record()))[0][1].startswith("train on lambda: guarded; it was NOT GUARDED")


def test_an_end_that_comes_near_is_said_once_at_each_step() -> None:
    told: list[str] = []
    before = look(record())
    for minute in range(40, 60):
        now = NOON + minute * M
        after = look(record(now), now=now)
        told += [text for _, text in said(before, after)]
        before = after
    assert told == [
        "train on lambda: its lease ends in 15m",
        "train on lambda: its lease ends in 5m",
        "train on lambda: its lease ends in 1m",
    ]


def test_idle_warnings_name_what_happens_and_are_taken_back() -> None:
    idle = record(status=status(idle_s=1500, idle_remaining_s=300))
    assert said(look(record()), look(idle)) == [("warning", "train on lambda: idle: stop in 5m, unless it is used")]
    ((kind, text),) = said(look(idle), look(record()))
    assert kind == "warning"
    assert text.startswith("train on lambda: the warning is over; ends at ")


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (Price(Decimal("1.50"), "spot", estimated=True), "now about $1.50 an hour; it was $23.92 an hour"),
        (None, "now at an unknown price; it was $23.92 an hour"),
    ],
)
def test_a_price_that_moves(price: Price | None, text: str) -> None:
    moved = record(instance=replace(MACHINE, price=price))
    assert said(look(record()), look(moved)) == [("price", f"train on lambda: {text}")]


def test_a_lease_that_was_extended() -> None:
    longer = POLICY.extended(NOON + 120 * M)
    moved = record(policy=longer, wanted=longer, status=status(longer))
    ((kind, text),) = said(look(record()), look(moved))
    assert kind == "lease"
    assert "its lease now ends at " in text


def test_new_and_ended_instances() -> None:
    assert said(look(), look(record()))[0][1].startswith("train on lambda: new: running, 8 H100")
    assert said(look(record()), look()) == [("ended", "train on lambda: ended, and is gone; it cost $0.00")]


def test_a_cloud_that_falls_silent_is_told_once_and_when_it_is_back() -> None:
    silent = Health("lambda", "us-west-1", state="stale", error="429 too many requests", as_of=NOON)
    fine = Health("lambda", "us-west-1", state="ok", as_of=NOON)
    down, up = look(record(), health=silent), look(record(), health=fine)
    assert said(up, down) == [
        ("provider", "lambda does not answer: 429 too many requests; what is known of it may be old")
    ]
    assert said(down, down) == []
    assert said(down, up) == [("provider", "lambda answers again")]


def test_no_line_holds_signs_that_are_read_aloud_badly() -> None:
    records = list(sample_fleet().store.records.values())
    now = max(record.listed_at for record in records)
    lines = [s.text for s in greet(see(records, [], now), sum_up(records, now))]
    assert len(lines) == 9
    assert not any(sign in line for line in lines for sign in "×·/~▰●")
