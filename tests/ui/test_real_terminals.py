"""In a real pty: few colours or none, ASCII, any size at any moment, the mouse, and inside tmux and screen."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.terminal import Terminal

TRUE, INDEXED = re.compile(rb"[34]8;2;"), re.compile(rb"[34]8;5;")
PROGRAM = f"{sys.executable} -m gpudash demo --synthetic 12"


def looked_at(**environment: str) -> Terminal:
    """The fleet, a dialog and the help have been on the screen, and it was left by q."""
    on = Terminal(size=(100, 30), **environment)
    on.until("made-up rows")
    on.until("q quit")
    on.send("?")
    on.until("Act on the marked instances")
    on.send("\x1b")
    on.until("BURN")
    on.send(":")
    on.until("What shall be done?")
    on.send("\x1b")
    on.until(lambda: "What shall be done?" not in on.text)
    on.quit()
    return on


def test_256_colours_where_there_are_no_more() -> None:
    on = looked_at(COLORTERM="")
    assert not TRUE.search(on.bytes)
    assert INDEXED.search(on.bytes)


def test_16_colours_are_the_terminals_own() -> None:
    on = looked_at(TERM="xterm", COLORTERM="")
    assert not TRUE.search(on.bytes)
    assert not INDEXED.search(on.bytes)
    assert re.search(rb"\x1b\[[0-9;]*3[1-6]", on.bytes)


def test_no_color_has_no_colour_code_at_all() -> None:
    on = looked_at(NO_COLOR="1")
    codes = re.findall(rb"\x1b\[([0-9;]*)m", on.bytes)
    assert codes
    coloured = {number for code in codes for number in code.split(b";") if number and 30 <= int(number) <= 107}
    assert coloured <= {b"39", b"49"}


def test_ascii_is_all_that_is_written_where_the_locale_has_no_more() -> None:
    on = looked_at(LANG="C")
    assert on.bytes.isascii()


def test_made_up_rows_start_no_real_host(own_home: Path) -> None:
    on = Terminal(size=(100, 30))
    on.until("made-up rows")
    on.until(lambda: "12 " in on.text or "9 run" in on.text)
    for _ in range(20):
        on.read(0.1)
    assert "comfy" not in on.text
    assert not (own_home / ".state" / "gpudash" / "sandbox" / "hosts").exists()
    on.quit()


def test_any_size_at_any_moment_and_whole_again() -> None:
    on = Terminal(size=(160, 48))
    on.until("made-up rows")
    for keys, closed in (("", "BURN"), ("n", "Launch"), ("?", "Keys"), ("X", "BURN"), (":", "What shall be done?")):
        on.send(keys)
        on.until(closed)
        for width, height in ((80, 24), (250, 70), (20, 5), (59, 13), (61, 15), (120, 30)):
            on.resize(width, height)
            on.read(0.03)
        on.until(lambda: "gpudash needs" not in on.text)
        on.until(closed)
        on.send("\x1b")
        on.read(0.2)
        on.send("\x1b")
        on.until(lambda: "BURN" in on.text and "q quit" in on.text.splitlines()[-1])
    on.resize(80, 24)
    on.until(lambda: on.text.count("STATUS") == 1 and "q quit" in on.text.splitlines()[-1])
    on.quit()


def test_a_click_a_wheel_and_the_buttons_of_a_dialog() -> None:
    on = Terminal(size=(120, 36))
    on.until("made-up rows")
    on.until("q quit")

    def click(x: int, y: int) -> None:
        on.send(f"\x1b[<0;{x + 1};{y + 1}M\x1b[<0;{x + 1};{y + 1}m")

    def place(words: str) -> tuple[int, int]:
        return next((line.index(words), y) for y, line in enumerate(on.screen.display) if words in line)

    def cursor() -> int:
        return next(y for y, line in enumerate(on.screen.display) if line.startswith("▌"))

    first = cursor()
    click(30, first + 3)
    on.until(lambda: cursor() == first + 3)
    on.send(f"\x1b[<65;30;{first + 2}M")
    on.until(lambda: cursor() != first + 3)
    click(place("NAME")[0], place("NAME")[1])
    on.until("Sorted by name")
    click(*place("Sorted by name"))  # a click on an answer brings the keys back
    on.until("? help")
    click(*place("? help"))
    on.until("Act on the marked instances")
    on.until("Esc back")
    click(*place("Esc back"))
    on.until("BURN")
    on.send("X")
    on.until("Cancel")
    click(*place("Cancel"))
    on.until(lambda: "Cancel" not in on.text)
    on.quit()


@pytest.fixture
def tmux_socket(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "tmux")
    yield path
    import subprocess

    subprocess.run([shutil.which("tmux") or "tmux", "-S", path, "kill-server"], check=False, capture_output=True)


@pytest.mark.needs("tmux")
def test_inside_tmux(tmux_socket: str) -> None:
    on = Terminal("tmux", "-S", tmux_socket, "-f", "/dev/null", "new-session", PROGRAM, size=(110, 32))
    within_a_multiplexer(on)


@pytest.mark.needs("screen")
def test_inside_screen(tmp_path: Path) -> None:
    folder = tmp_path / "screens"
    folder.mkdir(mode=0o700)
    (tmp_path / "screenrc").write_text("startup_message off\ndefutf8 on\n")
    on = Terminal(
        "screen", "-U", "-c", str(tmp_path / "screenrc"), *PROGRAM.split(), size=(110, 32), SCREENDIR=str(folder)
    )
    within_a_multiplexer(on)


def within_a_multiplexer(on: Terminal) -> None:
    """All of it, and nothing else: no answer of the terminal shows, keys work, a resize comes through, q ends it."""
    on.until("made-up rows")
    on.until("q quit")
    on.send("j")
    on.send("?")
    on.until("Act on the marked instances")
    assert "rgb:" not in on.text
    on.send("\x1b")
    on.until("BURN")
    on.resize(90, 26)
    on.until(lambda: "made-up rows" in on.text or "STATUS" in on.text)
    assert "11;" not in on.text
    assert "rgb:" not in on.text
    on.quit()
