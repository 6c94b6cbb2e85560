"""The first run: no cloud account yet. Shows what credentials were found, and three ways on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from gpudash.ui import format as fmt
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.dialog import Dialog, Lines
from gpudash.ui.widgets.choice import Choice, ChoiceList

if TYPE_CHECKING:
    from gpudash.config.credentials import FoundCredential


class WelcomeScreen(Dialog[str]):
    """Answers ``sandbox``, ``found`` or ``configure``."""

    BINDINGS = [  # noqa: RUF012 - Textual reads it from the class
        Binding("d", "take('sandbox')", "sandbox", show=False),
        Binding("a", "take('found')", "found", show=False),
        Binding("c", "take('configure')", "configure", show=False),
        Binding("q", "app.quit", "quit", show=False),
    ]
    DEFAULT_CSS = """
    WelcomeScreen .box { width: 84; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: list[FoundCredential] | None = None
        self._word = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "gpudash"
            box.border_subtitle = "Esc looks at the sandbox"
            yield Lines(self._head, height=9)
            yield ChoiceList(
                [
                    Choice(
                        "sandbox",
                        (
                            ("d  ", "key"),
                            ("try it on the sandbox", "value"),
                            ("  real SSH, real daemon, no money", "muted"),
                        ),
                    ),
                    Choice(
                        "found",
                        (
                            ("a  ", "key"),
                            ("use what was found", "value"),
                            ("     read-only, until you say otherwise", "muted"),
                        ),
                    ),
                    Choice(
                        "configure",
                        (
                            ("c  ", "key"),
                            ("configure", "value"),
                            ("              where accounts are written down", "muted"),
                        ),
                    ),
                ]
            )
            yield Lines(self._foot, height=4)

    def on_mount(self) -> None:
        self.query_one(ChoiceList).focus()
        self.run_worker(self._look, thread=True, group="credentials", exit_on_error=False)

    def _look(self) -> None:
        from gpudash.config import found_credentials
        from gpudash.providers import registry

        found = found_credentials(registry.names())
        self.app.call_from_thread(self._show, found)

    def _show(self, found: list[FoundCredential]) -> None:
        self._found = found
        self.redraw()

    def _head(self, scene: Scene, width: int) -> list[Line]:
        lines: list[Line] = [
            (("Every rented GPU on one screen: what it costs, what keeps it awake,", "text"),),
            (("what will end it and when. No cloud account is configured yet.", "text"),),
            (),
        ]
        if self._found is None:
            return [*lines, (("looking for credentials …", "muted"),)]
        lines.append((("found", "label"),))
        for item in self._found[:4]:
            mark: tuple[str, str] = ("✓ ", "tone-good") if item.usable else ("· ", "muted")
            note = "" if item.usable else "   its cloud is not in this version yet"
            lines.append((mark, (fmt.fit(item.provider, 8), "value"), (f" {item.where}", "text"), (note, "muted")))
        if not self._found:
            lines.append((("nothing in the usual places of AWS, Lambda, RunPod or Vast", "muted"),))
        return lines

    def _foot(self, scene: Scene, width: int) -> list[Line]:
        return [(), *[((line, "tone-warn"),) for line in fmt.wrap(self._word, width)]]

    def on_choice_list_chosen(self, event: ChoiceList.Chosen) -> None:
        self.action_take(event.choice.id)

    def action_take(self, what: str) -> None:
        """One of the three ways on."""
        usable = [item for item in self._found or [] if item.usable]
        if what == "sandbox":
            self.dismiss(what)
            self.gpudash.say("The sandbox: n launches a host; everything is real but the money.", "tone-good")
        elif what == "found" and not usable:
            self._word = "Nothing that this version can use was found. c says where accounts are written down."
            self.redraw()
        else:
            from gpudash import paths

            place = paths.config_file()
            self._word = (
                f"Accounts stand in {place}: [accounts.NAME] with provider, and where its key is kept. "
                "`gpudash configure` asks and writes it; then start again."
            )
            if what == "found":
                names = fmt.listed(item.provider for item in usable)
                self._word = (
                    f"Start again with `gpudash --read-only`: {names} will be there. `gpudash configure` keeps it so."
                )
            self.redraw()
