"""Every key, once: what it is called, what it does in a sentence, how dangerous it is, and why it cannot act right
now.

Bindings, footer, help, palette, README rows and the person's own ``[keys]`` are made from `ACTIONS`. A screen has
one method ``action_ID`` for each action that names it; `GpudashApp.run_action` asks `reason_against` before it
calls one.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import IntEnum
from typing import NamedTuple, Protocol

from textual.binding import Binding
from textual.keys import Keys

from gpudash.fleet.record import Record, closed_to_programs
from gpudash.model.capability import Verb


class Danger(IntEnum):
    """How much a key can cost."""

    NONE = 0
    """Looks, moves, filters."""
    CHANGES = 1
    """Changes the world; can be changed back."""
    DESTROYS = 2
    """Ends something. Asks first, focused on Cancel."""


class Situation(Protocol):
    """What a key would act on, for `reason_against`. Answers at once; no question here reaches a network."""

    @property
    def read_only(self) -> bool:
        """Nothing may be changed from here."""
        ...

    @property
    def targets(self) -> Sequence[Record]:
        """The marked instances, else the one under the cursor."""
        ...

    @property
    def nothing(self) -> str:
        """The answer where there is no target."""
        ...

    @property
    def can_undo(self) -> bool:
        """An end is still held back."""
        ...

    def against(self, verb: Verb, record: Record | None) -> str | None:
        """Why that verb cannot be done to that instance now."""
        ...


Reason = Callable[[Situation], str | None]

READ_ONLY = "Read-only: nothing is changed from here. Start without --read-only, or unset read_only in config.toml."


def _one(situation: Situation) -> str | None:
    return None if situation.targets else situation.nothing


def _verb(verb: Verb) -> Reason:
    def reason(situation: Situation) -> str | None:
        if situation.read_only:
            return READ_ONLY
        if not situation.targets:
            return situation.nothing
        answers = [situation.against(verb, record) for record in situation.targets]
        return answers[0] if all(answers) else None

    return reason


def _launch(situation: Situation) -> str | None:
    return READ_ONLY if situation.read_only else situation.against(Verb.LAUNCH, None)


def _rename(situation: Situation) -> str | None:
    if len(situation.targets) > 1 and not situation.read_only:
        return "A name is given to one instance; clear the marks first (Esc)."
    return _verb(Verb.RENAME)(situation)


def _ssh(situation: Situation) -> str | None:
    if not situation.targets:
        return situation.nothing
    if len(situation.targets) > 1:
        return "A shell opens on one instance; clear the marks first (Esc)."
    record = situation.targets[0]
    if record.instance.ssh is None:
        return (
            f"{record.instance.name or record.key.id} has no address to reach by SSH ({record.instance.state.value})."
        )
    return None


def _tunnels(situation: Situation) -> str | None:
    if not situation.targets:
        return situation.nothing
    record = situation.targets[0]
    if record.instance.ssh is None and not record.tunnels:
        return f"{record.instance.name or record.key.id} has no address to tunnel to ({record.instance.state.value})."
    return closed_to_programs(record)


def _undo(situation: Situation) -> str | None:
    return None if situation.can_undo else "Nothing is held back: a stop can be undone for 5 s after it was asked for."


class Action(NamedTuple):
    """One thing a key does."""

    id: str
    keys: str
    """Default keys, separated by commas, by Textual's names."""
    label: str
    """A word or two for the footer."""
    sentence: str
    """What it does, for help, palette and README."""
    group: str
    """``act`` ``look`` ``list`` ``program`` ``move`` ``sort`` ``rows``: the headings of the help page."""
    screens: frozenset[str]
    """Where it is bound."""
    danger: Danger = Danger.NONE
    reason: Reason | None = None
    footer: int = 0
    """Its place in the footer; 0 is not there."""
    arguments: str = ""
    """What its method is called with, written as in Textual's action strings."""

    @property
    def shown_key(self) -> str:
        """The first key as people read it."""
        return display_key(self.keys.split(",")[0])

    @property
    def method(self) -> str:
        """The action string of its binding."""
        name = self.id.partition(".")[0]
        return f"{name}({self.arguments})" if self.arguments else name


_BOTH = frozenset({"fleet", "instance"})
_FLEET = frozenset({"fleet"})
_ALL = frozenset({"fleet", "instance", "list"})
_LISTS = frozenset({"list"})
LISTS = ("tunnels", "events", "leftovers", "costs", "endpoints", "launch")
"""Lists with keys of their own beside those of all lists."""
PARTS = ("overview", "signals", "timeline", "costs", "log", "record")
"""The parts of the page of one instance, in the order of their keys."""
_PAGE = frozenset({"instance"})
_TABLE = frozenset({"table"})


def _sorts() -> Iterable[Action]:
    from gpudash.ui.columns import FIRST, FLEET

    for column in FLEET:
        if column.key and column.sort:
            yield Action(
                f"sort.{column.id}",
                column.key,
                f"by {column.title.lower()}",
                f"Sort by {column.title.lower()}; again reverses.",
                "sort",
                _FLEET,
                arguments=f"'{column.id}'",
            )
    yield Action(
        f"sort.{FIRST}",
        "F",
        "urgent first",
        "Sort as at the start: money at risk, then what ends soon.",
        "sort",
        _FLEET,
        arguments=f"'{FIRST}'",
    )


ACTIONS: tuple[Action, ...] = (
    Action("launch", "n", "launch", "Launch an instance: offers of all accounts by price.", "act", _FLEET,
           Danger.CHANGES, _launch, 1),
    Action("extend", "+,=", "extend", "Move the lease deadline, with what it costs.", "act", _BOTH,
           Danger.CHANGES, _verb(Verb.EXTEND), 2),
    Action("keep_awake", "a", "keep awake", "Hold off the idle action for half an hour.", "act", _BOTH,
           Danger.CHANGES, _verb(Verb.KEEPALIVE), 3),
    Action("start", "r", "start", "Start a stopped or hibernated instance.", "act", _BOTH,
           Danger.CHANGES, _verb(Verb.START), 8),
    Action("restart", "b", "restart", "Restart it in place, where its cloud can; what runs on it ends.", "act", _BOTH,
           Danger.CHANGES, _verb(Verb.RESTART)),
    Action("stop", "x", "stop", "Stop: compute ends, the disk stays. Can be undone for 5 s.", "act", _BOTH,
           Danger.DESTROYS, _verb(Verb.STOP), 7),
    Action("hibernate", "h", "hibernate", "Stop with the memory kept on disk.", "act", _BOTH,
           Danger.DESTROYS, _verb(Verb.HIBERNATE)),
    Action("terminate", "X", "terminate", "End it for good; the name is typed where data is lost.", "act", _BOTH,
           Danger.DESTROYS, _verb(Verb.TERMINATE), 9),
    Action("undo", "u", "undo", "Take back a stop or terminate that is still held back.", "act", _BOTH,
           Danger.CHANGES, _undo),
    Action("push", "p", "push statusd", "Install or renew the status daemon, and prove that it guards.", "act", _BOTH,
           Danger.CHANGES, _verb(Verb.PUSH), 6),
    Action("adopt", "d", "adopt", "Take an instance under management, with the default limits.", "act", _BOTH,
           Danger.CHANGES, _verb(Verb.ADOPT)),
    Action("rename", "m", "rename", "Give it another name at its cloud; all else stays as it is.", "act", _BOTH,
           Danger.CHANGES, _rename),
    Action("toggle_tunnels", "t", "tunnels", "Tunnels on or off.", "act", _BOTH, reason=_tunnels, footer=4),
    Action("ssh", "s", "ssh", "A shell on the instance by ssh; the dashboard waits for its end.", "act",
           _BOTH, reason=_ssh, footer=5),
    Action("copy_ssh", "y", "copy ssh", "Copy the ssh command to the clipboard.", "act", _BOTH, reason=_ssh),
    Action("details", "enter", "details", "Everything about one instance on a page.", "look", _FLEET,
           reason=_one, footer=10),
    Action("filter", "/", "filter", "Filter as you type: words, column:value, price<3, ! negates.", "look",
           frozenset({"fleet", "list"}), footer=11),
    Action("faults", "!", "faults", "Only what needs a person: unguarded, unproved, broken; or all.", "look",
           _FLEET),
    Action("mark", "space", "mark", "Mark the row; actions apply to all marked rows.", "look", _FLEET, reason=_one),
    Action("mark_up", "shift+up", "mark up", "Mark a range upwards; back again takes it back.", "look", _FLEET, reason=_one),
    Action("mark_down", "shift+down", "mark down", "Mark a range downwards; back again takes it back.", "look", _FLEET, reason=_one),
    Action("mark_all", "ctrl+a", "mark all", "Mark every row that is shown, or none.", "look", _FLEET, reason=_one),
    Action("sort_next", "greater_than_sign", "next order", "Sort by the next column.", "look",
           frozenset({"fleet", "list"})),
    Action("sort_before", "less_than_sign", "order before", "Sort by the column before.", "look",
           frozenset({"fleet", "list"})),
    Action("sort_turn", "S", "turn order", "In a list: turn the order round.", "look", _LISTS),
    Action("next_part", "tab,right", "next part", "On the page of one instance: the next part.", "rows", _PAGE),
    Action("previous_part", "shift+tab,left", "part before", "On the page of one instance: the part before.", "rows",
           _PAGE),
    Action("refresh", "ctrl+r", "refresh", "Ask all clouds and hosts again now.", "look", _ALL),
    Action("offers", "o", "offers", "What can be launched now, by price.", "list", _FLEET),
    Action("tunnels", "T", "tunnel list", "Every tunnel of every gpudash on this machine.", "list", _FLEET),
    Action("events", "e", "events", "What happened, newest first.", "list", _FLEET),
    Action("costs", "c", "costs", "What each instance costs and has cost.", "list", _FLEET),
    Action("leftovers", "l", "leftovers", "What bills without a running instance.", "list", _FLEET),
    Action("pools", "P", "pools", "Pools and serverless endpoints.", "list", _FLEET),
    Action("palette", ":,ctrl+p", "palette", "Every verb, screen, instance and theme by name.", "program", _ALL,
           footer=12),
    Action("help", "?,f1", "help", "This list of keys.", "program", _ALL, footer=13),
    Action("back", "escape", "back", "One step back: filter, marks, screen.", "program", _ALL),
    Action("suspend_process", "ctrl+z", "suspend", "Leave the dashboard in the background; fg brings it back.",
           "program", _ALL),
    Action("quit", "q,ctrl+q,ctrl+c", "quit", "Leave. Guards, tunnels left detached and hosts go on.", "program", _ALL,
           footer=14),
    Action("cursor_up", "up,k", "up", "One row up.", "move", _TABLE),
    Action("cursor_down", "down,j", "down", "One row down.", "move", _TABLE),
    Action("page_up", "pageup,ctrl+b", "page up", "One page up.", "move", _TABLE),
    Action("page_down", "pagedown,ctrl+f", "page down", "One page down.", "move", _TABLE),
    Action("jump_first", "home,g", "first", "The first row.", "move", _TABLE),
    Action("jump_last", "end", "last", "The last row.", "move", _TABLE),
    *_sorts(),
    Action("open", "enter", "its instance", "In a list: the page of the instance that the row is about.", "rows",
           frozenset({"tunnels", "events", "leftovers", "costs"}), footer=3),
    Action("close_tunnel", "x,t", "close", "In the list of tunnels: close it for good.", "rows",
           frozenset({"tunnels"}), Danger.CHANGES, footer=1),
    Action("copy_url", "y", "copy url", "In the list of tunnels: copy its URL.", "rows", frozenset({"tunnels"}), footer=2),
    Action("copy_event", "y", "copy", "In the list of events: copy the line.", "rows", frozenset({"events"}), footer=2),
    Action("copy_id", "y", "copy id", "In the list of leftovers: copy its id.", "rows", frozenset({"leftovers"}), footer=2),
    Action("next_view", "tab,right", "by account, day, instance", "In costs: group by account, by day, by instance.",
           "rows", frozenset({"costs"}), footer=1),
    Action("previous_view", "shift+tab,left", "grouping before", "In costs: the grouping before.", "rows",
           frozenset({"costs"})),
    Action("next_period", "m", "another span", "In costs: this month, the last one, 30 days, 7 days, today.", "rows",
           frozenset({"costs"}), footer=2),
    Action("bounds", "b,enter", "bounds", "In the list of endpoints: how few and how many workers.", "rows",
           frozenset({"endpoints"}), Danger.CHANGES, footer=1),
    Action("purge", "x", "purge queue", "In the list of endpoints: throw away the jobs that wait.", "rows",
           frozenset({"endpoints"}), Danger.DESTROYS, footer=2),
    Action("order", "enter", "order", "On the board of offers: to the order.", "rows", frozenset({"launch"}), footer=1),
    Action("next_field", "tab", "next field", "On the board of offers: the next field.", "rows", frozenset({"launch"}),
           footer=2),
    Action("previous_field", "shift+tab", "field before", "On the board of offers: the field before.", "rows",
           frozenset({"launch"})),
    Action("options", "ctrl+o", "options", "On the board of offers: what only that cloud knows.", "rows",
           frozenset({"launch"}), footer=3),
    Action("cancel_launch", "X", "end it", "While a launch is under way: end what it makes.", "rows",
           frozenset({"launch"}), Danger.DESTROYS),
    *(
        Action(f"part.{name}", str(number), name, f"On the page of one instance: {name}.", "rows", _PAGE,
               arguments=f"'{name}'")
        for number, name in enumerate(PARTS, 1)
    ),
)  # fmt: skip

BY_ID: dict[str, Action] = {action.id: action for action in ACTIONS}
_BY_METHOD: dict[str, Action] = {action.id.partition(".")[0]: action for action in ACTIONS if "." not in action.id}


def reason_against(method: str, situation: Situation) -> str | None:
    """Why the action of that method cannot act now; None where it can, or where it is none of ours."""
    action = _BY_METHOD.get(method)
    return None if action is None or action.reason is None else action.reason(situation)


def bindings(screen: str, *, only: Sequence[str] | None = None) -> list[Binding]:
    """The bindings of one screen (or of ``table``), with ids, so that `set_keymap` can move them."""
    return [
        Binding(_keys(action), action.method, action.label, id=action.id, show=False)
        for action in ACTIONS
        if screen in action.screens and (only is None or action.id in only)
    ]


def again(action_id: str) -> Binding:
    """The key that opened a list, in that list: it leads back."""
    action = BY_ID[action_id]
    return Binding(action.keys, "back", "back", id=action.id, show=False)


def _keys(action: Action) -> str:
    return action.keys


_NAMES = {
    "space": "Space", "enter": "Enter", "tab": "Tab", "escape": "Esc", "up": "↑", "down": "↓", "pageup": "PgUp", "pagedown": "PgDn", "left": "←", "right": "→",
    "home": "Home", "end": "End", "f1": "F1", "colon": ":", "question_mark": "?", "slash": "/", "plus": "+",
    "exclamation_mark": "!", "less_than_sign": "<", "greater_than_sign": ">",
}  # fmt: skip


def display_key(key: str) -> str:
    """A key as people read it: ``ctrl+r`` is ``^R``, ``shift+up`` is ``⇧↑``."""
    if key.startswith("ctrl+"):
        return f"^{key[5:].upper()}"
    if key.startswith("shift+"):
        return f"Shift+{display_key(key[6:])}"
    return _NAMES.get(key, key)


# -- the person's own keys ------------------------------------------------------------------------------------------


class Keymap(NamedTuple):
    """What of the person's ``[keys]`` can be used, and what is wrong with the rest."""

    keys: dict[str, str]
    problems: tuple[str, ...]


def keymap(wanted: Mapping[str, str]) -> Keymap:
    """Check ``[keys]`` against the table. Textual would drop clashes and unknown names in silence."""
    good: dict[str, str] = {}
    problems: list[str] = []
    for action_id, keys in wanted.items():
        if action_id not in BY_ID:
            near = get_close_matches(action_id, BY_ID, n=1)
            problems.append(f"keys.{action_id}: no such action{f'; {near[0]}?' if near else ''}")
        elif wrong := [key for key in keys.split(",") if not _is_key(key.strip())]:
            problems.append(f"keys.{action_id}: {wrong[0]!r} is no key; write it like x, X, ctrl+x or f2")
        else:
            good[action_id] = ",".join(key.strip() for key in keys.split(","))
    for action_id in list(good):
        holder = _holder(action_id, good)
        if holder is not None:
            key, other = holder
            problems.append(
                f"keys.{action_id}: {display_key(key)} is {other.label} ({other.id}) already; move that first"
            )
            del good[action_id]
    return Keymap(good, tuple(problems))


def _holder(action_id: str, moved: Mapping[str, str]) -> tuple[str, Action] | None:
    mine = BY_ID[action_id]
    wanted = {_canonical(key) for key in moved[action_id].split(",")}
    reach = _reach(mine.screens)
    for other in ACTIONS:
        if other.id == action_id or not reach & _reach(other.screens):
            continue
        for key in moved.get(other.id, other.keys).split(","):
            if _canonical(key) in wanted:
                return key, other
    return None


def _reach(screens: frozenset[str]) -> frozenset[str]:
    """Every screen on which such keys are heard: those of all lists in each list, those of the table wherever one is."""
    heard = set(screens)
    if "list" in screens:
        heard |= {*LISTS, "list"}
    if "table" in screens:
        heard |= {*_ALL, *LISTS} - {"instance"}
    return frozenset(heard)


def _canonical(key: str) -> str:
    from textual.keys import _character_to_key

    return _character_to_key(key) if len(key) == 1 else key


_KEY_NAMES = frozenset(key.value for key in Keys) | {"space", "plus", "minus", "slash", "colon", "question_mark"}


def _is_key(key: str) -> bool:
    if len(key) == 1:
        return key in string.printable and not key.isspace()
    head, _, last = key.rpartition("+")
    modifiers = set(head.split("+")) if head else set()
    return modifiers <= {"ctrl", "shift", "alt"} and (len(last) == 1 or last in _KEY_NAMES or key in _KEY_NAMES)


def table_rows() -> list[tuple[str, str]]:
    """Key and sentence of every action, for README and the documentation."""
    return [(", ".join(display_key(key) for key in action.keys.split(",")), action.sentence) for action in ACTIONS]
