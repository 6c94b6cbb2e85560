"""A cloud in memory that keeps the provider contract, for what no sandbox can be made to do on time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from gpudash.clock import Clock, ManualClock
from gpudash.config import Account, Config, Defaults
from gpudash.errors import LinkDown, NoService
from gpudash.fleet.session import Session
from gpudash.model.capability import Capabilities
from gpudash.model.history import History, SignalHistory
from gpudash.model.host import Verdict
from gpudash.model.instance import Instance, InstanceKey, InstanceState, SshAddress
from gpudash.model.listing import Listing
from gpudash.model.money import Price
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.model.policy import Policy
from gpudash.providers.base import Leftover
from support.waiting import PATIENCE_S

CLOUD = "cloud"
REGION = "here"
PRICE = Price(Decimal("2.49"), "catalogue")
CADENCE_S = 10.0

CAPABILITIES = Capabilities(
    provider="fake",
    can_stop=True,
    can_hibernate=True,
    has_spot=True,
    has_tags=True,
    has_idempotent_launch=False,
    lists_terminated=False,
    bills_stopped=True,
    cadence_s=CADENCE_S,
    tells_host_key=False,
    why_not={},
    can_restart=True,
)


@dataclass
class Cloud:
    """Instances in a dict, every call on a list."""

    clock: Clock
    account: str = CLOUD
    provider: str = "fake"
    capabilities: Capabilities = CAPABILITIES
    instances: dict[str, Instance] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)
    """Raised by that verb before anything happens, until taken out."""
    lost: set[str] = field(default_factory=set)
    """Verbs that happen and then raise what is in `lost_error`."""
    lost_error: Exception | None = None
    no_effect: bool = False
    complete: bool = True
    hidden: set[str] = field(default_factory=set)
    """Ids that listings leave out."""
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    """Called when that verb arrives."""
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    regions_: tuple[str, ...] = (REGION,)

    def add(self, name: str, state: InstanceState = InstanceState.RUNNING, /, **more: Any) -> Instance:
        """An instance that is simply there."""
        instance = replace(
            Instance(
                InstanceKey(self.account, REGION, f"i-{name}"),
                self.provider,
                name,
                state,
                state.value,
                price=PRICE,
                started_at=self.clock.now() - timedelta(hours=1),
                ssh=SshAddress("192.0.2.1", 22, "ubuntu"),
            ),
            **more,
        )
        self.instances[instance.key.id] = instance
        return instance

    def turn(self, name: str, state: InstanceState, **more: Any) -> None:
        """Put an instance into a state."""
        self.instances[f"i-{name}"] = replace(
            self.instances[f"i-{name}"], state=state, provider_state=state.value, **more
        )

    def regions(self) -> tuple[str, ...]:
        return self.regions_

    def list_instances(self, region: str) -> Listing[Instance]:
        self._arrive("list")
        asked_at = self.clock.now()
        items = [i for i in self.instances.values() if i.key.id not in self.hidden and i.key.region == region]
        items = items if self.complete else items[:1]
        return Listing(self.account, region, tuple(items), self.complete, asked_at, self.clock.now())

    def list_offers(self, wanted: OfferFilter) -> Listing[Offer]:
        self._arrive("offers")
        now = self.clock.now()
        return Listing(self.account, "", tuple(o for o in [offer(self.clock)] if wanted.accepts(o)), True, now, now)

    def list_leftovers(self) -> Listing[Leftover]:
        return Listing(self.account, "", (), True, self.clock.now(), self.clock.now())

    def launch(self, order: LaunchOrder) -> InstanceKey:
        self._arrive("launch")
        key = InstanceKey(self.account, order.region, f"i-{order.token}")
        if not self.no_effect:
            made = self.add(order.token, InstanceState.PENDING, launch_token=order.token, name=order.name, managed=True)
            self.instances[made.key.id] = replace(made, started_at=self.clock.now())
        self._leave("launch")
        return key

    def start(self, key: InstanceKey) -> None:
        self._change("start", key, InstanceState.RUNNING, started_at=self.clock.now())

    def restart(self, key: InstanceKey) -> None:
        self._change("restart", key, InstanceState.STARTING)

    def stop(self, key: InstanceKey) -> None:
        self._change("stop", key, InstanceState.STOPPED)

    def hibernate(self, key: InstanceKey) -> None:
        self._change("hibernate", key, InstanceState.HIBERNATED)

    def terminate(self, key: InstanceKey) -> None:
        self._arrive("terminate")
        if not self.no_effect:
            self.instances.pop(key.id, None)
        self._leave("terminate")

    def is_gone(self, key: InstanceKey) -> bool:
        self._arrive("look")
        return key.id not in self.instances

    def set_tags(self, key: InstanceKey, tags: Mapping[str, str]) -> None:
        self._arrive("tags")
        self.tags[key.id] = dict(tags)

    def end_spec(self, key: InstanceKey) -> Mapping[str, object]:
        return {"method": "command", "terminate": ["end"]}

    def close(self) -> None:
        """Nothing is held."""

    def asked(self, verb: str) -> int:
        """How often a verb arrived."""
        return self.calls.count(verb)

    def _change(self, verb: str, key: InstanceKey, state: InstanceState, **more: Any) -> None:
        self._arrive(verb)
        if not self.no_effect:
            self.instances[key.id] = replace(self.instances[key.id], state=state, provider_state=state.value, **more)
        self._leave(verb)

    def _arrive(self, verb: str) -> None:
        self.calls.append(verb)
        if verb in self.before:
            self.before[verb]()
        if verb in self.errors:
            raise self.errors[verb]

    def _leave(self, verb: str) -> None:
        if verb in self.lost and self.lost_error is not None:
            raise self.lost_error


class Daemon:
    """What answers on a host, in place of statusd."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self.policy = policy
        self.clock = clock
        self.asked: list[str] = []
        self.error: Exception | None = None

    def status(self) -> dict[str, Any]:
        self._arrive("status")
        return status_body(self.policy, self.clock.now())

    def extend(self, deadline: datetime) -> datetime:
        self._arrive("extend")
        self.policy = replace(self.policy, lease_deadline=deadline)
        return deadline

    def activity(self, hold_s: float | None = None) -> datetime:
        self._arrive("activity")
        return self.clock.now() + timedelta(seconds=hold_s or 0)

    def history(self) -> History:
        self._arrive("history")
        return History((self.clock.now(),), (SignalHistory("gpu", "%", (98.0,), (Verdict.ACTIVE,)),))

    def log(self, lines: int = 200) -> tuple[str, ...]:
        self._arrive("log")
        return ("2026-03-01T12:00:00Z start statusd serves",)

    def _arrive(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error


class HostsInMemory:
    """Links that lead to a daemon in memory, or nowhere."""

    def __init__(self, daemon: Daemon | None = None) -> None:
        self.daemon = daemon
        self.forwards: tuple[()] = ()

    def link(self, instance: Instance) -> HostsInMemory:
        return self

    def wait_up(self, timeout: float) -> None:
        if self.daemon is None:
            raise LinkDown("No connection to it: refused")

    def open_channel(self, host: str, port: int, timeout: float) -> None:
        raise NoService(f"Nothing listens on port {port}.")

    def of(self, link: object) -> Daemon | None:
        return self.daemon

    def drop(self, key: InstanceKey) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


def status_body(policy: Policy, now: datetime) -> dict[str, Any]:
    """A ``/status`` document with that policy in force."""
    from gpudash.clock import iso
    from gpudash.fleet.guarding import policy_json

    return {
        "version": "1",
        "now": iso(now),
        "policy": policy_json(policy),
        "enforcing": True,
        "end_method": "command",
        "phase": "watching",
    }


def offer(clock: Clock, price: Price | None = PRICE) -> Offer:
    """One thing to launch."""
    return Offer(CLOUD, "fake", "1x-a10", "A10", 1, 24, REGION, price, False, True, clock.now())


def settings(**defaults: Any) -> Config:
    """Settings with the cloud in memory as the only one."""
    return Config(Defaults(**defaults), {CLOUD: Account(CLOUD, "lambda"), "sandbox": Account("sandbox", "sandbox")})


def open_session(cloud: Cloud, clock: ManualClock, daemon: Daemon | None = None, **more: Any) -> Session:
    """A session over the cloud in memory and the real ledger of this test."""
    config = more.pop("config", settings())
    session = Session.open(
        config, accounts=[CLOUD], clock=clock, providers={CLOUD: cloud}, **({"actor": "test"} | more)
    )
    hosts = HostsInMemory(daemon)
    session.desk.hosts = lambda: hosts  # type: ignore[assignment, return-value]
    session.desk.daemons = hosts  # type: ignore[assignment]
    return session


def look(session: Session, seconds: float = 0.0) -> Any:
    """Let time pass and ask the cloud once."""
    session.clock.sleep(seconds)
    return session.poll(PATIENCE_S)


def hung() -> tuple[Callable[[], None], threading.Event]:
    """A call that hangs until the event is set."""
    let_go = threading.Event()
    return lambda: let_go.wait(2 * PATIENCE_S) and None, let_go


def ledger_bytes(path: Path) -> bytes:
    """Everything that stands in a ledger's files."""
    return b"".join(part.read_bytes() for part in path.parent.glob(path.name + "*"))
