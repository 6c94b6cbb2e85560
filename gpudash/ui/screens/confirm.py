"""Before something ends: which, what is lost, what stays and still bills, what it saves. Focused on Cancel."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input

from gpudash.fleet.record import Record
from gpudash.fleet.totals import burn_of, saved_by
from gpudash.model.money import Amount
from gpudash.model.policy import EndAction
from gpudash.ui import cells
from gpudash.ui import format as fmt
from gpudash.ui.panels import carried_over, cells_of, labelled
from gpudash.ui.scene import Line
from gpudash.ui.screens.dialog import Dialog, Lines
from gpudash.ui.verbs import MANY

_ROOM = 66
"""Cells inside the box."""
_SHOWN = 6
"""Instances listed one by one."""
_TITLE = {EndAction.STOP: "Stop", EndAction.HIBERNATE: "Hibernate", EndAction.TERMINATE: "Terminate"}


class Confirm(Dialog[bool]):
    """Cancel has the focus; the other button acts once what must be typed is typed."""

    DEFAULT_CSS = """
    Confirm .buttons { height: 1; margin: 1 0 1 0; align-horizontal: center; }
    Confirm Button { margin: 0 2; }
    Confirm .type { height: 1; margin: 1 0 0 0; }
    Confirm.-tight .buttons, Confirm.-tight .type { margin: 0; }
    Confirm .type Lines { width: auto; }
    Confirm .type Input { width: 1fr; margin: 0 0 0 1; }
    """

    def __init__(self, title: str, word: str, lines: Sequence[Line], *, must_type: str | None, danger: bool) -> None:
        super().__init__()
        self.must_type = must_type
        self._title, self._word, self._lines, self._danger = title, word, lines, danger

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -danger" if self._danger else "box") as box:
            box.border_title = self.words(self._title)
            lines = self._wrapped()
            yield Lines(lambda scene, width: lines, height=len(lines))
            if self.must_type is not None:
                asked: Line = (("type ", "label"), (self.must_type, "value"), (" to confirm", "label"))
                with Horizontal(classes="type"):
                    label = Lines(lambda scene, width: [asked], height=1)
                    label.styles.width = cells_of(asked)
                    yield label
                    yield Input(id="typed", select_on_focus=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button(
                    self._word, id="act", classes="-danger" if self._danger else "", disabled=bool(self.must_type)
                )

    def _wrapped(self) -> list[Line]:
        """The lines with long sentences carried over to the next one, as far as the buttons stay on the screen; all gaps
        go where even that is too much.
        """
        width, height = self.app.size
        width = min(_ROOM, int(width * 0.96) - 6)
        spare = int(height * 0.92) - len(self._lines) - (6 if self.must_type is None else 8)
        if spare < 0:
            self.add_class("-tight")
            return [line for line in self._lines if line]
        lines: list[Line] = []
        for line in self._lines:
            carried = carried_over(line, width)
            spare -= len(carried) - 1
            lines += carried if spare >= 0 else [line]
        return lines

    def on_mount(self) -> None:
        self.begin_at(self.query_one("#cancel", Button))

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#act", Button).disabled = event.value.strip() != self.must_type

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() == self.must_type:
            self.query_one("#act", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(False)
        elif not event.button.disabled:
            self.dismiss(True)

    def on_key(self, event: events.Key) -> None:
        """What is typed goes where it is asked for, though Cancel has the focus."""
        if self.must_type and event.character and event.is_printable and isinstance(self.focused, Button):
            typed = self.query_one("#typed", Input)
            event.stop()
            typed.focus()
            typed.insert_text_at_cursor(event.character)

    async def key_left(self) -> None:
        self._turn()

    async def key_right(self) -> None:
        self._turn()

    def _turn(self) -> None:
        if not isinstance(self.focused, Input):
            act, cancel = self.query_one("#act", Button), self.query_one("#cancel", Button)
            (cancel if self.focused is act or act.disabled else act).focus()


class ConfirmEnd(Confirm):
    """Stop, hibernate or terminate. The name is typed where data is lost, the number where there are many."""

    def __init__(
        self,
        action: EndAction,
        able: Sequence[Record],
        unable: Sequence[tuple[Record, str]],
        children: Sequence[Record] = (),
    ) -> None:
        """`children`: what is terminated with them because it goes with one of them; of no matter to a stop."""
        self.records = tuple(able)
        word = _TITLE[action]
        many = len(able) > 1
        lost = action is EndAction.TERMINATE and (
            bool(children) or any(record.instance.lost_on_terminate for record in able)
        )
        must = None
        if len(able) > MANY:
            must = str(len(able))
        elif lost:
            must = _name(able[0]) if not many else str(len(able))
        title = f"{word} {_name(able[0])}?" if not many else f"{word} {len(able)} instances?"
        lines = many_lines(able, action) if many else one_lines(able[0], action)
        if children and action is EndAction.TERMINATE:
            names = ", ".join(_name(record) for record in children[:_SHOWN])
            more = f" and {len(children) - _SHOWN} more" if len(children) > _SHOWN else ""
            lines.append(labelled("also", ((f"{names}{more}: terminated with it", "tone-bad"),)))
        for record, reason in unable[:2]:
            lines.append(labelled("left out", ((f"{_name(record)}: {reason}", "tone-warn"),)))
        super().__init__(title, word, lines, must_type=must, danger=action is EndAction.TERMINATE)


class ConfirmRestart(Confirm):
    """A restart ends what runs there, and nothing else; of many the number is typed."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = tuple(records)
        many = len(records) > 1
        lines = [
            *_names(records),
            (),
            labelled("lost", (("what runs there, and its memory", "text"),)),
            labelled("bills on", ((fmt.usd_rate(_burn(records)), "value"),)),
        ]
        title = f"Restart {len(records)} instances?" if many else f"Restart {_name(records[0])}?"
        must = str(len(records)) if len(records) > MANY else None
        super().__init__(title, "Restart", lines, must_type=must, danger=False)


class ConfirmMany(Confirm):
    """A bulk action that ends nothing: its number is typed."""

    def __init__(self, word: str, records: Sequence[Record]) -> None:
        self.records = tuple(records)
        lines = [*_names(records), (), labelled("burn", ((fmt.usd_rate(_burn(records)), "value"),))]
        super().__init__(f"{word} {len(records)} instances?", word, lines, must_type=str(len(records)), danger=False)


def one_lines(record: Record, action: EndAction) -> list[Line]:
    """What ending one instance means."""
    instance = record.instance
    key = instance.key
    spent = fmt.money(record.accrued(record.status_at or record.listed_at))
    lines: list[Line] = [
        (
            (f"{key.account} · {instance.region} · {key.id}", "text"),
            (f"   {cells.gpu_name(record)}", "text"),
        ),
        ((f"{_price(record)}", "value"), (f"   spent {spent}", "muted")),
        (),
    ]
    lines.append(labelled("lost", _lost(record, action)))
    lines.append(labelled("stays", _stays(record, action)))
    lines.append(labelled("saves", _saved([record], action)))
    if record.tunnels:
        lines.append(labelled("tunnels", ((f"{fmt.plural(len(record.tunnels), 'tunnel')} will close", "text"),)))
    lines.append(labelled("undo", (("u, for 5 seconds after this", "muted"),)))
    return lines


def many_lines(records: Sequence[Record], action: EndAction) -> list[Line]:
    """What ending several means."""
    lines = _names(records)
    lines.append(())
    if action is EndAction.TERMINATE:
        losing = [record for record in records if record.instance.lost_on_terminate]
        text = f"data of {len(losing)} of them" if losing else "nothing"
        lines.append(labelled("lost", ((text, "tone-bad" if losing else "text"),)))
    lines.append(labelled("saves", _saved(records, action)))
    lines.append(labelled("undo", (("u, for 5 seconds after this", "muted"),)))
    return lines


def _lost(record: Record, action: EndAction) -> Line:
    if action is EndAction.TERMINATE:
        lost = record.instance.lost_on_terminate
        return ((lost, "tone-bad"),) if lost else (("nothing that is known of", "text"),)
    if action is EndAction.HIBERNATE:
        return (("nothing: memory goes to disk", "text"),)
    wiped = record.instance.lost_on_stop
    return ((f"what is in memory, and the {wiped}", "tone-bad"),) if wiped else (("what is in memory", "text"),)


def _stays(record: Record, action: EndAction) -> Line:
    instance = record.instance
    if action is EndAction.TERMINATE:
        stays = instance.stays_after_terminate
        return ((stays, "tone-warn"),) if stays else (("nothing goes on billing", "text"),)
    disk = instance.stays_after_stop or (f"{instance.disk_gb} GB disk" if instance.disk_gb else "the disk")
    price = instance.stopped_price or instance.storage_price
    if price is None:
        return ((f"{disk}, at a price nobody told", "unknown"),)
    if not price.usd_per_hour:
        return ((f"{disk}, at no cost", "text"),)
    return ((f"{disk}, {'~' if price.estimated else ''}${price.usd_per_hour * 24:.2f}/day", "tone-warn"),)


def _names(records: Sequence[Record]) -> list[Line]:
    lines: list[Line] = [
        (
            (fmt.fit(_name(record), 24), "value"),
            (fmt.fit(record.key.account, 12), "text"),
            (fmt.fit(cells.gpu_name(record), 14), "text"),
            (fmt.usd_rate(burn_of(record)).rjust(14), "text"),
        )
        for record in records[: _SHOWN if len(records) <= _SHOWN else _SHOWN - 1]
    ]
    if len(records) > _SHOWN:
        lines.append(((f"and {len(records) - _SHOWN + 1} more", "muted"),))
    return lines


def _saved(records: Sequence[Record], action: EndAction) -> Line:
    saved = sum((saved_by(record, action) for record in records), Amount())
    nothing = not saved.usd and not saved.unknown
    return (("nothing now" if nothing else fmt.usd_rate(saved), "tone-good"),)


def _burn(records: Sequence[Record]) -> Amount:
    return sum((burn_of(record) for record in records), Amount())


def _price(record: Record) -> str:
    price = record.instance.price
    return "? /h" if price is None else f"{fmt.rate(price, sign='$')}/h"


def _name(record: Record) -> str:
    return record.instance.name or record.key.id
