"""How much longer a lease shall run, each amount with its new end and its extra cost. Never past the hard deadline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from gpudash.errors import UsageError
from gpudash.fleet.record import Record
from gpudash.ledger.money import COMPUTE, STORAGE, lasting_meters
from gpudash.model.duration import parse_duration
from gpudash.model.money import Amount, cost
from gpudash.ui import format as fmt
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.dialog import Dialog, Lines
from gpudash.ui.widgets.choice import Choice, ChoiceList

AMOUNTS = tuple(timedelta(minutes=minutes) for minutes in (30, 60, 120, 240, 480))
_OTHER, _HARD = "other", "hard"
_HOUR = timedelta(hours=1)


class ExtendScreen(Dialog[timedelta | datetime]):
    """Answers a length, or the hard deadline itself."""

    DEFAULT_CSS = """
    ExtendScreen .box { width: 70; }
    ExtendScreen #other { margin: 1 0 0 2; width: 30; display: none; }
    ExtendScreen.-other #other { display: block; }
    ExtendScreen #word { margin: 1 0 0 0; }
    """

    def __init__(self, records: Sequence[Record]) -> None:
        super().__init__()
        self.records = tuple(records)
        self.problem = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            first = self.records[0]
            name = first.instance.name or first.key.id
            what = name if len(self.records) == 1 else fmt.plural(len(self.records), "instance")
            box.border_title = self.words(f"Extend {what}")
            box.border_subtitle = self.words("Enter extends · Esc leaves it")
            yield Lines(self._head, height=3)
            yield ChoiceList(self._choices())
            yield Input(id="other", placeholder="such as 45m, 3h, 1h30m, 2d")
            yield Lines(lambda scene, width: [((self.problem, "tone-warn"),)], height=1, id="word")

    def on_mount(self) -> None:
        self.begin_at(self.query_one(ChoiceList))

    def on_choice_list_chosen(self, event: ChoiceList.Chosen) -> None:
        choice = event.choice
        if choice.reason is not None:
            self._say(choice.reason)
        elif choice.id == _OTHER:
            self.add_class("-other")
            self.query_one("#other", Input).focus()
        elif choice.id == _HARD:
            hard = self._hard()
            assert hard is not None
            self.dismiss(hard)
        else:
            self.dismiss(timedelta(seconds=int(choice.id)))

    def on_choice_list_moved(self, event: ChoiceList.Moved) -> None:
        self._say(event.choice.reason or "")

    def on_input_changed(self, event: Input.Changed) -> None:
        length = self._typed(event.value)
        if isinstance(length, timedelta):
            self._say(self._against(length) or f"+ {fmt.money(self._cost(length))}")
        else:
            self._say(length if event.value else "")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        length = self._typed(event.value)
        if isinstance(length, str):
            self._say(length)
        elif reason := self._against(length):
            self._say(reason)
        else:
            self.dismiss(length)

    def _typed(self, text: str) -> timedelta | str:
        try:
            return parse_duration(text)
        except UsageError as exc:
            return exc.hint or exc.text

    def _say(self, text: str) -> None:
        self.problem = text
        self.redraw()

    def _head(self, scene: Scene, width: int) -> list[Line]:
        record = self.records[0]
        policy = record.policy
        if len(self.records) > 1:
            names = fmt.fit(fmt.listed(r.instance.name or r.key.id for r in self.records), width)
            return [((names, "text"),), self._rates(), ()]
        if policy is None or policy.lease_deadline is None:
            lease: Line = (("no lease yet: it will end from now on", "tone-warn"),)
        else:
            left = policy.lease_deadline - scene.now
            is_over = left <= timedelta(0)
            lease = (("lease ended " if is_over else "lease ends ", "label"),
                     (fmt.when(policy.lease_deadline, scene.now, scene.zone), "value"),
                     (f", {fmt.length(-left)} ago" if is_over else f", in {fmt.countdown(left)}", "text"))  # fmt: skip
        hard = self._hard()
        if hard is not None:
            lease = (*lease, ("    hard deadline ", "label"), (fmt.when(hard, scene.now, scene.zone), "text"))
        return [lease, self._rates(), ()]

    def _rates(self) -> Line:
        """What makes up the extra cost: compute, and what else bills by the hour while it lives."""
        parts = []
        for meter, label in ((COMPUTE, "compute"), (STORAGE, "disk")):
            amount = self._cost(_HOUR, only=meter)
            if amount.usd or amount.unknown:
                parts.append(f"{fmt.money(amount)} {label}")
        together = f" = {fmt.usd_rate(self._cost(_HOUR))}" if len(parts) > 1 else ""
        return (("an hour ", "label"), (" + ".join(parts) or fmt.money(Amount()), "text"), (together, "money"))

    def _choices(self) -> list[Choice]:
        choices = [
            Choice(
                str(int(length.total_seconds())),
                self._choice_line(fmt.short_length(length), self._until(length), length),
                self._against(length),
            )
            for length in AMOUNTS
        ]
        hard = self._hard()
        if hard is not None and len(self.records) == 1 and hard > self._start(self.records[0]):
            rest = hard - self._start(self.records[0])
            choices.append(
                Choice(_HARD, (*self._choice_line(fmt.countdown(rest), hard, rest), ("   the hard deadline", "muted")))
            )
        choices.append(Choice(_OTHER, (("other …", "value"),)))
        return choices

    def _choice_line(self, name: str, until: datetime, length: timedelta) -> Line:
        """How long, until when (of several each has its own), and what that costs; figures to the right."""
        scene = self.gpudash.scene
        return (
            (name.ljust(8), "value"),
            *(((fmt.when(until, scene.now, scene.zone).ljust(10), "text"),) if len(self.records) == 1 else ()),
            (f"+ {fmt.money(self._cost(length)).rjust(10)}", "money"),
        )

    def _hard(self) -> datetime | None:
        known = [
            record.policy.hard_deadline for record in self.records if record.policy and record.policy.hard_deadline
        ]
        return min(known, default=None)

    def _start(self, record: Record) -> datetime:
        lease = record.policy.lease_deadline if record.policy else None
        now = self.gpudash.scene.now
        return max(lease, now) if lease else now

    def _until(self, length: timedelta) -> datetime:
        return self._start(self.records[0]) + length

    def _cost(self, length: timedelta, *, only: str | None = None) -> Amount:
        meters = [meter for record in self.records for meter in lasting_meters(record.instance).items()]
        return sum((cost(price, length) for name, price in meters if only in (None, name)), Amount())

    def _against(self, length: timedelta) -> str | None:
        for record in self.records:
            hard = record.policy.hard_deadline if record.policy else None
            if hard is not None and self._start(record) + length > hard:
                room = hard - self._start(record)
                scene = self.gpudash.scene
                when = fmt.when(hard, scene.now, scene.zone)
                whose = f" of {record.instance.name or record.key.id}" if len(self.records) > 1 else ""
                if room <= timedelta(0):
                    return f"The hard deadline{whose} {when} never moves, and the lease is there already."
                return f"The hard deadline{whose} {when} never moves; at most {fmt.countdown(room)} more."
        return None
