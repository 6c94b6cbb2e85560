"""The dashboard's side: nothing blocks the loop, a hung cloud delays only itself, and what is due is done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import pytest_asyncio
from blockbuster import BlockBuster
from support.memory_cloud import CAPABILITIES, CLOUD, REGION, Cloud, Daemon, HostsInMemory, hung, offer
from support.waiting import PATIENCE_S

from gpudash.clock import SystemClock
from gpudash.config import Account, Config
from gpudash.errors import Refused, StatusdError, Unreachable
from gpudash.fleet import fleet as fleet_module
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.fleet import Fleet
from gpudash.fleet.session import Session
from gpudash.ledger import pruning
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.guard import GuardLevel
from gpudash.model.instance import Instance, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.offer import OfferFilter
from gpudash.model.operation import Stage
from gpudash.model.policy import EndAction, Policy

CLOCK = SystemClock()
FAST = replace(CAPABILITIES, cadence_s=0.1)


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    """A blocking call on the event loop fails the test that made it."""
    guard = BlockBuster()
    guard.activate()
    yield
    guard.deactivate()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud(CLOCK, capabilities=FAST)


@pytest.fixture
def daemon() -> Daemon:
    deadline = datetime(2126, 3, 1, tzinfo=UTC)
    return Daemon(Policy(deadline, deadline + timedelta(hours=20)), CLOCK)


@pytest.fixture
def session(cloud: Cloud, daemon: Daemon) -> Iterator[Session]:
    config = Config(accounts={CLOUD: Account(CLOUD, "lambda"), "sandbox": Account("sandbox", "sandbox")})
    with Session.open(config, accounts=[CLOUD], clock=CLOCK, actor="dashboard", providers={CLOUD: cloud}) as opened:
        hosts = HostsInMemory(daemon)
        opened.desk.hosts = lambda: hosts  # type: ignore[assignment, return-value]
        opened.desk.daemons = hosts  # type: ignore[assignment]
        yield opened


@pytest_asyncio.fixture
async def fleet(session: Session) -> AsyncIterator[Fleet]:
    async with Fleet(session) as running:
        yield running


async def until(claim: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(seconds):
        while not claim():
            await asyncio.sleep(0.01)


async def test_instances_appear_and_change_sets_name_them(cloud: Cloud, fleet: Fleet) -> None:
    seen: list[ChangeSet] = []
    fleet.subscribe(seen.append)
    key = cloud.add("worker").key
    await until(lambda: key in fleet.store.records)
    assert any(key in change.added for change in seen)


async def test_a_quiet_fleet_sends_no_change_sets(cloud: Cloud, fleet: Fleet) -> None:
    """Polls that only confirm are not worth a repaint."""
    cloud.add("worker")
    await until(lambda: fleet.store.records)
    await until(lambda: fleet.store._spent is not None)
    await until(lambda: cloud.asked("list") >= 4)  # what the ledger says of the first list is in
    asked = cloud.asked("list")
    seen: list[ChangeSet] = []
    fleet.subscribe(seen.append)
    await until(lambda: cloud.asked("list") > asked + 5)
    assert seen == []


async def test_letting_go_ends_the_calls(cloud: Cloud, fleet: Fleet) -> None:
    seen: list[ChangeSet] = []
    fleet.subscribe(seen.append)()
    cloud.add("worker")
    await until(lambda: fleet.store.records)
    assert seen == []


async def test_a_hung_region_delays_only_itself(session: Session, cloud: Cloud) -> None:
    cloud.regions_ = (REGION, "stuck")
    wait, let_go = hung()
    answered: list[str] = []
    ask = cloud.list_instances

    def list_instances(region: str) -> object:
        if region == "stuck":
            wait()
            answered.append(region)
        return ask(region)

    cloud.list_instances = list_instances  # type: ignore[method-assign, assignment]
    cloud.add("worker")
    async with Fleet(session) as fleet:
        await until(lambda: fleet.store.records)
        await until(lambda: fleet.store.health[CLOUD, REGION].state == "ok")
        assert fleet.store.health[CLOUD, "stuck"].as_of is None
    assert answered == [], "quitting waits for no cloud"
    let_go.set()


async def test_a_failing_cloud_is_asked_less_often_and_says_when(cloud: Cloud, fleet: Fleet) -> None:
    cloud.errors["list"] = Unreachable("connection refused")
    await until(lambda: (CLOUD, REGION) in fleet.store.health and fleet.store.health[CLOUD, REGION].failures >= 1)
    health = fleet.store.health[CLOUD, REGION]
    assert health.error == "connection refused"
    assert health.next_try_at is not None
    assert health.next_try_at > CLOCK.now() + timedelta(seconds=1)


async def test_refresh_asks_at_once_whatever_the_back_off(
    cloud: Cloud, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ERROR_FIRST_S", "ERROR_MOST_S"):
        monkeypatch.setattr(fleet_module, name, 3600.0)
    cloud.errors["list"] = Unreachable("connection refused")
    await until(lambda: (CLOUD, REGION) in fleet.store.health and fleet.store.health[CLOUD, REGION].error)
    cloud.errors.clear()
    cloud.add("worker")
    fleet.refresh()
    await until(lambda: fleet.store.records)


async def test_an_end_is_held_back_then_sent_then_proved(cloud: Cloud, fleet: Fleet) -> None:
    key = cloud.add("worker").key
    await until(lambda: key in fleet.store.records)
    operation = await fleet.end(key, EndAction.STOP, 0.3)
    assert operation.stage is Stage.INTENDED
    assert cloud.asked("stop") == 0
    assert fleet.store.records[key].is_ending
    await until(lambda: fleet.store.operations[operation.id].stage is Stage.PROVED)
    assert fleet.store.records[key].instance.state is InstanceState.STOPPED


async def test_an_end_can_be_taken_back_while_it_is_held(cloud: Cloud, fleet: Fleet) -> None:
    key = cloud.add("worker").key
    await until(lambda: key in fleet.store.records)
    operation = await fleet.end(key, EndAction.TERMINATE, 30)
    await fleet.cancel(operation.id)
    await until(lambda: fleet.store.operations[operation.id].stage is Stage.CANCELLED)
    assert cloud.asked("terminate") == 0


async def test_quitting_sends_what_was_held_back(session: Session, cloud: Cloud) -> None:
    """Closing the dashboard does not undo a stop."""
    key = cloud.add("worker").key
    async with Fleet(session) as fleet:
        await until(lambda: key in fleet.store.records)
        await fleet.end(key, EndAction.STOP, 30)
    assert cloud.asked("stop") == 1


async def test_a_verb_never_waits_for_a_hung_cloud(cloud: Cloud, fleet: Fleet) -> None:
    wait, let_go = hung()
    cloud.before["stop"] = wait
    key = cloud.add("worker").key
    await until(lambda: key in fleet.store.records)
    await asyncio.wait_for(fleet.end(key, EndAction.STOP, 0), PATIENCE_S)
    assert await asyncio.wait_for(fleet.events(), PATIENCE_S)
    let_go.set()


async def test_a_refusal_is_raised_and_writes_nothing(cloud: Cloud, session: Session, fleet: Fleet) -> None:
    session.desk.read_only = True
    key = cloud.add("worker").key
    await until(lambda: key in fleet.store.records)
    assert "read-only" in (fleet.reason_against(Verb.STOP, key) or "")
    with pytest.raises(Refused):
        await fleet.end(key, EndAction.STOP)
    assert fleet.store.operations == {}


async def test_ours_are_asked_for_their_guard(cloud: Cloud, fleet: Fleet, daemon: Daemon) -> None:
    key = cloud.add("worker", managed=True, tag_policy=daemon.policy).key

    def armed() -> bool:
        record = fleet.store.records.get(key)
        verdict = record.guard(CLOCK.now()) if record is not None else None
        return verdict is not None and verdict.level is GuardLevel.ARMED

    await until(armed)


async def test_an_extend_is_proved_by_the_host(cloud: Cloud, fleet: Fleet, daemon: Daemon) -> None:
    key = cloud.add("worker", managed=True, tag_policy=daemon.policy).key
    await until(lambda: key in fleet.store.records and fleet.store.records[key].status is not None)
    later = daemon.policy.lease_deadline + timedelta(hours=1)  # type: ignore[operator]
    operation = await fleet.extend(key, later)
    await until(lambda: fleet.store.operations[operation.id].stage is Stage.PROVED)
    assert daemon.policy.lease_deadline == later


async def test_what_another_process_did_is_seen(cloud: Cloud, session: Session, fleet: Fleet) -> None:
    """A command in another terminal asks for a stop; the dashboard shows it."""
    key = cloud.add("worker").key
    await until(lambda: key in fleet.store.records)
    config = session.config

    def other_process() -> None:
        cloud.no_effect = True
        with Session.open(config, accounts=[CLOUD], clock=CLOCK, actor="cli", providers={CLOUD: cloud}) as command:
            command.poll(PATIENCE_S)
            command.actions.end(key, EndAction.STOP)

    thread = threading.Thread(target=other_process)
    thread.start()
    await until(lambda: fleet.store.records[key].is_ending)
    await until(lambda: not thread.is_alive())


async def test_offers_come_from_every_account_and_failures_say_so(cloud: Cloud, fleet: Fleet) -> None:
    (listing,) = await fleet.offers(OfferFilter())
    assert [item.gpu for item in listing.items] == ["A10"]
    cloud.errors["offers"] = Unreachable("connection refused")
    (listing,) = await fleet.offers(OfferFilter())
    assert (listing.complete, listing.problem) == (False, "connection refused")


async def test_a_launch_shows_its_intent_at_once(cloud: Cloud, session: Session, fleet: Fleet) -> None:
    wait, let_go = hung()
    cloud.before["launch"] = wait
    operation = await fleet.launch(session.actions.plan_launch(offer(CLOCK)))
    assert fleet.store.operations[operation.id].stage is Stage.INTENDED
    let_go.set()
    await until(lambda: fleet.store.operations[operation.id].stage is Stage.ACCEPTED)
    assert cloud.asked("launch") == 1


async def test_the_ledger_lets_go_of_what_is_old_beside_the_running_fleet(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = session.ledger
    long_ago = CLOCK.now() - pruning.KEPT - timedelta(days=1)
    for at, text in ((long_ago, "long ago"), (CLOCK.now(), "just now")):
        await asyncio.to_thread(ledger.add_event, Event(at, "stop", text, CLOUD))
    monkeypatch.setattr(fleet_module, "PRUNE_FIRST_S", 0.01)
    async with Fleet(session) as fleet:

        async def told() -> list[str]:
            return [event.text for event in await fleet.events() if event.kind == "stop"]

        async with asyncio.timeout(PATIENCE_S):
            while "long ago" in await told():
                await asyncio.sleep(0.01)
        assert await told() == ["just now"]


@dataclass
class PagedCloud(Cloud):
    """A list that stops after its first page until it is told to go on."""

    go_on: threading.Event = field(default_factory=threading.Event)

    def list_in_pages(self, region: str, on_page: Callable[[Listing[Instance]], None]) -> Listing[Instance]:
        whole = self.list_instances(region)
        on_page(replace(whole, items=whole.items[:1], complete=False))
        self.go_on.wait(PATIENCE_S)
        return whole


@pytest.fixture
def paged(daemon: Daemon) -> Iterator[tuple[PagedCloud, Session]]:
    cloud = PagedCloud(CLOCK, capabilities=FAST)
    config = Config(accounts={CLOUD: Account(CLOUD, "lambda"), "sandbox": Account("sandbox", "sandbox")})
    with Session.open(config, accounts=[CLOUD], clock=CLOCK, actor="dashboard", providers={CLOUD: cloud}) as session:
        session.desk.hosts = lambda: HostsInMemory(daemon)  # type: ignore[assignment, return-value]
        yield cloud, session


async def test_rows_appear_with_the_first_page(paged: tuple[PagedCloud, Session]) -> None:
    """The rest of a long list, or of one that hangs, is not waited for."""
    cloud, session = paged
    first, second = cloud.add("first").key, cloud.add("second").key
    async with Fleet(session) as fleet:
        await until(lambda: first in fleet.store.records)
        assert second not in fleet.store.records
        assert fleet.store.health[CLOUD, REGION].state == "stale"
        cloud.go_on.set()
        await until(lambda: second in fleet.store.records)
        await until(lambda: fleet.store.health[CLOUD, REGION].state == "ok")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts are asked often, and a daemon that is gone is not waited for."""
    monkeypatch.setattr("gpudash.fleet.restoring.AFTER_S", 0.0)
    monkeypatch.setattr("gpudash.fleet.hostpoll.CLOUD_EVERY_S", 0.05)
    monkeypatch.setattr("gpudash.fleet.hostpoll.SILENT_EVERY_S", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_a_daemon_that_went_with_its_container_is_put_back_unasked(
    cloud: Cloud, daemon: Daemon, fleet: Fleet
) -> None:
    """A container has no init; the dashboard notices and pushes again, and the diary says so."""
    key = cloud.add("worker", tag_policy=daemon.policy, managed=True).key
    await until(lambda: key in fleet.store.records and fleet.store.records[key].status is not None)
    daemon.error = StatusdError("statusd does not run")
    await until(lambda: any(op.verb is Verb.PUSH for op in fleet.store.operations.values()))
    assert any("is gone; putting it back" in event.text for event in await fleet.events())


@pytest.mark.usefixtures("impatient")
async def test_a_host_that_never_had_a_daemon_is_left_alone(cloud: Cloud, daemon: Daemon, fleet: Fleet) -> None:
    """Pushing there is a person's decision."""
    daemon.error = StatusdError("statusd does not run")
    key = cloud.add("worker", tag_policy=daemon.policy, managed=True).key
    await until(lambda: daemon.asked.count("status") > 3)
    assert key in fleet.store.records
    assert not fleet.store.operations


async def test_the_page_of_one_instance_asks_its_host_in_a_lane_of_its_own(
    cloud: Cloud, daemon: Daemon, fleet: Fleet
) -> None:
    key = cloud.add("worker").key
    await until(lambda: key in fleet.store.records)
    history = await fleet.history(key)
    assert [signal.name for signal in history.signals] == ["gpu"]
    assert "serves" in (await fleet.host_log(key))[0]
    daemon.error = StatusdError("statusd on worker is too old.")
    with pytest.raises(StatusdError, match="too old"):
        await fleet.history(key)


async def test_money_and_operations_of_one_instance_come_from_the_ledger(cloud: Cloud, fleet: Fleet) -> None:
    key = cloud.add("worker").key
    await until(lambda: key in fleet.store.records)
    asked = await fleet.end(key, EndAction.TERMINATE, hold_s=60)
    assert [operation.id for operation in await fleet.operations(key)] == [asked.id]
    await fleet.cancel(asked.id)
    async with asyncio.timeout(PATIENCE_S):
        while not await fleet.intervals(key):
            await asyncio.sleep(0.01)
    spending = await fleet.spending(CLOCK.now() - timedelta(hours=1), CLOCK.now())
    assert [line.key for line in spending.instances] == [key]


async def test_the_first_list_is_asked_for_at_once(daemon: Daemon, slow: tuple[Cloud, Session]) -> None:
    """Not a cadence after the regions are known."""
    cloud, session = slow
    key = cloud.add("worker").key
    async with Fleet(session) as fleet:
        await until(lambda: key in fleet.store.records)


@pytest.fixture
def slow(daemon: Daemon) -> Iterator[tuple[Cloud, Session]]:
    """A cloud that is asked once a minute."""
    cloud = Cloud(CLOCK, capabilities=replace(CAPABILITIES, cadence_s=60.0))
    config = Config(accounts={CLOUD: Account(CLOUD, "lambda"), "sandbox": Account("sandbox", "sandbox")})
    with Session.open(config, accounts=[CLOUD], clock=CLOCK, actor="dashboard", providers={CLOUD: cloud}) as session:
        session.desk.hosts = lambda: HostsInMemory(daemon)  # type: ignore[assignment, return-value]
        yield cloud, session


@pytest.fixture
def poor(cloud: Cloud) -> Iterator[Session]:
    """A session whose budget of a month is used up by anything."""
    budget = Account(CLOUD, "lambda", monthly_budget_usd=Decimal("0.000001"))
    config = Config(accounts={CLOUD: budget, "sandbox": Account("sandbox", "sandbox")})
    with Session.open(config, accounts=[CLOUD], clock=CLOCK, actor="dashboard", providers={CLOUD: cloud}) as session:
        hosts = HostsInMemory(None)
        session.desk.hosts = lambda: hosts  # type: ignore[assignment, return-value]
        yield session


async def test_a_budget_that_is_used_up_stands_beside_its_account(
    cloud: Cloud, poor: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "SPENT_S", 0.05)
    cloud.add("worker")
    async with Fleet(poor) as fleet:
        await until(lambda: fleet.store.notes)
        note = fleet.store.notes[CLOUD, "budget"]
    assert note.is_urgent
    assert note.text.startswith("OVER BUDGET $")
