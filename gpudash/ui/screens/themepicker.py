"""Themes in a list; each is shown as the cursor passes it. Enter keeps it and writes it to the settings, Esc goes back
to the old.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical

from gpudash.ui import themes
from gpudash.ui.scene import Line
from gpudash.ui.screens.dialog import Dialog, Lines
from gpudash.ui.widgets.choice import Choice, ChoiceList


class ThemePicker(Dialog[str]):
    """Live preview."""

    DEFAULT_CSS = """
    ThemePicker .box { margin: 0 2 2 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._good, self._bad = themes.load_all()

    def compose(self) -> ComposeResult:
        self._before = self.gpudash.look.name
        with Vertical(classes="box") as box:
            box.border_title = "Themes"
            box.border_subtitle = self.words("Enter keeps it · Esc goes back")
            choices = ChoiceList([Choice(theme.name, _line(theme)) for theme in self._good])
            choices.index = next((n for n, theme in enumerate(self._good) if theme.name == self._before), 0)
            yield choices
            if self._bad:
                yield Lines(
                    lambda scene, width: [((str(problem), "tone-bad"),) for problem in self._bad], height=len(self._bad)
                )

    def on_mount(self) -> None:
        self.begin_at(self.query_one(ChoiceList))

    def on_choice_list_moved(self, event: ChoiceList.Moved) -> None:
        self.gpudash.use_theme_named(event.choice.id)

    def on_choice_list_chosen(self, event: ChoiceList.Chosen) -> None:
        self.gpudash.choose_theme(event.choice.id)
        self.dismiss(event.choice.id)

    def action_back(self) -> None:
        self.gpudash.use_theme_named(self._before)
        self.dismiss(None)


def _line(theme: themes.ThemeFile) -> Line:
    return ((theme.name.ljust(17), "value"), (theme.about, "muted"))
