"""What ended instances leave goes, by whoever sees the end first, and what cannot go yet is tried again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from support.memory_cloud import CLOUD, REGION, Cloud, look, open_session, settings

from gpudash.clock import ManualClock
from gpudash.config import Account, Config
from gpudash.errors import AuthRefused
from gpudash.fleet.session import Session
from gpudash.model.instance import InstanceState
from gpudash.model.policy import EndAction
from gpudash.providers.base import CleanUp


@dataclass
class MessyCloud(Cloud):
    """A cloud whose instances leave disks behind."""

    left: set[str] = field(default_factory=set)
    in_use: set[str] = field(default_factory=set)

    def clean_up(self, region: str) -> CleanUp:
        self._arrive("clean up")
        gone = sorted(self.left - self.in_use)
        self.left &= self.in_use
        return CleanUp(tuple(gone), tuple((name, f"{name} is in use.") for name in sorted(self.left)))


@pytest.fixture
def cloud(clock: ManualClock) -> MessyCloud:
    return MessyCloud(clock, left={"vol-1"})


@pytest.fixture
def session(cloud: MessyCloud, clock: ManualClock) -> Iterator[Session]:
    with open_session(cloud, clock) as opened:
        yield opened


def end(session: Session, cloud: MessyCloud) -> None:
    """An instance of ours ends and the list proves it."""
    key = cloud.add("worker", managed=True).key
    cloud.add("other")
    look(session)
    session.actions.end(key, EndAction.TERMINATE)
    look(session, 10)
    look(session, 10)


def told(session: Session, kind: str) -> list[str]:
    return [event.text for event in session.ledger.events() if event.kind == kind]


def test_a_proved_end_is_followed_by_one_round(session: Session, cloud: MessyCloud) -> None:
    end(session, cloud)
    assert [done.deleted for done in session.tidy(5)] == [("vol-1",)]
    assert told(session, "clean-up") == ["took away what ended instances left in here: vol-1"]
    look(session, 10)
    assert session.tidy(5) == []
    assert cloud.asked("clean up") == 1


def test_nothing_is_asked_while_nothing_ends(session: Session, cloud: MessyCloud) -> None:
    cloud.add("worker", managed=True)
    for _ in range(3):
        look(session, 10)
        assert session.tidy(5) == []
    assert cloud.asked("clean up") == 0


def test_an_end_by_somebody_else_counts_and_a_strangers_does_not(session: Session, cloud: MessyCloud) -> None:
    cloud.add("theirs", InstanceState.TERMINATED)
    look(session)
    assert session.tidy(5) == []
    cloud.add("ours", InstanceState.TERMINATED, managed=True)
    look(session, 10)
    assert len(session.tidy(5)) == 1


def test_what_cannot_go_is_tried_again_with_growing_waits_and_told_once(session: Session, cloud: MessyCloud) -> None:
    cloud.in_use = {"vol-1"}
    end(session, cloud)
    rounds = []
    for _ in range(8):
        rounds.append(session.clock.monotonic())
        session.tidy(5)
        while not session.tidier.due():
            session.clock.sleep(1)
    assert [round(after - before) for before, after in itertools.pairwise(rounds)][:4] == [10, 20, 40, 80]
    assert len(told(session, "alarm")) == 1
    assert "vol-1 is in use" in told(session, "alarm")[0]
    cloud.in_use.clear()
    assert session.tidy(5)[0].deleted == ("vol-1",)
    assert session.tidier.due() == []


def test_a_round_that_was_denied_comes_again(session: Session, cloud: MessyCloud) -> None:
    cloud.errors["clean up"] = AuthRefused("Not allowed.")
    end(session, cloud)
    assert [done.failed for done in session.tidy(5)] == [((REGION, "Not allowed."),)]
    cloud.errors.clear()
    session.clock.sleep(11)
    assert session.tidy(5)[0].deleted == ("vol-1",)


def test_the_next_session_does_what_the_last_one_could_not(
    session: Session, cloud: MessyCloud, clock: ManualClock
) -> None:
    """Also where the cloud has long forgotten the instance."""
    end(session, cloud)
    session.close()
    with open_session(cloud, clock) as later:
        assert later.tidy(5)[0].deleted == ("vol-1",)
    with open_session(cloud, clock) as last:
        assert last.tidier.due() == []


@pytest.mark.parametrize(
    "config", [settings(read_only=True), Config(accounts={CLOUD: Account(CLOUD, "lambda", read_only=True)})]
)
def test_read_only_deletes_nothing(cloud: MessyCloud, clock: ManualClock, config: Config) -> None:
    cloud.add("ours", InstanceState.TERMINATED, managed=True)
    with open_session(cloud, clock, config=config) as session:
        look(session)
        assert session.tidy(5) == []
    assert cloud.asked("clean up") == 0


def test_a_launch_under_way_is_waited_for(session: Session, cloud: MessyCloud) -> None:
    """It may lean on a group that the last instance left."""
    from support.memory_cloud import offer

    from gpudash.errors import Ambiguous

    end(session, cloud)
    cloud.lost, cloud.lost_error = {"launch"}, Ambiguous("no answer")
    session.actions.launch(session.actions.plan_launch(offer(session.clock)))
    assert session.tidy(5) == []
    assert cloud.asked("clean up") == 0
    look(session, 20)
    assert [done.deleted for done in session.tidy(5)] == [("vol-1",)]
    assert session.tidier.due() == []


def test_other_regions_are_left_alone(session: Session, cloud: MessyCloud) -> None:
    end(session, cloud)
    assert session.tidier.due() == [(CLOUD, REGION)]
