"""Themes: TOML files shipped with gpudash, and a person's own in ``themes/`` of the config folder, of one format.

Textual accepts any text as a colour and dies at the next paint, so every value is parsed here first and a bad file is
refused with its field named. Only the theme in use is read at the start; the rest when the palette lists them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rich.style import Style
from textual.color import Color, ColorParseError
from textual.theme import Theme

from gpudash.errors import ConfigError
from gpudash.ui.tokens import FALLBACKS, GROUNDS

DEFAULT_DARK, DEFAULT_LIGHT, PLAIN = "dark", "light", "plain"

_COLORS = (*GROUNDS, "foreground", "primary", "secondary", "accent", "success", "warning", "error")
_REQUIRED = ("background", "foreground", "primary")
_ATTRIBUTES = frozenset({"bold", "dim", "italic", "underline", "reverse"})
_TOP = frozenset({"name", "about", "dark", "ansi", "inherits", "colors", "meaning"})


class Look(NamedTuple):
    """One token's style as a theme gives it."""

    color: Color
    attributes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ThemeFile:
    """One theme, every value of it parsed."""

    name: str
    about: str
    dark: bool
    ansi: bool
    grounds: Mapping[str, Color]
    colors: Mapping[str, str]
    looks: Mapping[str, Look]
    _styles: dict[tuple[str, str], Style] = field(default_factory=dict, compare=False, repr=False)

    def style(self, token: str, ground: str = "background") -> Style:
        """The Rich style of a token on a ground; the same object each time, so that its escape codes are made once."""
        known = self._styles.get((token, ground))
        if known is None:
            known = self._styles[token, ground] = self._make(token, ground)
        return known

    def textual(self) -> Theme:
        """The same as a theme of Textual's, with each meaning and ground as a variable for CSS."""
        colors = self.colors
        variables = {("text-color" if name == "text" else name): look.color.css for name, look in self.looks.items()}
        variables |= {f"ground-{name}": color.css for name, color in self.grounds.items()}
        cursor, text = self.grounds["cursor"].css, self.looks["value"].color.css
        field, ink = text, self.grounds["background"].css
        if self.ansi:
            # Reversed, because no pair of unknown colours is sure to be readable; and `plain` shall have none.
            cursor = text = field = ink = "ansi_default"
        variables |= {
            "block-cursor-background": cursor,
            "block-cursor-foreground": text,
            "block-cursor-text-style": "bold reverse" if self.ansi else "bold",
            "input-cursor-background": field,
            "input-cursor-foreground": ink,
            "input-cursor-text-style": "reverse" if self.ansi else "none",
            "input-selection-background": cursor,
            "border": self.looks["accent"].color.css,
            "border-blurred": self.looks["rule"].color.css,
        }
        if self.ansi:
            variables |= {
                "ansi-background": "ansi_default",
                "ansi-foreground": "ansi_default",
                "input-selection-foreground": "ansi_default",
                "screen-selection-background": "ansi_default",
                "screen-selection-foreground": "ansi_default",
            }
        return Theme(
            name=self.name,
            primary=colors["primary"],
            secondary=colors.get("secondary"),
            accent=colors.get("accent"),
            success=colors.get("success"),
            warning=colors.get("warning"),
            error=colors.get("error"),
            foreground=colors["foreground"],
            background=colors["background"],
            surface=self.grounds["surface"].css,
            panel=self.grounds["panel"].css,
            boost=self.grounds["cursor"].css,
            dark=self.dark,
            ansi=self.ansi,
            variables=variables,
        )

    def _make(self, token: str, ground: str) -> Style:
        look = self.looks[token]
        attributes = dict.fromkeys(look.attributes, True)
        if self.ansi and ground == "cursor":
            # Sixteen unknown colours on an unknown background: reversed plain text is the one pair sure to be readable.
            attributes = {"reverse": True} | {name: True for name in ("bold", "underline") if name in attributes}
            return _style(None, None, attributes)
        if self.ansi and ground == "marked":
            attributes["underline"] = True
        return _style(look.color, self.grounds[ground], attributes)


def _style(color: Color | None, ground: Color | None, attributes: Mapping[str, bool]) -> Style:
    return Style(
        color="default" if color is None else color.rich_color,
        bgcolor="default" if ground is None else ground.rich_color,
        bold=attributes.get("bold"),
        dim=attributes.get("dim"),
        italic=attributes.get("italic"),
        underline=attributes.get("underline"),
        reverse=attributes.get("reverse"),
    )


def names() -> tuple[str, ...]:
    """Every theme there is, shipped and own, without reading one."""
    return tuple(sorted(_files()))


@lru_cache(maxsize=64)
def load(name: str) -> ThemeFile:
    """One theme by name; a person's own goes before a shipped one of the same name.

    Raises:
        ConfigError: no such theme, or a wrong value in it; the text names the file and the field.
    """
    path = _files().get(name)
    if path is None:
        raise ConfigError(f"theme {name!r} is not known.", hint=f"Use one of: {', '.join(names())}.")
    try:
        return parse(path.read_text(encoding="utf-8"), where=str(path))
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}.") from exc


def load_all() -> tuple[list[ThemeFile], list[ConfigError]]:
    """Every theme that can be used, and what is wrong with the others."""
    good: list[ThemeFile] = []
    bad: list[ConfigError] = []
    for name in names():
        try:
            good.append(load(name))
        except ConfigError as exc:
            bad.append(exc)
    return good, bad


def forget() -> None:
    """Read the files anew when they are next asked for."""
    load.cache_clear()


def parse(text: str, *, where: str) -> ThemeFile:
    """Read one theme file.

    Raises:
        ConfigError: it is not TOML, a field is missing, unknown or no colour.
    """
    try:
        body = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{where} is not TOML: {exc}.") from exc
    _known(body, _TOP, where, "")
    name = _string(body, "name", where) or Path(where).stem
    base = _base(body, where, name)
    colors = dict(base.colors) if base else {}
    given = _table(body, "colors", where)
    _known(given, frozenset(_COLORS), where, "colors.")
    for key, value in given.items():
        colors[key] = value
        _color(value, f"{where}: colors.{key}")
    for key in _REQUIRED:
        if key not in colors:
            raise ConfigError(f"{where}: colors.{key} is missing.", hint='Write it like "#1a232d".')
    grounds = {key: _color(colors.get(key, colors["background"]), f"{where}: colors.{key}") for key in GROUNDS}
    looks = _looks(body, base, where)
    return ThemeFile(
        name=name,
        about=_string(body, "about", where) or "",
        dark=_boolean(body, "dark", where, base.dark if base else True),
        ansi=_boolean(body, "ansi", where, base.ansi if base else False),
        grounds=grounds,
        colors=colors,
        looks=looks,
    )


def _looks(body: Mapping[str, object], base: ThemeFile | None, where: str) -> dict[str, Look]:
    given = _table(body, "meaning", where)
    _known(given, frozenset(FALLBACKS), where, "meaning.")
    own = {token: _look(value, f"{where}: meaning.{token}") for token, value in given.items()}
    inherited = base.looks if base else {}

    def find(token: str) -> Look:
        if token in own:
            return own[token]
        if token in inherited:
            return inherited[token]
        other = FALLBACKS[token]
        if other is None:
            raise ConfigError(f"{where}: meaning.{token} is missing.", hint='Write it like "bold #ff6b6b".')
        return find(other)

    return {token: find(token) for token in FALLBACKS}


def _base(body: Mapping[str, object], where: str, name: str) -> ThemeFile | None:
    parent = _string(body, "inherits", where)
    if parent is None:
        return None
    shipped = _shipped().get(parent)
    if shipped is None or parent == name:
        raise ConfigError(
            f"{where}: inherits: {parent!r} is no shipped theme.", hint=f"Use one of: {', '.join(sorted(_shipped()))}."
        )
    return parse(shipped.read_text(encoding="utf-8"), where=str(shipped))


def _look(value: object, field_name: str) -> Look:
    if not isinstance(value, str) or not value.split():
        raise ConfigError(f"{field_name}: {value!r} is no style.", hint='Write it like "bold #ff6b6b".')
    *attributes, color = value.split()
    wrong = [word for word in attributes if word not in _ATTRIBUTES]
    if wrong:
        known = ", ".join(sorted(_ATTRIBUTES))
        raise ConfigError(f"{field_name}: {wrong[0]!r} is no attribute.", hint=f"Use one of: {known}.")
    return Look(_color(color, field_name), frozenset(attributes))


def _color(value: object, field_name: str) -> Color:
    try:
        if not isinstance(value, str):
            raise ColorParseError(f"{value!r}")
        color = Color.parse(value)
    except ColorParseError:
        raise ConfigError(
            f"{field_name}: {value!r} is no colour.", hint='Write it like "#1a232d", or "ansi_red".'
        ) from None
    if color.a != 1 and color.ansi is None:
        raise ConfigError(f"{field_name}: {value!r} is transparent.", hint="Give the colour as it shall be seen.")
    return color


def _known(given: Mapping[str, object], known: frozenset[str], where: str, prefix: str) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: {prefix}{key} is not known.", hint=f"Known are: {', '.join(sorted(known))}.")


def _table(body: Mapping[str, object], key: str, where: str) -> dict[str, str]:
    value = body.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {key} must be a table.", hint=f"Write it like [{key}].")
    return value


def _string(body: Mapping[str, object], key: str, where: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{where}: {key}: {value!r} is no text.")
    return value


def _boolean(body: Mapping[str, object], key: str, where: str, default: bool) -> bool:
    value = body.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {key}: {value!r} is neither true nor false.")
    return value


def _files() -> dict[str, Path]:
    from gpudash import paths

    found = dict(_shipped())
    found.update((path.stem, path) for path in _toml_files(paths.config_dir() / "themes"))
    return found


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Path]:
    inside = Path(__file__).parents[1] / "themes"
    checkout = Path(__file__).parents[2] / "themes"
    found = {path.stem: path for path in _toml_files(checkout)}
    found.update((path.stem, path) for path in _toml_files(inside))
    return found


def _toml_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(folder.glob("*.toml"))
