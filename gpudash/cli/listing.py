"""The reads over instances: `ls`, `show`, `leftovers`, `events`."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import jsonview, unanswered, words
from gpudash.cli.output import Output, one_line
from gpudash.cli.verb import DURATION, ID, Run, Verb, complete_instance, pass_run
from gpudash.clock import iso
from gpudash.errors import ExitCode, UsageError
from gpudash.fleet import tunnels
from gpudash.fleet.record import Record
from gpudash.model.event import Event
from gpudash.model.guard import GuardLevel
from gpudash.model.instance import InstanceState
from gpudash.model.listing import Listing

if TYPE_CHECKING:
    from gpudash.fleet.health import Health
    from gpudash.fleet.session import Session

BESIDE_S = 0.2
"""How long a listing that is there waits for balances and endpoints that are still on their way."""
POLL_S = 30.0
"""How long a command waits for clouds that it cannot do without; a list has `--timeout` and shows what it has."""
HOSTS_S = 5.0
"""How long a read waits for statusd on the hosts."""
WATCH_EVERY = timedelta(seconds=15)
"""Between two looks of `ls --watch`."""
FRESH_S = 10.0
"""A host that answered anyone of us within this is not asked again."""

MANY = 10_000
"""Events that are searched for those of one instance."""

TITLES = ("STATE", "GUARD", "NAME", "ACCOUNT", "GPU", "UTIL", "$/H", "SPENT", "IDLE", "LEASE", "ENDS", "TUN", "ID")
RIGHT = frozenset({6, 7})


@click.command(cls=Verb)
@click.option("--timeout", type=DURATION, default="10s", show_default=True, help="How long to wait for clouds.")
@click.option("--watch", is_flag=True, help="Go on, and print a sentence when something changes; for screen readers.")
@click.option("--interval", type=DURATION, help="With --watch: time between two looks.  [default: 15s]")
@pass_run
def ls(run: Run, timeout: timedelta, watch: bool, interval: timedelta | None) -> int:
    """List instances: money at risk first, then what ends soonest.

    Exit code 5 where a provider could not be reached; what is known of it is printed all the same, with its age.

    With --watch, each instance is told in one sentence, and then each change: state, guard, price, lease, an end that
    comes near, and what ended. Ctrl-C leaves. With --json every line is one document.
    """
    if interval is not None and not watch:
        raise UsageError("--interval belongs to --watch.")
    with run.session() as session:
        if watch:
            return tell_changes(run, session, interval, timeout)
        with collector_at_rest():
            look(session, timeout.total_seconds())
        session.refresh_spent()
        now = session.clock.now()
        records = ordered(session.store.records.values(), now)
        healths = list(session.store.health.values())
        sums = session.store.totals(now)
        if run.out.json:
            rows = (jsonview.instance(record, now, session.store.cadence(record.key.account)) for record in records)
            run.out.document(jsonview.listing(now, rows, healths, sums, session.store.balances))
        elif records:
            for line in words.table(TITLES, [row(record, now) for record in records], right=RIGHT):
                run.out.line(line)
            run.out.line(
                f"burn {words.rate(sums.burn)} · today {words.amount(sums.spent_today)}"
                f" · unguarded {words.rate(sums.unguarded)}"
            )
        elif all(health.state == "ok" and not health.error for health in healths):
            run.out.talk("No instances. `gpudash launch` makes one, `gpudash sandbox up` some that cost nothing.")
        if not run.out.json:
            for balance in session.store.balances.values():
                run.out.line(f"{balance.account}: {balance}")
        for endpoint in session.store.endpoints.by_key.values():
            if endpoint.warning is not None:
                run.out.talk(f"! endpoint {endpoint.key.account}:{endpoint.name} {endpoint.warning}")
        return say_health(run.out, healths, now)


def tell_changes(run: Run, session: Session, interval: timedelta | None, timeout: timedelta) -> int:
    """`ls --watch`; being told to stop is how it ends."""
    from gpudash.cli import narrating

    try:
        narrating.watch(session, run.out, interval or WATCH_EVERY, timeout.total_seconds())
    except KeyboardInterrupt:
        run.out.talk("")
    return int(ExitCode.OK)


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Without looking for cycles while thousands of objects come that all stay: a tenth of the time of a long list."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def look(session: Session, timeout_s: float) -> None:
    """Poll every cloud, then ask the hosts whose last word is not fresh."""
    balances, endpoints = session.ask_balances(), session.ask_endpoints()
    session.poll(timeout_s)
    began = session.clock.monotonic()
    session.take_balances(balances, BESIDE_S)
    session.take_endpoints(endpoints, max(0.0, BESIDE_S - (session.clock.monotonic() - began)))
    unanswered.read_hosts(session, min(timeout_s, HOSTS_S), FRESH_S)
    session.store.apply_tunnels(tunnels.listed(session.tunnels_dir))


def say_health(out: Output, healths: Iterable[Health], now: datetime) -> int:
    """A line for each trouble of a provider; regions that share one share the line. Returns 5 where there is one.

    What a permission is missing for is said as well, and is no trouble.
    """
    healths = list(healths)
    say_lacks(out, ((health.account, health.lacks) for health in healths))
    silent: dict[tuple[str, str, str], list[Health]] = {}
    regions: dict[str, int] = {}
    for health in healths:
        regions[health.account] = regions.get(health.account, 0) + 1
        if health.state != "ok" or health.error:
            error = (health.error or "no answer in time").removeprefix(f"{health.account}: ").rstrip(".")
            alike = error.replace(f" of {health.region}", "") if health.region else error
            silent.setdefault((health.account, health.state, alike), []).append(health)
    for (account, state, error), group in silent.items():
        names = ", ".join(health.region for health in group)
        where = f" ({names})" if names and len(group) < regions[account] else ""
        ages = [health.as_of for health in group if health.as_of]
        seen = f"what is shown is from {words.age(min(ages), now)}" if ages else "it never answered"
        out.talk(f"gpudash: {account}{where} {state}: {one_line(error)}; {seen}.")
    return int(ExitCode.UNREACHABLE if silent else ExitCode.OK)


def ordered(records: Iterable[Record], now: datetime) -> list[Record]:
    """Money at risk, then what ends soonest, then the rest, then what no longer bills."""

    def weight(record: Record) -> tuple[int, float, str]:
        price = record.instance.price
        ends = record.will_end(now)
        if record.still_billing_since():
            return (0, 0.0, record.instance.name)
        if record.is_unguarded(now):
            return (1, -float(price.usd_per_hour) if price else float("-inf"), record.instance.name)
        if record.instance.state.bills_compute:
            return (2, ends[0].timestamp() if ends else float("inf"), record.instance.name)
        return (3, 0.0, record.instance.name)

    return sorted(records, key=weight)


def row(record: Record, now: datetime) -> tuple[str, ...]:
    """One line of the table."""
    machine = record.instance
    billing = record.still_billing_since()
    on = machine.state.bills_compute
    return (
        f"STILL BILLING {words.length(now - billing)}" if billing else machine.state.value,
        _guard(record, now),
        machine.name or machine.key.id,
        machine.key.account,
        words.gpus(machine.gpu_count, machine.gpu, machine.vram_gb),
        _utilisation(record),
        words.price(machine.price)
        if machine.bills_compute
        else words.price(machine.storage_price)
        if machine.storage_price
        else "–",
        words.amount(record.accrued(now)),
        _idle(record, now) if on else words.NOT_APPLICABLE,
        words.length(record.lease_remaining(now)) if on else words.NOT_APPLICABLE,
        _ends(record, now),
        str(sum(1 for tunnel in record.tunnels)) if record.tunnels else words.NOT_APPLICABLE,
        machine.key.id,
    )


def _guard(record: Record, now: datetime) -> str:
    verdict = record.guard(now)
    if verdict is None:
        return words.NOT_APPLICABLE
    return "NONE" if verdict.level is GuardLevel.NONE else verdict.level.value


def _utilisation(record: Record) -> str:
    if record.instance.state is not InstanceState.RUNNING:
        return words.NOT_APPLICABLE
    if record.status is None or record.status.gpu_util_pct is None:
        return words.UNKNOWN
    return f"{record.status.gpu_util_pct:.0f}%"


def _idle(record: Record, now: datetime) -> str:
    status = record.status
    if status is None:
        return words.UNKNOWN
    if status.parked_s:
        return f"parked {words.length(timedelta(seconds=status.parked_s))}"
    if status.unknown:
        return f"unknown · {', '.join(status.unknown)}"
    if status.held_by or not status.idle_s:
        return f"active · {', '.join(status.held_by) or status.awake_because or 'now'}"
    limit = f" of {words.length(status.policy.idle_timeout)}" if status.policy.idle_timeout else ""
    return f"{words.length(timedelta(seconds=status.idle_s))}{limit}"


def _ends(record: Record, now: datetime) -> str:
    machine = record.instance
    if record.is_ending and record.operation is not None:
        operation = record.operation
        if operation.next_try_at:
            return f"retry {operation.attempts + 1} in {words.length(operation.next_try_at - now)}"
        return f"{operation.verb.value} asked"
    if not machine.state.bills_compute:
        price = machine.storage_price
        return f"disk ${words.digits(price.usd_per_hour * 24)}/d" if price else words.NOT_APPLICABLE
    ends = record.will_end(now)
    return f"{words.when(ends[0], now)} {ends[1]}" if ends else "never!"


@click.command(cls=Verb)
@ID
@pass_run
def show(run: Run, target: str) -> int:
    """Everything known of one instance: state, money, guard, signals, GPUs, tunnels."""
    with run.session_for(target) as session:
        session.poll(POLL_S)
        key = session.resolve(target).key
        session.read_hosts(HOSTS_S, 0.0, [key])
        session.store.apply_tunnels(tunnels.listed(session.tunnels_dir))
        record = replace(session.record(key), instance=session.as_reached(key))
        now = session.clock.now()
        if run.out.json:
            run.out.document(
                {
                    "as_of": iso(now),
                    "instance": jsonview.instance(record, now, session.store.cadence(record.key.account)),
                    "host": jsonview.host(record),
                    "operation": jsonview.operation(record.operation) if record.operation else None,
                    "providers": jsonview.providers(of_account(session, record.key.account), session.store.balances),
                }
            )
        else:
            for line in details(record, now):
                run.out.line(line)
        return say_health(run.out, of_account(session, record.key.account), now)


def of_account(session: Session, account: str) -> list[Health]:
    """How the regions of one account answer."""
    return [health for health in session.store.health.values() if health.account == account]


def details(record: Record, now: datetime) -> list[str]:
    """One instance as lines of ``word  value``."""
    machine, policy, status = record.instance, record.policy, record.status
    verdict = record.guard(now)
    ends = record.will_end(now)
    facts: list[tuple[str, str]] = [
        ("name", machine.name),
        ("id", f"{machine.key} in {machine.region}"),
        ("state", f"{machine.state.value} ({machine.provider_state}), listed {words.age(record.listed_at, now)}"),
        ("type", f"{machine.instance_type or '?'} · {words.gpus(machine.gpu_count, machine.gpu, machine.vram_gb)}"),
        ("price", _priced(record)),
        ("spent", _spent(record, now)),
        ("guard", f"{verdict.level.value}: {verdict.reason}" if verdict else words.NOT_APPLICABLE),
        ("ends", f"{words.when(ends[0], now)} ({ends[1]})" if ends else "never" if verdict else words.NOT_APPLICABLE),
    ]
    if policy is not None:
        lease = f"{words.when(policy.lease_deadline, now)}" if policy.lease_deadline else "none"
        hard = f"{words.when(policy.hard_deadline, now)}" if policy.hard_deadline else "none"
        facts.append(("lease", f"{lease}, hard deadline {hard}"))
        timeout = words.length(policy.idle_timeout) if policy.idle_timeout else "none"
        facts.append(("idle", f"{_idle(record, now)} (timeout {timeout}, then {policy.idle_action.value})"))
    facts.append(("statusd", _daemon(record, now)))
    if machine.ssh:
        by = " (by its cloud's proxy)" if machine.ssh.by_proxy else ""
        facts.append(("ssh", f"{machine.ssh.user}@{machine.ssh.host} port {machine.ssh.port}{by}"))
    for forward in record.tunnels:
        facts.append(("tunnel", f"127.0.0.1:{forward.local} → {forward.remote} {forward.state.value}"))
    if status is not None:
        facts += [
            ("gpu", _gpu(gpu.index, gpu.util_pct, gpu.memory_used_mib, gpu.memory_total_mib, gpu.name))
            for gpu in status.gpus
        ]
        facts += [
            ("signal", f"{s.name}: {s.verdict.value}" + (f", {s.detail}" if s.detail else "")) for s in status.signals
        ]
        facts += [("alarm", alarm.text) for alarm in status.alarms]
    if machine.notice:
        facts.append(("notice", machine.notice))
    if record.operation:
        change = record.operation
        facts.append(("change", f"{change.verb.value} {change.stage.value} {change.detail}"))
    if machine.lost_on_terminate:
        facts.append(("lost", f"{machine.lost_on_terminate} at terminate"))
    return [f"{word:8}  {words.printable(value).rstrip()}" for word, value in facts]


def _priced(record: Record) -> str:
    machine = record.instance
    source = f" ({machine.price.source})" if machine.price else ""
    disk = f" · disk ${words.price(machine.storage_price)}/h" if machine.storage_price else ""
    return f"${words.price(machine.price)}/h{source}{disk}"


def _spent(record: Record, now: datetime) -> str:
    projected = record.projected(now)
    at_end = f", {words.amount(projected)} when the lease ends" if projected else ""
    return f"{words.amount(record.accrued(now))}{at_end}"


def _daemon(record: Record, now: datetime) -> str:
    if record.status is None:
        return record.status_problem or "never answered"
    problem = f"; {record.status_problem}" if record.status_problem else ""
    return f"{record.status.version}, answered {words.age(record.status_at, now)}{problem}"


def _gpu(index: int, util: float | None, used: int | None, total: int | None, name: str) -> str:
    load = words.UNKNOWN if util is None else f"{util:.0f}%"
    memory = f"{_gib(used)}/{_gib(total)} GiB"
    return f"{index} {name} {load} {memory}"


def _gib(mib: int | None) -> str:
    return words.UNKNOWN if mib is None else f"{mib / 1024:.0f}"


@click.command(cls=Verb)
@pass_run
def leftovers(run: Run) -> int:
    """What bills without a running instance: stopped disks, volumes, addresses."""
    with run.session() as session:
        lists = session.leftovers(POLL_S)
        now = session.clock.now()
        items = [item for listing in lists for item in listing.items]
        if run.out.json:
            run.out.document({"as_of": iso(now), "leftovers": [jsonview.leftover(item) for item in items]})
        elif items:
            cells = [
                (
                    i.kind,
                    i.name,
                    i.account,
                    i.region,
                    f"{i.size_gb} GB" if i.size_gb else "?",
                    words.price(i.price),
                    i.id,
                )
                for i in items
            ]
            titles = ("KIND", "NAME", "ACCOUNT", "REGION", "SIZE", "$/H", "ID")
            for line in words.table(titles, cells, right=frozenset({4, 5})):
                run.out.line(line)
        else:
            run.out.talk("Nothing is left over.")
        return say_problems(run.out, lists)


def say_problems(out: Output, lists: Collection[Listing[Any]]) -> int:
    """A line for each account that could not answer in full. Returns 5 where there is one, else 0."""
    code = ExitCode.OK
    for listing in lists:
        if not listing.complete:
            out.talk(f"gpudash: {listing.account}: {listing.problem or 'the answer was incomplete'}")
            code = ExitCode.UNREACHABLE
    say_lacks(out, ((listing.account, listing.lacks) for listing in lists))
    return int(code)


def say_lacks(out: Output, told: Iterable[tuple[str, Iterable[str]]]) -> None:
    """A line for what nobody may ask at an account, however many of its regions lack it."""
    for account, text in dict.fromkeys((account, text) for account, lacks in told for text in lacks):
        out.talk(f"! {account}: {one_line(text)}")


def _concerns(item: Event, target: str) -> bool:
    """The event is of the instance that a person names so; one that is gone can still be named."""
    key = item.key
    return item.name == target or (key is not None and (str(key) == target or key.id.startswith(target)))


@click.command(cls=Verb)
@click.argument("target", metavar="[ID]", required=False, shell_complete=complete_instance)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("--since", type=DURATION, help="Only of the last so much time.")
@pass_run
def events(run: Run, target: str | None, limit: int, since: timedelta | None) -> int:
    """What happened, newest first; of one instance where ID is given. Read from the ledger alone."""
    with run.session_for(target) if target else run.session() as session:
        now = session.clock.now()
        happened = session.ledger.events(limit=MANY if target else limit, since=now - since if since else None)
        if target:
            happened = [item for item in happened if _concerns(item, target)]
            if not happened:
                session.resolve(target)
        happened = happened[:limit]
        if run.out.json:
            run.out.document({"as_of": iso(now), "events": [jsonview.event(item) for item in happened]})
            return int(ExitCode.OK)
        for item in happened:
            who = item.name or (str(item.key) if item.key else item.account)
            by = f" ({item.actor})" if item.actor else ""
            run.out.line(
                words.printable(f"{item.at.astimezone():%Y-%m-%d %H:%M:%S}  {item.kind:10}  {who}  {item.text}{by}")
            )
        if not happened:
            run.out.talk("Nothing has happened yet.")
        return int(ExitCode.OK)
