"""The costs screen: three groupings over five spans, the month against budgets, and what nobody knows."""

from __future__ import annotations

from decimal import Decimal

from gpudash.config import Account, Config
from gpudash.fleet.health import AccountNote
from gpudash.ui.screens.costs import CostsByAccount, CostsByDay, CostsByInstance
from gpudash.ui.screens.instance import InstanceScreen
from gpudash.ui.synthetic.sample import sample_fleet
from gpudash.ui.widgets.footer import Footer
from tests.ui.helpers import NARROW, WIDE, Stage, stage


def budget(**of: str) -> Config:
    names = ("aws", "lambda", "runpod", "vast", "sandbox")
    return Config(
        accounts={
            name: Account(name, name, monthly_budget_usd=Decimal(of[name]) if name in of else None) for name in names
        }
    )


def first_words(on: Stage) -> list[str]:
    lines = [line.replace("▌", " ").split() for line in on.text("#table").splitlines()[1:]]
    return [words[0] for words in lines if words]


async def test_instances_are_listed_dearest_first_those_that_are_gone_too() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("c")
        words = on.text("#table")
        assert words.index("train-llama") < words.index("old-test") < words.index("comfy")
        assert "sweep-1" in words
        assert "gone" in words
        await on.press("m", "m")
        assert "finetune" in on.text("#table")


async def test_tab_turns_through_the_groupings_and_keeps_the_span() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("c", "m", "m", "tab")
        assert isinstance(on.app.screen, CostsByAccount)
        assert "the last 30 days" in on.text("Heading")
        assert set(first_words(on)) >= {"lambda", "aws", "runpod", "vast"}
        await on.press("tab")
        assert isinstance(on.app.screen, CostsByDay)
        assert first_words(on)[:2] == ["2026-03-03", "2026-03-02"]
        await on.press("tab")
        assert isinstance(on.app.screen, CostsByInstance)
        await on.press("shift+tab")
        assert isinstance(on.app.screen, CostsByDay)
        await on.press("escape")
        assert on.app.screen is on.fleet_screen


async def test_a_day_has_no_page_and_enter_says_so() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("c", "shift+tab", "enter")
        assert "Tab groups by instance" in on.answer
        keys = on.app.screen.query_one(Footer).facts.keys
        assert ("open", False) in [(action.id, enabled) for action, enabled in keys]


async def test_a_sum_with_an_unknown_part_says_so() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("c", "m", "m")
        assert "+?" in on.text("#sums")
        assert "prices unknown" in on.text("#sums")
        assert "?" in next(line for line in on.text("#table").splitlines() if "bench" in line)


async def test_budgets_stand_above_the_fullest_first() -> None:
    async with stage(sample_fleet(config=budget(aws="1000", runpod="10"))) as on:
        await on.press("c")
        words = on.text("#sums")
        assert words.index("runpod") < words.index("aws")
        assert "of $10" in words
        assert "over" in words
        await on.press("tab")
        line = next(line for line in on.text("#table").splitlines() if "runpod" in line)
        assert "$10" in line
        assert "over" in line


async def test_without_a_budget_it_says_how_to_set_one() -> None:
    async with stage(sample_fleet(), size=NARROW) as on:
        await on.press("c")
        assert "monthly_budget_usd" in on.text("#sums")


async def test_an_empty_span_says_so() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("c", "m")
        assert "Costs" in on.text("Heading")
        await on.press("/", *"nosuch")
        assert "Nothing fits" in on.text("#table")


async def test_enter_opens_the_instance_or_says_that_it_is_gone() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("c", "enter")
        assert isinstance(on.app.screen, InstanceScreen)
        await on.press("escape", "/", *"sweep-1", "enter", "enter")
        assert "sweep-1 is not in the fleet any more" in on.answer


async def test_figures_age_and_are_asked_for_again() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("c")
        await on.beat(4)
        assert "as of 4s ago" in on.text("Heading")
        for _ in range(9):
            await on.beat(1)
        assert "as of" in on.text("Heading")
        assert "13s ago" not in on.text("Heading")


async def test_a_budget_that_is_used_up_stands_in_the_strip_at_every_width() -> None:
    for size in (WIDE, NARROW):
        fleet = sample_fleet()
        fleet.store.apply_notes("budget", {"runpod": AccountNote("OVER BUDGET $16 of $10", is_urgent=True)})
        async with stage(fleet, size=size) as on:
            await on.beat(1)
            assert "OVER" in on.text("#strip")
