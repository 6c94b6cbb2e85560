"""The page of one instance: six parts, each with its age or what is wrong, and no key that waits for a host."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gpudash.errors import LinkDown
from gpudash.model.history import History
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.ui.actions import PARTS
from gpudash.ui.rawrecord import without_secrets
from gpudash.ui.screens.instance import InstanceScreen
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.sample import sample_fleet
from tests.ui.helpers import NARROW, WIDE, Stage, stage


async def open_page(on: Stage, name: str, *keys: str) -> InstanceScreen:
    await on.go_to(name)
    await on.press("enter", *keys)
    screen = on.app.screen
    assert isinstance(screen, InstanceScreen)
    return screen


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["160", "80"])
@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("1", ("guard", "armed", "8×H100", "GPU 0")),
        ("2", ("awake", "gpu", "> 5%", "declared", "now", "silent sensor", "as of 0s ago")),
        (
            "3",
            ("Ahead", "the lease ends", "Happened", "first activity: ssh", "lease moved to 15:16", "the cloud made it"),
        ),
        ("4", ("Stretches at one price", "compute", "23.92", "simulated", "all of it")),
        ("5", ("newest first", "alarm-cleared", "serves on 127.0.0.1:8080")),
        ("6", ("as lambda listed it 6s ago", '"hourly_cost_cents": 2392')),
    ],
)
async def test_each_part_stands_on_the_page(key: str, words: tuple[str, ...], size: tuple[int, int]) -> None:
    async with stage(sample_fleet(), size=size) as on:
        screen = await open_page(on, "train-llama", key)
        assert screen.part == PARTS[int(key) - 1]
        shown = on.text("Page")
        for word in words:
            assert word in shown, word


async def test_processes_and_the_last_that_happened_end_the_overview() -> None:
    async with stage(sample_fleet()) as on:
        await open_page(on, "train-llama", "end")
        assert "python train.py" in on.text("Page")
        assert "3 tells the whole story" in on.text("Page")


async def test_tab_and_arrows_turn_the_parts_and_each_stays_where_it_was() -> None:
    async with stage(sample_fleet(), size=NARROW) as on:
        screen = await open_page(on, "train-llama", "pagedown")
        top = screen.query_one("Page").top  # type: ignore[attr-defined]
        assert top > 0
        await on.press("tab")
        assert screen.part == "signals"
        assert screen.query_one("Page").top == 0  # type: ignore[attr-defined]
        await on.press("left")
        assert screen.part == "overview"
        assert screen.query_one("Page").top == top  # type: ignore[attr-defined]
        await on.press("shift+tab")
        assert screen.part == "record"
        await on.press("right")
        assert screen.part == "overview"


async def test_a_part_can_be_clicked() -> None:
    async with stage(sample_fleet()) as on:
        screen = await open_page(on, "train-llama")
        await on.pilot.click("PartsLine", offset=(20, 0))
        await on.settle()
        assert screen.part == "signals"


async def test_an_old_statusd_without_history_or_log_says_so() -> None:
    async with stage(sample_fleet()) as on:
        await open_page(on, "serve-mixtral", "2")
        assert "too old to remember" in on.text("Page")
        assert "47%" in on.text("Page")
        await on.press("3")
        assert "When it was in use is not known" in on.text("Page")
        await on.press("5")
        assert "does not tell its log" in on.text("Page")


async def test_a_lease_that_is_over_says_since_when_and_projects_nothing() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await open_page(on, "train-llama")
        await on.beat(80 * 60)
        shown = on.text("Page")
        assert "15:16 6m ago" in shown
        assert "at the deadline" not in shown


async def test_sentences_on_the_page_are_carried_over_not_cut() -> None:
    fleet = sample_fleet()
    async with stage(fleet, size=NARROW) as on:
        screen = await open_page(on, "sweep-3", "3")
        assert screen.part == "timeline"
        assert "statusd answers only while it runs." in " ".join(on.text("Page").split())


async def test_a_stopped_instance_is_not_asked() -> None:
    fleet = sample_fleet()
    asked: list[InstanceKey] = []

    async def history(key: InstanceKey) -> History:
        asked.append(key)
        raise LinkDown("never")

    fleet.history = history  # type: ignore[method-assign]
    async with stage(fleet) as on:
        await open_page(on, "notebooks", "2")
        assert "statusd answers only while it runs" in on.text("Page")
        assert asked == []


async def test_the_old_answer_stays_beside_the_problem_and_ages() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await open_page(on, "train-llama", "2")
        fleet.cloud.histories.clear()
        for _ in range(31):
            await on.beat(1)
        shown = on.text("Page")
        assert "too old to remember" in shown
        assert "the strips, as of 31s ago" in shown
        assert "█" in shown


async def test_a_host_that_never_answers_holds_up_no_key() -> None:
    fleet = sample_fleet()
    never = asyncio.Event()

    async def history(key: InstanceKey) -> History:
        await never.wait()
        raise LinkDown("cut")

    fleet.history = history  # type: ignore[method-assign]
    async with stage(fleet) as on:
        await on.go_to("train-llama")
        for key in ("enter", "2"):
            await on.pilot.press(key)
        assert "asking …" in on.text("Page")
        await on.pilot.press("6")
        assert '"hourly_cost_cents"' in on.text("Page")
        never.set()
        await on.settle()


async def test_the_page_of_an_instance_that_goes_keeps_its_last_words() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await open_page(on, "comfy", "4")
        record = on.app.screen.targets()[0]  # type: ignore[attr-defined]
        fleet.put(replace(record.instance, state=InstanceState.TERMINATED))
        await on.settle()
        assert "Stretches at one price" in on.text("Page")
        await on.press("x")
        assert on.answer


async def test_secrets_in_the_clouds_record_are_never_shown() -> None:
    fleet: MemoryFleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        record = on.fleet_screen.targets()[0]
        told = {"id": "i-1", "jupyter_token": "open-sesame", "extra_env": [["HF_TOKEN", "open-sesame"]]}
        fleet.put(replace(record.instance, raw=told, provider_state="other"))
        await on.press("enter", "6")
        assert "jupyter_token" in on.text("Page")
        assert "open-sesame" not in on.text("Page")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ({"api_key": "word"}, {"api_key": "(hidden)"}),
        ({"env": {"HF_TOKEN": "word", "A": "b"}}, {"env": {"HF_TOKEN": "(hidden)", "A": "b"}}),
        ({"env": ["HF_TOKEN=word", "A=b"]}, {"env": ["HF_TOKEN=(hidden)", "A=b"]}),
        ({"env": [["HF_TOKEN", "word"], ["A", "b"]]}, {"env": [["HF_TOKEN", "(hidden)"], ["A", "b"]]}),
        ({"tags": [{"Key": "password", "Value": "word"}]}, {"tags": [{"Key": "password", "Value": "(hidden)"}]}),
        ({"ssh": {"key_name": "laptop"}, "spot": True}, {"ssh": {"key_name": "laptop"}, "spot": True}),
        ({"secrets": ["word"]}, {"secrets": ["(hidden)"]}),
    ],
)
def test_what_is_named_like_a_secret_is_hidden(raw: object, shown: object) -> None:
    assert without_secrets(raw) == shown
