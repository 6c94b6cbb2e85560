"""`SandboxProvider`: the provider contract over folders, locks and processes instead of a cloud's HTTP interface."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from gpudash.clock import Clock, parse_iso
from gpudash.errors import (
    Ambiguous,
    ConfigError,
    GpudashError,
    NoCapacity,
    ProviderError,
    RateLimited,
    Unreachable,
    Unsupported,
)
from gpudash.model.capability import Verb
from gpudash.model.instance import Instance, InstanceKey, InstanceState, SshAddress
from gpudash.model.listing import Listing
from gpudash.model.money import Price
from gpudash.model.offer import LaunchOrder, NewDisk, Offer, OfferFilter
from gpudash.model.tags import LAUNCH_TOKEN, MANAGED, OWNER, PARENT, policy_tags, tagged_policy
from gpudash.providers.base import Leftover
from gpudash.providers.parents import check_parent
from gpudash.providers.sandbox import CAPABILITIES, catalogue, faults, keys, machine
from gpudash.providers.sandbox import record as records
from gpudash.providers.sandbox.catalogue import TYPES, MachineType
from gpudash.providers.sandbox.faults import Fault, Faults
from gpudash.providers.sandbox.layout import HostDir, Sandbox
from gpudash.providers.sandbox.machine import Sight
from gpudash.providers.sandbox.nvidia_smi import LOADS
from gpudash.providers.sandbox.record import HostRecord, Power

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

PRICE_SOURCE = "simulated"
SSH_USER = "ubuntu"
RETRY_AFTER_S = 5.0
"""What the fault ``rate-limit`` asks for."""
_SLOW_CHECK_S = 0.05


class _TimedOut(Unreachable):
    """The question was sent and no answer came."""


class SandboxProvider:
    """One account at the sandbox. Safe to use from several threads and processes at once."""

    provider = "sandbox"
    capabilities = CAPABILITIES

    def __init__(
        self,
        account: str,
        clock: Clock,
        sandbox: Sandbox,
        *,
        regions: Sequence[str] | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        unknown = set(regions or ()) - set(catalogue.REGIONS)
        if unknown:
            raise ConfigError(
                f"accounts.{account}.regions: the sandbox has no region {', '.join(sorted(unknown))}.",
                hint=f"It has {', '.join(catalogue.REGIONS)}.",
            )
        self.account = account
        self._regions = tuple(regions or catalogue.REGIONS)
        self._clock = clock
        self._sandbox = sandbox
        self._timeout_s = timeout_s

    def regions(self) -> tuple[str, ...]:
        return self._regions

    def list_instances(self, region: str) -> Listing[Instance]:
        active = self._reach()
        asked_at = self._clock.now()
        items, problems = [], []
        for host in self._sandbox.hosts():
            if active.on(Fault.EMPTY_LIST, host.id):
                continue
            try:
                sight = machine.look(host)
            except (ValueError, OSError, GpudashError) as exc:
                problems.append(f"{host.id}: {exc}")
                continue
            if sight is not None and sight.record.region == region:
                items.append(self._instance(host, sight, active))
        return Listing(
            account=self.account,
            region=region,
            items=tuple(items),
            complete=not problems,
            asked_at=asked_at,
            fetched_at=self._clock.now(),
            problem="; ".join(problems) or None,
        )

    def list_offers(self, wanted: OfferFilter) -> Listing[Offer]:
        active = self._reach()
        asked_at = self._clock.now()
        full = active.on(Fault.NO_CAPACITY)
        offers = tuple(
            offer
            for machine_type in TYPES.values()
            for region in self._regions
            if region not in machine_type.absent_from
            for spot in (False, True)
            if wanted.accepts(offer := self._offer(machine_type, region, spot=spot, full=full))
        )
        return Listing(self.account, wanted.region or "", offers, True, asked_at, self._clock.now())

    def list_leftovers(self) -> Listing[Leftover]:
        asked_at = self._clock.now()
        listings = [self.list_instances(region) for region in self.regions()]
        disks = tuple(
            Leftover(
                account=self.account,
                provider=self.provider,
                region=instance.key.region,
                id=f"{instance.key.id}-disk",
                kind="disk",
                name=f"disk of {instance.name}",
                size_gb=instance.disk_gb,
                price=instance.storage_price,
                instance_id=instance.key.id,
            )
            for listing in listings
            for instance in listing.items
            if instance.state in {InstanceState.STOPPED, InstanceState.STOPPING, InstanceState.ERROR}
        )
        problem = "; ".join(listing.problem for listing in listings if listing.problem) or None
        return Listing(self.account, "", disks, problem is None, asked_at, self._clock.now(), problem)

    def launch(self, order: LaunchOrder) -> InstanceKey:
        with self._write(None) as active:
            machine_type = _type_for(order)
            key = InstanceKey(self.account, order.region, f"sb-{secrets.token_hex(4)}")
            if active.on(Fault.NO_EFFECT):
                return key
            with self._sandbox.launching():
                known = self._by_token(order.token)
                if known is not None:
                    return InstanceKey(self.account, known.region, known.id)
                if active.on(Fault.NO_CAPACITY) or order.region in machine_type.scarce_in:
                    raise NoCapacity(
                        f"sandbox: InsufficientInstanceCapacity: no {order.instance_type} is free in {order.region}.",
                        hint="Nothing was launched. Try another region or type.",
                    )
                self._check_parent(order)
                keys.client_key(self._sandbox)
                self._create(order, machine_type, key)
        return key

    def start(self, key: InstanceKey) -> None:
        with self._write(key) as active:
            if active.on(Fault.NO_EFFECT, key.id):
                return
            host = self._sandbox.host(key.id)
            try:
                with host.locked():
                    self._start(host, key, active)
            except FileNotFoundError:
                raise _unknown(key) from None

    def stop(self, key: InstanceKey) -> None:
        with self._write(key) as active:
            if not active.on(Fault.NO_EFFECT, key.id):
                try:
                    machine.turn_off(self._sandbox.host(key.id), Power.OFF)
                except FileNotFoundError:
                    raise _unknown(key) from None

    def hibernate(self, key: InstanceKey) -> None:
        raise Unsupported(CAPABILITIES.why_not[Verb.HIBERNATE])

    def terminate(self, key: InstanceKey) -> None:
        with self._write(key) as active:
            if not active.on(Fault.NO_EFFECT, key.id):
                try:
                    machine.turn_off(self._sandbox.host(key.id), Power.GONE)
                except FileNotFoundError:
                    return  # it is gone, which is what was asked for

    def is_gone(self, key: InstanceKey) -> bool:
        """Whether the host, looked at by its id, has ended; whatever a listing says."""
        self._reach(key.id)
        try:
            sight = machine.look(self._sandbox.host(key.id))
        except (OSError, ValueError) as exc:
            raise Unreachable(f"sandbox: {key.id}: {exc}") from exc
        return sight is None or sight.state is InstanceState.TERMINATED

    def rename(self, instance: Instance, name: str) -> None:
        with self._write(instance.key) as active:
            if not active.on(Fault.NO_EFFECT, instance.key.id):
                self._change(instance.key, lambda record: replace(record, name=name))

    def set_tags(self, key: InstanceKey, tags: Mapping[str, str]) -> None:
        with self._write(key) as active:
            if active.on(Fault.NO_EFFECT, key.id):
                return
            self._change(key, lambda record: _tagged(record, tags))

    def end_spec(self, key: InstanceKey) -> Mapping[str, object]:
        button = str(self._sandbox.host(key.id).bin / "instance-end")
        return {"method": "command", "stop": [button, "stop"], "terminate": [button, "terminate"]}

    def close(self) -> None:
        """Nothing is held."""

    def _start(self, host: HostDir, key: InstanceKey, active: Faults) -> None:
        record = records.read(host)
        if record.power is Power.GONE:
            raise ProviderError(f"sandbox: IncorrectInstanceState: {key.id} is terminated and cannot be started.")
        if machine.is_alive(host):
            if record.power is Power.ON:
                return
            raise ProviderError(
                f"sandbox: IncorrectInstanceState: {key.id} is still stopping.", hint="Start it once it is stopped."
            )
        if active.on(Fault.NO_CAPACITY, key.id):
            raise NoCapacity(
                f"sandbox: InsufficientInstanceCapacity: no {record.instance_type} is free in {record.region}.",
                hint="It stays stopped; its disk is kept.",
            )
        machine.turn_on(host, self._now())

    def _create(self, order: LaunchOrder, machine_type: MachineType, key: InstanceKey) -> None:
        """The record first, in place as one step; the process after it. In between, any listing goes on with it."""
        draft = HostDir(self._sandbox.hosts_dir / f".{key.id}")
        draft.path.mkdir(mode=0o700)
        records.write(draft, self._record(order, machine_type, key))
        host = self._sandbox.host(key.id)
        draft.path.rename(host.path)
        with host.locked():
            if not machine.is_alive(host) and records.read(host).spawns == 0:
                machine.boot(host)

    def _record(self, order: LaunchOrder, machine_type: MachineType, key: InstanceKey) -> HostRecord:
        options = order.options
        disk_gb = int(options.get("disk_gb") or machine_type.disk_gb)
        tags = {MANAGED: "true", OWNER: "gpudash", LAUNCH_TOKEN: order.token, **policy_tags(order.policy)}
        if options.get("parent"):
            tags[PARENT] = options["parent"]
        now = self._now()
        return HostRecord(
            id=key.id,
            region=order.region,
            name=order.name,
            token=order.token,
            instance_type=machine_type.name,
            gpu=machine_type.gpu,
            gpu_count=machine_type.gpu_count,
            vram_gb=machine_type.vram_gb,
            price=str(machine_type.price_in(order.region, spot=order.spot)),
            storage_price=str((catalogue.DISK_USD_PER_GB_HOUR * disk_gb).quantize(Decimal("0.00001"))),
            disk_gb=disk_gb,
            spot=order.spot,
            created_at=now,
            started_at=now,
            power_real=time.time(),
            load=options.get("load") or "idle",
            tags={name: value for name, value in tags.items() if value},
            service_port=order.service_port or 8000,
            health_path=order.health_path,
            recipe=order.recipe,
            warmup_s=float(options.get("warmup_s") or 0),
        )

    def _check_parent(self, order: LaunchOrder) -> None:
        parent = order.options.get("parent")
        if not parent:
            return
        here = [record for record in self._records() if (record.id, record.region) == (parent, order.region)]
        managed = here[0].tags.get(MANAGED) == "true" if here else None
        check_parent(parent, order.region, managed=managed, ended=bool(here) and here[0].power is Power.GONE)

    def _by_token(self, token: str) -> HostRecord | None:
        return next((record for record in self._records() if record.token == token), None)

    def _records(self) -> Iterator[HostRecord]:
        """What is on disk of every host; one that cannot be read is nobody's."""
        for host in self._sandbox.hosts():
            with contextlib.suppress(OSError, ValueError):
                yield records.read(host)

    def _change(self, key: InstanceKey, how: Callable[[HostRecord], HostRecord]) -> None:
        try:
            records.change(self._sandbox.host(key.id), how)
        except FileNotFoundError:
            raise _unknown(key) from None

    def _instance(self, host: HostDir, sight: Sight, active: Faults) -> Instance:
        record = sight.record
        policy = tagged_policy(record.tags)
        reachable = sight.state is InstanceState.RUNNING and record.ssh_port is not None
        return Instance(
            key=InstanceKey(self.account, record.region, record.id),
            provider=self.provider,
            name=record.name,
            state=sight.state,
            provider_state=sight.word,
            instance_type=record.instance_type,
            gpu=record.gpu,
            gpu_count=record.gpu_count,
            vram_gb=record.vram_gb,
            spot=record.spot,
            managed=record.tags.get(MANAGED) == "true",
            created_at=parse_iso(record.created_at),
            started_at=parse_iso(record.started_at) if record.started_at else None,
            price=Price(Decimal(record.price), PRICE_SOURCE),
            storage_price=Price(Decimal(record.storage_price), PRICE_SOURCE),
            disk_gb=record.disk_gb,
            ssh=self._ssh(record) if reachable else None,
            service_port=record.service_port,
            launch_token=record.token,
            tag_policy=policy,
            parent=record.tags.get(PARENT),
            lost_on_terminate=f"{record.disk_gb} GB disk",
            notice=_notice(record, active),
            raw={
                "record": str(host.record),
                "log": str(host.log),
                "pid": record.pid,
                "ports": record.ports,
                "load": record.load,
                "tags": record.tags,
            },
        )

    def _ssh(self, record: HostRecord) -> SshAddress:
        return SshAddress(
            host="127.0.0.1",
            port=record.ssh_port or 0,
            user=SSH_USER,
            identity_file=str(self._sandbox.client_key),
            host_key_fingerprint=record.host_key_fingerprint,
        )

    def _offer(self, machine_type: MachineType, region: str, *, spot: bool, full: bool) -> Offer:
        return Offer(
            account=self.account,
            provider=self.provider,
            instance_type=machine_type.name,
            gpu=machine_type.gpu,
            gpu_count=machine_type.gpu_count,
            vram_gb=machine_type.vram_gb,
            region=region,
            price=Price(machine_type.price_in(region, spot=spot), PRICE_SOURCE),
            spot=spot,
            available=not full and region not in machine_type.scarce_in,
            as_of=self._clock.now(),
            vcpus=machine_type.vcpus,
            memory_gb=machine_type.memory_gb,
            disk_gb=machine_type.disk_gb,
            new_disk=NewDisk((("disk_gb", machine_type.disk_gb),), Price(catalogue.DISK_USD_PER_GB_HOUR, PRICE_SOURCE)),
        )

    def _reach(self, host_id: str | None = None) -> Faults:
        """Get through to the cloud, with whatever stands in the way. Nothing has happened when this raises."""
        active = faults.read(self._sandbox)
        if active.on(Fault.API_DOWN, host_id):
            raise Unreachable("sandbox: connection refused.", hint="It will be tried again.")
        if active.on(Fault.API_SLOW, host_id):
            self._hang(host_id)
        if active.on(Fault.RATE_LIMIT, host_id):
            raise RateLimited("sandbox: RequestLimitExceeded: request limit exceeded.", retry_after_s=RETRY_AFTER_S)
        return active

    def _hang(self, host_id: str | None) -> None:
        """Wait for an answer; it comes if the fault is switched off meanwhile."""
        pause = threading.Event()
        give_up = time.monotonic() + self._timeout_s
        while faults.read(self._sandbox).on(Fault.API_SLOW, host_id):
            if time.monotonic() >= give_up:
                raise _TimedOut(f"sandbox: no answer within {self._timeout_s:g} s.")
            pause.wait(_SLOW_CHECK_S)

    @contextmanager
    def _write(self, key: InstanceKey | None) -> Iterator[Faults]:
        """One write: a time-out or a lost answer leaves open whether it happened."""
        host_id = key.id if key else None
        try:
            active = self._reach(host_id)
        except _TimedOut as exc:
            raise Ambiguous(f"{exc.text} It may have happened all the same.") from exc
        yield active
        if active.on(Fault.LOST_REPLY, host_id):
            raise Ambiguous("sandbox: the connection was closed before the answer came. It may have happened.")

    def _now(self) -> str:
        return self._clock.now().isoformat()


def _type_for(order: LaunchOrder) -> MachineType:
    machine_type = TYPES.get(order.instance_type)
    if machine_type is None:
        raise ProviderError(f"sandbox: there is no type {order.instance_type!r}.", hint="gpudash offers shows them.")
    if order.region not in catalogue.REGIONS:
        known = ", ".join(catalogue.REGIONS)
        raise ProviderError(f"sandbox: there is no region {order.region!r}.", hint=f"There are {known}.")
    if order.region in machine_type.absent_from:
        raise ProviderError(f"sandbox: {order.instance_type} is not offered in {order.region}.")
    load = order.options.get("load")
    if load and load not in LOADS:
        raise ProviderError(f"sandbox: there is no load {load!r}.", hint=f"There are {', '.join(LOADS)}.")
    price = machine_type.price_in(order.region, spot=order.spot)
    if order.max_price is not None and price > order.max_price:
        raise ProviderError(f"sandbox: {order.instance_type} costs ${price}/h, more than ${order.max_price}/h.")
    return machine_type


def _tagged(record: HostRecord, tags: Mapping[str, str]) -> HostRecord:
    merged = {**record.tags, **tags}
    return replace(record, tags={name: value for name, value in merged.items() if value})


def _unknown(key: InstanceKey) -> ProviderError:
    return ProviderError(f"sandbox: InvalidInstanceID.NotFound: there is no {key.id}.")


def _notice(record: HostRecord, active: Faults) -> str | None:
    switch = active.switch(Fault.SPOT_NOTICE)
    if not record.spot or not switch.hits(record.id):
        return None
    when = faults.takes_back_at(switch)
    return f"spot interruption announced for {when}" if when else "spot interruption announced"
