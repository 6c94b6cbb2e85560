"""The dashboard's way in: a session behind an event loop that never waits for a network or a disk.

    async with Fleet(session) as fleet:
        stop = fleet.subscribe(lambda change: ...)
        operation = await fleet.end(key, EndAction.STOP)

All methods and listeners run on the loop, and only the loop touches the store. Clouds, hosts and ledger are asked in
lanes; their answers come back to the loop, are merged, and go out as change sets.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gpudash.errors import GpudashError, RateLimited
from gpudash.fleet import hostpoll, tunnels
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.daemons import client
from gpudash.fleet.endpoints import CADENCE_S as ENDPOINTS_S
from gpudash.fleet.families import left_alone
from gpudash.fleet.hostpoll import HostReading
from gpudash.fleet.lanes import Lane
from gpudash.fleet.pace import backoff_s
from gpudash.fleet.record import ENDING_VERBS, Record, is_reachable
from gpudash.fleet.restoring import Restorer
from gpudash.fleet.serverless import VERBS as SERVERLESS_VERBS
from gpudash.fleet.session import REGIONS, Session
from gpudash.fleet.spending import Spending, budget_notes, budgets_of, months, report
from gpudash.hosts.sshcmd import ssh_argv
from gpudash.model.capability import Verb
from gpudash.model.endpoint import SERVERLESS, Bounds, Endpoint
from gpudash.model.event import Event
from gpudash.model.history import History
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.money import Interval
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction, Policy
from gpudash.model.tunnel import Tunnel
from gpudash.providers.base import Leftover

if TYPE_CHECKING:
    from gpudash.hosts.client import StatusClient

log = logging.getLogger(__name__)

Listener = Callable[[ChangeSet], None]

HOLD_S = 5.0
"""How long an end is held back, so that it can be undone."""
STEP_S = 0.25
"""How often the loop looks which operation or host is due."""
TICK_S = 1.0
SYNC_S = 2.0
"""How often the ledger is looked at for what other processes did."""
SPENT_S = 10.0
BALANCE_S = 300.0
"""How often an account that is paid in advance is asked what is left."""
PRUNE_FIRST_S, PRUNE_S = 300.0, 6 * 3600.0
"""When the ledger lets go of what is old: well after the start, and a few times a day."""
ERROR_FIRST_S, ERROR_MOST_S = 2.0, 120.0
"""Waits between questions to a cloud that fails; never shorter than its cadence."""
OFFERS_S = 30.0
PEEK_S = 5.0
"""How long a page about one instance waits for a connection to its host."""
SLICE = 50
"""Rows that are merged at a time; some thousand at once would hold up a key."""
QUIT_S = 1.5
"""How long quitting waits for requests that are on their way."""


class Fleet:
    """Async context manager; the session is opened and closed by whoever opened it."""

    def __init__(self, session: Session) -> None:
        """Nothing runs before the context is entered."""
        self.session = session
        self.store = session.store
        self.clock = session.clock
        self._lanes = session.lanes
        self._listeners: list[Listener] = []
        self._wake: dict[tuple[str, str], asyncio.Event] = {}
        self._in_flight: dict[str, Future[Any]] = {}
        self._asked_at: dict[InstanceKey, float] = {}
        self._wanted: set[InstanceKey] = set()
        self._restored: set[InstanceKey] = set()
        self._leaving = False
        self._restorer = Restorer(session.clock)

    async def __aenter__(self) -> Fleet:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self.session.desk.on_operation = self._operation_moved
        self.session.desk.on_reading = functools.partial(self._from_thread, self._take_reading)
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._all = [self._tasks.create_task(self._watch_account(account)) for account in self.session.accounts]
        for every_s, work in ((STEP_S, self._step), (TICK_S, self._tick), (SYNC_S, self._sync), (SPENT_S, self._spent)):
            self._all.append(self._tasks.create_task(_again_and_again(every_s, work)))
        for account in self.session.prepaid_accounts:
            self._all.append(
                self._tasks.create_task(_again_and_again(BALANCE_S, functools.partial(self._ask_balance, account)))
            )
        for account in self.session.serverless_accounts:
            self._all.append(self._tasks.create_task(self._watch_endpoints(account)))
        self._all.append(self._tasks.create_task(_again_and_again(PRUNE_S, self._prune, first_s=PRUNE_FIRST_S)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving = True
        for task in self._all:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        self._listeners.clear()
        await self._send_what_is_held()

    # -- for screens ----------------------------------------------------------------------------------------------

    def subscribe(self, fn: Listener) -> Callable[[], None]:
        """Call `fn` on the loop with every change set, until the returned function is called."""
        self._listeners.append(fn)
        return lambda: self._listeners.remove(fn) if fn in self._listeners else None

    def refresh(self) -> None:
        """Ask all clouds and hosts again now, whatever their back-off says."""
        for event in self._wake.values():
            event.set()
        self._asked_at.clear()

    def reason_against(self, verb: Verb, key: InstanceKey | None) -> str | None:
        """Why that verb cannot be done there now, or None. Instant. Without a key: whether anything can be launched."""
        if key is not None:
            return self.session.actions.reason_against(verb, self.store.records.get(key))
        reasons = [self.session.actions.reason_against(verb, None, account) for account in self.session.accounts]
        return None if None in reasons else (reasons[0] if reasons else "No account is in use.")

    def reason_against_endpoint(self, verb: Verb, endpoint: Endpoint) -> str | None:
        """Why that verb cannot be done to an endpoint now, or None. Instant."""
        return self.session.actions.reason_against(verb, None, endpoint.key.account)

    def ssh_argv(self, key: InstanceKey) -> list[str]:
        """The command line of a shell on the instance.

        Raises:
            NotFound: no such instance.
            LinkDown: its cloud has told no address.
        """
        return ssh_argv(self.session.as_reached(key), state_dir=self.session.state_dir)

    # -- verbs ----------------------------------------------------------------------------------------------------

    async def launch(self, order: LaunchOrder) -> Operation:
        """The intent is on disk when this returns; the rest comes as change sets. Raises what `launch.intend` does."""
        return await self._intend(self.session.actions.intend_launch, order)

    async def end(self, key: InstanceKey, action: EndAction, hold_s: float = HOLD_S) -> Operation:
        """Stop, hibernate or terminate, held back so that `cancel` can take it back."""
        return await self._intend(self.session.actions.intend_end, key, action, hold_s)

    async def cancel(self, op_id: str) -> Operation:
        """Take back an end that is still held."""
        return await self._ledger.call(self.session.actions.cancel, op_id)

    async def start(self, key: InstanceKey) -> Operation:
        """Bring a stopped instance back."""
        return await self._intend(self.session.actions.intend_start, key)

    async def restart(self, key: InstanceKey) -> Operation:
        """Restart a running instance in place."""
        return await self._intend(self.session.actions.intend_restart, key)

    async def extend(self, key: InstanceKey, until: datetime) -> Operation:
        """Move the lease deadline."""
        return await self._intend(self.session.actions.intend_extend, key, until)

    async def keep_awake(self, key: InstanceKey, for_: timedelta) -> Operation:
        """Hold off the idle action that long."""
        return await self._intend(self.session.actions.intend_keep_awake, key, for_)

    async def rename(self, key: InstanceKey, name: str) -> Operation:
        """Give it another name at its cloud."""
        return await self._intend(self.session.actions.intend_rename, key, name)

    async def push(self, key: InstanceKey) -> Operation:
        """Install or renew the daemon and prove it."""
        return await self._intend(self.session.actions.intend_push, key)

    async def adopt(self, key: InstanceKey, policy: Policy | None = None) -> Operation:
        """Take an instance under management."""
        return await self._intend(self.session.actions.intend_adopt, key, policy)

    async def scale(self, endpoint: Endpoint, bounds: Bounds) -> Operation:
        """Change worker bounds or idle timeout of a serverless endpoint. Raises what `serverless.intend_scale` does."""
        return await self._intend(self.session.actions.intend_scale, endpoint, bounds)

    async def purge(self, endpoint: Endpoint) -> Operation:
        """Take back all jobs that wait in an endpoint's queue."""
        return await self._intend(self.session.actions.intend_purge, endpoint)

    def dismiss(self, op_id: str) -> None:
        """A person has seen that an operation failed."""
        self._publish(self.store.dismiss(op_id))

    # -- questions ------------------------------------------------------------------------------------------------

    async def offers(self, wanted: OfferFilter) -> list[Listing[Offer]]:
        """What can be launched, one listing an account; failures are incomplete listings with a problem."""
        names = [name for name in self.session.accounts if wanted.account in (None, name)]
        return await self._ask_accounts(names, lambda name: self.session.providers[name].list_offers(wanted))

    async def leftovers(self) -> list[Listing[Leftover]]:
        """What bills without a running instance, one listing an account."""
        names = list(self.session.accounts)
        return await self._ask_accounts(names, lambda name: self.session.providers[name].list_leftovers())

    async def events(self, limit: int = 200, key: InstanceKey | None = None) -> list[Event]:
        """The ledger's diary, newest first."""
        return await self._ledger.call(self.session.ledger.events, limit, key)

    async def spending(self, since: datetime, until: datetime) -> Spending:
        """What was spent in that span, and the month so far."""
        now = self.clock.now()
        return await self._ledger.call(report, self.session.ledger, self.session.config, since, until, now)

    async def operations(self, key: InstanceKey) -> list[Operation]:
        """What was asked of one instance, newest first."""
        return await self._ledger.call(self.session.ledger.operations_of, key)

    async def history(self, key: InstanceKey) -> History:
        """Every signal of one host, minute by minute.

        Raises:
            HostError: no connection, no daemon, or one that is too old to remember.
        """
        record = self.session.record(key)
        return await self._peek(key).call(lambda: self._daemon(record).history())

    async def host_log(self, key: InstanceKey) -> tuple[str, ...]:
        """The last lines of the daemon's log, oldest first.

        Raises:
            HostError: as for `history`.
        """
        record = self.session.record(key)
        return await self._peek(key).call(lambda: self._daemon(record).log())

    async def intervals(self, key: InstanceKey) -> list[Interval]:
        """Every priced stretch of one instance's life, oldest first."""
        return await self._ledger.call(self.session.ledger.intervals, key)

    # -- tunnels --------------------------------------------------------------------------------------------------

    async def open_tunnel(self, key: InstanceKey, remote: int, local: int | None = None) -> Tunnel:
        """Forward a port; it comes back by itself when the dashboard is reopened.

        Raises:
            Refused: the instance does not run.
            PortBusy: that local port is taken.
        """
        record = self.session.record(key)
        tunnel = await self._work(key).call(tunnels.open_one, self.session, record, remote, local)
        await self._show_tunnels()
        return tunnel

    async def close_tunnel(self, key: InstanceKey, remote: int) -> None:
        """End a forward for good, whichever process holds it."""
        await self._work(key).call(tunnels.close_some, self.session, key, [remote])
        await self._show_tunnels()

    async def toggle_tunnels(self, key: InstanceKey) -> bool:
        """All of the instance's tunnels off if any is open, else on; whether they are on now."""
        on = await self._work(key).call(tunnels.toggle, self.session, self.session.record(key))
        await self._show_tunnels()
        return on

    # -- clouds ---------------------------------------------------------------------------------------------------

    async def _watch_account(self, account: str) -> None:
        regions: tuple[str, ...] = ()

        async def ask() -> None:
            nonlocal regions
            regions = await self._lanes["read", account, REGIONS].call(self.session.regions_of, account)
            self.session.note_regions(account, regions)
            self._publish(ChangeSet(health=True))
            for region in regions:  # at once: only a failure is a reason to wait
                self._all.append(self._tasks.create_task(self._watch_region(account, region)))

        while not regions:
            await self._patiently(account, REGIONS, ask)

    async def _watch_region(self, account: str, region: str) -> None:
        lane = self._lanes["read", account, region]

        def show(page: Listing[Instance]) -> None:
            self._from_thread(self._page_came, page)

        async def ask() -> None:
            overdue = self.store.to_look_for(account, region, self.clock.now())
            await self._absorb(await lane.call(self.session.list_instances, account, region, show, overdue))

        while True:
            await self._patiently(account, region, ask)

    async def _patiently(self, account: str, region: str, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask once, then wait as long as the answer suggests, or until a person wants it now."""
        wake = self._wake.setdefault((account, region), asyncio.Event())
        wake.clear()
        cadence_s = self.session.pace.real_seconds(self.store.cadence(account))
        began = self._loop.time()
        try:
            await ask()
            wait_s = max(0.05, cadence_s - (self._loop.time() - began))
        except Exception as exc:  # a lane goes on whatever its cloud does; the health says what happened
            wait_s = self._failed(account, region, exc, cadence_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), wait_s)

    def _failed(self, account: str, region: str, error: Exception, cadence_s: float) -> float:
        if not isinstance(error, GpudashError):
            log.error("asking %s %s failed", account, region, exc_info=error)
        health = self.store.health.get((account, region))
        failures = 1 + (health.failures if health is not None else 0)
        wait_s = max(cadence_s, backoff_s(failures, first_s=ERROR_FIRST_S, most_s=ERROR_MOST_S))
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            wait_s = max(wait_s, error.retry_after_s)
        told = error if isinstance(error, GpudashError) else f"unexpected: {error!r}"
        now = self.clock.now()
        self._publish(self.store.apply_failure(account, region, told, now, now + self.session.pace.span(wait_s)))
        return wait_s

    async def _ask_balance(self, account: str) -> None:
        """A balance that does not come is no trouble of its own: the old one stays, and listings tell of the cloud."""
        with contextlib.suppress(GpudashError):
            balance = await self._lanes["balance", account].call(self.session.balance_of, account)
            self._publish(self.store.apply_balance(balance))

    async def _watch_endpoints(self, account: str) -> None:
        wake = self._wake.setdefault((account, SERVERLESS), asyncio.Event())
        while True:
            wake.clear()
            try:
                listing = await self._lanes[SERVERLESS, account].call(self.session.list_endpoints, account)
                await self._ledger.call(self.session.note_endpoints, listing)
                self._publish(self.store.apply_endpoints(listing))
            except Exception as exc:  # the watch goes on whatever its cloud does; the screen says what happened
                if not isinstance(exc, GpudashError):
                    log.error("asking %s for endpoints failed", account, exc_info=exc)
                self._publish(self.store.fail_endpoints(account, str(exc)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), ENDPOINTS_S)

    async def _absorb(self, listing: Listing[Any]) -> None:
        weight = self.store.weigh(listing)
        await self._show_rows(listing)  # so that the merge itself finds them confirmed
        change = self.store.apply_listing(listing)
        self._publish(change)
        kept, missing = self.store.kept(listing), self.store.missing(listing)
        news = await self._ledger.call(self.session.keeper.keep, listing, kept, missing, weight, change.removed)
        for key in change.removed:
            self._lanes["local", "links"].submit(self.session.let_go, [key])
        accruals = list((news.accruals or {}).items())
        for start in range(0, len(accruals), SLICE):
            self._publish(self.store.apply_accruals(dict(accruals[start : start + SLICE])))
            await asyncio.sleep(0)
        self._publish(self.session.show(replace(news, accruals=None)))

    def _page_came(self, page: Listing[Instance]) -> None:
        if not self._leaving:
            self._tasks.create_task(self._show_rows(page))

    async def _show_rows(self, listing: Listing[Any]) -> None:
        """Show what a long list, or a page of one, has: in slices, between which keys are answered."""
        for start in range(0, len(listing.items), SLICE):
            part = replace(listing, items=listing.items[start : start + SLICE], complete=False)
            self._publish(self.store.apply_page(part))
            await asyncio.sleep(0)

    async def _ask_accounts(self, names: list[str], ask: Callable[[str], Listing[Any]]) -> list[Listing[Any]]:
        asked_at = self.clock.now()
        futures = {name: self._lanes["look", name].submit(ask, name) for name in names}
        await _all_done(futures.values(), OFFERS_S)
        return [self.session.answer_of(name, future, asked_at, OFFERS_S) for name, future in futures.items()]

    # -- what is due ----------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        for operation in list(self.store.operations.values()):
            self._drive(operation)
        for account, region in self.session.tidier.due():
            lane = self._lanes["tidy", account]
            if not lane.busy:
                lane.submit(self._tidy, account, region, left_alone(self.store.records))
        now = self.clock.monotonic()
        for record in list(self.store.records.values()):
            if is_reachable(record):
                self._ask_host(record, now)
                self._restore(record)
            else:
                self._restored.discard(record.key)

    def _tidy(self, account: str, region: str, alone: list[Record]) -> None:
        """In a lane: write the intents to end child instances there, which `_drive` sends; then one round of clean-up."""
        session = self.session
        here = [record for record in alone if (record.key.account, record.key.region) == (account, region)]
        orphans = session.families.orphans(here)
        session.families.end(orphans, session.actions.intend_end)
        session.tidier.tidy(account, region, bool(orphans))

    def _drive(self, operation: Operation) -> None:
        """Let an operation go on in the lane it belongs to, unless that lane is busy with it or with another."""
        if operation.account not in self.session.providers or not self.session.actions.looks_due(operation):
            return
        flight = self._in_flight.get(operation.id)
        if flight is not None and not flight.done():
            return
        on_host = self.session.actions.needs_host(operation) and operation.key is not None
        lane = self._work(operation.key) if on_host and operation.key else self._lanes["write", operation.account]
        if lane.busy:
            return
        self._in_flight[operation.id] = future = lane.submit(self.session.actions.advance, operation)
        future.add_done_callback(lambda done: _log_failure(done, operation))

    def _ask_host(self, record: Record, now: float) -> None:
        if not hostpoll.is_asked(record, linked=self._is_linked(record.key)):
            return
        last = self._asked_at.get(record.key)
        lane = self._lanes["host", record.key]
        if lane.busy or (last is not None and now - last < hostpoll.every_s(record)):
            return
        self._asked_at[record.key] = now
        lane.submit(hostpoll.read_host, self.session.desk, record).add_done_callback(self._host_answered)

    def _host_answered(self, future: Future[HostReading]) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        self._from_thread(self._take_reading, future.result())

    def _take_reading(self, reading: HostReading) -> None:
        self._publish(self.session.show_reading(reading))
        record = self.store.records.get(reading.key)
        if record is None:
            return
        if reading.body is not None:
            self._ledger.submit(self._keep_reading, reading, record)
        if self._restorer.is_due(record, reading) and self.reason_against(Verb.PUSH, record.key) is None:
            self._ledger.submit(self._put_back, record)

    def _put_back(self, record: Record) -> None:
        name = record.instance.name
        try:
            operation = self.session.actions.intend_push(record.key)
        except GpudashError as exc:
            log.info("statusd of %s is gone and was not put back: %s", name, exc)
            return
        self.session.desk.alarm(f"statusd of {name} is gone; putting it back", record.key.account, record.key, name)
        self._from_thread(self._show_operation, operation)

    def _keep_reading(self, reading: HostReading, record: Record) -> None:
        self.session.save_reading(reading)
        if self.session.learn(record):
            policies, adopted = self.session.ledger.policies(), self.session.ledger.adopted()
            self._from_thread(lambda: self._publish(self.store.apply_policies(policies, adopted)))

    def _restore(self, record: Record) -> None:
        if record.key in self._restored:
            return
        self._restored.add(record.key)
        if record.key in self._wanted:
            self._work(record.key).submit(tunnels.restore, self.session, record)

    # -- now and then ---------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        self._publish(self.store.tick(self.clock.now()))
        await self._show_tunnels()

    async def _sync(self) -> None:
        """What other processes did: their operations, policies and tunnels."""
        known = [operation for operation in self.store.operations.values() if operation.stage.is_open]
        first = not self._wanted
        operations, policies, adopted, wanted = await self._ledger.call(self._read_ledger, known)
        change = self.store.apply_policies(policies, adopted)
        for operation in operations:
            change |= self.store.apply_operation(operation)
        self._wanted = wanted
        if first and wanted:
            self._restored -= wanted
        self._publish(change)

    def _read_ledger(
        self, known: list[Operation]
    ) -> tuple[list[Operation], dict[InstanceKey, Policy], set[InstanceKey], set[InstanceKey]]:
        ledger = self.session.ledger
        operations = {op.id: op for op in ledger.open_operations() if op.account in self.session.providers}
        for operation in known:
            if operation.id not in operations and (now := ledger.operation(operation.id)) is not None:
                operations[now.id] = now
        wanted = {tunnel.key for tunnel in ledger.wanted_tunnels()}
        return list(operations.values()), ledger.policies(), ledger.adopted(), wanted

    async def _spent(self) -> None:
        now = self.clock.now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        self.store.apply_spent(await self._ledger.call(self.session.ledger.spent, midnight, now), now)
        if budgets_of(self.session.config):
            so_far = await self._ledger.call(months, self.session.ledger, self.session.config, now)
            self._publish(self.store.apply_notes("budget", budget_notes(so_far)))

    async def _prune(self) -> None:
        await self._ledger.call(self.session.prune)

    async def _show_tunnels(self) -> None:
        lane = self._lanes["local", "tunnels"]
        if not lane.busy:
            self._publish(self.store.apply_tunnels(await lane.call(tunnels.listed, self.session.tunnels_dir)))

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _ledger(self) -> Lane:
        return self._lanes["ledger"]

    def _work(self, key: InstanceKey) -> Lane:
        return self._lanes["work", key]

    def _peek(self, key: InstanceKey) -> Lane:
        """For what a person looks at now and then; the daemon's status is asked for in a lane of its own."""
        return self._lanes["peek", key]

    def _daemon(self, record: Record) -> StatusClient:
        return client(self.session.desk, record, PEEK_S)

    def _is_linked(self, key: InstanceKey) -> bool:
        return self.session.has_hosts and self.session.hosts.peek(key) is not None

    async def _intend(self, intend: Callable[..., Operation], *args: object) -> Operation:
        """Check and write the intent, show it at once, and let it go its way."""
        operation = await self._ledger.call(intend, *args)
        self._publish(self.store.apply_operation(operation))
        self._drive(operation)
        return operation

    def _operation_moved(self, operation: Operation) -> None:
        self._from_thread(self._show_operation, operation)

    def _show_operation(self, operation: Operation) -> None:
        self._publish(self.store.apply_operation(operation))
        if operation.verb in SERVERLESS_VERBS and not operation.stage.is_open:
            self._wake[operation.account, SERVERLESS].set()
        if operation.key is not None and not operation.stage.is_open:
            self._asked_at.pop(operation.key, None)  # whatever was done, the host tells best what holds now
        self._drive(operation)

    def _publish(self, change: ChangeSet) -> None:
        if change:
            for listener in list(self._listeners):
                listener(change)

    def _from_thread(self, fn: Callable[..., None], *args: Any) -> None:
        """Run `fn` on the loop as whoever entered the fleet: listeners lean on that context, and a lane has none."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(fn, *args, context=self._context)

    async def _send_what_is_held(self) -> None:
        """Quitting does not undo a stop that was held back: it goes out now, and is waited for a little."""
        held = [
            operation
            for operation in self.store.operations.values()
            if operation.stage is Stage.INTENDED and operation.verb in ENDING_VERBS
        ]
        flights = [
            self._lanes["write", operation.account].submit(self.session.actions.send_now, operation)
            for operation in held
            if operation.id in self.session.desk.fresh
        ]
        flights += [flight for flight in self._in_flight.values() if not flight.done()]
        await _all_done(flights, QUIT_S)


async def _again_and_again(every_s: float, work: Callable[[], Coroutine[Any, Any, None]], first_s: float = 0.0) -> None:
    await asyncio.sleep(first_s)
    while True:
        try:
            await work()
        except Exception:  # one bad round must not end the rounds
            log.exception("%s failed", getattr(work, "__name__", "a round"))
        await asyncio.sleep(every_s)


async def _all_done(futures: Iterable[Future[Any]], seconds: float) -> None:
    """Wait until all are done or the time is up; their outcomes, errors too, are for the caller to read."""
    waiting = [asyncio.wrap_future(future) for future in futures]
    for one in waiting:
        one.add_done_callback(lambda done: None if done.cancelled() else done.exception() and None)
    if waiting:
        await asyncio.wait(waiting, timeout=seconds)


def _log_failure(done: Future[Any], operation: Operation) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("%s of %s went wrong", operation.verb, operation.name, exc_info=error)
