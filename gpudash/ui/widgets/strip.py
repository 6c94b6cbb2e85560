"""The two lines on top: money first, then how many, then how well the clouds answer and what time it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from gpudash.fleet.health import AccountNote, Health
from gpudash.fleet.totals import Totals
from gpudash.model.instance import InstanceState
from gpudash.ui import format as fmt
from gpudash.ui.scene import Line, Scene, Span
from gpudash.ui.widgets.paint import PaintedBlock

_HEALTH = {"ok": ("●", "provider-ok"), "stale": ("▲", "provider-late"), "error": ("✖", "provider-lost")}
_RANK = {"ok": 0, "stale": 1, "error": 2}
_STATES = (
    (InstanceState.RUNNING, "running"),
    (InstanceState.PENDING, "pending"),
    (InstanceState.STARTING, "starting"),
    (InstanceState.STOPPING, "stopping"),
    (InstanceState.TERMINATING, "ending"),
    (InstanceState.STOPPED, "stopped"),
    (InstanceState.HIBERNATED, "hibernated"),
    (InstanceState.ERROR, "failed"),
    (InstanceState.UNKNOWN, "unknown"),
)


_SHORT = {
    "running": "run",
    "pending": "pend",
    "starting": "start",
    "stopping": "stop",
    "ending": "end",
    "stopped": "off",
}


class StripFacts(NamedTuple):
    """What the strip shows beside the clock."""

    totals: Totals
    health: tuple[Health, ...]
    burns: Sequence[float] = ()
    """Burn of the last minutes, for the sparkline."""
    badge: str = ""
    """``sandbox ×60``, ``read-only`` …"""
    notes: Mapping[tuple[str, str], AccountNote] = {}
    """By account and source, as the store has them."""
    gpus: int = 0
    as_of: datetime | None = None
    """Set while only stored values are on screen."""


class _Card(NamedTuple):
    label: Line
    value: Line
    width: int


class Strip(PaintedBlock):
    """The fleet in two lines."""

    ground = "panel"
    DEFAULT_CSS = "Strip { height: 2; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.facts: StripFacts | None = None
        self.burns: deque[float] = deque(maxlen=24)

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        if self.facts is None:
            return []
        return strip_lines(self.facts, scene, width)


def strip_lines(facts: StripFacts, scene: Scene, width: int) -> list[Line]:
    """Both lines: cards from the left, counts over health after them, clock and badge on the right."""
    cards = _cards(facts, width)
    clock = fmt.clock(scene.now, scene.zone, seconds=True)
    badge: Span = (facts.badge, "accent")
    if facts.as_of is not None:
        badge = (f"as of {fmt.when(facts.as_of, scene.now, scene.zone)}", "tone-warn")
    side = max(len(clock), fmt.cell_len(badge[0])) + 1
    gap = 3 if width >= 120 else 2
    room = width - 1 - sum(card.width + gap for card in cards) - side - 2
    upper, lower = _counts(facts, room), _health(facts.health, facts.notes, scene, room)
    top: list[Span] = [(" ", "text")]
    bottom: list[Span] = [(" ", "text")]
    for card in cards:
        top += [*card.label, (" " * (card.width - _cells(card.label) + gap), "text")]
        bottom += [*card.value, (" " * (card.width - _cells(card.value) + gap), "text")]
    top += [*upper, (" " * (room + 1 - _cells(upper)), "text")]
    bottom += [*lower, (" " * (room + 1 - _cells(lower)), "text")]
    top += [(clock.rjust(side), "value"), (" ", "text")]
    bottom += [(" " * (side - fmt.cell_len(badge[0])), "text"), badge, (" ", "text")]
    return [tuple(top), tuple(bottom)]


def _cards(facts: StripFacts, width: int) -> list[_Card]:
    totals = facts.totals
    burn = fmt.usd_rate(totals.burn)
    wide = width >= 130
    cards: list[_Card] = []
    if wide:
        cards.append(_card("", ((" gpudash ", "title"),), width=9))
    label: Line = (("BURN ", "label"),)
    if wide and len(facts.burns) > 1:
        label = (*label, (fmt.spark(facts.burns, 12, top=max(facts.burns)).lstrip(), "spark"))
    cards.append(_card(label, ((burn, "value"),), width=17 if wide else 10))
    cards.append(_card("TODAY", ((fmt.money(totals.spent_today), "money"),), width=9))
    to_end = fmt.money(totals.projected)
    cards.append(_card("UNTIL DEADLINES" if wide else "TO DEADLINE", ((to_end, "estimate"),), width=11))
    risk = totals.unguarded
    if risk.usd or risk.unknown:
        cards.append(_card((("UNGUARDED", "money-risk"),), ((fmt.usd_rate(risk), "money-risk"),), width=10))
    else:
        cards.append(_card("UNGUARDED", (("✓ nothing", "tone-good"),), width=10))
    return cards


def _card(label: str | Line, value: Line, *, width: int) -> _Card:
    line = ((label, "label"),) if isinstance(label, str) else label
    return _Card(line, value, max(width, _cells(line), _cells(value)))


def _counts(facts: StripFacts, room: int) -> Line:
    totals = facts.totals
    parts: list[tuple[Span, Span]] = []
    for state, word in _STATES:
        count = totals.by_state.get(state, 0)
        if count:
            short = word if room >= 40 else _SHORT.get(word, word)
            parts.append(((str(count), f"status-{state.value}"), (f" {short}", "text")))
    if totals.tunnels_up and room >= 40:
        parts.append(((str(totals.tunnels_up), "tone-good"), (f" tunnel{'s' * (totals.tunnels_up > 1)} up", "text")))
    if not parts:
        parts.append((("0", "muted"), (" instances", "muted")))
    return _joined(parts, room)


def _health(health: Iterable[Health], notes: Mapping[tuple[str, str], AccountNote], scene: Scene, room: int) -> Line:
    worst: dict[str, Health] = {}
    for lane in health:
        known = worst.get(lane.account)
        if known is None or _bad(lane) > _bad(known):
            worst[lane.account] = lane
    said = _by_account(notes)
    ordered = sorted(worst.values(), key=lambda lane: (*_weight(lane, said.get(lane.account, ())), lane.account))
    heads: list[list[Span]] = []
    wanted = sum(fmt.cell_len(lane.error or "") + 20 for lane in ordered if lane.error)
    wanted += sum(fmt.cell_len(note.text) + 3 for lane in ordered for note in said.get(lane.account, ()))
    fine = [lane for lane in ordered if lane.state == "ok" and not lane.error and lane.account not in said]
    if wanted and len(fine) > 1 and room - 14 * len(ordered) < wanted:
        # What is wrong needs the room; those that are well share one sign.
        ordered = [lane for lane in ordered if lane not in fine]
    else:
        fine = []
    for lane in ordered:
        glyph, token = _HEALTH[lane.state]
        age = "asking" if lane.as_of is None else fmt.length(scene.real(scene.now - lane.as_of))
        shown_age = "" if fine and room < 40 else f" {age}".ljust(4)
        head: list[Span] = [(f"{lane.account} ", "text"), (glyph, token), (shown_age, "muted")]
        for note in said.get(lane.account, ()):
            head.append((f" {note.text}", "money-risk" if note.is_urgent else "tone-warn"))
        heads.append(head)
    rest: list[tuple[Span, ...]] = [((f"{len(fine)} more ", "text"), ("●", "provider-ok"))] if fine else []
    spare = room - sum(_cells(tuple(head)) + 3 for head in (*heads, *rest)) + 3
    for head, lane in zip(heads, ordered, strict=True):
        if lane.error and spare > 10:
            text = _problem(lane, scene, spare - 1)
            head.append((f" {text}", _HEALTH[lane.state][1]))
            spare -= fmt.cell_len(text) + 1
    return _joined([*(tuple(head) for head in heads), *rest], room)


def _by_account(notes: Mapping[tuple[str, str], AccountNote]) -> dict[str, list[AccountNote]]:
    found: dict[str, list[AccountNote]] = {}
    for (account, _), note in sorted(notes.items()):
        found.setdefault(account, []).append(note)
    return found


def _weight(lane: Health, notes: Sequence[AccountNote]) -> tuple[bool, int, bool]:
    """What goes first where there is no room for all: money that runs away, then silence, then a warning."""
    return not any(note.is_urgent for note in notes), -_RANK[lane.state], not notes


def _problem(lane: Health, scene: Scene, room: int) -> str:
    text = fmt.clean(lane.error or "").split(". ")[0].rstrip(".")
    retry = ""
    if lane.next_try_at is not None and lane.next_try_at > scene.now:
        retry = f", next try {fmt.length(scene.real(lane.next_try_at - scene.now))}"
    if len(text) + len(retry) > room:
        text = fmt.fit(text, max(8, room - len(retry))).rstrip()
    return text + retry if len(text) + len(retry) <= room else fmt.fit(text, room).rstrip()


def _bad(lane: Health) -> tuple[int, timedelta]:
    return _RANK[lane.state], timedelta(0) if lane.as_of is None else datetime.max.replace(
        tzinfo=lane.as_of.tzinfo
    ) - lane.as_of


def _joined(parts: Sequence[tuple[Span, ...]], room: int) -> Line:
    """Parts with gaps between; whole ones only, the first is cut where it alone is too long."""
    line: list[Span] = []
    used = 0
    for number, part in enumerate(parts):
        gap = (3 if room >= 40 else 1) if number else 0
        cells = _cells(part)
        if used + gap + cells > room:
            if not number and room > 8:
                return _cut(part, room)
            if used + 2 <= room and number:
                line.append((" …", "muted"))
            break
        line += [((" · " if gap == 3 else " " * gap), "muted"), *part]
        used += gap + cells
    return tuple(line)


def _cut(part: Line, room: int) -> Line:
    line: list[Span] = []
    for text, token in part:
        if room <= 0:
            break
        line.append((fmt.fit(text, room).rstrip() if fmt.cell_len(text) > room else text, token))
        room -= fmt.cell_len(text)
    return tuple(line)


def _cells(line: Line) -> int:
    return sum(fmt.cell_len(text) for text, _ in line)
