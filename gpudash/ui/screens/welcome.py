"""The first run: no cloud account yet. Shows where keys were looked for, and how to go on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from gpudash.ui import format as fmt
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.dialog import Dialog, Lines
from gpudash.ui.widgets.choice import Choice, ChoiceList

if TYPE_CHECKING:
    from gpudash.config.credentials import FoundCredential
    from gpudash.ui.port import FleetPort

_PLACES = (
    ("aws", "~/.aws, AWS_PROFILE or AWS_ACCESS_KEY_ID"),
    ("lambda", "LAMBDA_API_KEY"),
    ("runpod", "RUNPOD_API_KEY or ~/.runpod"),
    ("vast", "VAST_API_KEY or ~/.config/vastai"),
)
"""Each cloud, and where a new key is best put; `gpudash.config` looks at more."""
_CHOICES = (
    ("sandbox", "d", "try it on the sandbox", "real SSH, real daemon, no money"),
    ("connect", "c", "connect a cloud", "where its key belongs"),
    ("look", "Esc", "look around", "an empty fleet; ? lists the keys"),
)


class WelcomeScreen(Dialog[str]):
    """Answers ``sandbox``, or nothing. `start_hosts` fills an empty sandbox."""

    BINDINGS = [  # noqa: RUF012 - Textual reads it from the class
        Binding("d", "take('sandbox')", "sandbox", show=False),
        Binding("c", "take('connect')", "connect", show=False),
        Binding("q", "app.quit", "quit", show=False),
    ]

    def __init__(self, start_hosts: Callable[[FleetPort], Coroutine[Any, Any, None]] | None = None) -> None:
        super().__init__()
        self._start_hosts = start_hosts
        self._found: dict[str, FoundCredential] | None = None
        self._connecting = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -wide") as box:
            box.border_title = "gpudash"
            box.border_subtitle = self.words("Enter takes it · q leaves")
            yield Lines(self._head, height=len(_PLACES) + 5)
            yield ChoiceList(
                [
                    Choice(name, ((key.ljust(5), "key"), (label.ljust(23), "value"), (about, "muted")))
                    for name, key, label, about in _CHOICES
                ]
            )
            yield Lines(self._foot, height=1, id="foot")

    def on_mount(self) -> None:
        self.begin_at(self.query_one(ChoiceList))
        self.run_worker(self._look, thread=True, group="credentials", exit_on_error=False)

    def _look(self) -> None:
        from gpudash.config import found_credentials
        from gpudash.providers import registry

        found = found_credentials(registry.names())
        self.app.call_from_thread(self._show, {item.provider: item for item in found})

    def _show(self, found: dict[str, FoundCredential]) -> None:
        self._found = found
        self.redraw()

    def _head(self, scene: Scene, width: int) -> list[Line]:
        return [
            *(((line, "text"),) for line in fmt.wrap(_WHAT, width)[:2]),
            (),
            (("No cloud account yet. Keys were looked for in the usual places:", "text"),),
            *(self._place(name, where) for name, where in _PLACES),
            (),
        ]

    def _place(self, name: str, where: str) -> Line:
        label = (fmt.fit(name, 9), "value")
        if self._found is None:
            return (("  ", "text"), label, ("looking …", "muted"))
        item = self._found.get(name)
        if item is None:
            return (("· ", "muted"), label, ("none", "muted"), (f"    {where}", "muted"))
        if item.usable:
            return (("✓ ", "tone-good"), label, (item.where, "text"))
        return (("✖ ", "tone-bad"), label, (f"{item.where}: {item.problem or 'not in this version yet'}", "tone-bad"))

    def _foot(self, scene: Scene, width: int) -> list[Line]:
        if not self._connecting:
            return []
        from gpudash import paths

        text = (
            "Put a key where its vendor's own tools look for it and start gpudash again: it is used as it is. "
            f"Or leave and run `gpudash configure`: it asks each cloud whether the key works, and writes the account "
            f"into {paths.config_file()}. The key stays where it is. `gpudash --read-only` changes nothing."
        )
        return [(), *(((line, "accent"),) for line in fmt.wrap(text, width))]

    def on_choice_list_chosen(self, event: ChoiceList.Chosen) -> None:
        self.action_take(event.choice.id)

    def action_take(self, what: str) -> None:
        """One of the ways on."""
        if what == "connect":
            self._connecting = True
            foot = self.query_one("#foot", Lines)
            foot.styles.height = len(self._foot(self.gpudash.scene, foot.size.width))
            self.redraw()
        elif what == "look":
            self.action_back()
        else:
            self.dismiss(what)
            if self._start_hosts is None or self.gpudash.fleet.store.records:
                self.gpudash.say("The sandbox: everything is real but the money. n launches a host.", "tone-good")
            else:
                self.gpudash.carry_out(self._start_hosts(self.gpudash.fleet))
                self.gpudash.say("Six hosts are starting; the last one has no guard: p pushes it one.", "tone-good")


_WHAT = (
    "Every rented GPU on one screen: what it costs, what keeps it awake, what will end it and when, "
    "and whether that is proved. One key acts."
)
