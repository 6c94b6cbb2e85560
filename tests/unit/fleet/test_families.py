"""Child instances end with their parent: by an ordinary end, within the cap, and only on proof (promises 1, 8 and 10)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.memory_cloud import CLOUD, REGION, Cloud, look, open_session

from gpudash.clock import ManualClock
from gpudash.fleet.session import Session
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction
from gpudash.watchdog.loop import Line, Watchdog


class Killed(BaseException):
    """The program is gone at this very point; nothing may catch it."""


@pytest.fixture
def cloud(clock: ManualClock) -> Cloud:
    made = Cloud(clock)
    made.add("root", managed=True, launch_token="root")
    made.add("bystander", managed=True, launch_token="bystander")
    return made


@pytest.fixture
def session(cloud: Cloud, clock: ManualClock) -> Iterator[Session]:
    with open_session(cloud, clock) as opened:
        yield opened


def child(cloud: Cloud, name: str, state: InstanceState = InstanceState.RUNNING, **more: object) -> InstanceKey:
    given: dict[str, object] = {"managed": True, "launch_token": name, "parent": "i-root"}
    return cloud.add(name, state, **(given | more)).key


def end_root(session: Session) -> None:
    look(session)
    session.actions.end(InstanceKey(CLOUD, REGION, "i-root"), EndAction.TERMINATE)
    look(session, 10)
    look(session, 10)


def ends(session: Session, key: InstanceKey) -> list[Operation]:
    return [operation for operation in session.ledger.operations_of(key) if operation.verb is Verb.TERMINATE]


def watch(session: Session, *, enforce: bool = True, max_ends: int = 3) -> list[tuple[str, str | None]]:
    lines: list[Line] = []
    Watchdog(session, lines.append, enforce=enforce, max_ends=max_ends, proof_s=40.0).look()
    return [(line.kind, line.name) for line in lines if line.kind != "summary"]


def test_a_child_ends_by_an_operation_that_the_listing_proves(session: Session, cloud: Cloud) -> None:
    """Running or stopped; the intent is in the ledger when the cloud is asked."""
    keys = [child(cloud, "worker"), child(cloud, "spare", InstanceState.STOPPED)]
    end_root(session)
    seen: list[Stage] = []
    cloud.before["terminate"] = lambda: seen.extend(op.stage for op in session.ledger.open_operations())
    begun = session.end_orphans()
    assert seen
    assert {operation.key for operation in begun} == set(keys)
    assert all(session.settle_until(op.id, 60).stage is Stage.PROVED for op in begun)
    assert set(cloud.instances) == {"i-bystander"}
    assert session.orphans() == []


@pytest.mark.parametrize(
    "more", [{"managed": False}, {"launch_token": None}, {"parent": "i-unheard-of"}, {"parent": "i-bystander"}]
)
def test_what_is_not_ours_or_has_no_ended_parent_goes_on(
    session: Session, cloud: Cloud, more: dict[str, object]
) -> None:
    child(cloud, "worker", **more)
    end_root(session)
    assert session.end_orphans() == []
    assert watch(session) == [("alarm", None)] * (1 if more.get("managed", True) is False else 2)
    assert "i-worker" in cloud.instances


def test_an_absence_that_proves_nothing_ends_no_child(session: Session, cloud: Cloud) -> None:
    """The parent is missing from one answer, or from an incomplete one."""
    child(cloud, "worker")
    look(session)
    cloud.hidden = {"i-root"}
    look(session, 10)
    assert session.end_orphans() == []
    assert "i-worker" in cloud.instances


def test_one_round_ends_at_most_three_and_says_so_once(session: Session, cloud: Cloud) -> None:
    for number in range(5):
        child(cloud, f"worker-{number}")
    end_root(session)
    assert len(session.end_orphans()) == 3
    alarms = [event.text for event in session.ledger.events() if event.kind == "alarm"]
    assert alarms == ["one round ends at most 3 instances whose parent has ended; these wait: worker-3, worker-4"]
    look(session, 10)
    look(session, 10)
    assert len(session.end_orphans()) == 2
    assert len([event for event in session.ledger.events() if event.kind == "alarm"]) == 1


@pytest.mark.parametrize("point", ["before it is sent", "while it is sent", "before the answer is written"])
def test_a_program_killed_in_between_leaves_it_to_the_next(cloud: Cloud, clock: ManualClock, point: str) -> None:
    """Whatever the point: the child ends once, and the ledger has its proof."""
    key = child(cloud, "worker")
    with open_session(cloud, clock) as first:
        end_root(first)
        if point == "before it is sent":
            first.families.end(first.orphans(), first.actions.intend_end)
        else:
            after = point == "before the answer is written"

            def die() -> None:
                if after:
                    cloud.instances.pop("i-worker", None)
                raise Killed

            cloud.before["terminate"] = die
            with pytest.raises(Killed):
                first.end_orphans()
        assert [operation.stage for operation in ends(first, key)] == [Stage.INTENDED]
    cloud.before.clear()
    with open_session(cloud, clock) as second:
        for _ in range(4):
            look(second, 10)
            second.end_orphans()
            second.drive(5)
        assert [operation.stage for operation in ends(second, key)] == [Stage.PROVED]
    assert "i-worker" not in cloud.instances


def test_the_watchdog_counts_children_among_what_is_due(session: Session, cloud: Cloud) -> None:
    """A dry run names them; enforcing, its cap holds; what it holds back goes in the next look."""
    for number in range(3):
        child(cloud, f"worker-{number}", InstanceState.STOPPED if number == 0 else InstanceState.RUNNING)
    end_root(session)
    assert [kind for kind, _ in watch(session, enforce=False)].count("would-end") == 3
    assert {"i-worker-0", "i-worker-1", "i-worker-2"} <= set(cloud.instances)
    said = watch(session, max_ends=2)
    assert [kind for kind, _ in said].count("ended") == 2
    assert len([name for name in cloud.instances if name.startswith("i-worker")]) == 1
    assert [kind for kind, _ in watch(session, max_ends=2)].count("ended") == 1
    assert set(cloud.instances) == {"i-bystander"}
