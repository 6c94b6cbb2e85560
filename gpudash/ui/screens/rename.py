"""Another name for one instance: its present one stands in the field, and what speaks against it below."""

from __future__ import annotations

from collections.abc import Collection

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from gpudash.errors import UsageError
from gpudash.fleet.naming import checked_name
from gpudash.fleet.record import Record
from gpudash.ui.scene import Line
from gpudash.ui.screens.dialog import Dialog, Lines


class RenameScreen(Dialog[str]):
    """Answers the new name."""

    DEFAULT_CSS = """
    RenameScreen .box { width: 64; }
    RenameScreen #name { margin: 1 0; }
    """

    def __init__(self, record: Record, taken: Collection[str]) -> None:
        """`taken`: names of the other instances; two of one name are found by their ids only."""
        super().__init__()
        self.record = record
        self._taken = frozenset(taken)

    def compose(self) -> ComposeResult:
        key, name = self.record.key, self.record.instance.name
        with Vertical(classes="box") as box:
            box.border_title = self.words(f"Rename {name or key.id}")
            box.border_subtitle = self.words("Enter renames · Esc leaves it")
            yield Lines(lambda scene, width: [((f"{key.account} · {key.id}", "text"),)], height=1)
            yield Input(name, id="name", select_on_focus=True)
            yield Lines(lambda scene, width: [self._word()], height=1)

    def on_mount(self) -> None:
        self.begin_at(self.query_one(Input))

    def on_input_changed(self) -> None:
        self.redraw()

    def on_input_submitted(self) -> None:
        if self._against is None:
            self.dismiss(self._typed.strip())

    @property
    def _typed(self) -> str:
        return self.query_one(Input).value

    @property
    def _against(self) -> str | None:
        """Why the name cannot be given."""
        try:
            name = checked_name(self._typed)
        except UsageError as exc:
            return exc.hint or exc.text
        return "That is its name now." if name == self.record.instance.name else None

    def _word(self) -> Line:
        reason = self._against
        if reason is not None:
            return ((reason, "muted"),)
        if self._typed.strip() in self._taken:
            return (("Another instance has that name; commands then need the id.", "tone-warn"),)
        return (("Its id, its limits and its tunnels stay what they are.", "muted"),)
