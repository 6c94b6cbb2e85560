"""One run of the program against the chosen accounts: what commands, watchdog and dashboard all stand on.

    with Session.open(config, actor="cli") as session:
        session.poll(10)
        record = session.resolve("train-llama")
        op = session.settle_until(session.actions.end(record.key, EndAction.STOP).id, 120)

Sync. `store` belongs to the thread that opened the session (in the dashboard: the loop). Clouds and hosts are asked in
lanes, so that a hung one is waited for no longer than a call's own time-out.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from datetime import datetime
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from gpudash import paths
from gpudash.clock import Clock, ScaledClock, SystemClock
from gpudash.errors import GpudashError, NotFound, Unsupported
from gpudash.fleet import hostpoll, serverless, tunnels
from gpudash.fleet.absence import with_gone
from gpudash.fleet.accounts import Accounts
from gpudash.fleet.actions import Actions
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.desk import Desk
from gpudash.fleet.endpoints import billed
from gpudash.fleet.families import Families, Orphan, left_alone
from gpudash.fleet.hostpoll import HostReading
from gpudash.fleet.keeping import Keeper, News
from gpudash.fleet.lanes import Lanes
from gpudash.fleet.liveness import Liveness
from gpudash.fleet.pace import Pace
from gpudash.fleet.record import Record
from gpudash.fleet.resolve import resolve
from gpudash.fleet.store import FleetStore
from gpudash.fleet.tidying import Tidier
from gpudash.ledger import Ledger
from gpudash.model.balance import Balance
from gpudash.model.capability import Capabilities
from gpudash.model.endpoint import SERVERLESS, Endpoint
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.offer import Offer, OfferFilter
from gpudash.model.operation import Operation
from gpudash.model.policy import Policy
from gpudash.providers.base import CleanUp, HasBalance, Leftover, ListsInPages, LooksForOne, Provider

if TYPE_CHECKING:
    from gpudash.config import Config
    from gpudash.hosts import Hosts

T = TypeVar("T")

log = logging.getLogger(__name__)

REGIONS = ""
"""Stands for the lane that asks an account for its regions."""
LOOK_EVERY_S = 0.25
"""How often a command that waits looks whether its operation moved."""


class Session:
    """Context manager. See the module's picture."""

    def __init__(self, desk: Desk, store: FleetStore) -> None:
        """Use `Session.open`."""
        self.desk = desk
        self.store = store
        self.config = desk.config
        self.clock = desk.clock
        self.pace = desk.pace
        self.ledger = desk.ledger
        self.providers = desk.accounts
        self.state_dir = paths.state_dir()
        self.tunnels_dir = paths.tunnels_dir()
        self.read_only = desk.read_only
        self.actor = desk.actor
        self.accounts: tuple[str, ...] = tuple(desk.accounts)
        self.actions = Actions(desk)
        self.tidier = Tidier(desk, paths.state_dir() / "clean-up")
        self.keeper = Keeper(desk, self.actions, self.tidier.note)
        self.families = Families(desk, self.actions, self.keeper.ended_at)
        self.lanes = Lanes()
        self.on_host_change: Callable[[InstanceKey], None] | None = None
        """Called from a thread of a link whenever it or one of its forwards changed."""
        self._regions: dict[str, tuple[str, ...]] = {}
        self._inbox: SimpleQueue[Operation] = SimpleQueue()
        self._pages: SimpleQueue[Listing[Instance]] = SimpleQueue()
        self._readings: SimpleQueue[HostReading] = SimpleQueue()
        self._thread = threading.get_ident()
        self._hosts: Hosts | None = None
        self._hosts_lock = threading.Lock()
        self.last_tunnels: dict[InstanceKey, list[tuple[int, int | None]]] = {}
        """What the last toggle closed, for the next one to open."""
        self._alarmed: dict[InstanceKey, int] = {}
        self._status_saved: dict[InstanceKey, tuple[float, Policy]] = {}
        desk.hosts = lambda: self.hosts
        desk.on_operation = self._operation_moved
        desk.on_refused_launch = self.tidier.note
        desk.on_reading = self._readings.put

    @classmethod
    def open(
        cls,
        config: Config,
        *,
        accounts: Sequence[str] | None = None,
        read_only: bool = False,
        actor: str,
        clock: Clock | None = None,
        providers: Mapping[str, Provider] | None = None,
    ) -> Session:
        """Open ledger and store (filled from the last snapshots). Asks no cloud.

        Args:
            config: the settings.
            accounts: names; all that the settings select where None.
            read_only: refuse every change, whatever the settings say.
            actor: who acts, for the diary: ``dashboard``, ``cli``, ``watchdog`` …
            clock: the sandbox's where only sandbox accounts are chosen, else the system's, where None.
            providers: adapters by account to use as they are, instead of making them from the settings.

        Raises:
            UsageError: an account that is not configured.
            LedgerError: the ledger cannot be opened.
        """
        names = tuple(accounts) if accounts is not None else tuple(account.name for account in config.selected())
        clock = clock or choose_clock(config, names)
        chosen = Accounts(config, names, clock, providers)
        ledger = Ledger.open(paths.ledger_file(), clock)
        pace = Pace(clock)
        store = FleetStore(pace.span)
        desk = Desk(
            config=config,
            clock=clock,
            pace=pace,
            ledger=ledger,
            accounts=chosen,
            liveness=Liveness(paths.state_dir() / "sessions"),
            actor=actor,
            read_only=read_only or config.defaults.read_only,
            record=store.records.get,
            hosts=_no_hosts,
        )
        for name in names:
            expect(store, config, name, REGIONS, chosen.capabilities(name))
        store.load(ledger, names)
        store.tick(clock.now())
        session = cls(desk, store)
        if not desk.read_only:
            session.actions.clean_up()
        return session

    @property
    def hosts(self) -> Hosts:
        """Links to instances; made at the first use, because the SSH stack takes a while to import."""
        with self._hosts_lock:
            if self._hosts is None:
                from gpudash.hosts import Hosts

                self._hosts = Hosts(self.state_dir, self.clock, owner=self.actor, on_change=self._host_changed)
            return self._hosts

    def as_reached(self, key: InstanceKey) -> Instance:
        """The instance with the SSH address that answered last: its own, or that of its cloud's proxy.

        Raises:
            NotFound: no such instance.
        """
        instance = self.record(key).instance
        link = self._hosts.peek(key) if self._hosts is not None else None
        return instance if link is None or link.way is None else replace(instance, ssh=link.way)

    @property
    def has_hosts(self) -> bool:
        """Links were used in this session."""
        return self._hosts is not None

    def close(self) -> None:
        """Let go of everything. Waits for no cloud: calls in flight end with the process and stand in the ledger."""
        self.lanes.close()
        if self._hosts is not None:
            self._hosts.close()
        self.providers.close()
        self.desk.liveness.close()
        self.ledger.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- clouds ---------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float, only: Iterable[tuple[str, str]] | None = None) -> ChangeSet:
        """Ask every lane side by side; what came by then is in the store, the rest shows in its health.

        Args:
            timeout_s: real seconds to wait.
            only: these (account, region) instead of all.
        """
        deadline = self.clock.monotonic() + timeout_s
        pending: dict[Future[Any], tuple[str, str]] = {}
        change = self.drain()
        for account, region in only if only is not None else [(account, REGIONS) for account in self.accounts]:
            change |= self._ask(account, region, pending)
        while pending and (left := deadline - self.clock.monotonic()) > 0:
            for future in wait(pending, timeout=left, return_when=FIRST_COMPLETED).done:
                account, region = pending.pop(future)
                if region == REGIONS and future.exception() is None:
                    for name in self.note_regions(account, future.result()):
                        change |= self._ask(account, name, pending)
                else:
                    change |= self._answered(account, region, future)
        for account, region in pending.values():
            silent = f"no answer within {timeout_s:g} s"
            change |= self.store.apply_failure(account, region, silent, self.clock.now())
        return change | self.store.tick(self.clock.now()) | self.drain()

    def absorb(self, listing: Listing[Instance]) -> ChangeSet:
        """Take in one listing: store, ledger, operations."""
        weight = self.store.weigh(listing)
        change = self.store.apply_listing(listing)
        kept, missing = self.store.kept(listing), self.store.missing(listing)
        news = self.keeper.keep(listing, kept, missing, weight, change.removed)
        self.let_go(change.removed)
        return change | self.show(news)

    def show(self, news: News) -> ChangeSet:
        """Put what the ledger said into the store."""
        change = self.drain()
        for operation in news.operations:
            change |= self.store.apply_operation(operation)
        if news.policies is not None and news.adopted is not None:
            change |= self.store.apply_policies(news.policies, news.adopted)
        if news.accruals is not None:
            change |= self.store.apply_accruals(news.accruals)
        return change

    def let_go(self, gone: Iterable[InstanceKey]) -> None:
        """Close links and forwards of instances that are gone, whichever process holds them."""
        for key in gone:
            tunnels.close_gone(self, key)
            if self._hosts is not None:
                self._hosts.drop(key)
            for kind in ("host", "work", "peek"):
                self.lanes.drop((kind, key))

    def regions_of(self, account: str) -> tuple[str, ...]:
        """Regions that are polled, asked for once. Blocking; for lanes."""
        known = self._regions.get(account)
        return known if known is not None else self.providers[account].regions()

    def note_regions(self, account: str, regions: tuple[str, ...]) -> tuple[str, ...]:
        """From now on these regions are expected to answer."""
        self._regions[account] = regions
        for region in regions:
            expect(self.store, self.config, account, region, self.providers.capabilities(account))
        return regions

    def list_instances(
        self,
        account: str,
        region: str,
        on_page: Callable[[Listing[Instance]], None] | None = None,
        to_look_for: Iterable[InstanceKey] = (),
    ) -> Listing[Instance]:
        """Blocking; for lanes. `on_page` gets what comes before the whole is there, at clouds that answer in pages.

        `to_look_for`, from the store: asked for by their ids where the answer is empty and the cloud can be asked so.
        """
        provider = self.providers[account]
        if on_page is not None and isinstance(provider, ListsInPages):
            return self._dated(self._looked_for(provider.list_in_pages(region, on_page), to_look_for))
        return self._dated(self._looked_for(provider.list_instances(region), to_look_for))

    def offers(self, wanted: OfferFilter, timeout_s: float) -> list[Listing[Offer]]:
        """What can be launched, one listing an account. Who fails or is silent answers incomplete, with its words."""
        names = [name for name in self.accounts if wanted.account in (None, name)]
        return self._ask_accounts(names, timeout_s, lambda name: self.providers[name].list_offers(wanted))

    def leftovers(self, timeout_s: float) -> list[Listing[Leftover]]:
        """What bills without a running instance, one listing an account."""
        return self._ask_accounts(self.accounts, timeout_s, lambda name: self.providers[name].list_leftovers())

    def look_at_endpoints(self, timeout_s: float) -> list[Listing[Endpoint]]:
        """Serverless endpoints, one listing an account that can have some; store and ledger hear of them."""
        return self.take_endpoints(self.ask_endpoints(), timeout_s)

    def ask_endpoints(self) -> dict[str, Future[Listing[Endpoint]]]:
        """Ask for serverless endpoints, by account, in lanes of their own; `take_endpoints` takes what has come."""
        names = self.serverless_accounts
        return {name: self.lanes[SERVERLESS, name].submit(self.list_endpoints, name) for name in names}

    def take_endpoints(
        self, asked: Mapping[str, Future[Listing[Endpoint]]], timeout_s: float
    ) -> list[Listing[Endpoint]]:
        """Put the listings that come in time into store and ledger; who fails or is silent answers incomplete."""
        wait(asked.values(), timeout=timeout_s)
        now = self.clock.now()
        listings = [self.answer_of(name, future, now, timeout_s) for name, future in asked.items()]
        for listing in listings:
            self.note_endpoints(listing)
            self.store.apply_endpoints(listing)
        return listings

    @property
    def prepaid_accounts(self) -> tuple[str, ...]:
        """Accounts that are paid in advance."""
        return tuple(name for name in self.accounts if self.providers.capabilities(name).has_balance)

    def ask_balances(self) -> list[Future[Balance]]:
        """Ask what is left, in lanes of their own; `take_balances` takes what has come."""
        return [self.lanes["balance", name].submit(self.balance_of, name) for name in self.prepaid_accounts]

    def take_balances(self, asked: Iterable[Future[Balance]], timeout_s: float) -> None:
        """Put the balances that come in time into the store. One that fails is left out: its listing says why."""
        for future in wait(asked, timeout=timeout_s).done:
            if future.exception() is None:
                self.store.apply_balance(future.result())

    def balance_of(self, account: str) -> Balance:
        """Blocking; for lanes.

        Raises:
            Unsupported: that cloud has no balance.
        """
        provider = self.providers[account]
        if not isinstance(provider, HasBalance):
            raise Unsupported(f"{account} is not paid in advance.")
        return provider.balance()

    @property
    def serverless_accounts(self) -> tuple[str, ...]:
        """Accounts whose cloud has serverless endpoints."""
        return tuple(name for name in self.accounts if self.providers.capabilities(name).has_endpoints)

    def list_endpoints(self, account: str) -> Listing[Endpoint]:
        """Blocking; for lanes."""
        return serverless.of(self.desk, account).listing()

    def note_endpoints(self, listing: Listing[Endpoint]) -> None:
        """Money and alarms of a listing of endpoints into the ledger; for the ledger's lane."""
        if listing.items or listing.complete:
            self.ledger.observe(billed(listing), self.clock.now())
        for endpoint in listing.items:
            if (warning := endpoint.warning) is not None and self._alarmed.get(endpoint.key) != endpoint.kept_warm:
                self._alarmed[endpoint.key] = endpoint.kept_warm
                self._alarm_once(endpoint, f"endpoint {endpoint.name} {warning}")

    def _alarm_once(self, endpoint: Endpoint, text: str) -> None:
        last = self.ledger.events(limit=1, key=endpoint.key)
        if not last or last[0].text != text:
            self.desk.alarm(text, endpoint.key.account, endpoint.key, endpoint.name)

    def _ask_accounts(
        self, names: Sequence[str], timeout_s: float, ask: Callable[[str], Listing[T]]
    ) -> list[Listing[T]]:
        asked_at = self.clock.now()
        pending = {name: self.lanes["look", name].submit(ask, name) for name in names}
        wait(pending.values(), timeout=timeout_s)
        return [self.answer_of(name, future, asked_at, timeout_s) for name, future in pending.items()]

    def answer_of(self, account: str, future: Future[Listing[T]], asked_at: datetime, timeout_s: float) -> Listing[T]:
        """What came of a question to one account; a failure is an incomplete listing with its words."""
        if future.done() and not future.cancelled() and (error := future.exception()) is None:
            return future.result()
        problem = str(error) if future.done() else f"no answer within {timeout_s:g} s"
        return Listing(account, "", (), False, asked_at, self.clock.now(), problem)

    def refresh_spent(self) -> None:
        """Take today's spending from the ledger into the totals."""
        now = self.clock.now()
        self.store.apply_spent(self.ledger.spent(now.replace(hour=0, minute=0, second=0, microsecond=0), now), now)

    def prune(self) -> int:
        """Let go of what is old in the ledger; how many rows. A sandbox's clock decides over its own rows only."""
        return self.ledger.prune(self.accounts if isinstance(self.clock, ScaledClock) else None)

    # -- hosts ----------------------------------------------------------------------------------------------------

    def read_hosts(
        self, timeout_s: float, max_age_s: float = 0.0, keys: Iterable[InstanceKey] | None = None
    ) -> ChangeSet:
        """Ask the daemons of running managed instances whose last answer is older than that.

        Args:
            timeout_s: real seconds to wait for all of them.
            max_age_s: younger answers are good enough.
            keys: only these.
        """
        oldest = self.clock.now() - self.pace.span(max_age_s)
        records = self.store.records.values() if keys is None else [self.record(key) for key in keys]
        asked = [
            record
            for record in records
            if hostpoll.is_asked(record) and (record.status_at is None or record.status_at <= oldest)
        ]
        pending = [
            self.lanes["host", record.key].submit(hostpoll.read_host, self.desk, record, timeout_s)
            for record in asked
            if not self.lanes["host", record.key].busy
        ]
        change = self.drain()
        for future in wait(pending, timeout=timeout_s).done:
            change |= self.take_reading(future.result())
        return change | self.drain()

    def take_reading(self, reading: HostReading) -> ChangeSet:
        """Put a host's answer into store and ledger."""
        change = self.show_reading(reading)
        self.save_reading(reading)
        record = self.store.records.get(reading.key)
        if record is not None and reading.status is not None and self.learn(record):
            change |= self.store.apply_policies(self.ledger.policies(), self.ledger.adopted())
        return change

    def show_reading(self, reading: HostReading) -> ChangeSet:
        """Put a host's answer into the store only."""
        at, problem = reading.at, reading.problem
        return self.store.apply_status(reading.key, reading.status, at, problem, is_gone=reading.is_gone)

    def save_reading(self, reading: HostReading) -> None:
        """Keep an answer for commands that ask no host: now and then, and whenever the host enforces something else."""
        if reading.body is None or reading.status is None:
            return
        now = self.clock.monotonic()
        last, policy = self._status_saved.get(reading.key, (None, None))
        if last is None or now - last >= hostpoll.SAVE_EVERY_S or policy != reading.status.policy:
            self._status_saved[reading.key] = (now, reading.status.policy)
            self.ledger.save_status(reading.key, reading.body, reading.at)

    def learn(self, record: Record) -> bool:
        """Take over a lease that was extended elsewhere; whether there was one."""
        return hostpoll.learn(self.desk, record)

    # -- one instance, one operation --------------------------------------------------------------------------------

    def resolve(self, text: str) -> Record:
        """`account:id`, an unambiguous name, or an unambiguous prefix of the id.

        Raises:
            NotFound: none fits, or several do; candidates are listed.
        """
        return resolve(self.store.records.values(), text)

    def record(self, key: InstanceKey) -> Record:
        """The row of that key.

        Raises:
            NotFound: there is none.
        """
        record = self.store.records.get(key)
        if record is None:
            raise NotFound(f"{key} is not in the fleet.")
        return record

    def settle_until(
        self, op_id: str, timeout_s: float, on_step: Callable[[Operation], None] | None = None
    ) -> Operation:
        """Poll, settle and advance until that operation is over or the time is up.

        Args:
            op_id: the operation.
            timeout_s: real seconds. What is still open then goes on with the next session that looks.
            on_step: called with the operation, on this thread, each time it moved.

        Raises:
            NotFound: no such operation.
        """
        deadline, next_poll = self.clock.monotonic() + timeout_s, 0.0
        driver: Future[Operation] | None = None
        shown: Operation | None = None
        while True:
            self.drain()
            operation = self.ledger.operation(op_id)
            if operation is None:
                raise NotFound(f"There is no operation {op_id}.")
            if on_step is not None and _looks_other(operation, shown):
                on_step(operation)
            shown = operation
            now = self.clock.monotonic()
            if not operation.stage.is_open or now >= deadline:
                return operation
            if driver is not None and driver.done():
                _complain(driver, operation)
                driver = None
            if driver is None and self.actions.is_due(operation):
                driver = self.lanes["drive", op_id].submit(self.actions.advance, operation)
            if now >= next_poll:
                cadence_s = self.pace.real_seconds(self.store.cadence(operation.account))
                self.poll(min(cadence_s, deadline - now), [(operation.account, operation.region)])
                next_poll = self.clock.monotonic() + cadence_s
            self._wait_a_little(driver, min(LOOK_EVERY_S, max(0.0, deadline - self.clock.monotonic())))

    def drive(self, timeout_s: float) -> list[Operation]:
        """Do what is due for every open operation of these accounts (retries, launches under way); those that moved."""
        pending = [
            self.lanes["drive", operation.id].submit(self.actions.advance, operation)
            for operation in self.ledger.open_operations()
            if operation.account in self.providers and self.actions.is_due(operation)
        ]
        done = [future.result() for future in wait(pending, timeout=timeout_s).done if future.exception() is None]
        self.drain()
        return done

    def catch_up(self) -> ChangeSet:
        """Take in what other processes wrote since: operations, limits, adoptions."""
        change = self.store.apply_policies(self.ledger.policies(), self.ledger.adopted())
        known = [operation.id for operation in self.store.operations.values() if operation.stage.is_open]
        found = {operation.id: operation for operation in self.ledger.open_operations()}
        found |= {op_id: now for op_id in known if op_id not in found and (now := self.ledger.operation(op_id))}
        for operation in found.values():
            if operation.account in self.providers:
                change |= self.store.apply_operation(operation)
        return change

    def tidy(self, timeout_s: float) -> list[CleanUp]:
        """Take away what ended instances left, wherever that is due; what was done and what stands in the way.

        Child instances are not ended here (see `end_orphans`); a round only waits for them.
        """
        due = self.tidier.due()
        alone = {(o.record.key.account, o.record.key.region) for o in self.orphans()} if due else set()
        pending = [self.lanes["tidy", place[0]].submit(self.tidier.tidy, *place, place in alone) for place in due]
        done = wait(pending, timeout=timeout_s).done
        return [found for future in done if (found := future.result()) is not None]

    def orphans(self) -> list[Orphan]:
        """Child instances whose parent is proved to have ended."""
        return self.families.orphans(left_alone(self.store.records))

    def end_orphans(self) -> list[Operation]:
        """Ask for the ends of child instances whose parent has ended, as far as one round may."""
        operations = self.families.end(self.orphans(), self.actions.end)
        self.drain()
        return operations

    def drain(self) -> ChangeSet:
        """Put what came from lanes into the store: operations that moved, answers of hosts, pages of lists."""
        change = ChangeSet()
        with contextlib.suppress(Empty):
            while True:
                change |= self.store.apply_page(self._pages.get_nowait())
        with contextlib.suppress(Empty):
            while True:
                change |= self.store.apply_operation(self._inbox.get_nowait())
        with contextlib.suppress(Empty):
            while True:
                change |= self.show_reading(self._readings.get_nowait())
        return change

    # -- inside ---------------------------------------------------------------------------------------------------

    def _ask(self, account: str, region: str, pending: dict[Future[Any], tuple[str, str]]) -> ChangeSet:
        lane = self.lanes["read", account, region]
        if lane.busy:
            return self.store.apply_failure(account, region, "the last question is not answered yet", self.clock.now())
        if region == REGIONS:
            future: Future[Any] = lane.submit(self.regions_of, account)
        else:
            overdue = self.store.to_look_for(account, region, self.clock.now())
            future = lane.submit(self.list_instances, account, region, self._pages.put, overdue)
        pending[future] = (account, region)
        return ChangeSet()

    def _looked_for(self, listing: Listing[Instance], keys: Iterable[InstanceKey]) -> Listing[Instance]:
        provider = self.providers[listing.account]
        return with_gone(listing, keys, provider.is_gone) if isinstance(provider, LooksForOne) else listing

    def _dated(self, listing: Listing[Instance]) -> Listing[Instance]:
        """Where the cloud does not tell when an instance was made, the moment we asked for it."""
        tokens = {item.launch_token for item in listing.items if item.created_at is None and item.launch_token}
        times = self.ledger.launched_at(tokens) if tokens else {}
        if not times:
            return listing
        items = (
            replace(item, created_at=times[item.launch_token])
            if item.created_at is None and item.launch_token in times
            else item
            for item in listing.items
        )
        return replace(listing, items=tuple(items))

    def _answered(self, account: str, region: str, future: Future[Any]) -> ChangeSet:
        error = future.exception()
        if error is None:
            return self.absorb(future.result())
        if not isinstance(error, GpudashError):
            log.error("listing %s %s failed", account, region, exc_info=error)
        told = error if isinstance(error, GpudashError) else f"unexpected: {error!r}"
        return self.store.apply_failure(account, region, told, self.clock.now())

    def _operation_moved(self, operation: Operation) -> None:
        self._inbox.put(operation)
        if threading.get_ident() == self._thread:
            self.drain()

    def _host_changed(self, key: InstanceKey) -> None:
        if self.on_host_change is not None:
            self.on_host_change(key)

    def _wait_a_little(self, driver: Future[Operation] | None, seconds: float) -> None:
        if driver is None:
            self.clock.sleep(seconds)
        else:
            wait([driver], timeout=seconds)


def choose_clock(config: Config, accounts: Iterable[str]) -> Clock:
    """The sandbox's own clock where nothing but sandboxes is watched; its day may pass in minutes."""
    kinds = {config.accounts[name].provider for name in accounts if name in config.accounts}
    return ScaledClock(paths.sandbox_dir() / "clock.json") if kinds == {"sandbox"} else SystemClock()


def cadence_of(config: Config, cloud_s: float) -> float:
    """Real seconds between two listings: the settings' wish, else what suits the cloud."""
    wish = config.defaults.refresh
    return wish.total_seconds() if wish is not None else cloud_s


def expect(store: FleetStore, config: Config, account: str, region: str, capabilities: Capabilities) -> None:
    """Tell the store of a lane and its rhythm."""
    cadence_s = cadence_of(config, capabilities.cadence_s)
    store.expect(
        account,
        region,
        cadence_s=cadence_s,
        lists_terminated=capabilities.lists_terminated,
        cycle_s=max(cadence_s, capabilities.cadence_s),
    )


def _no_hosts() -> Hosts:
    raise RuntimeError("the session is not open yet")


def _looks_other(operation: Operation, shown: Operation | None) -> bool:
    return shown is None or (operation.stage, operation.detail, operation.steps) != (
        shown.stage,
        shown.detail,
        shown.steps,
    )


def _complain(driver: Future[Operation], operation: Operation) -> None:
    if (error := driver.exception()) is not None:
        log.error("%s of %s went wrong", operation.verb, operation.name, exc_info=error)
        raise error
