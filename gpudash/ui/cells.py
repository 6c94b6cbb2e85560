"""What each column says of one record at one moment. Pure; a cell is a line of spans and never wider than asked for."""

from __future__ import annotations

from datetime import datetime, timedelta

from gpudash.fleet.record import Record
from gpudash.model.capability import Verb
from gpudash.model.guard import GuardLevel, GuardVerdict
from gpudash.model.host import HostStatus
from gpudash.model.instance import InstanceState
from gpudash.model.money import Amount, cost
from gpudash.model.operation import Operation, Stage
from gpudash.model.tunnel import TunnelState
from gpudash.ui import format as fmt
from gpudash.ui.scene import Line, Scene

NOTHING: Line = ((fmt.NOTHING, "muted"),)
UNKNOWN: Line = ((fmt.UNKNOWN, "unknown"),)

SOON = timedelta(minutes=15)
NOW = timedelta(minutes=5)

_STATE_GLYPH = {
    InstanceState.PENDING: "◌",
    InstanceState.STARTING: "↑",
    InstanceState.RUNNING: "▸",
    InstanceState.STOPPING: "↓",
    InstanceState.STOPPED: "▪",
    InstanceState.HIBERNATED: "▫",
    InstanceState.TERMINATING: "↓",
    InstanceState.TERMINATED: "✗",
    InstanceState.ERROR: "✖",
    InstanceState.UNKNOWN: "?",
}
_GUARD = {
    GuardLevel.ARMED: ("● armed", "guard-armed"),
    GuardLevel.DEGRADED: ("◐ degraded", "guard-degraded"),
    GuardLevel.NONE: ("○ NONE", "guard-none"),
}
_ENDING_WORD = {Verb.STOP: "stop", Verb.HIBERNATE: "hibernate", Verb.TERMINATE: "end"}


def urgency(left: timedelta) -> str:
    """The look of a time that runs out."""
    if left < NOW:
        return "urgency-now"
    return "urgency-soon" if left < SOON else "urgency-calm"


def held_back(record: Record, scene: Scene) -> int | None:
    """Seconds until an end that can still be undone is sent; None where none is."""
    operation = record.operation
    if not record.is_ending or operation is None or operation.stage is not Stage.INTENDED:
        return None
    if operation.next_try_at is None:
        return None
    return max(0, round(scene.real(operation.next_try_at - scene.now).total_seconds()))


def state(record: Record, scene: Scene, width: int) -> Line:
    """What the machine is doing; an end under way or not proved goes before the cloud's word."""
    if record.still_billing_since() is not None:
        return (("STILL BILLING", "still-billing"),)
    held = held_back(record, scene)
    if held is not None and record.operation is not None:
        return ((f"{_ENDING_WORD.get(record.operation.verb, 'end')} in {held}s", "urgency-now"),)
    word = record.instance.state
    if record.is_ending and word is InstanceState.RUNNING:
        return (("↓ end asked", "status-stopping"),)
    if record.operation is not None and record.operation.verb is Verb.START and word is InstanceState.STOPPED:
        return (("↑ start asked", "status-starting"),)
    if record.missing_since is not None:
        return (("? not listed", "status-unknown"),)
    return ((f"{_STATE_GLYPH[word]} {word.value}", f"status-{word.value}"),)


def guard(record: Record, scene: Scene, width: int) -> Line:
    """Whether anything will end it, or how long and for how much an unproved end has billed on."""
    since = record.still_billing_since()
    if since is not None:
        return ((f"{fmt.length(scene.now - since)} {fmt.money(cost_since(record, scene.now))}", "still-billing"),)
    verdict = _verdict(record, scene)
    return NOTHING if verdict is None else guard_word(verdict)


class _LastVerdict:
    """Two columns of a row ask for the same verdict, one after the other."""

    record: Record | None = None
    scene: Scene | None = None
    verdict: GuardVerdict | None = None


def _verdict(record: Record, scene: Scene) -> GuardVerdict | None:
    last = _LastVerdict
    if last.record is not record or last.scene is not scene:
        last.record, last.scene, last.verdict = record, scene, record.guard(scene.now)
    return last.verdict


def guard_word(verdict: GuardVerdict) -> Line:
    """Glyph and word of a verdict."""
    return (_GUARD[verdict.level],)


def status(record: Record, scene: Scene, width: int) -> Line:
    """State and guard in one word, for narrow screens: the guard where it runs, else the state."""
    first = state(record, scene, width)
    if first[0][0].startswith("▸"):
        return guard(record, scene, width)
    return first


def name(record: Record, scene: Scene, width: int) -> Line:
    """The person's name for it, else its id."""
    return ((fmt.fit(record.instance.name or record.key.id, width).rstrip(), "value"),)


def account(record: Record, scene: Scene, width: int) -> Line:
    return ((record.key.account, "text"),)


def region(record: Record, scene: Scene, width: int) -> Line:
    return ((record.instance.region, "muted"),)


def kind(record: Record, scene: Scene, width: int) -> Line:
    text = record.instance.instance_type
    return NOTHING if text is None else ((text, "muted"),)


def gpu_name(record: Record) -> str:
    """``8×H100``; without a GPU, ``–``; unknown, ``?``."""
    instance = record.instance
    if instance.gpu is None:
        return fmt.NOTHING if instance.gpu_count == 0 else fmt.UNKNOWN
    return f"{instance.gpu_count if instance.gpu_count is not None else fmt.UNKNOWN}×{instance.gpu}"


def gpu(record: Record, scene: Scene, width: int) -> Line:
    """Count and model; VRAM where there is room."""
    text, vram = gpu_name(record), record.instance.vram_gb
    if vram is not None and len(text) + len(str(vram)) + 2 <= width:
        return ((text, "text"), (f" {vram}G".rjust(width - len(text)) if width < 16 else f" {vram}G", "muted"))
    return ((fmt.fit(text, width).rstrip(), "text"),)


def util(record: Record, scene: Scene, width: int) -> Line:
    """GPU utilisation of the last polls and now."""
    if not record.instance.state.bills_compute:
        return NOTHING
    now = record.status.gpu_util_pct if record.status is not None else None
    if now is None and not record.utilisation:
        return UNKNOWN
    token = "unknown" if now is None else "billed-busy" if now >= 5 else "billed-idle"
    return ((fmt.spark(record.utilisation, width - 5), "spark"), (" " + fmt.percent(now), token))


def price(record: Record, scene: Scene, width: int) -> Line:
    """USD an hour in its present state: compute while it may bill, else the disk."""
    instance = record.instance
    bills = instance.bills_compute
    now = instance.price if bills else instance.storage_price
    if now is None:
        return UNKNOWN if bills else NOTHING
    return ((fmt.rate(now), "money" if bills and not now.estimated else "estimate"),)


def spent(record: Record, scene: Scene, width: int) -> Line:
    """Accrued up to now."""
    amount = record.accrued(scene.now)
    return ((fmt.money(amount), "unknown" if amount.known is None else "money"),)


def projected(record: Record, scene: Scene, width: int) -> Line:
    """Spent once the lease ends."""
    return ((fmt.money(record.projected(scene.now)), "estimate"),)


def idle(record: Record, scene: Scene, width: int) -> Line:
    """What keeps it awake, or how far into its idle timeout it is."""
    if not record.instance.state.bills_compute:
        return NOTHING
    known, seen = record.status, record.status_at
    if known is None or seen is None:
        return UNKNOWN
    age = scene.now - seen
    if known.parked_s is not None and known.parked_s > 0:
        return ((f"parked {fmt.length(timedelta(seconds=known.parked_s) + age)}", "billed-parked"),)
    awake = awake_word(known)
    if awake is not None:
        return ((awake[0] if len(awake[0]) <= width else awake[0].replace(" · ", "·"), awake[1]),)
    return _idle_for(known, age)


def awake_word(known: HostStatus) -> tuple[str, str] | None:
    """``active · gpu``; a silent sensor that holds it awake says so; None while nothing does."""
    active = [word for word in known.held_by if word not in known.unknown]
    if active:
        return f"active · {active[0]}", "billed-busy"
    if known.unknown:
        return f"sensor? {known.unknown[0]}", "unknown"
    if known.awake_because:
        return f"active · {known.awake_because.split()[0]}", "billed-busy"
    return None


def _idle_for(known: HostStatus, age: timedelta) -> Line:
    if known.idle_s is None:
        return UNKNOWN
    so_far = timedelta(seconds=known.idle_s) + age
    limit = known.policy.idle_timeout
    if limit is None:
        return ((f"idle {fmt.length(so_far)}", "billed-idle"),)
    token = urgency(limit - so_far)
    token = "billed-idle" if token == "urgency-calm" else token
    if so_far > limit:
        return ((f"over {fmt.short_length(limit)}", "urgency-now"),)
    minutes = int(so_far.total_seconds()) // 60
    return ((f"{minutes}m of {fmt.short_length(limit)}", token),)


def lease(record: Record, scene: Scene, width: int) -> Line:
    """Time left on the lease, and a gauge of it."""
    left = record.lease_remaining(scene.now)
    if left is None or not record.instance.state.bills_compute:
        return NOTHING
    token = urgency(left)
    text = fmt.countdown(left).rjust(6)
    if width < 12:
        return ((text, token),)
    full, empty = fmt.gauge(lease_fraction(record, scene.now), 5)
    return ((text + " ", token), (full, "gauge-on" if token == "urgency-calm" else token), (empty, "gauge-off"))


def lease_fraction(record: Record, now: datetime) -> float | None:
    """Part of the lease that is left, from the last start to the deadline."""
    deadline = record.policy.lease_deadline if record.policy else None
    begun = record.instance.started_at or record.instance.created_at
    if deadline is None or begun is None or deadline <= begun:
        return None
    return (deadline - now) / (deadline - begun)


def ends(record: Record, scene: Scene, width: int) -> Line:
    """What ends it first, and when; for one that will not end, that."""
    if record.is_ending and record.operation is not None:
        return _ending(record.operation, scene, width)
    if not record.instance.state.bills_compute:
        return _disk(record, width)
    verdict = _verdict(record, scene)
    first = record.ends() if verdict is not None and verdict.level is not GuardLevel.NONE else None
    if first is None or verdict is None:
        return (("never!", "guard-none"),)
    moment, why = first
    doubt = "" if verdict.level is GuardLevel.ARMED else "?"
    text = f"{fmt.when(moment, scene.now, scene.zone)} {why}{doubt}"
    if len(text) > width:
        text = text.rsplit(" ", 1)[0] + doubt
    return ((text, urgency(moment - scene.now)),)


def _ending(operation: Operation, scene: Scene, width: int) -> Line:
    if operation.stage is Stage.AMBIGUOUS:
        return (("no answer yet"[:width], "still-billing"),)
    if operation.stage is Stage.RETRYING and operation.next_try_at is not None:
        wait = max(0, round(scene.real(operation.next_try_at - scene.now).total_seconds()))
        long = f"retry {operation.attempts + 1} in {wait}s"
        return ((long if len(long) <= width else f"retry in {wait}s", "still-billing"),)
    if operation.stage is Stage.INTENDED:
        return (("u undoes it", "key"),)
    return (("being proved", "muted"),)


def _disk(record: Record, width: int) -> Line:
    storage = record.instance.storage_price
    if storage is None:
        return NOTHING
    day = storage.usd_per_hour * 24
    text = f"disk ${day:.2f}/d"
    return ((text if len(text) <= width else "disk bills", "estimate"),)


def tunnels(record: Record, scene: Scene, width: int) -> Line:
    """How many forwards are up, of how many."""
    if not record.tunnels:
        return NOTHING
    up = sum(tunnel.state is TunnelState.UP for tunnel in record.tunnels)
    if up == len(record.tunnels):
        return ((str(up), "tone-good"),)
    return ((f"{up}/{len(record.tunnels)}", "tone-warn"),)


def cost_since(record: Record, now: datetime) -> Amount:
    """What it has billed since its end was asked for."""
    since = record.still_billing_since()
    return Amount() if since is None else cost(record.instance.price, now - since)
