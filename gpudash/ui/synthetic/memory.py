"""A fleet in memory: the same store and the same operations as a real one, with a cloud that is a few lines of Python.

Benchmarks, pictures and the tests of the screens stand on it. Ends are held back, accepted and proved as on a
cloud; a launch goes through its steps. `calls` lists what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TypeVar

from gpudash.clock import Clock
from gpudash.config import Config
from gpudash.errors import Refused, StatusdError
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.limits import policy_from
from gpudash.fleet.record import Record
from gpudash.fleet.spending import Spending, report
from gpudash.fleet.store import FleetStore
from gpudash.model.capability import LaunchOption, Verb
from gpudash.model.endpoint import Bounds, Endpoint
from gpudash.model.event import Event
from gpudash.model.history import History
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.money import Interval
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.model.operation import Operation, Stage, Step
from gpudash.model.policy import EndAction, Policy
from gpudash.model.tunnel import Tunnel, TunnelState
from gpudash.providers import registry
from gpudash.providers.base import Leftover
from gpudash.ui.synthetic.money import MemoryCosts

T = TypeVar("T")

Listener = Callable[[ChangeSet], None]

_VERB = {EndAction.STOP: Verb.STOP, EndAction.HIBERNATE: Verb.HIBERNATE, EndAction.TERMINATE: Verb.TERMINATE}
_AFTER = {
    Verb.STOP: InstanceState.STOPPED,
    Verb.HIBERNATE: InstanceState.HIBERNATED,
    Verb.START: InstanceState.RUNNING,
}
LAUNCH_STEPS = ("price", "asked", "booting", "ssh", "statusd", "armed")


@dataclass
class MemoryActions:
    """Plans launches."""

    config: Config
    clock: Clock

    def plan_launch(
        self,
        offer: Offer,
        *,
        name: str | None = None,
        lease: timedelta | None = None,
        idle_timeout: timedelta | None = None,
        idle_action: EndAction | None = None,
        max_price: Decimal | None = None,
        service_port: int | None = None,
        health_path: str | None = None,
        recipe: str | None = None,
        options: dict[str, str] | None = None,
        others: Iterable[Offer] = (),
    ) -> LaunchOrder:
        """A complete order; nothing is asked."""
        defaults = self.config.defaults
        now = self.clock.now()
        cap = max_price if max_price is not None else defaults.max_price_usd_per_hour
        if cap is not None and (offer.price is None or offer.price.usd_per_hour > cap):
            raise Refused(f"The price is above the cap of ${cap}/h.")
        known = offer.provider if offer.provider in registry.names() else "sandbox"
        policy = policy_from(
            defaults,
            registry.capabilities(known),
            now,
            lease=lease,
            idle_timeout=idle_timeout,
            idle_action=idle_action,
        )
        name = name or f"{offer.gpu.split()[0].lower()}-1"
        return LaunchOrder(
            f"gpudash-{name}", offer.account, offer.region, offer.instance_type, name, offer.spot, policy, offer
        )

    def launch_options(self, account: str) -> tuple[LaunchOption, ...]:
        """None: a cloud in memory has what every cloud has."""
        return ()


@dataclass
class MemorySession:
    """What stands behind a `MemoryFleet`."""

    config: Config
    actions: MemoryActions
    read_only: bool = False


@dataclass
class MemoryCloud:
    """What the in-memory cloud has, and what it refuses."""

    offers: tuple[Offer, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    events: list[Event] = field(default_factory=list)
    reasons: dict[tuple[Verb, str], str] = field(default_factory=dict)
    """By verb and provider: why not."""
    intervals: dict[InstanceKey, list[Interval]] = field(default_factory=dict)
    """What was billed before the open intervals of the records; instances that are gone too."""
    names: dict[InstanceKey, str] = field(default_factory=dict)
    """Of instances that are gone."""
    histories: dict[InstanceKey, History] = field(default_factory=dict)
    logs: dict[InstanceKey, tuple[str, ...]] = field(default_factory=dict)
    """What the daemons remember and write; a host that has none is too old."""


class MemoryFleet:
    """A `FleetPort` whose cloud is this object."""

    def __init__(self, clock: Clock, config: Config | None = None, *, read_only: bool = False) -> None:
        self.clock = clock
        self.store = FleetStore()
        settings = config or Config()
        self.session = MemorySession(settings, MemoryActions(settings, clock), read_only)
        self.cloud = MemoryCloud()
        self.calls: list[tuple[str, object]] = []
        self._listeners: list[Listener] = []
        self._numbers = count(1)

    async def __aenter__(self) -> MemoryFleet:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        return None

    # -- filling it ---------------------------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """Put a hand-made record into the store, through the store's own doors."""
        item = record.instance
        now = self.clock.now()
        self.store.expect(item.key.account, item.key.region, cadence_s=10, lists_terminated=True)
        there = [known.instance for known in self.store.records.values() if _lane(known.key) == _lane(item.key)]
        asked = max(record.listed_at, now - timedelta(seconds=1))
        self.store.apply_listing(
            Listing(item.key.account, item.key.region, (*there, item), True, asked, record.listed_at)
        )
        self.store.apply_accruals({item.key: record.accrual})
        if record.wanted is not None:
            self.store.apply_policies({**self.store.policies, item.key: record.wanted}, self.store.adopted)
        if record.status is not None and record.status_at is not None:
            self.store.apply_status(item.key, record.status, record.status_at)
        # History, tunnels and an operation under way are what a store gathers over time; here they are given.
        self.store.records[item.key] = replace(
            self.store.records[item.key],
            utilisation=record.utilisation,
            tunnels=record.tunnels,
            status_problem=record.status_problem,
        )
        if record.operation is not None:
            self.store.apply_operation(record.operation)

    def put(self, item: Instance) -> None:
        """The cloud lists that instance otherwise now."""
        there = {
            known.key: known.instance for known in self.store.records.values() if _lane(known.key) == _lane(item.key)
        }
        there[item.key] = item
        now = self.clock.now()
        self._tell(self.store.apply_listing(Listing(*_lane(item.key), tuple(there.values()), True, now, now)))

    # -- the port -----------------------------------------------------------------------------------------------

    def subscribe(self, fn: Listener) -> Callable[[], None]:
        self._listeners.append(fn)
        return lambda: self._listeners.remove(fn)

    def refresh(self) -> None:
        self.calls.append(("refresh", None))

    def reason_against(self, verb: Verb, key: InstanceKey | None) -> str | None:
        if self.session.read_only:
            return "Read-only."
        if key is None:
            return None
        record = self.store.records.get(key)
        if record is None:
            return "It is gone."
        state, name = record.instance.state, record.instance.name
        refused = self.cloud.reasons.get((verb, record.instance.provider))
        if refused is not None:
            return refused
        if record.is_ending and verb is not Verb.TERMINATE:
            return f"{name} is being ended."
        if verb is Verb.START:
            return None if not state.bills_compute else f"{name} is {state.value}; only a stopped instance starts."
        if verb is not Verb.TERMINATE and not state.bills_compute:
            return f"{name} is {state.value}; r starts it."
        return None

    async def launch(self, order: LaunchOrder) -> Operation:
        self._call("launch", order)
        steps = tuple(Step(name, "done" if name == "price" else "todo") for name in LAUNCH_STEPS)
        operation = self._operation(
            Verb.LAUNCH, None, order.name, steps=steps, params={"order": order}, account=order.account
        )
        return self._begin(operation)

    async def end(self, key: InstanceKey, action: EndAction, hold_s: float = 5.0) -> Operation:
        self._call("end", (key, action))
        operation = self._operation(_VERB[action], key)
        return self._begin(replace(operation, next_try_at=self.clock.now() + timedelta(seconds=hold_s)))

    async def cancel(self, op_id: str) -> Operation:
        self._call("cancel", op_id)
        return self._move(self.store.operations[op_id], Stage.CANCELLED)

    async def start(self, key: InstanceKey) -> Operation:
        self._call("start", key)
        return self._begin(self._operation(Verb.START, key))

    async def restart(self, key: InstanceKey) -> Operation:
        self._call("restart", key)
        return self._begin(self._operation(Verb.RESTART, key))

    async def extend(self, key: InstanceKey, until: datetime) -> Operation:
        self._call("extend", (key, until))
        record = self.store.records[key]
        policy = (record.policy or Policy()).extended(until)
        operation = self._begin(self._operation(Verb.EXTEND, key))
        self._tell(self.store.apply_policies({**self.store.policies, key: policy}, self.store.adopted))
        if record.status is not None:
            self._tell(self.store.apply_status(key, replace(record.status, policy=policy), self.clock.now()))
        return self._move(operation, Stage.PROVED)

    async def keep_awake(self, key: InstanceKey, for_: timedelta) -> Operation:
        self._call("keep_awake", (key, for_))
        return self._move(self._begin(self._operation(Verb.KEEPALIVE, key)), Stage.PROVED)

    async def rename(self, key: InstanceKey, name: str) -> Operation:
        self._call("rename", (key, name))
        operation = self._begin(self._operation(Verb.RENAME, key))
        self.put(replace(self.store.records[key].instance, name=name))
        return self._move(operation, Stage.PROVED)

    async def push(self, key: InstanceKey) -> Operation:
        self._call("push", key)
        return self._begin(self._operation(Verb.PUSH, key))

    async def adopt(self, key: InstanceKey, policy: Policy | None = None) -> Operation:
        self._call("adopt", key)
        return self._move(self._begin(self._operation(Verb.ADOPT, key)), Stage.PROVED)

    async def offers(self, wanted: OfferFilter) -> list[Listing[Offer]]:
        now = self.clock.now()
        accounts = sorted({offer.account for offer in self.cloud.offers})
        return [
            Listing(
                name, "", tuple(o for o in self.cloud.offers if o.account == name and wanted.accepts(o)), True, now, now
            )
            for name in accounts
        ]

    async def scale(self, endpoint: Endpoint, bounds: Bounds) -> Operation:
        self._call("scale", (endpoint.key, bounds))
        return self._operation(Verb.SCALE, endpoint.key, endpoint.name)

    async def purge(self, endpoint: Endpoint) -> Operation:
        self._call("purge", endpoint.key)
        return self._operation(Verb.PURGE, endpoint.key, endpoint.name)

    def reason_against_endpoint(self, verb: Verb, endpoint: Endpoint) -> str | None:
        return None

    async def leftovers(self) -> list[Listing[Leftover]]:
        now = self.clock.now()
        return [Listing("all", "", self.cloud.leftovers, True, now, now)]

    async def events(self, limit: int = 200, key: InstanceKey | None = None) -> list[Event]:
        fitting = [event for event in self.cloud.events if key is None or event.key == key]
        return sorted(fitting, key=lambda event: event.at, reverse=True)[:limit]

    async def spending(self, since: datetime, until: datetime) -> Spending:
        records = self.store.records
        keys = {*self.cloud.intervals, *records}
        billed = {key: await self.intervals(key) for key in keys}
        names = {**self.cloud.names, **{key: record.instance.name for key, record in records.items()}}
        now = self.clock.now()
        return report(MemoryCosts(billed, names, now), self.session.config, since, until, now)

    async def operations(self, key: InstanceKey) -> list[Operation]:
        return [operation for operation in self.store.operations.values() if operation.key == key]

    async def history(self, key: InstanceKey) -> History:
        return self._told(self.cloud.histories, key, "has no history: it is too old to remember")

    async def host_log(self, key: InstanceKey) -> tuple[str, ...]:
        return self._told(self.cloud.logs, key, "does not tell its log")

    def _told(self, answers: Mapping[InstanceKey, T], key: InstanceKey, problem: str) -> T:
        if key not in answers:
            raise StatusdError(f"statusd on {self.store.records[key].instance.name} {problem}.")
        return answers[key]

    async def intervals(self, key: InstanceKey) -> list[Interval]:
        record = self.store.records.get(key)
        return [*self.cloud.intervals.get(key, ()), *(record.accrual.open if record else ())]

    async def open_tunnel(self, key: InstanceKey, remote: int, local: int | None = None) -> Tunnel:
        self.calls.append(("open_tunnel", (key, remote)))
        name = self.store.records[key].instance.name
        tunnel = Tunnel(
            key.account, key.id, name, remote, local or remote, TunnelState.UP, 1, "dashboard", since=self.clock.now()
        )
        self._tell(self.store.apply_tunnels([*self._tunnels(), tunnel]))
        return tunnel

    async def close_tunnel(self, key: InstanceKey, remote: int) -> None:
        self.calls.append(("close_tunnel", (key, remote)))
        left = [t for t in self._tunnels() if (t.account, t.instance_id, t.remote) != (key.account, key.id, remote)]
        self._tell(self.store.apply_tunnels(left))

    async def toggle_tunnels(self, key: InstanceKey) -> bool:
        self.calls.append(("toggle_tunnels", key))  # allowed in read-only: nothing changes at a cloud
        mine = self.store.records[key].tunnels
        if not mine:
            await self.open_tunnel(key, 8000)
            return True
        for tunnel in mine:
            await self.close_tunnel(key, tunnel.remote)
        return False

    def ssh_argv(self, key: InstanceKey) -> list[str]:
        address = self.store.records[key].instance.ssh
        return [] if address is None else ["ssh", "-p", str(address.port), f"{address.user}@{address.host}"]

    # -- the cloud's part ---------------------------------------------------------------------------------------

    def step(self) -> None:
        """Let the cloud do what it was asked for, one stage further each."""
        for operation in list(self.store.operations.values()):
            if not operation.stage.is_open or operation.stage is Stage.RETRYING:
                continue
            if operation.verb is Verb.LAUNCH:
                self._launch_further(operation)
            elif operation.stage is Stage.INTENDED:
                if operation.next_try_at is None or operation.next_try_at <= self.clock.now():
                    self._move(operation, Stage.ACCEPTED)
            elif operation.stage is Stage.ACCEPTED and operation.key is not None:
                self._take_effect(operation)
                self._move(operation, Stage.PROVED)

    def _take_effect(self, operation: Operation) -> None:
        assert operation.key is not None
        record = self.store.records.get(operation.key)
        if record is None:
            return
        after = _AFTER.get(operation.verb, InstanceState.TERMINATED if operation.verb is Verb.TERMINATE else None)
        if after is not None:
            self.put(replace(record.instance, state=after, provider_state=after.value))

    def _launch_further(self, operation: Operation) -> None:
        steps, now = list(operation.steps), self.clock.now()
        for number, step in enumerate(steps):
            if step.state == "now":
                steps[number] = replace(step, state="done", detail=_took(step, now))
            elif step.state == "todo":
                steps[number] = replace(step, state="now", at=now)
                break
        if all(step.state == "done" for step in steps):
            order = operation.params["order"]
            assert isinstance(order, LaunchOrder)
            key = InstanceKey(order.account, order.region, f"i-{operation.id}")
            offer = order.offer
            self.put(
                Instance(
                    key, order.account, order.name, InstanceState.RUNNING, "running", order.instance_type,
                    gpu=offer.gpu if offer else None, gpu_count=offer.gpu_count if offer else None,
                    vram_gb=offer.vram_gb if offer else None, managed=True, created_at=now, started_at=now,
                    price=offer.price if offer else None, tag_policy=order.policy,
                )
            )  # fmt: skip
            self._move(replace(operation, key=key, steps=tuple(steps)), Stage.PROVED)
        else:
            self._move(replace(operation, steps=tuple(steps)), Stage.ACCEPTED)

    # -- inside -------------------------------------------------------------------------------------------------

    def _call(self, name: str, what: object) -> None:
        if self.session.read_only:
            raise Refused("Read-only: nothing is changed.")
        self.calls.append((name, what))

    def _tunnels(self) -> list[Tunnel]:
        return [tunnel for record in self.store.records.values() for tunnel in record.tunnels]

    def _operation(
        self,
        verb: Verb,
        key: InstanceKey | None,
        name: str = "",
        *,
        account: str = "",
        steps: tuple[Step, ...] = (),
        params: dict[str, object] | None = None,
    ) -> Operation:
        now = self.clock.now()
        record = self.store.records.get(key) if key else None
        return Operation(
            id=f"op-{next(self._numbers)}",
            verb=verb,
            account=key.account if key else account,
            region=key.region if key else "",
            stage=Stage.INTENDED,
            requested_at=now,
            updated_at=now,
            key=key,
            name=name or (record.instance.name if record else ""),
            steps=steps,
            params=params or {},
            actor="dashboard",
        )

    def _begin(self, operation: Operation) -> Operation:
        self._tell(self.store.apply_operation(operation))
        return operation

    def _move(self, operation: Operation, stage: Stage) -> Operation:
        moved = replace(operation, stage=stage, updated_at=self.clock.now())
        self._tell(self.store.apply_operation(moved))
        return moved

    def _tell(self, changes: ChangeSet) -> None:
        if changes:
            for listener in list(self._listeners):
                listener(changes)


def _lane(key: InstanceKey) -> tuple[str, str]:
    return key.account, key.region


def _took(step: Step, now: datetime) -> str:
    return "" if step.at is None else f"{(now - step.at).total_seconds():.1f} s"
