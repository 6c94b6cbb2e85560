"""Everything that changes the world, in one place: intent on disk, call, read back, outcome.

| verb                              | module       | proved by                                                     |
|-----------------------------------|--------------|---------------------------------------------------------------|
| launch                            | `launch`     | the policy read back from its own daemon                      |
| stop, hibernate, terminate, start | `endings`    | the cloud's listing                                           |
| bid                               | `bids`       | the cloud's own answer                                        |
| rename                            | `renames`    | the cloud's own answer                                        |
| answer to a higher price          | `increases`  | the cloud's own answer                                        |
| restart                           | `restarts`   | the listing: it went down and runs again                      |
| extend, keepalive                 | `leases`     | the host's own answer                                         |
| push, adopt                       | `guarding`   | the policy read back; the ledger                              |
| scale, purge, submit, cancel      | `serverless` | endpoint, queue or job read back                              |

Each verb has two halves: `intend_…` checks and writes the intent (disk only, quick), `advance` does the next due thing
(may block on cloud or host). The methods without a prefix do both. What is refused raises before anything is written;
what cloud or host answers comes back as the operation's stage and `detail`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from gpudash.fleet import (
    bids,
    endings,
    guarding,
    increases,
    launch,
    leases,
    permissions,
    renames,
    restarts,
    serverless,
    steps,
)
from gpudash.fleet.desk import SENT_AT, Desk
from gpudash.fleet.pace import backoff_s
from gpudash.fleet.record import ENDING_VERBS, Record
from gpudash.fleet.settle import Evidence, settle
from gpudash.model.capability import LaunchOption, Verb
from gpudash.model.endpoint import Bounds, Endpoint
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder, Offer
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction, Policy

log = logging.getLogger(__name__)

LAUNCH_GRACE_CYCLES = 6
"""How long a cloud may hide what it has just made."""
EFFECT_CYCLES = 3
"""How long an accepted end may show no effect before it is asked for again."""
LEAVING_GRACE_S = 300.0
"""How long an instance may be on its way down before the end is asked for again."""
START_GRACE_S = 60.0
"""How long a start may show no effect before it has failed."""
LATE_LAUNCHES = 50
"""How many of the newest operations are searched for a launch that was given up and then appears."""


_COMING_BACK = frozenset({Verb.START, Verb.RESTART})


def _advance_start(desk: Desk, operation: Operation) -> Operation:
    if _is_rearming(operation):
        return guarding.advance_rearm(desk, operation)
    is_start = operation.verb is Verb.START
    return endings.advance_start(desk, operation) if is_start else restarts.advance_restart(desk, operation)


def _is_rearming(operation: Operation) -> bool:
    return operation.verb in _COMING_BACK and steps.is_done(operation.steps, "running")


_ADVANCE: dict[Verb, Callable[[Desk, Operation], Operation]] = {
    Verb.LAUNCH: launch.advance,
    **dict.fromkeys(_COMING_BACK, _advance_start),
    Verb.BID: bids.advance_bid,
    Verb.RENAME: renames.advance_rename,
    Verb.INCREASE: increases.advance_increase,
    Verb.EXTEND: leases.advance_extend,
    Verb.KEEPALIVE: leases.advance_keep_awake,
    Verb.PUSH: guarding.advance_push,
    Verb.ADOPT: guarding.advance_adopt,
    **dict.fromkeys(ENDING_VERBS, endings.advance_end),
    **dict.fromkeys(serverless.VERBS, serverless.advance),
}
_CLOUD = ENDING_VERBS | _COMING_BACK
_ON_HOST = frozenset({Verb.EXTEND, Verb.KEEPALIVE, Verb.PUSH})


class Actions:
    """The verbs of one session. Blocking, and safe to call from several threads."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._strangers: set[str] = set()
        self._twins: set[str] = set()

    # -- asking -------------------------------------------------------------------------------------------------

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
        """A complete order from an offer and the defaults; see `launch.plan`. Asks nobody."""
        return launch.plan(
            self.desk,
            offer,
            name=name,
            lease=lease,
            idle_timeout=idle_timeout,
            idle_action=idle_action,
            max_price=max_price,
            service_port=service_port,
            health_path=health_path,
            recipe=recipe,
            options=options,
            others=others,
        )

    def launch_options(self, account: str) -> tuple[LaunchOption, ...]:
        """What a launch at that account's cloud can be told beside type, region and limits."""
        return self.desk.accounts.capabilities(account).launch_options

    def reason_against(self, verb: Verb, record: Record | None, account: str | None = None) -> str | None:
        """Why that verb cannot be done there now, or None. Pure and instant. `account` for a launch."""
        return permissions.reason_against(self.desk, verb, record, account)

    # -- intents: checked and on disk, nothing sent ---------------------------------------------------------------

    def intend_launch(self, order: LaunchOrder) -> Operation:
        """See `launch.intend`."""
        return launch.intend(self.desk, order)

    def intend_end(self, key: InstanceKey, action: EndAction, hold_s: float = 0.0) -> Operation:
        """See `endings.intend_end`."""
        return endings.intend_end(self.desk, key, action, hold_s)

    def intend_start(self, key: InstanceKey) -> Operation:
        """See `endings.intend_start`."""
        return endings.intend_start(self.desk, key)

    def intend_bid(self, key: InstanceKey, usd_per_hour: Decimal) -> Operation:
        """See `bids.intend_bid`."""
        return bids.intend_bid(self.desk, key, usd_per_hour)

    def intend_rename(self, key: InstanceKey, name: str) -> Operation:
        """See `renames.intend_rename`."""
        return renames.intend_rename(self.desk, key, name)

    def intend_restart(self, key: InstanceKey) -> Operation:
        """See `restarts.intend_restart`."""
        return restarts.intend_restart(self.desk, key)

    def intend_extend(self, key: InstanceKey, until: datetime) -> Operation:
        """See `leases.intend_extend`."""
        return leases.intend_extend(self.desk, key, until)

    def intend_keep_awake(self, key: InstanceKey, for_: timedelta) -> Operation:
        """See `leases.intend_keep_awake`."""
        return leases.intend_keep_awake(self.desk, key, for_)

    def intend_push(self, key: InstanceKey) -> Operation:
        """See `guarding.intend_push`."""
        return guarding.intend_push(self.desk, key)

    def intend_adopt(self, key: InstanceKey, policy: Policy | None = None) -> Operation:
        """See `guarding.intend_adopt`."""
        return guarding.intend_adopt(self.desk, key, policy)

    def intend_scale(self, endpoint: Endpoint, bounds: Bounds) -> Operation:
        """See `serverless.intend_scale`."""
        return serverless.intend_scale(self.desk, endpoint, bounds)

    def intend_purge(self, endpoint: Endpoint) -> Operation:
        """See `serverless.intend_purge`."""
        return serverless.intend_purge(self.desk, endpoint)

    # -- both halves at once --------------------------------------------------------------------------------------

    def launch(self, order: LaunchOrder) -> Operation:
        """Ask for one instance. Never asked twice; a lost answer is AMBIGUOUS until listings tell.

        A definite no for lack of capacity is followed by the order's next offer, until one is taken or none is left.
        """
        operation = self.advance(self.intend_launch(order))
        for _ in order.alternatives:
            if operation.stage is Stage.INTENDED:
                operation = self.advance(operation)
        return operation

    def end(self, key: InstanceKey, action: EndAction, hold_s: float = 0.0) -> Operation:
        """Stop, hibernate or terminate. With `hold_s` it is sent by a later `advance`, unless cancelled before."""
        return self.advance(self.intend_end(key, action, hold_s))

    def start(self, key: InstanceKey) -> Operation:
        """Bring a stopped or hibernated instance back."""
        return self.advance(self.intend_start(key))

    def bid(self, key: InstanceKey, usd_per_hour: Decimal) -> Operation:
        """Offer another price for a spot instance."""
        return self.advance(self.intend_bid(key, usd_per_hour))

    def rename(self, key: InstanceKey, name: str) -> Operation:
        """Give an instance another name."""
        return self.advance(self.intend_rename(key, name))

    def answer_increase(self, key: InstanceKey, *, accept: bool) -> Operation:
        """Accept or reject the higher price that its host asks for."""
        return self.advance(increases.intend_increase(self.desk, key, accept=accept))

    def restart(self, key: InstanceKey) -> Operation:
        """Restart a running instance in place. Never asked twice."""
        return self.advance(self.intend_restart(key))

    def extend(self, key: InstanceKey, until: datetime) -> Operation:
        """Move the lease deadline. The same moment twice changes nothing."""
        return self.advance(self.intend_extend(key, until))

    def keep_awake(self, key: InstanceKey, for_: timedelta) -> Operation:
        """Hold off the idle action that long."""
        return self.advance(self.intend_keep_awake(key, for_))

    def push(self, key: InstanceKey) -> Operation:
        """Install or renew the daemon and prove that it enforces the policy."""
        return self.advance(self.intend_push(key))

    def adopt(self, key: InstanceKey, policy: Policy | None = None) -> Operation:
        """Take an instance under management, with the default limits where it has none."""
        return self.advance(self.intend_adopt(key, policy))

    def scale(self, endpoint: Endpoint, bounds: Bounds) -> Operation:
        """Change worker bounds or idle timeout of a serverless endpoint."""
        return self.advance(self.intend_scale(endpoint, bounds))

    def purge(self, endpoint: Endpoint) -> Operation:
        """Take back all jobs that wait in an endpoint's queue."""
        return self.advance(self.intend_purge(endpoint))

    def submit(self, endpoint: Endpoint, given: object) -> Operation:
        """Queue one job, once. Its id is the operation's parameter `serverless.JOB`."""
        return self.advance(serverless.intend_submit(self.desk, endpoint, given))

    def cancel_job(self, endpoint: Endpoint, job_id: str) -> Operation:
        """Take one job back."""
        return self.advance(serverless.intend_cancel(self.desk, endpoint, job_id))

    def cancel(self, op_id: str) -> Operation:
        """Take back an end that is still held."""
        return endings.cancel(self.desk, op_id)

    def send_now(self, operation: Operation) -> Operation:
        """An end that is still held goes out without waiting longer."""
        with self.desk.hold(operation.id) as mine:
            newest = self.desk.ledger.operation(operation.id)
            if mine and newest is not None and newest.stage is Stage.INTENDED:
                self.desk.save(newest, next_try_at=None)
        return self.advance(self.desk.ledger.operation(operation.id) or operation)

    # -- carrying on ----------------------------------------------------------------------------------------------

    def is_due(self, operation: Operation) -> bool:
        """There is something to do for it now that `advance` would do."""
        return self.looks_due(operation) and not (
            operation.stage is Stage.INTENDED and self.desk.is_anothers(operation)
        )

    def looks_due(self, operation: Operation) -> bool:
        """The same as far as the operation itself tells; touches no file, so the event loop may ask."""
        if not operation.stage.is_open or self.desk.read_only:
            return False
        if operation.next_try_at is not None and operation.next_try_at > self.desk.clock.now():
            return False
        if operation.verb in _CLOUD:
            return operation.stage in {Stage.INTENDED, Stage.RETRYING} or _is_rearming(operation)
        return operation.stage is not Stage.AMBIGUOUS

    def needs_host(self, operation: Operation) -> bool:
        """Its next step is on the instance itself and not at the cloud."""
        coming_up = operation.verb is Verb.LAUNCH and operation.stage is Stage.ACCEPTED
        return coming_up or operation.verb in _ON_HOST or _is_rearming(operation)

    def advance(self, operation: Operation) -> Operation:
        """Do the next thing an open operation waits for, if it is due and nobody else is at it."""
        if not self.is_due(operation):
            return operation
        with self.desk.hold(operation.id) as mine:
            newest = self.desk.ledger.operation(operation.id) or operation
            if not mine or not self.is_due(newest):
                return newest
            return _ADVANCE[newest.verb](self.desk, newest)

    def settle(self, listing: Listing[Instance], needed: timedelta | None = None) -> list[Operation]:
        """Weigh the open operations of that account and region against what a listing shows; those that moved.

        `needed`: how long an absence must last to count, from `FleetStore.absence_needed`; one cycle if not told.
        """
        evidence = self._evidence(listing, needed)
        moved = []
        for operation in self.desk.ledger.open_operations(listing.account):
            if operation.region != listing.region or settle(operation, evidence) is operation:
                continue
            with self.desk.hold(operation.id) as mine:
                newest = self.desk.ledger.operation(operation.id)
                if mine and newest is not None and newest.stage.is_open:
                    moved.append(self.desk.save(settle(newest, evidence)))
        moved += self._late_launches(listing)
        self._alarm_twins(listing)
        self.desk.looked[listing.account, listing.region] = listing.asked_at
        return moved

    def clean_up(self) -> list[Operation]:
        """Once at the start: give back what dead sessions held, and close intents that never will be sent."""
        self.desk.bury_dead()
        return [self.advance(operation) for operation in self.desk.ledger.open_operations() if self._is_dead(operation)]

    def _is_dead(self, operation: Operation) -> bool:
        unsent = operation.stage is Stage.INTENDED and SENT_AT not in operation.params
        if not unsent or self.desk.is_anothers(operation) or operation.account not in self.desk.accounts:
            return False
        return operation.verb is Verb.LAUNCH or (operation.verb in _CLOUD and self.desk.is_stale_intent(operation))

    def _late_launches(self, listing: Listing[Instance]) -> list[Operation]:
        """Launches that were given up and whose instance is there after all."""
        tokens = {i.launch_token: i.key for i in listing.items if i.launch_token and not i.state.is_terminal}
        unknown = tokens.keys() - self._strangers
        if not unknown or self.desk.read_only:
            return []
        self._strangers |= unknown
        return [
            self.desk.save(launch.reopened(operation, tokens[operation.token]), reopen=True)
            for operation in self.desk.ledger.recent_operations(LATE_LAUNCHES)
            if operation.verb is Verb.LAUNCH
            and operation.stage is Stage.FAILED
            and operation.key is None
            and operation.token in unknown
            and operation.token is not None
        ]

    def _alarm_twins(self, listing: Listing[Instance]) -> None:
        """Two instances with one token: a cloud doubled a launch. Both are shown; a person has to know."""
        tokens = Counter(
            item.launch_token for item in listing.items if item.launch_token and not item.state.is_terminal
        )
        for token in [token for token, times in tokens.items() if times > 1 and token not in self._twins]:
            self._twins.add(token)
            names = ", ".join(item.key.id for item in listing.items if item.launch_token == token)
            self.desk.alarm(f"one launch made several instances: {names}", listing.account)

    def _evidence(self, listing: Listing[Instance], needed: timedelta | None) -> Evidence:
        pace = self.desk.pace
        cycle = pace.span(self.desk.accounts.capabilities(listing.account).cadence_s)
        return Evidence(
            listing=listing,
            needed=cycle if needed is None else needed,
            launch_grace=LAUNCH_GRACE_CYCLES * cycle,
            effect_grace=EFFECT_CYCLES * cycle,
            leaving_grace=pace.span(LEAVING_GRACE_S),
            start_grace=pace.span(START_GRACE_S),
            retry_at=lambda attempts: pace.after(
                backoff_s(attempts, first_s=endings.RETRY_FIRST_S, most_s=endings.RETRY_MOST_S)
            ),
        )
