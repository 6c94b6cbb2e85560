"""The key table, and what a person's own keys may do to it."""

from __future__ import annotations

from collections import Counter

import pytest
from textual.binding import BindingsMap

from gpudash.ui import actions
from gpudash.ui.actions import ACTIONS, BY_ID, Danger, keymap
from gpudash.ui.screens.costs import CostsScreen
from gpudash.ui.screens.endpoints import EndpointsScreen
from gpudash.ui.screens.events import EventsScreen
from gpudash.ui.screens.fleet import FleetScreen
from gpudash.ui.screens.instance import InstanceScreen
from gpudash.ui.screens.launch import LaunchScreen
from gpudash.ui.screens.leftovers import LeftoversScreen
from gpudash.ui.screens.listing import ListScreen
from gpudash.ui.screens.tunnels import TunnelsScreen
from gpudash.ui.widgets.line_table import LineTable

DESIGN_KEYS = {
    "launch": "n", "extend": "+", "keep_awake": "a", "stop": "x", "terminate": "X", "start": "r", "hibernate": "h",
    "toggle_tunnels": "t", "tunnels": "T", "ssh": "s", "push": "p", "details": "enter", "costs": "c", "offers": "o",
    "events": "e", "leftovers": "l", "pools": "P", "undo": "u", "filter": "/", "mark": "space", "faults": "!",
    "palette": ":", "help": "?", "refresh": "ctrl+r", "quit": "q", "back": "escape",
}  # fmt: skip


def test_the_keys_are_those_of_the_design() -> None:
    for action_id, key in DESIGN_KEYS.items():
        assert key in BY_ID[action_id].keys.split(","), action_id


@pytest.mark.parametrize("screen", ["fleet", "instance", "list", *actions.LISTS])
def test_no_key_means_two_things_on_one_screen(screen: str) -> None:
    here = {screen, "table"} | ({"list"} if screen in actions.LISTS else set())
    keys = [key for action in ACTIONS if action.screens & here for key in action.keys.split(",")]
    assert [key for key, count in Counter(keys).items() if count > 1] == []


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_each_action_has_words_and_a_method(action: actions.Action) -> None:
    assert action.label
    assert action.sentence.endswith(".")
    owners = {
        "fleet": FleetScreen, "instance": InstanceScreen, "list": ListScreen, "table": LineTable,
        "tunnels": TunnelsScreen, "events": EventsScreen, "leftovers": LeftoversScreen, "costs": CostsScreen,
        "launch": LaunchScreen, "endpoints": EndpointsScreen,
    }  # fmt: skip
    for screen in action.screens:
        assert hasattr(owners[screen], f"action_{action.id.partition('.')[0]}"), (screen, action.id)


def test_whatever_changes_an_instance_has_a_reason_when_it_cannot() -> None:
    for action in ACTIONS:
        if action.danger is not Danger.NONE and action.group == "act":
            assert action.reason is not None, action.id


def test_every_binding_has_an_id() -> None:
    for binding in BindingsMap(actions.bindings("fleet")).key_to_bindings.values():
        assert all(one.id for one in binding)


def test_a_persons_keys_are_taken_over() -> None:
    checked = keymap({"stop": "ctrl+x", "launch": "f2,N"})
    assert checked.keys == {"stop": "ctrl+x"}
    assert "N is by name" in checked.problems[0]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"stopp": "x"}, "stop?"),
        ({"stop": "foo"}, "'foo' is no key"),
        ({"stop": "p"}, "p is push statusd"),
        ({"stop": "k"}, "k is up"),
        ({"stop": "question_mark"}, "? is help"),
        ({"close_tunnel": "k"}, "k is up"),
        ({"help": "m"}, "m is rename"),
        ({"sort_turn": "m"}, "m is another span"),
        ({"next_period": "slash"}, "/ is filter"),
    ],
)
def test_conflicts_are_reported(wanted: dict[str, str], words: str) -> None:
    checked = keymap(wanted)
    assert checked.keys == {}
    assert words in checked.problems[0]


def test_a_key_whose_holder_moves_away_is_free() -> None:
    assert keymap({"push": "ctrl+p,f5", "palette": ":", "stop": "p"}).problems == ()


def test_lists_that_are_never_on_one_screen_may_share_a_key() -> None:
    assert keymap({"close_tunnel": "m", "copy_event": "x"}).problems == ()


def test_two_of_a_persons_keys_may_swap() -> None:
    assert keymap({"stop": "X", "terminate": "x"}).problems == ()


def test_the_readme_table_has_every_key() -> None:
    shown = " ".join(key for key, _ in actions.table_rows())
    assert all(word in shown for word in ("n", "+", "Space", "Enter", "^R", "?", "Esc"))
