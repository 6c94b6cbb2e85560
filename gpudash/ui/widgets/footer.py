"""The last line: keys that act here, grey where they cannot; for a moment, the answer to the last key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual import events

from gpudash.ui import format as fmt
from gpudash.ui.actions import Action, display_key
from gpudash.ui.scene import Line, Scene, Span
from gpudash.ui.widgets.paint import PaintedBlock

ANSWER_S = 6.0
"""Seconds an answer stays."""


_KEPT = frozenset({"help", "back", "quit"})
"""The ways to help and out stay where there is room for little else."""


class FooterFacts(NamedTuple):
    """What the footer shows."""

    keys: tuple[tuple[Action, bool], ...] = ()
    """Actions with whether they can act now."""
    lead: Line = ()
    """What goes before the keys: marks, a stop that can be undone."""
    hint: str = ""
    """One more sentence for the right end, if there is room."""


class _Answer(NamedTuple):
    text: str = ""
    token: str = "text"
    number: int = 0


class Footer(PaintedBlock):
    """One line of keys; they can be clicked."""

    ground = "panel"
    DEFAULT_CSS = "Footer { height: 1; dock: bottom; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.facts = FooterFacts()
        self._answer = _Answer()
        self._places: list[tuple[int, int, Action]] = []

    @property
    def answer(self) -> str:
        """The answer that is shown now, or nothing."""
        return self._answer.text

    def show(self, facts: FooterFacts) -> None:
        if facts != self.facts:
            self.facts = facts
            self.update_lines()

    def say(self, text: str, token: str = "text") -> None:
        """Answer the last key for a few seconds."""
        number = self._answer.number + 1
        self._answer = _Answer(fmt.clean(text), token, number)
        self.update_lines()
        self.set_timer(ANSWER_S, lambda: self._clear(number))

    def _clear(self, number: int) -> None:
        if self._answer.number == number:
            self._answer = _Answer(number=number)
            self.update_lines()

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        self._places = []
        spans: list[Span] = [(" ", "text"), *self.facts.lead]
        if self._answer.text:
            return [(*spans, (self._answer.text, self._answer.token))]
        x = sum(fmt.cell_len(text) for text, _ in spans)
        for action, enabled in self._fitting(width - x):
            key, label = self._key(action), f" {action.label}"
            cells = fmt.cell_len(key) + len(label)
            spans += [(key, "key" if enabled else "key-off"), (label, "text" if enabled else "key-off"), ("  ", "text")]
            self._places.append((x, x + cells, action))
            x += cells + 2
        hint = self.facts.hint
        if hint and x + len(hint) + 4 < width:
            spans += [(hint.rjust(width - x - 1), "muted")]
        return [tuple(spans)]

    def _key(self, action: Action) -> str:
        return display_key(self.gpudash.key_of(action).split(",")[0])

    def _fitting(self, room: int) -> Sequence[tuple[Action, bool]]:
        """The keys that fit whole: those that can act and the way to help stay longest."""
        keys = list(self.facts.keys)
        while keys and sum(fmt.cell_len(self._key(a)) + len(a.label) + 3 for a, _ in keys) > room:
            disabled = [pair for pair in keys if not pair[1]]
            others = [pair for pair in keys if pair[0].id not in _KEPT]
            keys.remove((disabled or others or keys)[-1])
        return keys

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        if self._answer.text:  # it hides the keys
            self._clear(self._answer.number)
            return
        for start, end, action in self._places:
            if start <= event.x < end:
                await self.app.run_action(action.method, self.screen)
