"""The short way to the dashboard means what the long way means."""

from __future__ import annotations

import pytest

from gpudash.cli import dashboard as long_way
from gpudash.cli.main import cli
from gpudash.cli.shortcut import Wanted, wanted
from gpudash.cli.verb import Run

FORMS = (
    "", "--read-only", "demo", "demo --speed 60", "demo --speed=0.5", "demo --fresh", "demo --synthetic 10000",
    "demo --synthetic=5 --speed 2 --fresh --read-only", "--read-only demo", "demo --speed 1 --speed 2",
)  # fmt: skip
OTHERS = (
    "--help", "demo --help", "demo --speed 0", "demo --speed 4000", "demo --speed x", "demo --speed", "demo demo",
    "demo --synthetic 0", "demo --synthetic 100001", "demo --synthetic -1", "demo --synthetic 1.5", "demo --fresh=1",
    "demo --no-such", "ls", "demo extra", "--fresh", "--json", "demo --json", "--version", "demo --spee 3", "--", "demo --",
)  # fmt: skip


def by_click(text: str, monkeypatch: pytest.MonkeyPatch) -> Wanted:
    opened: list[Wanted] = []

    def opens(run: Run, *, demo: bool, speed: float, fresh: bool, synthetic: int | None) -> int:
        opened.append(Wanted(demo, speed, fresh, synthetic, run.read_only))
        return 0

    monkeypatch.setattr(long_way, "_open", opens)
    with cli.make_context("gpudash", text.split(), obj=Run()) as context:
        cli.invoke(context)
    return opened[0]


@pytest.mark.parametrize("text", FORMS)
def test_plain_forms_mean_the_same_both_ways(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wanted(text.split()) == by_click(text, monkeypatch)


@pytest.mark.parametrize("text", OTHERS)
def test_whatever_is_not_plain_goes_the_long_way(text: str) -> None:
    assert wanted(text.split()) is None
