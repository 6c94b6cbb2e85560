"""The story of one instance: every source, in order, and nothing made up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from gpudash.fleet.record import Record
from gpudash.fleet.timeline import Moment, timeline
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.history import History, SignalHistory
from gpudash.model.host import HostEvent, Verdict
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.money import Price
from gpudash.model.operation import Operation, Stage, Step
from gpudash.model.policy import Policy
from gpudash.ui.synthetic.sample import sample_fleet
from tests.conftest import NOON

KEY = InstanceKey("lambda", "us-west-1", "i-1")
M = timedelta(minutes=1)
POLICY = Policy(NOON + 60 * M, NOON + 600 * M, 30 * M)
MACHINE = Instance(
    KEY, "lambda", "train", InstanceState.RUNNING, "active", managed=True, price=Price(Decimal(2), "instance"),
    created_at=NOON - 60 * M, started_at=NOON - 60 * M,
)  # fmt: skip


def record(**changes: object) -> Record:
    status = next(r.status for r in sample_fleet().store.records.values() if r.instance.name == "train-llama")
    assert status is not None
    told = replace(status, policy=POLICY, events=(HostEvent(NOON - 9 * M, "warning", "stopped in 15 min"),))
    plain = Record(MACHINE, NOON, policy=POLICY, wanted=POLICY, status=told, status_at=NOON)
    return replace(plain, **changes)  # type: ignore[arg-type]


def history(*letters: str, start: datetime = NOON - 58 * M, holes: tuple[int, ...] = ()) -> History:
    """``a`` and ``i`` minute by minute of the one signal, with minutes that are missing."""
    known = {"a": Verdict.ACTIVE, "i": Verdict.IDLE, "u": Verdict.UNKNOWN}
    minutes = [
        (start + number * M, known[letter]) for number, letter in enumerate("".join(letters)) if number not in holes
    ]
    return History(
        tuple(at for at, _ in minutes),
        (SignalHistory("gpu", "%", tuple(1.0 for _ in minutes), tuple(verdict for _, verdict in minutes)),),
    )


def told(past: History | None = None, of: Record | None = None) -> list[tuple[str, str]]:
    return [(m.kind, m.text) for m in timeline(of or record(), [], [], past, NOON) if m.who == "statusd"]


def test_everybodys_part_of_the_story_latest_first() -> None:
    launch = Operation(
        "op", Verb.LAUNCH, "lambda", "us-west-1", Stage.PROVED, NOON - 60 * M, NOON, key=KEY, actor="cli",
        steps=(
            Step("asked", "done", "1.2 s", NOON - 59 * M), Step("booting", "done", "", NOON - 57 * M),
            Step("ssh", "done", "", NOON - 56 * M), Step("armed", "done", "", NOON - 55 * M), Step("x", "todo"),
        ),
    )  # fmt: skip
    events = [Event(NOON - 20 * M, "extend", "lease moved", "lambda", KEY, "train", "dashboard")]
    moments = timeline(record(), events, [launch], None, NOON)
    assert [(m.kind, m.who, m.ahead) for m in moments] == [
        ("hard", "", True),
        ("lease", "", True),
        ("warning", "statusd", False),
        ("extend", "dashboard", False),
        ("armed", "cli", False),
        ("ready", "cli", False),
        ("boot", "cli", False),
        ("launch", "cli", False),
        ("created", "cloud", False),
    ]
    assert moments[7].text == "the cloud said yes (1.2 s)"


def test_what_nothing_is_proved_to_do_says_so() -> None:
    bare = record(status=None, status_at=None)
    assert [m.text for m in timeline(bare, [], [], None, NOON) if m.ahead][-1] == (
        "the lease ends; nothing is proved to do it"
    )


def test_a_stopped_instance_has_nothing_ahead() -> None:
    stopped = record(instance=replace(MACHINE, state=InstanceState.STOPPED))
    assert not any(m.ahead for m in timeline(stopped, [], [], None, NOON))


def test_a_later_start_is_told_beside_the_creation() -> None:
    again = record(instance=replace(MACHINE, started_at=NOON - 5 * M))
    assert Moment(NOON - 5 * M, "started", "its last start", "cloud") in timeline(again, [], [], None, NOON)


def test_activity_begins_pauses_and_goes_on() -> None:
    past = history("iiia", "a" * 10, "i" * 20, "a" * 3)
    assert told(past)[1:] == [
        ("activity", "in use again: gpu"),
        ("idle", "nothing was active for 20 min"),
        ("activity", "first activity: gpu"),
    ]


def test_a_pause_that_goes_on_and_a_short_one() -> None:
    past = history("a" * 5, "iii", "a" * 5, "i" * 9)
    assert told(past)[1:] == [("idle", "nothing has been active since"), ("activity", "first activity: gpu")]


def test_a_history_that_begins_late_does_not_know_the_first_activity() -> None:
    past = history("a" * 5, start=NOON - 30 * M)
    assert [kind for kind, _ in told(past)] == ["warning"]


def test_a_silent_sensor_is_no_activity_and_no_idleness_begins_anew_after_a_hole() -> None:
    past = history("a", "i" * 40, holes=tuple(range(3, 35)))
    moments = timeline(record(), [], [], past, NOON)
    assert [m.text for m in moments if m.kind == "unseen"] == ["statusd remembers nothing of the next 33 min"]
    assert [m.at for m in moments if m.kind == "idle"] == [NOON - 58 * M + 35 * M]


@pytest.mark.parametrize("past", [None, History((), ())])
def test_without_a_history_nothing_is_invented(past: History | None) -> None:
    assert [kind for kind, _ in told(past)] == ["warning"]
