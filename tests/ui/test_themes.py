"""Themes: every one names everything, can be read everywhere, and a bad one says where it is bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpudash.errors import ConfigError
from gpudash.ui import themes
from gpudash.ui.pick_theme import pick_theme
from gpudash.ui.tokens import GROUNDS, TOKENS
from tests.ui.contrast import contrast

SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "themes").glob("*.toml"))
COLOURED = [name for name in SHIPPED if not themes.load(name).ansi]
DRAWN = {"rule", "gauge-off", "spark"}
"""Lines and bars, which are no text: 2:1 or more."""

GOOD = """
dark = true
[colors]
background = "#000000"
foreground = "#ffffff"
primary = "#00aaff"
[meaning]
text = "#ffffff"
muted = "#cccccc"
accent = "bold #00aaff"
unknown = "#ff00ff"
tone-good = "#00ff00"
tone-warn = "#ffff00"
tone-bad = "bold #ff0000"
"""


def test_there_are_themes_for_everybody() -> None:
    assert {"dark", "light", "high-contrast", "colour-blind", "terminal", "plain"} <= set(SHIPPED)
    assert len(SHIPPED) >= 10


@pytest.mark.parametrize("name", SHIPPED)
def test_each_states_every_meaning_itself(name: str) -> None:
    import tomllib

    body = tomllib.loads((Path(__file__).parents[2] / "themes" / f"{name}.toml").read_text())
    assert set(body["meaning"]) == set(TOKENS)
    assert set(GROUNDS) <= set(body["colors"])
    assert body["name"] == name
    assert body["about"]


@pytest.mark.parametrize("name", COLOURED)
def test_text_can_be_read_in_every_state_and_on_the_cursor(name: str) -> None:
    """WCAG: 4.5:1 for text, on every ground it may stand on; high contrast 7:1."""
    theme = themes.load(name)
    least = 7.0 if name == "high-contrast" else 4.5
    for token, look in theme.looks.items():
        for ground, color in theme.grounds.items():
            ratio = contrast(look.color, color)
            assert ratio >= (2.0 if token in DRAWN else least), f"{token} on {ground}: {ratio:.2f}"


@pytest.mark.parametrize("name", COLOURED)
def test_the_cursor_is_seen(name: str) -> None:
    theme = themes.load(name)
    assert contrast(theme.grounds["cursor"], theme.grounds["background"]) >= 1.1


@pytest.mark.parametrize("name", ["terminal", "plain"])
def test_sixteen_colours_and_none_use_the_terminals_own(name: str) -> None:
    theme = themes.load(name)
    assert all(look.color.ansi is not None for look in theme.looks.values())
    assert all(color.ansi == -1 for color in theme.grounds.values())
    assert theme.style("guard-none", "cursor").reverse


def test_plain_has_no_colour_at_all() -> None:
    assert {look.color.ansi for look in themes.load("plain").looks.values()} == {-1}


def test_a_style_is_made_once() -> None:
    theme = themes.load("dark")
    assert theme.style("text", "cursor") is theme.style("text", "cursor")


def test_a_small_theme_borrows_the_rest() -> None:
    theme = themes.parse(GOOD, where="mine.toml")
    assert theme.name == "mine"
    assert theme.looks["guard-none"] == theme.looks["tone-bad"]
    theme.textual()


def test_a_theme_may_inherit() -> None:
    theme = themes.parse('inherits = "nord"\n[meaning]\ntext = "#ffffff"', where="mine.toml")
    assert theme.looks["text"].color.hex == "#FFFFFF"
    assert theme.looks["guard-none"] == themes.load("nord").looks["guard-none"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('"#000000"', '"blackish"'), "colors.background"),
        (('"#000000"', '"#00000080"'), "colors.background"),
        (('"#cccccc"', '"fat #cccccc"'), "meaning.muted"),
        (('"#cccccc"', '"bold"'), "meaning.muted"),
        (('"#cccccc"', "7"), "meaning.muted"),
        (('primary = "#00aaff"', ""), "colors.primary"),
        (('tone-bad = "bold #ff0000"', ""), "meaning.tone-bad"),
        (("muted =", "mutter ="), "meaning.mutter"),
        (("background =", "backround ="), "colors.backround"),
        (("dark = true", 'dark = "yes"'), "dark"),
        (("dark = true", "darkness = true"), "darkness"),
        (("dark = true", 'inherits = "nothing"'), "inherits"),
        (("[colors]", "[colors"), "TOML"),
    ],
)
def test_a_bad_theme_is_refused_with_its_field_named(change: tuple[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        themes.parse(GOOD.replace(*change), where="mine.toml")
    assert named in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_a_persons_own_theme_goes_before_a_shipped_one(own_home: Path) -> None:
    folder = own_home / ".config" / "gpudash" / "themes"
    folder.mkdir(parents=True)
    (folder / "dark.toml").write_text(GOOD)
    (folder / "broken.toml").write_text("nonsense")
    themes.forget()
    try:
        good, bad = themes.load_all()
        assert next(theme for theme in good if theme.name == "dark").looks["text"].color.hex == "#FFFFFF"
        assert len(bad) == 1
        assert "broken.toml" in str(bad[0])
    finally:
        themes.forget()


def test_an_unknown_theme_falls_back_and_says_so() -> None:
    name, problems = pick_theme("sepia", no_color=False, environment={"TERM": "xterm-256color"})
    assert name == "dark"
    assert "sepia" in problems[0]


@pytest.mark.parametrize(
    ("environment", "theme"),
    [
        ({"TERM": "xterm-256color"}, "dark"),
        ({"TERM": "xterm-256color", "COLORFGBG": "0;15"}, "light"),
        ({"TERM": "xterm-256color", "COLORFGBG": "15;0"}, "dark"),
        ({"TERM": "linux"}, "terminal"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "dark"),
    ],
)
def test_the_terminal_chooses_where_the_person_did_not(environment: dict[str, str], theme: str) -> None:
    assert pick_theme(None, no_color=False, environment=environment) == (theme, ())


def test_no_color_is_plain_whatever_was_wanted() -> None:
    assert pick_theme("nord", no_color=True, environment={}) == ("plain", ())


def test_no_hex_outside_themes() -> None:
    import re

    folder = Path(themes.__file__).parent
    shown = re.compile(r"(?<![\w&])#[0-9a-fA-F]{6}\b")
    for path in [*folder.rglob("*.py"), *folder.rglob("*.tcss")]:
        for line in path.read_text().splitlines():
            assert not shown.search(line) or "hint=" in line or path.name in ("tokens.py", "themes.py"), (
                f"{path}: {line}"
            )


def test_the_examples_in_the_documentation_are_good() -> None:
    import re

    page = (Path(__file__).parents[2] / "docs" / "themes.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        themes.parse(example, where="docs/themes.md")
