"""A dozen pictures that matter, of the scripted scene. Look at the report before ``pytest --snapshot-update``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest
from textual.pilot import Pilot

from gpudash.ui.app import GpudashApp, Options
from gpudash.ui.synthetic.sample import sample_fleet

WIDE, NARROW = (160, 48), (80, 24)


def scene(theme: str = "dark", *, ascii_only: bool = False) -> GpudashApp:
    """The scripted scene; its clock stands still."""
    app = GpudashApp(sample_fleet(), Options(theme=theme, zone=UTC, ascii_only=ascii_only))
    app.animation_level = "none"
    return app


def on(name: str, *keys: str, steps: int = 0) -> Callable[[Pilot[Any]], Any]:
    """Put the cursor on an instance, press keys, let the cloud do its part."""

    async def before(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, GpudashApp)
        await pilot.pause()
        key = next(k for k, r in app.fleet.store.records.items() if r.instance.name == name)
        app.screen.go_to(key)  # type: ignore[attr-defined]
        await pilot.pause(0.3)
        await pilot.press(*keys)
        await pilot.pause(0.2)
        for _ in range(steps):
            app.fleet.step()  # type: ignore[attr-defined]
        await pilot.pause(0.2)

    return before


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        (WIDE, "dark"),
        (NARROW, "dark"),
        (WIDE, "light"),
        (NARROW, "light"),
        (WIDE, "colour-blind"),
        (WIDE, "high-contrast"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}",
)
def test_fleet(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    assert snap_compare(scene(theme), terminal_size=size, run_before=on("train-llama"))


def test_fleet_without_colour_in_ascii(snap_compare: Any) -> None:
    assert snap_compare(scene("plain", ascii_only=True), terminal_size=WIDE, run_before=on("train-llama"))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["160", "80"])
def test_terminate(snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(scene(), terminal_size=size, run_before=on("comfy", "X"))


def test_extend(snap_compare: Any) -> None:
    assert snap_compare(scene(), terminal_size=NARROW, run_before=on("train-llama", "+"))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["160", "80"])
def test_launch(snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(scene(), terminal_size=size, run_before=on("comfy", "n", *"h100", "enter"))


def test_launching(snap_compare: Any) -> None:
    before = on("comfy", "n", *"h100", "enter", "enter", "escape", steps=3)
    assert snap_compare(scene(), terminal_size=WIDE, run_before=before)


def test_instance(snap_compare: Any) -> None:
    assert snap_compare(scene(), terminal_size=WIDE, run_before=on("train-llama", "enter"))


def test_help(snap_compare: Any) -> None:
    assert snap_compare(scene(), terminal_size=WIDE, run_before=on("comfy", "?"))


def test_undo(snap_compare: Any) -> None:
    assert snap_compare(scene(), terminal_size=NARROW, run_before=on("comfy", "x", "right", "enter"))


def test_leftovers(snap_compare: Any) -> None:
    assert snap_compare(scene(), terminal_size=NARROW, run_before=on("comfy", "l"))
