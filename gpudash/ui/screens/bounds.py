"""Dialogs of one serverless endpoint: its worker bounds and idle timeout, and the purge of its queue."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Label

from gpudash.errors import UsageError
from gpudash.fleet.serverless import check_bounds
from gpudash.model.duration import parse_duration
from gpudash.model.endpoint import DAY, Bounds, Endpoint, times
from gpudash.model.money import Amount
from gpudash.ui import format as fmt
from gpudash.ui.panels import labelled
from gpudash.ui.scene import Line
from gpudash.ui.screens.confirm import Confirm
from gpudash.ui.screens.dialog import Dialog, Lines

_FIELDS = (("low", "at least"), ("high", "at most"), ("idle", "idle timeout"))
_UNCHANGED = "Nothing is changed yet."


class BoundsScreen(Dialog[Bounds]):
    """Answers what was changed. The price of what is kept warm stands below as it is typed."""

    DEFAULT_CSS = """
    BoundsScreen .box { width: 64; }
    BoundsScreen .field { height: 1; }
    BoundsScreen .field Label { width: 16; }
    BoundsScreen .field Input { width: 14; }
    BoundsScreen .buttons { height: 1; margin: 1 0 1 0; align-horizontal: center; }
    BoundsScreen Button { margin: 0 2; }
    BoundsScreen #word { margin: 1 0 0 0; }
    """

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self.endpoint = endpoint

    def compose(self) -> ComposeResult:
        bounds = self.endpoint.bounds
        idle = None if bounds.idle_timeout_s is None else f"{bounds.idle_timeout_s}s"
        now = {"low": bounds.low, "high": bounds.high, "idle": idle}
        with Vertical(classes="box") as box:
            box.border_title = self.words(f"Workers of {self.endpoint.name}")
            for name, label in _FIELDS:
                with Horizontal(classes="field"):
                    yield Label(label)
                    yield Input("" if now[name] is None else str(now[name]), id=name, select_on_focus=True)
            yield Lines(lambda scene, width: self._word(), height=2, id="word")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Set", id="act")

    def on_mount(self) -> None:
        self.begin_at(self.query_one("#low", Input))

    def on_input_changed(self) -> None:
        self.redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on to the next field, and from the last one to the button: nothing is set by an Enter too many."""
        self.app.action_focus_next()
        if event.input.id == "idle":
            self.query_one("#act", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
            return
        bounds = self._typed()
        if isinstance(bounds, Bounds):
            self.dismiss(bounds)

    def _typed(self) -> Bounds | str:
        """What is to be changed, or why it cannot be."""
        told = {name: self.query_one(f"#{name}", Input).value.strip() for name, _ in _FIELDS}
        if any(text and not text.isdecimal() for text in (told["low"], told["high"])):
            return "Workers are whole numbers, 0 or more."
        try:
            idle = round(parse_duration(told["idle"]).total_seconds()) if told["idle"] else None
            now = self.endpoint.bounds
            bounds = Bounds(
                _changed(int(told["low"]) if told["low"] else None, now.low),
                _changed(int(told["high"]) if told["high"] else None, now.high),
                _changed(idle, now.idle_timeout_s),
            )
            if bounds == Bounds():
                return _UNCHANGED
            check_bounds(self.endpoint, bounds)
        except UsageError as exc:
            return str(exc)
        return bounds

    def _word(self) -> list[Line]:
        bounds = self._typed()
        if isinstance(bounds, str):
            return [((bounds, "muted" if bounds == _UNCHANGED else "tone-warn"),), ()]
        low = self.endpoint.bounds.low if bounds.low is None else bounds.low
        price = times(self.endpoint.worker_price, low or 0)
        a_day = fmt.UNKNOWN if price is None else fmt.money(Amount(price.usd_per_hour * DAY, price.estimated))
        warm: Line = ((f"{low or 0} kept warm: {a_day} a day, jobs or not", "money-risk" if low else "text"),)
        ends: Line = (("Jobs at work are ended; those that wait are not begun.", "tone-bad"),)
        return [warm, ends if bounds.high == 0 else ()]


def _changed(typed: int | None, now: int | None) -> int | None:
    return None if typed == now else typed


class ConfirmPurge(Confirm):
    """All jobs that wait are lost; those at work go on."""

    def __init__(self, endpoint: Endpoint) -> None:
        key, jobs = endpoint.key, endpoint.jobs
        lost = (
            "jobs that wait, nobody knows how many" if jobs is None else f"{fmt.plural(jobs.in_queue, 'job')} that wait"
        )
        stays = "jobs at work" if jobs is None else f"{fmt.plural(jobs.in_progress, 'job')} at work"
        lines: list[Line] = [
            ((f"{key.account} · {key.id}", "text"),),
            (),
            labelled("lost", ((lost, "tone-bad"),)),
            labelled("stays", ((stays, "text"),)),
        ]
        super().__init__(f"Purge the queue of {endpoint.name}?", "Purge", lines, must_type=None, danger=True)
