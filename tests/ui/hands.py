"""What reaches the program beside single keys: clicks, the wheel, drags, a paste, another size. As a driver posts it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from textual import events
from textual.app import App
from textual.geometry import Size

PASTES = ("comfy", "guard:none", "4h\n", "xX\n\n", "[b]x[/b]", "名前 é\x1b[31m", "9" * 4000, "")
SIZES = ((80, 24), (110, 30), (120, 36), (160, 48), (250, 70), (60, 15), (20, 4))


def act(app: App[int], chance: random.Random) -> str:
    """Do one thing somewhere, and say what in a word or two."""
    doing = chance.choices(list(_DEEDS), weights=list(_DEEDS.values()))[0]
    return doing(app, chance)


def _click(app: App[int], chance: random.Random) -> str:
    x, y = _place(app, chance)
    button = chance.choice((1, 1, 1, 1, 3))
    times = chance.choice((1, 1, 1, 2))
    for _ in range(times):
        _mouse(app, events.MouseDown, x, y, button, chance.random() < 0.1)
        _mouse(app, events.MouseUp, x, y, button)
    return f"click {times}x{button} {x},{y}"


def _wheel(app: App[int], chance: random.Random) -> str:
    x, y = _place(app, chance)
    kind = chance.choice((events.MouseScrollDown, events.MouseScrollUp))
    for _ in range(chance.randint(1, 6)):
        _mouse(app, kind, x, y, 0)
    return f"wheel {x},{y}"


def _drag(app: App[int], chance: random.Random) -> str:
    start, end = _place(app, chance), _place(app, chance)
    _mouse(app, events.MouseDown, *start, 1)
    for part in range(1, 5):
        _mouse(
            app,
            events.MouseMove,
            start[0] + (end[0] - start[0]) * part // 4,
            start[1] + (end[1] - start[1]) * part // 4,
            1,
        )
    _mouse(app, events.MouseUp, *end, 1)
    return f"drag {start} {end}"


def _paste(app: App[int], chance: random.Random) -> str:
    text = chance.choice(PASTES)
    _post(app, events.Paste(text))
    return f"paste {text[:12]!r}"


def _resize(app: App[int], chance: random.Random) -> str:
    size = Size(*chance.choice(SIZES))
    app._driver._size = size  # type: ignore[union-attr]  # as `Pilot.resize_terminal` does
    _post(app, events.Resize(size, size))
    return f"resize {size.width}x{size.height}"


_DEEDS: dict[Callable[[App[int], random.Random], str], int] = {_click: 12, _wheel: 4, _drag: 3, _paste: 3, _resize: 2}


def _place(app: App[int], chance: random.Random) -> tuple[int, int]:
    """Anywhere; often the footer, often what can have the focus."""
    width, height = app.size
    where = chance.random()
    if where < 0.25:
        return chance.randrange(width), height - 1
    if where < 0.6:
        regions: Sequence[object] = app.screen.focus_chain
        if regions:
            region = chance.choice(app.screen.focus_chain).region
            if region.width and region.height:
                x = min(max(0, region.x + chance.randrange(region.width)), width - 1)
                return x, min(max(0, region.y + chance.randrange(region.height)), height - 1)
    return chance.randrange(width), chance.randrange(height)


def _mouse(app: App[int], kind: type[events.MouseEvent], x: int, y: int, button: int, shift: bool = False) -> None:
    _post(app, kind(None, x, y, 0, 0, button, shift, False, False, x, y))


def _post(app: App[int], event: events.Event) -> None:
    event.set_sender(app)
    app.post_message(event)
