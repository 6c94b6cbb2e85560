"""Every terminal: small ones, ASCII, no colour, wide characters, texts that look like markup."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from gpudash.ui import themes
from gpudash.ui.screens.toosmall import TooSmall
from gpudash.ui.synthetic.sample import sample_fleet
from tests.ui.helpers import stage

SCREENS = ["n", "+", "X", "enter", "e", "c", "l", "T", "P", "?", ":"]


async def test_a_terminal_too_small_gets_a_word_and_loses_nothing() -> None:
    async with stage(sample_fleet(), size=(160, 48)) as on:
        await on.go_to("eval")
        await on.pilot.resize_terminal(40, 10)
        await on.settle()
        assert isinstance(on.app.screen, TooSmall)
        assert "40×10" in on.text()
        await on.pilot.resize_terminal(100, 30)
        await on.settle()
        assert on.app.screen is on.fleet_screen
        assert on.fleet_screen.targets()[0].instance.name == "eval"


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (59, 30), (200, 13)])
async def test_no_size_is_an_error(size: tuple[int, int]) -> None:
    async with stage(sample_fleet(), size=size) as on:
        assert isinstance(on.app.screen, TooSmall)
        await on.press("q")


@pytest.mark.parametrize("size", [(60, 14), (80, 24), (250, 70)])
async def test_every_screen_stands_at_every_size(size: tuple[int, int]) -> None:
    async with stage(sample_fleet(), size=size) as on:
        await on.go_to("comfy")
        for key in SCREENS:
            await on.press(key)
            for line in on.text().splitlines():
                assert cell_len(line) <= size[0], key
            await on.press("escape", "escape")


async def test_ascii_means_ascii_on_every_screen() -> None:
    async with stage(sample_fleet(), ascii_only=True, theme="plain") as on:
        await on.go_to("comfy")
        for key in SCREENS:
            await on.press(key)
            await on.paint()
            for strip in on.app.screen._compositor.render_strips():
                line = "".join(segment.text for segment in strip)
                assert line.isascii(), (key, line)
            await on.press("escape", "escape")


async def test_every_theme_can_be_worn() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("comfy")
        for name in themes.names():
            assert on.app.use_theme_named(name) is None
            await on.press("X", "escape", "?", "escape")
            assert on.app.theme == name


async def test_no_colour_emits_no_colour() -> None:
    async with stage(sample_fleet(), theme="plain") as on:
        for strip in on.app.screen._compositor.render_strips():
            for segment in strip:
                style = segment.style
                for color in (style.color, style.bgcolor) if style else ():
                    assert color is None or color.is_default, (segment.text, color)


async def test_state_is_never_told_by_colour_alone() -> None:
    async with stage(sample_fleet(), theme="plain") as on:
        words = on.text("#table")
        for word in ("running", "stopped", "pending", "STILL BILLING", "armed", "degraded", "NONE", "never!", "parked"):
            assert word in words


NAMES = [
    "训练-羊驼",
    "🔥🔥 train",
    "[bold red]boom[/]",
    "[/]",
    "evil\x1b[31mred",
    "tab\there",
    "é́combining",
    "x" * 200,
    "",
]


@pytest.mark.parametrize("name", NAMES)
async def test_names_from_outside_are_text_and_keep_the_columns(name: str) -> None:
    fleet = sample_fleet()
    record = next(r for r in fleet.store.records.values() if r.instance.name == "comfy")
    fleet.put(replace(record.instance, name=name, lost_on_terminate=f"disk of {name}"))
    async with stage(fleet) as on:
        on.fleet_screen.table.select(record.key)
        await on.settle()
        widths = {cell_len(line) for line in on.text("#table").splitlines()}
        assert widths == {160}
        assert "\x1b" not in on.text()
        for key in ("X", "x", "enter", "+"):
            await on.press(key)
            await on.press("escape", "escape")
        await on.press(":")
        await on.pilot.pause(0.2)
        await on.press("escape")
        assert on.app.is_running


async def test_provider_texts_with_markup_are_text() -> None:
    from gpudash.errors import Unreachable

    fleet = sample_fleet()
    fleet.store.apply_failure("aws", "us-east-1", Unreachable("[red]503[/red] [link=x]"), fleet.clock.now())
    async with stage(fleet, size=(250, 48)) as on:
        assert "[red]503" in on.text("#strip")
        on.app.notify("[/nonsense]", markup=False)
        on.app.say("[/nonsense]")
        await on.settle()
        assert on.app.is_running
