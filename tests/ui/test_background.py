"""Dark or light by the terminal's own answer: early, late, in pieces or never; what is typed meanwhile is kept."""

from __future__ import annotations

import time

import pytest

from gpudash.config import Config, Defaults
from gpudash.ui.background import QUERY, Answers, is_light
from gpudash.ui.pick_theme import BackgroundTold, pick_theme
from gpudash.ui.synthetic.sample import sample_fleet
from tests.ui.helpers import stage
from tests.ui.terminal import Terminal

WHITE, BLACK = "\x1b]11;rgb:ffff/ffff/ffff\x07", "\x1b]11;rgb:0000/0000/0000\x1b\\"
PAPER, NIGHT = b"48;2;251;250;247", b"48;2;15;20;25"
"""Grounds of the themes ``light`` and ``dark``."""


@pytest.mark.parametrize(
    ("answer", "light"),
    [
        ("rgb:ffff/ffff/ffff", True), ("rgb:00/00/00", False), ("rgba:f/f/f/f", True), ("rgb:1e1e/1e1e/2e2e", False),
        ("rgb:fdf6/e3e3/d5d5", True), ("#ffffff", None), ("", None), ("rgb:gg/00/00", None),
    ],
)  # fmt: skip
def test_what_an_answer_says(answer: str, light: bool | None) -> None:
    assert is_light(answer) is light


@pytest.mark.parametrize("answer", [WHITE, BLACK])
def test_an_answer_is_taken_out_wherever_it_is_cut(answer: str) -> None:
    for cut in range(len(answer) + 1):
        answers = Answers(waiting=True)
        typed = answers.take("j" + answer[:cut]) + answers.take(answer[cut:] + "k")
        assert typed == "jk"
        assert answers.light is (answer == WHITE)
        assert not answers.waiting


@pytest.mark.parametrize("typed", ["\x1b", "\x1b]", "\x1b]1"])
def test_a_key_that_looks_like_a_beginning_is_a_key_after_a_moment(typed: str) -> None:
    answers = Answers(waiting=True)
    assert answers.take(typed) == ""
    assert answers.nothing_came() == typed


def test_escape_is_a_key_at_once_when_no_answer_is_awaited() -> None:
    assert Answers(waiting=False).take("\x1b") == "\x1b"


def test_a_second_answer_long_after_is_no_key_either() -> None:
    answers = Answers(waiting=False)
    assert answers.take("x" + WHITE + "y") == "xy"


def test_an_answer_that_broke_off_takes_no_key_with_it() -> None:
    answers = Answers(waiting=True)
    assert answers.take("\x1b]11;rgb:ff") == ""
    assert answers.take("jk") == "jk"


@pytest.mark.parametrize(
    ("light", "environment", "theme"),
    [
        (True, {"TERM": "xterm-256color"}, "light"),
        (False, {"TERM": "xterm-256color", "COLORFGBG": "0;15"}, "dark"),
        (None, {"TERM": "xterm-256color", "COLORFGBG": "0;15"}, "light"),
        (None, {"TERM": "xterm-256color"}, "dark"),
        (True, {"TERM": "linux"}, "terminal"),
    ],
)
def test_the_answer_goes_before_the_environment(light: bool | None, environment: dict[str, str], theme: str) -> None:
    assert pick_theme(None, no_color=False, light=light, environment=environment) == (theme, ())


async def test_a_late_answer_switches_quietly_but_never_what_a_person_chose() -> None:
    async with stage(sample_fleet()) as on:
        on.app.post_message(BackgroundTold(True))
        await on.settle()
        assert on.app.look.name == "light"
        assert on.answer == ""
        on.app.choose_theme("dark")
        on.app.post_message(BackgroundTold(True))
        await on.settle()
        assert on.app.look.name == "dark"


async def test_a_theme_in_the_settings_stays() -> None:
    async with stage(sample_fleet(config=Config(defaults=Defaults(theme="dark")))) as on:
        on.app.post_message(BackgroundTold(True))
        await on.settle()
        assert on.app.look.name == "dark"


def test_a_terminal_that_answers_early_gets_its_theme_in_the_first_frame() -> None:
    on = Terminal()
    on.until(lambda: QUERY in on.bytes)
    on.send("?" + WHITE)
    on.until("Act on the marked instances")
    assert NIGHT not in on.bytes
    assert PAPER in on.bytes
    on.quit()


def test_a_terminal_that_answers_late_and_in_pieces_is_switched_and_nothing_is_typed() -> None:
    on = Terminal()
    on.until("made-up rows")
    on.send("/")
    on.until("words, column:value")
    on.send(WHITE[:9])
    time.sleep(0.05)
    on.send(WHITE[9:] + "h100")
    on.until(lambda: PAPER in on.bytes)
    on.until(" h100 ")
    assert "rgb" not in on.text
    assert "11;" not in on.text
    on.send("\r")
    on.quit()


def test_a_terminal_that_never_answers_is_dark_and_keeps_its_escape_key() -> None:
    on = Terminal()
    on.until("made-up rows")
    on.send("?")
    on.until("Act on the marked instances")
    on.send("\x1b")
    on.until("BURN")
    assert PAPER not in on.bytes
    on.quit()


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "linux", "COLORTERM": ""}])
def test_who_needs_no_answer_is_not_asked(environment: dict[str, str]) -> None:
    on = Terminal(**environment)
    on.until("made-up rows")
    on.quit()
    assert QUERY not in on.bytes
