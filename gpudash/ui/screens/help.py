"""Every key with its sentence, from the key table; below them the words of the screen and the filter's grammar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from gpudash.ui import format as fmt
from gpudash.ui.actions import ACTIONS, BY_ID, Action, Danger, bindings, display_key
from gpudash.ui.panels import beside, carried_over, rule
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.base import Living
from gpudash.ui.screens.listing import Heading
from gpudash.ui.widgets.footer import Footer, FooterFacts
from gpudash.ui.widgets.page import Page

_GROUPS = (
    ("act", "Act on the marked instances, else on the one under the cursor"),
    ("look", "Look"),
    ("list", "Lists"),
    ("sort", "Sort"),
    ("move", "Move"),
    ("rows", "On one screen only"),
    ("program", "The program"),
)
_KEYS_WIDTH = 11
_WORDS: tuple[tuple[str, str, str], ...] = (
    ("● armed", "guard-armed", "the policy was read back from the host a moment ago: it will end without you"),
    ("◐ degraded", "guard-degraded", "something will probably end it; the reason says what is not proved"),
    ("○ NONE", "guard-none", "nothing will end it"),
    ("STILL BILLING", "still-billing", "an end was asked for and is not proved; it is asked again until it is"),
    ("parked", "billed-parked", "memory of the GPU is held, nothing computes"),
    ("sensor?", "unknown", "a sensor is silent: that holds the host awake and is an alarm"),
    ("?", "unknown", "there is a figure; nobody knows it"),
    ("~", "estimate", "an estimate"),
    ("+?", "unknown", "a sum in which something has no known price: the true one is higher"),
)
_FILTER = (
    ("h100 east", "both words, anywhere in the row"),
    ("account:aws", "in one column: account name gpu state guard region type ends idle id spot managed"),
    ("price<3  util>50", "figures: price spent util gpus vram"),
    ("!guard:armed", "turned round"),
)


class HelpScreen(Living):
    """All keys on a page."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("list", only=("back", "quit", "palette", "suspend_process")),
        Binding("question_mark,f1", "back", "back", id="help.back", show=False),
    ]

    def compose(self) -> ComposeResult:
        yield Heading((("Keys", "title"),), self._right)
        yield Page(self._lines)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(Page).focus()
        self.query_one(Footer).show(
            FooterFacts(((BY_ID["back"], True), (BY_ID["palette"], True), (BY_ID["quit"], True)))
        )

    def _right(self, scene: Scene) -> Line:
        page = self.query_one(Page)
        below = page.below
        more: Line = (
            ((f"{fmt.plural(below, 'more line')}  ", "accent"), ("↓", "key"), (" PgDn   ", "key")) if below else ()
        )
        return (*more, ("Esc goes back", "muted"))

    def on_page_scrolled(self) -> None:
        self.query_one(Heading).update_lines()

    def _lines(self, scene: Scene, width: int) -> Sequence[Line]:
        return help_lines(width, self.gpudash.fleet.session.config.keys)


def help_lines(width: int, moved: object = None) -> list[Line]:
    """The whole page for a width: two columns where there is room."""
    keys = dict(moved) if isinstance(moved, dict) else {}
    blocks = {name: _block(title, [a for a in ACTIONS if a.group == name], keys) for name, title in _GROUPS}
    blocks["sort"] = _dense("Sort; the same key again turns it round", "sort", keys)
    blocks["move"] = _dense("Move", "move", keys)
    lines: list[Line] = [()]
    if width >= 156:
        half = (width - 2) // 2
        left = [*blocks["act"], (), *blocks["program"]]
        right = [*blocks["look"], (), *blocks["list"]]
        lines += beside([(left, half), (right, half)], max(len(left), len(right)))
        lines.append(())
        left, right = [*blocks["sort"], (), *blocks["move"]], blocks["rows"]
        lines += beside([(left, half), (right, half)], max(len(left), len(right)))
    else:
        for block in blocks.values():
            lines += [*(((" ", "text"), *line) for line in block), ()]
    lines += [(), rule((("Words", "title"),), width)]
    lines += _explained(((word.ljust(15), token, text) for word, token, text in _WORDS), width)
    lines += [(), rule((("Filter  /", "title"),), width)]
    lines += _explained(((example.ljust(18), "accent", text) for example, text in _FILTER), width)
    return lines


def _explained(words: Iterable[tuple[str, str, str]], width: int) -> list[Line]:
    """Words with what they mean; no sentence is cut."""
    lines: list[Line] = []
    for word, token, text in words:
        lines += carried_over(((f"   {word}", token), (text, "text")), width - 1)
    return lines


def _block(title: str, actions: Iterable[Action], moved: dict[str, str]) -> list[Line]:
    lines: list[Line] = [((title, "title"),)]
    for action in actions:
        keys = moved.get(action.id, action.keys).split(",")
        names = [display_key(key) for key in keys]
        while len(names) > 1 and len("  ".join(names)) > _KEYS_WIDTH:
            names.pop()
        shown = "  ".join(names)
        token = "tone-bad" if action.danger is Danger.DESTROYS else "key"
        lines.append(((f"{fmt.fit(shown, _KEYS_WIDTH)}", token), (f" {action.sentence}", "text")))
    return lines


def _dense(title: str, group: str, moved: dict[str, str]) -> list[Line]:
    """Keys whose label says all, four to a line."""
    lines: list[Line] = [((title, "title"),)]
    actions = [action for action in ACTIONS if action.group == group]
    for start in range(0, len(actions), 4):
        line: Line = ()
        for action in actions[start : start + 4]:
            keys = "  ".join(display_key(key) for key in moved.get(action.id, action.keys).split(",")[:2])
            label = action.label.removeprefix("by ")
            line = (
                *line,
                (fmt.fit(keys, 3 if group == "sort" else 9), "key"),
                (fmt.fit(label, 14 if group == "sort" else 10), "text"),
            )
        lines.append(line)
    return lines
