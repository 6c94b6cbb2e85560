"""What a person does to the sandbox as a whole: ``gpudash sandbox up|down|reset|fault``, and the dashboard's demo."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from gpudash import paths
from gpudash.clock import Clock, ScaledClock, iso
from gpudash.errors import GpudashError, NotFound, UsageError
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.offer import LaunchOrder
from gpudash.model.policy import EndAction, Policy
from gpudash.providers.sandbox import effects, machine, processes
from gpudash.providers.sandbox import faults as switches
from gpudash.providers.sandbox import record as records
from gpudash.providers.sandbox.adapter import SandboxProvider
from gpudash.providers.sandbox.faults import TEXTS, Fault
from gpudash.providers.sandbox.layout import Sandbox
from gpudash.providers.sandbox.record import HostRecord, Power

ACCOUNT = "sandbox"
MAX_LEASE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class FaultInfo:
    """One switch, for lists."""

    name: str
    text: str
    on: bool
    """On for every host and for the cloud's interface."""
    hosts: tuple[str, ...]
    """Hosts for which alone it is on."""


@dataclass(frozen=True, slots=True)
class _Demo:
    name: str
    instance_type: str
    region: str
    load: str
    lease: timedelta
    idle: timedelta | None
    idle_action: EndAction = EndAction.STOP
    spot: bool = False


_DEMO = (
    _Demo("train-llama", "8x-h100-sxm", "sandbox-east", "busy", timedelta(hours=6), timedelta(minutes=45)),
    _Demo("comfy", "1x-rtx-4090", "sandbox-west", "idle", timedelta(hours=4), timedelta(minutes=30)),
    _Demo("eval", "1x-a100-80g", "sandbox-east", "parked", timedelta(hours=3), timedelta(minutes=20)),
    _Demo("serve-vllm", "2x-h100-sxm", "sandbox-europe", "bursty", timedelta(hours=8), timedelta(hours=1)),
    _Demo("sweep-07", "4x-l4", "sandbox-west", "busy", timedelta(hours=2), None, spot=True),
    _Demo("notebook", "1x-a10", "sandbox-europe", "idle", timedelta(hours=1), timedelta(minutes=15)),
    _Demo("finetune", "1x-h200", "sandbox-east", "busy", timedelta(hours=5), timedelta(minutes=30)),
    _Demo("old-sensor", "1x-t4", "sandbox-west", "broken", timedelta(hours=4), timedelta(minutes=30)),
)


def sandbox() -> Sandbox:
    """The sandbox of this user (or of this environment)."""
    return Sandbox(paths.sandbox_dir())


def clock() -> ScaledClock:
    """The sandbox's own time; `set_speed` makes its days short."""
    return ScaledClock(sandbox().clock_file)


def demo_orders(clock: Clock, count: int = 6) -> list[LaunchOrder]:
    """What is found on a real morning: a training run, forgotten boxes, a service. The ninth is a second first."""
    now = clock.now()
    orders = []
    for number in range(count):
        demo = _DEMO[number % len(_DEMO)]
        again = number // len(_DEMO)
        orders.append(
            LaunchOrder(
                token=f"demo-{secrets.token_hex(6)}",
                account=ACCOUNT,
                region=demo.region,
                instance_type=demo.instance_type,
                name=f"{demo.name}-{again + 1}" if again else demo.name,
                spot=demo.spot,
                policy=Policy(
                    lease_deadline=now + demo.lease,
                    hard_deadline=now + MAX_LEASE,
                    idle_timeout=demo.idle,
                    idle_action=demo.idle_action,
                ),
                service_port=8000,
                health_path="/health",
                options={"load": demo.load},
            )
        )
    return orders


def up(count: int = 6, clock_used: Clock | None = None) -> list[InstanceKey]:
    """Have hosts: start those that are stopped, or launch `count` demo hosts where there are none."""
    ticking = clock_used or clock()
    provider = SandboxProvider(ACCOUNT, ticking, sandbox())
    found = [item for region in provider.regions() for item in provider.list_instances(region).items]
    kept = [item for item in found if item.state not in {InstanceState.TERMINATING, InstanceState.TERMINATED}]
    if not kept:
        return [provider.launch(order) for order in demo_orders(ticking, count)]
    for instance in kept:
        if instance.state is InstanceState.STOPPED:
            provider.start(instance.key)
    return [instance.key for instance in kept]


def launch_unguarded(order: LaunchOrder, clock_used: Clock | None = None) -> InstanceKey:
    """A host as somebody made it in the cloud's own console: no daemon is pushed to it, nothing ends it."""
    return SandboxProvider(ACCOUNT, clock_used or clock(), sandbox()).launch(order)


def down(patience_s: float = 15.0) -> list[InstanceKey]:
    """Stop every host and wait until none runs; disks are kept. Faults do not stand in the way.

    Raises:
        GpudashError: some still run; they are named.
    """
    asked: list[InstanceKey] = []
    for host in sandbox().hosts():
        with suppress(FileNotFoundError, ValueError):
            record = records.read(host)
            effects.thaw(host)
            if record.power is Power.ON:
                machine.turn_off(host, Power.OFF)
                asked.append(InstanceKey(ACCOUNT, record.region, record.id))
    pause, give_up = threading.Event(), time.monotonic() + patience_s
    while left := [host for host in sandbox().hosts() if machine.is_alive(host)]:
        if time.monotonic() > give_up:
            raise GpudashError(f"Still running: {', '.join(host.id for host in left)}.", hint="Try again, or reset.")
        for host in left:
            with suppress(ValueError):
                machine.look(host)  # pulls the plug of one that does not react
        pause.wait(0.05)
    return asked


def reset(patience_s: float = 10.0) -> int:
    """End every process at once and delete everything: hosts, disks, keys, faults, clock.

    Returns:
        How many hosts there were.

    Raises:
        GpudashError: a process would not die; what is left is named.
    """
    whole = sandbox()
    hosts = whole.hosts()
    for host in hosts:
        with suppress(FileNotFoundError, ValueError, GpudashError):
            records.change(host, _gone)
    for host in hosts:
        machine.pull_plug(host)
    if not processes.kill_all(lambda: processes.of_host(whole.hosts_dir), patience_s=patience_s):
        left = sorted(processes.of_host(whole.hosts_dir))
        raise GpudashError(f"Processes of sandbox hosts could not be ended: {left}.", hint="Nothing was deleted.")
    machine.erase(whole.path)
    return len(hosts)


def faults() -> list[FaultInfo]:
    """Every switch and where it is on."""
    active = switches.read(sandbox())
    return [
        FaultInfo(fault.value, TEXTS[fault], active.switch(fault).everywhere, tuple(sorted(active.switch(fault).hosts)))
        for fault in Fault
    ]


def set_fault(name: str, on: bool, host_id: str | None = None) -> FaultInfo:
    """Move one switch and carry it out on the hosts it concerns. Off without a host clears it everywhere.

    Raises:
        UsageError: no such fault, or one that this host cannot have.
        NotFound: no such host.
    """
    try:
        fault = Fault(name)
    except ValueError:
        raise UsageError(f"There is no fault {name!r}.", hint=f"There are {', '.join(Fault)}.") from None
    whole = sandbox()
    if host_id is not None:
        host_id = _one_host(whole, host_id)
        if on and fault is Fault.SPOT_NOTICE and not records.read(whole.host(host_id)).spot:
            raise UsageError(f"{host_id} is no spot instance; the cloud does not take it back.")
    switches.turn(whole, fault, on=on, host_id=host_id, since=iso(clock().now()) or "")
    for host in whole.hosts():
        with suppress(FileNotFoundError, ValueError):
            effects.carry_out(host, fault)
    return next(info for info in faults() if info.name == name)


def _one_host(whole: Sandbox, text: str) -> str:
    """The id of the host that is meant: by id, beginning of an id, or name; ``sandbox:`` before it is allowed."""
    wanted = text.removeprefix(f"{ACCOUNT}:")
    names = {}
    for host in whole.hosts():
        with suppress(FileNotFoundError, ValueError):
            names[host.id] = records.read(host).name
    exact = [host_id for host_id, name in names.items() if wanted in (host_id, name)]
    found = exact or [host_id for host_id in names if wanted and host_id.startswith(wanted)]
    if len(found) != 1:
        known = ", ".join(f"{host_id} ({name})" for host_id, name in names.items()) or "none"
        problem = f"{text!r} fits several sandbox hosts." if found else f"There is no sandbox host {text!r}."
        raise NotFound(problem, hint=f"There are: {known}.")
    return found[0]


def _gone(record: HostRecord) -> HostRecord:
    return replace(record, power=Power.GONE, power_real=time.time())
