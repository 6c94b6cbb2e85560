"""What every key does on every screen: by place, by binding, and for the three states it is pressed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from textual.dom import DOMNode
from textual.widget import Widget

from gpudash.ui.actions import ACTIONS, READ_ONLY
from gpudash.ui.screens.bounds import BoundsScreen, ConfirmPurge
from gpudash.ui.screens.confirm import ConfirmEnd, ConfirmMany, ConfirmRestart
from gpudash.ui.screens.costs import CostsByAccount, CostsByDay, CostsByInstance
from gpudash.ui.screens.endpoints import EndpointsScreen
from gpudash.ui.screens.events import EventsScreen
from gpudash.ui.screens.extend import ExtendScreen
from gpudash.ui.screens.fleet import FleetScreen
from gpudash.ui.screens.help import HelpScreen
from gpudash.ui.screens.instance import InstanceScreen
from gpudash.ui.screens.launch import LaunchScreen
from gpudash.ui.screens.launch_options import LaunchOptionsScreen
from gpudash.ui.screens.leftovers import LeftoversScreen
from gpudash.ui.screens.palette import CommandLines, Palette
from gpudash.ui.screens.rename import RenameScreen
from gpudash.ui.screens.themepicker import ThemePicker
from gpudash.ui.screens.toosmall import TooSmall
from gpudash.ui.screens.tunnels import TunnelsScreen
from gpudash.ui.screens.welcome import WelcomeScreen
from gpudash.ui.widgets.choice import ChoiceList
from gpudash.ui.widgets.filter_bar import FilterBar
from gpudash.ui.widgets.page import Page
from tests.ui.helpers import Stage

NONE_SELECTED = "No instance is selected."
GONE = "It is gone; nothing can be done to it any more."
NOTHING_HELD = "Nothing is held back: a stop can be undone for 5 s after it was asked for."
NO_SHELL = "This terminal cannot be handed over; y copies the ssh command instead."
"""What `s` answers under the pilot; the shell itself is tried in a real terminal."""


class Seen(NamedTuple):
    """What stands on the screen, and what was asked of the cloud so far."""

    screen: object
    focus: Widget | None
    answer: str
    calls: tuple[tuple[str, object], ...]
    clipboard: str
    left: tuple[str, ...]
    shown: Any
    """What moves on the screen by its keys: cursor, marks, order, part, scroll, choice."""


def see(on: Stage) -> Seen:
    app: Any = on.app
    calls = tuple(call for call in on.fleet.calls if call[0] != "refresh")
    return Seen(app.screen, app.focused, on.answer, calls, app.clipboard, tuple(app.left), shown(app.screen))


def shown(screen: Any) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(screen, name, None) for name in ("part", "period")}
    if (view := getattr(screen, "view", None)) is not None:
        table = screen.table
        row = table.cursor_row
        found |= {
            "row": None if row is None else view.position(row), "rows": len(view.order), "marks": frozenset(table.marks),
            "order": (view.sort_id, view.reverse), "only": view.only, "page": max(1, table.rows_on_screen - 1),
        }  # fmt: skip
    for page in screen.query(Page):
        found["top"] = page.top
        found["last"] = page.top + page.below
    for choices in screen.query(ChoiceList):
        found["index"] = (choices.index, len(choices.choices))
    for lines in screen.query(CommandLines):
        found["index"] = (lines.index, len(lines.found))
    return found


Check = Callable[[Stage, Seen, Seen], bool]


class Does(NamedTuple):
    """One effect of a key: in words, and how it is recognised from before and after."""

    words: str
    holds: Check

    def __repr__(self) -> str:
        return self.words


def opens(kind: type[DOMNode]) -> Does:
    """That screen, over the one before; nothing is asked of a cloud."""
    return Does(
        f"opens {kind.__name__}",
        lambda on, was, now: type(now.screen) is kind and now.screen is not was.screen and now.calls == was.calls,
    )


def says(text: str, *, more: bool = False) -> Does:
    """These words to the word (or so beginning), on the same screen, and nothing else."""
    return Does(
        f"says {text!r}",
        lambda on, was, now: (
            (now.answer == text or (more and now.answer.startswith(text)))
            and (now.screen, now.calls, now.left) == (was.screen, was.calls, was.left)
        ),
    )


def asks(call: str) -> Does:
    """That one thing of the cloud, of what is under the cursor."""

    def holds(on: Stage, was: Seen, now: Seen) -> bool:
        new = [name for name, _ in now.calls[len(was.calls) :]]
        return new[:1] == [call] and set(new) <= {call, "open_tunnel", "close_tunnel"}

    return Does(f"asks to {call}", holds)


def shows(words: str, check: Callable[[Any, Any], bool]) -> Does:
    """Something on the screen moves, and nothing is asked."""
    return Does(
        words,
        lambda on, was, now: now.screen is was.screen and now.calls == was.calls and check(was.shown, now.shown),
    )


def focuses(what: str, check: Callable[[Widget], bool]) -> Does:
    """That widget of the same screen."""
    return Does(
        f"focuses {what}",
        lambda on, was, now: (
            now.focus is not None and check(now.focus) and now.screen is was.screen and now.calls == was.calls
        ),
    )


def leaves(how: str) -> Does:
    return Does(f"leaves: {how}", lambda on, was, now: now.left == (*was.left, how) and now.calls == was.calls)


def copies(text: str) -> Does:
    return Does(
        f"copies {text!r}",
        lambda on, was, now: text in now.clipboard and now.answer.startswith("Copied") and now.calls == was.calls,
    )


NOTHING = Does(
    "does nothing",
    lambda on, was, now: (
        (now.screen, now.calls, now.left, now.answer, now.shown)
        == (was.screen, was.calls, was.left, was.answer, was.shown)
    ),
)
LEADS_BACK = Does(
    "leads back",
    lambda on, was, now: was.screen not in on.app.screen_stack and now.calls == was.calls and not now.left,
)


def closes_with(call: str) -> Does:
    """The dialog goes, and that is asked for."""
    asked = asks(call)
    return Does(
        f"closes and {asked}",
        lambda on, was, now: was.screen not in on.app.screen_stack and asked.holds(on, was, now),
    )


class Row(NamedTuple):
    """What one binding does where it can act, where there is nothing to act on, and in read-only mode."""

    can: Does
    empty: Does
    read_only: Does


def always(does: Does) -> Row:
    """Looks, moves, goes: nothing stands against it."""
    return Row(does, does, does)


def on_a_row(does: Does, empty: str) -> Row:
    """Looks at what is under the cursor."""
    return Row(does, says(empty), does)


def changes(does: Does, empty: str, *, read_only_says: str = READ_ONLY) -> Row:
    """Changes the world; in read-only mode that is the answer whatever is selected."""
    return Row(does, says(empty), says(read_only_says))


class Place(NamedTuple):
    """A screen (or a part of it with the focus), how to come there from the fleet, and its rows by binding."""

    kind: type[DOMNode]
    reach: tuple[str, ...]
    rows: Mapping[str, Row]
    heard: frozenset[str] = frozenset()
    """The names under which the key table binds keys there."""
    focus: str = ""
    """What has the focus."""
    at_once: bool = False
    """It gets the focus without the keys that go there."""
    types: bool = False
    """Letters are text there."""
    at: str = "comfy"
    """The instance under the cursor of the fleet before it is reached."""
    size: tuple[int, int] = (120, 36)
    push: Callable[[], Any] | None = None
    """Makes the screen, where no key of the fleet opens it."""
    steps: int = 0
    """What the cloud does then."""
    row: int = 1
    """The row under the cursor of a list."""
    extra: Mapping[str, Row] = {}
    """Keys that are no bindings."""


# -- what several screens share ---------------------------------------------------------------------------------------


def _moved(step: Callable[[dict[str, Any]], int]) -> Does:
    return shows(
        "moves the cursor",
        lambda was, now: (
            now["row"] is None if was["row"] is None else now["row"] == max(0, min(was["rows"] - 1, step(was)))
        ),
    )


def _scrolled(step: Callable[[dict[str, Any]], int]) -> Does:
    return shows("scrolls", lambda was, now: now["top"] == max(0, min(was["last"], step(was))))


def _chooses(step: int) -> Does:
    return shows(
        f"moves the choice by {step}",
        lambda was, now: (
            now["index"][0] == (was["index"][0] + step) % was["index"][1]
            if abs(step) == 1
            else now["index"][0] == max(0, min(was["index"][1] - 1, was["index"][0] + step))
        ),
    )


SORTED = Does("sorts", lambda on, was, now: now.shown["order"] != was.shown["order"] and "Sorted by" in now.answer)
FILTERS = focuses("the filter", lambda widget: isinstance(widget.parent, FilterBar))
PROGRAM = {
    "palette": always(opens(Palette)),
    "help": always(opens(HelpScreen)),
    "suspend_process": always(leaves("suspended")),
    "quit": always(leaves("quit")),
}
REFRESHES = {"refresh": always(says("Asking all clouds and hosts …"))}
TABLE = {
    "cursor_up": always(_moved(lambda was: was["row"] - 1)),
    "cursor_down": always(_moved(lambda was: was["row"] + 1)),
    "page_up": always(_moved(lambda was: was["row"] - was["page"])),
    "page_down": always(_moved(lambda was: was["row"] + was["page"])),
    "jump_first": always(_moved(lambda was: 0)),
    "jump_last": always(_moved(lambda was: was["rows"])),
}
SCROLLS = {
    "page.up": always(_scrolled(lambda was: was["top"] - 1)),
    "page.down": always(_scrolled(lambda was: was["top"] + 1)),
    "page.page_up": always(_scrolled(lambda was: was["top"] - 20)),
    "page.page_down": always(_scrolled(lambda was: was["top"] + 20)),
    "page.top": always(_scrolled(lambda was: 0)),
    "page.end": always(_scrolled(lambda was: was["last"])),
}
ONE_FIELD = {"app.focus_next": always(NOTHING), "app.focus_previous": always(NOTHING)}
IN_ANY_LIST = {
    **PROGRAM, **REFRESHES, **TABLE,
    "filter": always(FILTERS),
    "sort_next": always(SORTED),
    "sort_before": always(SORTED),
    "sort_turn": always(SORTED),
    "back": always(LEADS_BACK),
}  # fmt: skip


def _acts(nothing: str) -> dict[str, Row]:
    """All that can be done to an instance, on the fleet and on its page."""
    return {
        "extend": changes(opens(ExtendScreen), nothing),
        "keep_awake": changes(asks("keep_awake"), nothing),
        "start": changes(asks("start"), nothing),
        "restart": changes(opens(ConfirmRestart), nothing),
        "stop": changes(opens(ConfirmEnd), nothing),
        "hibernate": changes(opens(ConfirmEnd), nothing),
        "terminate": changes(opens(ConfirmEnd), nothing),
        "undo": changes(asks("cancel"), NOTHING_HELD, read_only_says=NOTHING_HELD),
        "push": changes(asks("push"), nothing),
        "adopt": changes(asks("adopt"), nothing),
        "rename": changes(opens(RenameScreen), nothing),
        "toggle_tunnels": on_a_row(asks("toggle_tunnels"), nothing),
        "ssh": on_a_row(says(NO_SHELL), nothing),
        "copy_ssh": on_a_row(copies("ssh -p 22 ubuntu@198.51.100.7"), nothing),
    }


ACTS = _acts(NONE_SELECTED)
CANNOT: dict[str, dict[str, str]] = {
    "old-test": {"start": "old-test is running; only a stopped instance starts."},
    "serve-mixtral": {"start": "serve-mixtral is running; only a stopped instance starts."},
    "comfy": {
        "start": "comfy is running; only a stopped instance starts.",
        "hibernate": "Vast cannot hibernate instances; stop instead (x).",
    },
    "eval": {
        "start": "eval is running; only a stopped instance starts.",
        "hibernate": "RunPod cannot hibernate pods; stop instead (x).",
    },
    "sweep-3": {
        "start": "sweep-3 is pending; only a stopped instance starts.",
        "hibernate": "Vast cannot hibernate instances; stop instead (x).",
    },
    "train-llama": {
        "start": "train-llama is running; only a stopped instance starts.",
        "stop": "Lambda cannot stop instances; terminate instead (X).",
        "hibernate": "Lambda cannot hibernate instances; terminate instead (X).",
    },
    "probe-7": {
        **dict.fromkeys(
            ("extend", "keep_awake", "start", "restart", "push", "adopt", "rename"), "probe-7 is being ended."
        ),
        "stop": "Lambda cannot stop instances; terminate instead (X).",
        "hibernate": "Lambda cannot hibernate instances; terminate instead (X).",
    },
    "notebooks": {
        **dict.fromkeys(
            ("extend", "keep_awake", "restart", "stop", "push", "adopt", "rename"),
            "notebooks is stopped; r starts it.",
        ),
        "hibernate": "RunPod cannot hibernate pods; stop instead (x).",
        "ssh": "notebooks has no address to reach by SSH (stopped).",
        "copy_ssh": "notebooks has no address to reach by SSH (stopped).",
        "toggle_tunnels": "notebooks has no address to tunnel to (stopped).",
    },
}
"""Each instance of the scene, and what cannot be done to it, in the words of the answer. All else can."""
COSTS = {
    "next_period": always(shows("another span", lambda was, now: now["period"] != was["period"])),
    "costs": always(LEADS_BACK),
}
SUMS = "These are sums of several instances; Tab groups by instance."


def _id(name: str) -> Does:
    return focuses(f"#{name}", lambda widget: widget.id == name)


def _question(act: Row, **more: Row) -> dict[str, Row]:
    """The bindings of a question, focused on Cancel; what must be typed is not typed."""
    return {
        "press": act, "back": always(LEADS_BACK), "app.quit": always(leaves("quit")),
        "app.focus_next": always(NOTHING), "app.focus_previous": always(NOTHING), **more,
    }  # fmt: skip


TO_ACT = {"app.focus_next": always(_id("act")), "app.focus_previous": always(_id("act"))}
TO_CANCEL = {"app.focus_next": always(_id("cancel")), "app.focus_previous": always(_id("cancel"))}
TO_TYPED = {"app.focus_next": always(_id("typed")), "app.focus_previous": always(_id("typed"))}
SIDEWAYS_ACT = {"left": always(_id("act")), "right": always(_id("act"))}
SIDEWAYS_CANCEL = {"left": always(_id("cancel")), "right": always(_id("cancel"))}
STAYS = {"left": always(_id("cancel")), "right": always(_id("cancel"))}

# -- every place ------------------------------------------------------------------------------------------------------

_BOARD_FIELDS = {
    "next_field": always(focuses("another field", lambda widget: True)),
    "previous_field": always(focuses("another field", lambda widget: True)),
    "options": Row(opens(LaunchOptionsScreen), says("No offer is selected."), opens(LaunchOptionsScreen)),
    "cancel_launch": always(says("Nothing was launched from here yet.")),
}
_BOARD = {**IN_ANY_LIST, **_BOARD_FIELDS, "order": on_a_row(_id("launch"), "No offer is selected.")}
_BUTTON = {name: row for name, row in _BOARD.items() if name not in TABLE and name != "order"} | {
    "back": always(FILTERS),
    "press": changes(asks("launch"), "No offer is selected."),
}
_FIELD = {
    name: _BOARD[name]
    for name in ("palette", "help", "suspend_process", "quit", "refresh", "next_field", "previous_field", "options")
}
_NO_ROW = {name: changes(opens(kind), "No endpoint is selected.") for name, kind in
           (("bounds", BoundsScreen), ("purge", ConfirmPurge))}  # fmt: skip

PLACES: dict[str, Place] = {
    "fleet": Place(
        FleetScreen, (), heard=frozenset({"fleet", "table"}), rows={
            **PROGRAM, **REFRESHES, **TABLE, **ONE_FIELD, **ACTS,
            "launch": Row(opens(LaunchScreen), opens(LaunchScreen), says(READ_ONLY)),
            "details": on_a_row(opens(InstanceScreen), NONE_SELECTED),
            "filter": always(FILTERS),
            "faults": always(Does(
                "only faults",
                lambda on, was, now: now.shown["only"] is not None and now.answer.startswith("Faults only:"),
            )),
            "mark": on_a_row(shows("marks", lambda was, now: len(now["marks"]) == 1), NONE_SELECTED),
            "mark_up": on_a_row(shows("marks two", lambda was, now: len(now["marks"]) == 2), NONE_SELECTED),
            "mark_down": on_a_row(shows("marks two", lambda was, now: len(now["marks"]) == 2), NONE_SELECTED),
            "mark_all": on_a_row(shows("marks all", lambda was, now: len(now["marks"]) == was["rows"]), NONE_SELECTED),
            "sort_next": always(SORTED), "sort_before": always(SORTED),
            "offers": always(opens(LaunchScreen)), "tunnels": always(opens(TunnelsScreen)),
            "events": always(opens(EventsScreen)), "costs": always(opens(CostsByInstance)),
            "leftovers": always(opens(LeftoversScreen)), "pools": always(opens(EndpointsScreen)),
            "back": always(says("q leaves the dashboard.")),
            **{action.id: always(SORTED) for action in ACTIONS if action.group == "sort"},
        },
    ),
    "instance": Place(
        InstanceScreen, ("enter",), heard=frozenset({"instance"}), size=(100, 24), rows={
            **PROGRAM, **REFRESHES, **SCROLLS, **_acts(GONE), "back": always(LEADS_BACK),
            "next_part": always(shows("the next part", lambda was, now: now["part"] == "signals")),
            "previous_part": always(shows("the part before", lambda was, now: now["part"] == "record")),
            **{
                action.id: always(shows(action.id, lambda was, now, name=action.label: now["part"] == name))
                for action in ACTIONS if action.id.startswith("part.")
            },
        },
    ),
    "tunnels": Place(
        TunnelsScreen, ("T",), heard=frozenset({"list", "tunnels", "table"}), rows={
            **IN_ANY_LIST, **ONE_FIELD, "tunnels": always(LEADS_BACK),
            "open": on_a_row(opens(InstanceScreen), "No tunnel is selected."),
            "close_tunnel": changes(asks("close_tunnel"), "No tunnel is selected."),
            "copy_url": on_a_row(copies("http://127.0.0.1:"), "No tunnel is selected."),
        },
    ),
    "events": Place(
        EventsScreen, ("e",), heard=frozenset({"list", "events", "table"}), rows={
            **IN_ANY_LIST, **ONE_FIELD, "events": always(LEADS_BACK),
            "open": on_a_row(opens(InstanceScreen), "No event is selected."),
            "copy_event": on_a_row(copies("extend train-llama: lease moved"), "No event is selected."),
        },
    ),
    "leftovers": Place(
        LeftoversScreen, ("l",), heard=frozenset({"list", "leftovers", "table"}), rows={
            **IN_ANY_LIST, **ONE_FIELD, "leftovers": always(LEADS_BACK),
            "open": on_a_row(opens(InstanceScreen), "No leftover is selected."),
            "copy_id": on_a_row(copies("nv-77"), "No leftover is selected."),
        },
    ),
    "endpoints": Place(
        EndpointsScreen, ("P",), heard=frozenset({"list", "endpoints", "table"}), rows={
            **IN_ANY_LIST, **ONE_FIELD, **_NO_ROW, "pools": always(LEADS_BACK),
        },
    ),
    "costs": Place(
        CostsByInstance, ("c",), heard=frozenset({"list", "costs", "table"}), rows={
            **IN_ANY_LIST, **COSTS, "open": on_a_row(opens(InstanceScreen), "No line is selected."),
            "next_view": always(opens(CostsByAccount)), "previous_view": always(opens(CostsByDay)),
        },
    ),
    "costs by account": Place(
        CostsByAccount, ("c", "tab"), heard=frozenset({"list", "costs", "table"}), rows={
            **IN_ANY_LIST, **COSTS, "open": on_a_row(says(SUMS), "No line is selected."),
            "next_view": always(opens(CostsByDay)), "previous_view": always(opens(CostsByInstance)),
        },
    ),
    "costs by day": Place(
        CostsByDay, ("c", "left"), heard=frozenset({"list", "costs", "table"}), rows={
            **IN_ANY_LIST, **COSTS, "open": on_a_row(says(SUMS), "No line is selected."),
            "next_view": always(opens(CostsByInstance)), "previous_view": always(opens(CostsByAccount)),
        },
    ),
    "board": Place(
        LaunchScreen, ("o",), at_once=True, heard=frozenset({"list", "launch", "table"}), focus="table", rows=_BOARD,
    ),
    "board, filter": Place(LaunchScreen, ("o",), focus="filter", types=True, rows={
        **_FIELD, "back": always(LEADS_BACK), "submit": on_a_row(_id("launch"), "No offer is selected."),
    }),
    "board, order": Place(LaunchScreen, ("o",), at_once=True, focus="name", types=True, rows={
        **_FIELD, "back": always(FILTERS), "submit": always(_id("launch")),
    }),
    "board, button": Place(
        LaunchScreen, ("o",), at_once=True, focus="launch", rows=_BUTTON,
    ),
    "board, under way": Place(
        LaunchScreen, ("n", "enter", "enter"), focus="table", steps=12, rows={
            **_BOARD, "cancel_launch": always(opens(ConfirmEnd)), "order": always(NOTHING),
            "options": always(says("It is asked for already; Esc goes back to the table.")),
            "next_field": always(FILTERS), "previous_field": always(FILTERS),
        },
    ),
    "help": Place(HelpScreen, ("?",), size=(100, 24), rows={
        **{name: row for name, row in PROGRAM.items() if name != "help"}, **SCROLLS, **ONE_FIELD,
        "back": always(LEADS_BACK), "help.back": always(LEADS_BACK),
    }),
    "too small": Place(TooSmall, (), push=TooSmall, size=(50, 10), rows={
        **ONE_FIELD, "suspend_process": always(leaves("suspended")), "quit": always(leaves("quit")),
    }),
    "palette": Place(Palette, (":",), types=True, rows={
        "move(1)": always(_chooses(1)), "move(-1)": always(_chooses(-1)), "move(10)": always(_chooses(10)),
        "move(-10)": always(_chooses(-10)), "move(100000)": always(_chooses(100000)),
        "move(-100000)": always(_chooses(-100000)), "app.focus_previous": always(NOTHING),
        "back": always(LEADS_BACK), "app.quit": always(leaves("quit")),
        "submit": Row(LEADS_BACK, LEADS_BACK, LEADS_BACK),
    }),
    "themes": Place(ThemePicker, (), push=ThemePicker, rows={
        **ONE_FIELD, "move(1)": always(_chooses(1)), "move(-1)": always(_chooses(-1)),
        "choose": always(LEADS_BACK), "back": always(LEADS_BACK), "app.quit": always(leaves("quit")),
    }),
    "welcome": Place(WelcomeScreen, (), push=WelcomeScreen, rows={
        **ONE_FIELD, "move(1)": always(_chooses(1)), "move(-1)": always(_chooses(-1)),
        "choose": always(LEADS_BACK), "take('sandbox')": always(LEADS_BACK), "back": always(LEADS_BACK),
        "take('connect')": always(
            Does("says where keys belong", lambda on, was, now: on.app.screen.query_one("#foot").styles.height.value > 1)
        ),
        "app.quit": always(leaves("quit")),
    }),
    "stop?": Place(
        ConfirmEnd, ("x",), rows=_question(always(LEADS_BACK), **TO_ACT), extra=SIDEWAYS_ACT,
    ),
    "stop!": Place(
        ConfirmEnd, ("x", "right"), focus="act",
        rows=_question(always(closes_with("end")), **TO_CANCEL), extra=SIDEWAYS_CANCEL,
    ),
    "terminate?": Place(
        ConfirmEnd, ("X",), types=True, rows=_question(always(LEADS_BACK), **TO_TYPED), extra=STAYS,
    ),
    "terminate, typed": Place(ConfirmEnd, ("X", *"comfy"), focus="typed", types=True, rows={
        **{name: row for name, row in _question(always(NOTHING)).items() if name != "press"},
        "submit": always(_id("act")), "app.focus_next": always(_id("cancel")), "app.focus_previous": always(_id("act")),
    }),
    "terminate!": Place(
        ConfirmEnd, ("X", *"comfy", "enter"), focus="act", types=True, rows=_question(
            always(closes_with("end")), **{"app.focus_next": always(_id("typed")),
                                           "app.focus_previous": always(_id("cancel"))},
        ), extra=SIDEWAYS_CANCEL,
    ),
    "restart?": Place(
        ConfirmRestart, ("b",), rows=_question(always(LEADS_BACK), **TO_ACT), extra=SIDEWAYS_ACT,
    ),
    "restart!": Place(
        ConfirmRestart, ("b", "right"), focus="act",
        rows=_question(always(closes_with("restart")), **TO_CANCEL), extra=SIDEWAYS_CANCEL,
    ),
    "many?": Place(
        ConfirmMany, ("ctrl+a", "p"), types=True, rows=_question(always(LEADS_BACK), **TO_TYPED),
        extra=STAYS,
    ),
    "extend": Place(ExtendScreen, ("+",), rows={
        **ONE_FIELD, "move(1)": always(_chooses(1)), "move(-1)": always(_chooses(-1)),
        "choose": always(closes_with("extend")), "back": always(LEADS_BACK), "app.quit": always(leaves("quit")),
    }),
    "rename": Place(RenameScreen, ("m", "end", "2"), types=True, rows={
        **ONE_FIELD, "submit": always(closes_with("rename")), "back": always(LEADS_BACK),
        "app.quit": always(leaves("quit")),
    }),
    "bounds": Place(BoundsScreen, ("P", "b"), focus="low", types=True, rows={
        "submit": always(_id("high")), "app.focus_next": always(_id("high")), "app.focus_previous": always(_id("act")),
        "back": always(LEADS_BACK), "app.quit": always(leaves("quit")),
    }),
    "bounds!": Place(
        BoundsScreen, ("P", "b", "3", *["enter"] * 3), focus="act", types=True, rows=_question(
            always(closes_with("scale")), **{"app.focus_next": always(_id("low")),
                                             "app.focus_previous": always(_id("cancel"))},
        ),
    ),
    "purge?": Place(
        ConfirmPurge, ("P", "x"), rows=_question(always(LEADS_BACK), **TO_ACT), extra=SIDEWAYS_ACT,
    ),
    "purge!": Place(
        ConfirmPurge, ("P", "x", "right"), focus="act",
        rows=_question(always(closes_with("purge")), **TO_CANCEL), extra=SIDEWAYS_CANCEL,
    ),
    "options": Place(LaunchOptionsScreen, ("o", "tab", "ctrl+o"), focus="option-max-price", types=True,
        rows={
            "submit": always(LEADS_BACK), "take": always(LEADS_BACK), "back": always(LEADS_BACK),
            "app.focus_next": always(_id("option-if-none")), "app.focus_previous": always(_id("option-if-none")),
            "app.quit": always(leaves("quit")),
        },
    ),
}  # fmt: skip
