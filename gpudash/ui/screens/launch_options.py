"""What only one cloud knows of a launch, a price cap, and whether the next offer may stand in. Nothing is asked here.

One line a field; the words for the field under the cursor stand below, and so does what speaks against the order.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.suggester import SuggestFromList
from textual.widgets import Input

from gpudash.errors import UsageError
from gpudash.model.capability import LaunchOption
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.dialog import Dialog, Lines

MAX_PRICE, IF_NONE, MORE = "max-price", "if-none", "more"
NEXT, STOP = "next", "stop"


@dataclass(frozen=True)
class Wishes:
    """What was filled in."""

    max_price: Decimal | None = None
    may_stand_in: bool = True
    """Where the cloud has none free, the next offer that costs no more is asked for."""
    options: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many fields hold something."""
        return len(self.options) + (self.max_price is not None) + (not self.may_stand_in)


@dataclass(frozen=True)
class _Field:
    id: str
    label: str
    text: str
    choices: tuple[str, ...] = ()


_COMMON = (
    _Field(MAX_PRICE, "max $/h", "Nothing dearer is launched, be it this offer or the next. Empty: the price shown."),
    _Field(IF_NONE, "if none is free", "next: try the next offer that costs no more · stop: give up", (NEXT, STOP)),
)  # fmt: skip


class LaunchOptionsScreen(Dialog[Wishes]):
    """Answers the wishes once nothing speaks against them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "take", "take", show=False),
    ]
    DEFAULT_CSS = """
    LaunchOptionsScreen .box { width: 86; }
    LaunchOptionsScreen #fields { height: auto; max-height: 20; }
    LaunchOptionsScreen .field { height: 1; }
    LaunchOptionsScreen .field Lines { width: 26; }
    LaunchOptionsScreen .field Input { width: 1fr; }
    LaunchOptionsScreen #words { margin: 1 0 0 0; }
    """

    def __init__(
        self, title: str, options: tuple[LaunchOption, ...], wishes: Wishes, against: Callable[[Wishes], str | None]
    ) -> None:
        """`against`: what speaks against an order with these wishes; asks nobody."""
        super().__init__()
        self._title = title
        self._named = tuple(option for option in options if not option.name.endswith("."))
        self._open = tuple(option for option in options if option.name.endswith("."))
        self._wishes = wishes
        self._against = against
        self._problem = ""

    @property
    def fields(self) -> list[_Field]:
        """Every line, top to bottom."""
        named = [_Field(option.name, option.name, option.text, option.choices) for option in self._named]
        words = " · ".join(option.text for option in self._open)
        example = f"{self._open[0].name}KEY=VALUE" if self._open else ""
        more = [_Field(MORE, "more", f"{words}; written {example}, several with spaces between")] if self._open else []
        return [*_COMMON, *named, *more]

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = self.words(self._title)
            box.border_subtitle = self.words("Enter takes them · → completes · Esc leaves it")
            with VerticalScroll(id="fields", can_focus=False):
                for item in self.fields:
                    with Horizontal(classes="field"):
                        yield _label(item.label)
                        yield Input(
                            self._value(item.id),
                            id=_widget(item.id),
                            placeholder=" | ".join(item.choices),
                            suggester=SuggestFromList(item.choices) if item.choices else None,
                        )
            yield Lines(self._below, height=4, id="words")

    def on_mount(self) -> None:
        self.begin_at(self.query(Input).first())

    def on_input_changed(self) -> None:
        self._judge()

    def on_descendant_focus(self) -> None:
        self.query_one("#words", Lines).update_lines()

    def on_input_submitted(self) -> None:
        self.action_take()

    def action_take(self) -> None:
        """Answer, unless something speaks against it."""
        wishes = self._judge()
        if wishes is not None and not self._problem:
            self.dismiss(wishes)

    def _judge(self) -> Wishes | None:
        try:
            wishes = self._read()
            self._problem = self._against(wishes) or ""
        except UsageError as exc:
            wishes, self._problem = None, str(exc)
        self.query_one("#words", Lines).update_lines()
        return wishes

    def _value(self, name: str) -> str:
        if name == MAX_PRICE:
            return "" if self._wishes.max_price is None else f"{self._wishes.max_price:f}"
        if name == IF_NONE:
            return NEXT if self._wishes.may_stand_in else STOP
        if name == MORE:
            named = {option.name for option in self._named}
            return " ".join(f"{key}={value}" for key, value in self._wishes.options.items() if key not in named)
        return self._wishes.options.get(name, "")

    def _read(self) -> Wishes:
        typed = {item.id: self.query_one(f"#{_widget(item.id)}", Input).value.strip() for item in self.fields}
        options = {option.name: value for option in self._named if (value := typed[option.name])}
        for pair in typed.get(MORE, "").split():
            key, equals, value = pair.partition("=")
            if not equals or not key:
                raise UsageError(f"{pair!r} is not {self._open[0].name}KEY=VALUE.")
            options[key] = value
        if typed[IF_NONE] not in (NEXT, STOP):
            raise UsageError(f"if none is free: {NEXT} or {STOP}.")
        return Wishes(_price(typed[MAX_PRICE]), typed[IF_NONE] == NEXT, options)

    def _below(self, scene: Scene, width: int) -> list[Line]:
        here = next((item for item in self.fields if self.focused and self.focused.id == _widget(item.id)), None)
        words = f"{here.text}" + (f" ({', '.join(here.choices)})" if here.choices else "") if here else ""
        lines: list[Line] = [((part, "muted"),) for part in _folded(words, width)[:2]]
        return [*lines, *(((part, "tone-warn"),) for part in _folded(self._problem, width)[:2])]


def _label(text: str) -> Lines:
    return Lines(lambda scene, width: [((text, "label"),)], height=1)


def _widget(name: str) -> str:
    return f"option-{name.replace('.', '-')}"


def _price(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        price = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        price = Decimal(0)
    if not price.is_finite() or price <= 0:
        raise UsageError(f"max $/h: {text!r} is no price.", hint="Write USD an hour, like 2.50.")
    return price


def _folded(text: str, width: int) -> list[str]:
    """The text in lines of that width, cut between words."""
    return textwrap.wrap(text, max(20, width))
