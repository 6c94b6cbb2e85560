"""The palette: finds every verb, screen, instance and theme, and shows a theme while the cursor is on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gpudash.ui import commands, themes
from gpudash.ui.actions import ACTIONS
from gpudash.ui.screens.costs import CostsScreen
from gpudash.ui.screens.events import EventsScreen
from gpudash.ui.screens.palette import PREVIEW_AFTER_S, Palette
from gpudash.ui.synthetic.sample import sample_fleet
from tests.ui.helpers import Stage, stage


async def rest(on: Stage) -> None:
    """Let the cursor rest on its line."""
    await on.pilot.pause(PREVIEW_AFTER_S + 0.04)
    await on.settle()


def ground(on: Stage) -> str:
    """The colour that stands under the fleet now."""
    return on.fleet_screen.styles.background.hex


async def test_it_has_every_verb_screen_instance_and_theme() -> None:
    async with stage(sample_fleet()) as on:
        labels = {command.label for command in commands.commands(on.app, on.app.screen)}
        for action in ACTIONS:
            if "fleet" in action.screens and action.group != "sort" and action.id != "palette":
                assert action.label in labels
        assert {f"theme {name}" for name in themes.names()} <= labels
        assert {f"go to {record.instance.name}" for record in on.fleet.store.records.values()} <= labels


async def test_a_highlighted_theme_is_worn_at_once_and_esc_takes_it_off() -> None:
    async with stage(sample_fleet()) as on:
        before = ground(on)
        await on.press(":", *"theme nord")
        await rest(on)
        assert on.app.look.name == "nord"
        assert ground(on) == themes.load("nord").grounds["background"].hex != before
        await on.press("escape")
        await rest(on)
        assert on.app.look.name == "dark"
        assert ground(on) == before
        assert on.app.fleet.session.config.path is None


async def test_going_on_to_another_command_takes_it_off() -> None:
    async with stage(sample_fleet()) as on:
        await on.press(":", *"nord")
        await rest(on)
        assert on.app.look.name == "nord"
        await on.press(*["backspace"] * 4, *"events")
        await rest(on)
        assert on.app.look.name == "dark"
        await on.press("enter")
        assert isinstance(on.app.screen, EventsScreen)


async def test_enter_keeps_the_theme_in_the_settings(own_home: Path) -> None:
    async with stage(sample_fleet()) as on:
        await on.press(":", *"theme nord", "enter")
        await rest(on)
        assert on.app.look.name == "nord"
        assert 'theme = "nord"' in (own_home / ".config" / "gpudash" / "config.toml").read_text()


async def test_a_refused_theme_is_listed_with_its_field(own_home: Path) -> None:
    folder = own_home / ".config" / "gpudash" / "themes"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('inherits = "nord"\n[meaning]\ntext = "bluish"')
    async with stage(sample_fleet()) as on:
        await on.press(":", *"refused")
        await on.settle()
        (found,) = commands.find(commands.commands(on.app, on.fleet_screen), "theme refused")[:1]
        assert "meaning.text" in found.command.about()
        await on.press("enter")
        assert on.app.look.name == "dark"


async def test_go_to_works_from_every_screen() -> None:
    async with stage(sample_fleet()) as on:
        for key in ("enter", "c", "T"):
            await on.press(key, ":", *"go to eval", "enter")
            assert on.app.screen is on.fleet_screen
            assert on.fleet_screen.targets()[0].instance.name == "eval"


async def test_lists_are_reached_from_other_lists() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("e", ":", *"costs", "enter")
        assert isinstance(on.app.screen, CostsScreen)
        await on.press("escape")
        assert on.app.screen is on.fleet_screen


async def test_a_verb_that_cannot_act_says_why_in_its_line() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("train-llama")
        await on.press(":", *"stop")
        assert "Lambda cannot stop instances" in on.text("CommandLines")
        await on.press("enter")
        assert "Lambda cannot stop instances" in on.answer


async def test_on_a_narrow_screen_the_whole_reason_of_the_chosen_one_stands_below() -> None:
    async with stage(sample_fleet(), size=(80, 24)) as on:
        await on.go_to("train-llama")
        await on.press(":", *"stop")
        assert "Lambda cannot stop instances; terminate instead (X)." in on.text("Lines")


async def test_every_theme_says_what_it_is_on_a_narrow_screen() -> None:
    async with stage(sample_fleet(), size=(80, 24)) as on:
        await on.press(":", *"themes", "enter")
        shown = on.text("ThemePicker ChoiceList")
        assert all(name in shown for name in themes.names())
        assert "…" not in shown


async def test_arrows_pages_and_the_mouse_choose() -> None:
    async with stage(sample_fleet()) as on:
        await on.press(":", "pagedown", "down", "up", "pageup", "up")
        screen = on.app.screen
        assert isinstance(screen, Palette)
        assert on.text("CommandLines").splitlines()[-1].startswith("▸")
        await on.press(*"events")
        await on.pilot.click("CommandLines", offset=(12, 0))
        await on.settle()
        assert isinstance(on.app.screen, EventsScreen)


async def test_nothing_that_fits_says_so_and_enter_does_nothing() -> None:
    async with stage(sample_fleet()) as on:
        await on.press(":", *"qqqq")
        assert "Nothing has that name" in on.text("CommandLines")
        await on.press("enter")
        assert isinstance(on.app.screen, Palette)


@pytest.mark.parametrize(("typed", "label"), [("ka", "keep awake"), ("srt lease", "sort by lease"), ("EXT", "extend")])
async def test_a_few_letters_find_it(typed: str, label: str) -> None:
    async with stage(sample_fleet()) as on:
        assert commands.find(commands.commands(on.app, on.app.screen), typed)[0].command.label == label


async def test_a_name_made_to_be_searched_for_ever_is_not() -> None:
    """The library looks at every way to find the letters; a name like this has billions."""
    fleet = sample_fleet()
    record = next(iter(fleet.store.records.values()))
    fleet.put(replace(record.instance, name="ab" * 90))
    async with stage(fleet) as on:
        found = commands.find(commands.commands(on.app, on.app.screen), "aabbaabbaa")
        assert [item.command.label for item in found] == ["go to " + "ab" * 90]
