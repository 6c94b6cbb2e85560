"""Promise 10: destruction is deliberate. And the other dialogs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from textual.widgets import Button, Input

from gpudash.clock import ManualClock
from gpudash.fleet.changes import ChangeSet
from gpudash.model.capability import Verb
from gpudash.model.money import Price
from gpudash.model.offer import NewDisk
from gpudash.model.policy import EndAction
from gpudash.ui import format as fmt
from gpudash.ui.screens.confirm import ConfirmEnd
from gpudash.ui.screens.extend import ExtendScreen
from gpudash.ui.screens.launch import LaunchScreen
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.sample import NOW, sample_fleet
from tests.ui.helpers import stage


def ends(fleet: object) -> list[object]:
    return [what for call, what in fleet.calls if call == "end"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", ["x", "X"])
async def test_promise_10_the_focus_is_on_cancel(key: str) -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press(key)
        focused = on.app.focused
        assert isinstance(focused, Button)
        assert focused.id == "cancel"
        await on.press("enter")
        assert fleet.calls == []
        assert on.app.screen is on.fleet_screen


async def test_promise_10_the_dialog_names_account_instance_what_is_lost_and_what_stays() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("comfy")
        await on.press("X")
        words = on.text()
        for word in (
            "vast",
            "NL",
            "RTX 4090",
            "32 GB disk (not on a volume)",
            "nothing goes on billing",
            "$0.41/h",
            "$3.0",
            "saves     ~$0.43/h",
        ):
            assert word in words
        await on.press("escape", "x")
        assert "32 GB disk, ~$0.48/day" in on.text()


async def test_promise_10_the_name_is_typed_where_data_is_lost() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        key = on.fleet_screen.targets()[0].key
        await on.press("X")
        act = on.app.screen.query_one("#act", Button)
        assert act.disabled
        await on.press(*"comf")
        assert act.disabled
        await on.press("enter")
        assert ends(fleet) == []
        await on.press("y")
        assert not act.disabled
        await on.press("enter", "enter")
        assert ends(fleet) == [(key, EndAction.TERMINATE)]


async def test_promise_10_what_is_terminated_with_it_is_named() -> None:
    """Its child instances; a stop leaves them alone and does not speak of them."""
    fleet = sample_fleet()
    parent, child, *_ = sorted(fleet.store.records.values(), key=lambda r: r.instance.name != "comfy")
    given = {"parent": parent.key.id, "managed": True, "launch_token": "t", "name": "its-worker"}
    key = replace(parent.key, id="its-worker")
    fleet.store.records[key] = replace(child, instance=replace(child.instance, key=key, **given))
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press("X")
        assert "its-worker: terminated with it" in on.text()
        assert on.app.screen.query_one("#act", Button).disabled
        await on.press("escape", "x")
        assert "terminated with it" not in on.text()


async def test_promise_10_no_name_is_asked_where_nothing_is_lost() -> None:
    fleet = sample_fleet()
    record = next(r for r in fleet.store.records.values() if r.instance.name == "comfy")
    fleet.put(replace(record.instance, lost_on_terminate=None))
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press("X")
        assert not on.app.screen.query(Input)
        await on.press("right", "enter")
        assert len(ends(fleet)) == 1


async def test_promise_10_the_action_follows_the_key_captured_at_the_key_press() -> None:
    """While the dialog stands, rows come, go and change places; the target does not."""
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        target = on.fleet_screen.targets()[0].key
        await on.press("x")
        record = next(r for r in fleet.store.records.values() if r.instance.name == "old-test")
        new = replace(record.instance, key=replace(record.key, id="i-other"), name="comfy")
        fleet.put(new)
        on.app.changed(ChangeSet(added=frozenset({new.key})))
        on.fleet_screen.table.move_to(0)
        await on.settle()
        await on.press("right", "enter")
        assert ends(fleet) == [(target, EndAction.STOP)]


async def test_rename_begins_with_the_present_name_and_says_what_is_wrong_with_the_new_one() -> None:
    """It follows the instance of the key press; the same name, and none, are not sent."""
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        key = on.fleet_screen.targets()[0].key
        await on.press("m")
        field = on.app.screen.query_one(Input)
        assert field.value == "comfy"
        await on.press("enter")
        assert "That is its name now." in on.text()
        field.value = "  "
        await on.press("enter")
        assert "Write letters, digits" in on.text()
        field.value = "eval"
        await on.settle()
        assert "Another instance has that name" in on.text()
        field.value = " comfy-2 "
        await on.press("enter")
        assert [call for call in fleet.calls if call[0] == "rename"] == [("rename", (key, "comfy-2"))]
        assert fleet.store.records[key].instance.name == "comfy-2"
        assert "has its new name" in on.answer


async def test_rename_answers_why_it_cannot() -> None:
    """A cloud that renames nothing, and several at once."""
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        record = on.fleet_screen.targets()[0]
        fleet.cloud.reasons[Verb.RENAME, record.instance.provider] = "That cloud renames nothing."
        await on.press("m")
        assert on.answer == "That cloud renames nothing."
        await on.press("space")
        await on.go_to("eval")
        await on.press("space", "m")
        assert "clear the marks first" in on.answer
        assert fleet.calls == []


async def test_promise_10_a_restart_says_what_is_lost_and_is_confirmed() -> None:
    """Focused on Cancel, and asked for once."""
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        key = on.fleet_screen.targets()[0].key
        await on.press("b")
        words = on.text()
        for word in ("comfy", "what runs there, and its memory", "~$0.43/h"):
            assert word in words
        await on.press("enter")
        assert fleet.calls == []
        await on.press("b", "right", "enter")
        assert ("restart", key) in fleet.calls


async def test_a_stop_is_held_back_counted_down_and_undone() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press("x", "right", "enter")
        assert "stop in 5s" in on.text("#table")
        assert "undo: stop comfy in 5 s" in on.text("#footer")
        await on.beat()
        assert "stop in 4s" in on.text("#table")
        await on.press("u")
        assert "taken back" in on.answer
        assert "stop in" not in on.text("#table")
        fleet.step()
        assert fleet.store.records[on.fleet_screen.targets()[0].key].instance.state.value == "running"


async def test_after_the_hold_it_is_sent_and_followed_until_it_is_proved() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press("x", "right", "enter")
        await on.beat(6)
        fleet.step()
        await on.settle()
        assert "being proved" in on.text("#table")
        await on.press("u")
        assert "Nothing is held back" in on.answer
        fleet.step()
        await on.settle()
        assert "comfy is stopped; the cloud confirms it" in on.answer


async def test_undo_takes_back_all_that_were_asked_for_together() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        for name in ("comfy", "eval"):
            await on.go_to(name)
            await on.press("space")
        await on.press("x", "right", "enter")
        assert len(ends(fleet)) == 2
        await on.press("u")
        assert [call for call, _ in fleet.calls].count("cancel") == 2


async def test_those_that_cannot_are_left_out_and_named() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        for name in ("comfy", "train-llama"):
            await on.go_to(name)
            await on.press("space")
        await on.press("x")
        dialog = on.app.screen
        assert isinstance(dialog, ConfirmEnd)
        assert [record.instance.name for record in dialog.records] == ["comfy"]
        assert "Lambda cannot stop" in on.text()


async def test_an_end_that_is_not_proved_still_bills_and_says_how_much() -> None:
    """Promise 1 on screen."""
    async with stage(sample_fleet()) as on:
        row = on.text("#table").splitlines()[1]
        assert "STILL BILLING" in row
        assert "3m $0.04" in row
        assert "retry 4 in 20s" in row or "retry in 20s" in row


async def test_extend_shows_each_amount_with_its_end_and_its_cost() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("train-llama")
        await on.press("+")
        words = on.text()
        for word in ("15:16", "hard deadline 20:00", "15:46", "~$11.97", "~$47.88", "4h44m", "~$113.3"):
            assert word in words
        assert "an hour $23.92 compute + ~$0.02 disk = ~$23.94/h" in words


async def test_an_extend_of_several_names_no_end_that_only_one_would_have() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("comfy")
        await on.press("space")
        await on.go_to("train-llama")
        await on.press("space", "+")
        (half,) = [line for line in on.text("ChoiceList").splitlines() if line.strip(" ▸").startswith("30m ")]
        assert half.split() == ["▸", "30m", "+", "~$12.19"]


async def test_the_buttons_are_seen_on_the_smallest_screen() -> None:
    async with stage(sample_fleet(), size=(61, 15)) as on:
        await on.press("ctrl+a", "X")
        assert all(on.app.screen.region.contains_region(button.region) for button in on.app.screen.query("Button"))
        box = on.app.screen.query_one(".box").region
        assert all(box.contains_region(button.region) for button in on.app.screen.query("Button"))
        assert "to confirm" in on.text()


async def test_what_is_left_out_of_a_bulk_end_is_told_whole() -> None:
    async with stage(sample_fleet(), size=(80, 24)) as on:
        await on.press("ctrl+a", "x")
        assert "…" not in on.text("Lines")
        assert " ".join(on.text("Lines").split()).count("Lambda cannot stop instances; terminate instead (X).") == 2


async def test_what_an_extend_costs_is_what_the_deadline_then_costs_more() -> None:
    """The dialog and the costs page count by the same meters, disk included."""
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("train-llama")
        (before,) = on.fleet_screen.targets()
        await on.press("+", "down")
        (shown,) = [line for line in on.text("ChoiceList").splitlines() if line.strip(" ▸").startswith("1h ")]
        await on.press("enter")
        now = fleet.clock.now()
        was, will = before.projected(now), fleet.store.records[before.key].projected(now)
        assert was is not None
        assert will is not None
        assert f"~${will.usd - was.usd:.2f}" in shown
        await on.press("c")
        assert fmt.money(will) in on.text()


async def test_extend_beyond_the_hard_deadline_is_refused_with_what_is_allowed() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("train-llama")
        await on.press("+", "down", "down", "down", "down")
        dialog = on.app.screen
        assert isinstance(dialog, ExtendScreen)
        assert "at most 4h44m more" in dialog.problem
        await on.press("enter")
        assert fleet.calls == []
        await on.press("down", "enter")
        asked = fleet.calls[-1][1]
        record = next(r for r in fleet.store.records.values() if r.instance.name == "train-llama")
        assert record.policy is not None
        assert asked == (record.key, record.policy.hard_deadline)


async def test_extend_takes_other_amounts_and_refuses_what_is_none() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("train-llama")
        before = on.fleet_screen.targets()[0].policy
        await on.press("+", "up", "enter", *"soon", "enter")
        dialog = on.app.screen
        assert isinstance(dialog, ExtendScreen)
        assert "1h30m" in dialog.problem
        await on.press("ctrl+u", *"9h", "enter")
        assert "at most" in dialog.problem
        await on.press("ctrl+u", *"45m", "enter")
        after = next(r for r in fleet.store.records.values() if r.instance.name == "train-llama").policy
        assert before is not None
        assert before.lease_deadline is not None
        assert after is not None
        assert after.lease_deadline == before.lease_deadline + timedelta(minutes=45)


async def test_launch_filters_prices_and_goes_through_its_steps() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("n")
        screen = on.app.screen
        assert isinstance(screen, LaunchScreen)
        await on.press(*"h100 <3 spot:no")
        assert [row.record.price.usd_per_hour for row in screen.view.order if row.record.price] == sorted(
            row.record.price.usd_per_hour for row in screen.view.order if row.record.price
        )
        assert len(screen.view.order) == 2
        await on.press("down", "enter")
        assert "for 4h costs at most $9.96" in on.text("#summary")
        await on.press("enter")
        order = next(what for call, what in fleet.calls if call == "launch")
        assert (order.account, order.region) == ("lambda", "us-west-1")  # type: ignore[attr-defined]
        for _ in range(3):
            fleet.step()
        await on.settle()
        assert "✓ asked" in on.text("#summary")
        await on.press("escape")
        assert on.app.screen is on.fleet_screen
        assert "launch" in on.text("#running")
        for _ in range(8):
            fleet.step()
        await on.settle()
        assert "is up and guarded" in on.answer
        assert on.fleet_screen.running.size.height == 0


async def test_what_a_launch_costs_at_most_counts_its_disk_by_the_size_that_is_chosen() -> None:
    fleet = sample_fleet()
    a_gb = Price(Decimal("0.0001"), "table", estimated=True)
    disk = NewDisk((("disk_gb", 50), ("volume_gb", 20)), a_gb, ("template",), beside=Price(Decimal("0.005"), "table"))
    (a40,) = (offer for offer in fleet.cloud.offers if offer.gpu == "A40")
    fleet.cloud.offers = (replace(a40, new_disk=disk),)
    async with stage(fleet) as on:
        await on.press("n")
        assert "for 4h costs at most ~$1.65 (~$0.05 disk)" in on.text("#summary")
    assert disk.price({"disk_gb": "500"}) == Price(Decimal("0.0570"), "table", estimated=True)
    assert disk.price({"template": "x"}) is None
    unknown = replace(a40, new_disk=replace(disk, a_gb=None))
    assert unknown.meters({}) == (a40.price, None), "a disk whose price nobody knows is not free"
    priced = replace(a40, new_disk=None, storage_price=a_gb, options={"disk_gb": "10"})
    assert priced.meters({"disk_gb": "30"})[1] == Price(Decimal("0.0003"), "table", estimated=True)


async def test_launch_shows_the_cost_of_another_lease_and_what_is_wrong_with_it() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("n", "enter")
        lease = on.app.screen.query_one("#lease", Input)
        lease.value = "10h"
        await on.settle()
        assert "$3.80" in on.text("#summary")
        lease.value = "whenever"
        await on.settle()
        assert "is not a duration" in on.text("#summary")


async def test_launch_in_read_only_can_look_and_not_launch() -> None:
    fleet = sample_fleet(read_only=True)
    async with stage(fleet) as on:
        await on.press("o")
        assert isinstance(on.app.screen, LaunchScreen)
        assert "Read-only" in on.text("#summary")
        await on.press("enter", "enter")
        assert fleet.calls == []
        assert "Read-only" in on.answer


async def test_a_launch_is_asked_for_once_however_often_enter_is_pressed() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("n", "enter", "enter", "enter", "enter", "enter")
        assert [call for call, _ in fleet.calls] == ["launch"]


async def test_names_are_suggested_and_not_twice() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("n", "enter", "enter", "escape", "n")
        screen = on.app.screen
        assert screen.query_one("#name", Input).value == "a10g-2"


async def test_tunnels_list_closes_and_copies() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("T")
        assert "3 of 3 up" in on.text("Heading")
        await on.press("y")
        assert on.app.clipboard.startswith("http://127.0.0.1:")
        await on.press("x")
        assert [call for call, _ in fleet.calls] == ["close_tunnel"]
        assert "2 of 2 up" in on.text("Heading")


async def test_lists_filter_and_go_back_a_step_at_a_time() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("e", "/", *"extend")
        assert len(on.app.screen.view.order) == 1  # type: ignore[attr-defined]
        await on.press("escape")
        assert len(on.app.screen.view.order) == 5  # type: ignore[attr-defined]
        await on.press("escape")
        assert on.app.screen is on.fleet_screen


async def test_leftovers_say_what_a_month_costs() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("l")
        assert "~$50.88+? a month" in on.text("Heading")


async def test_themes_are_tried_and_taken_back() -> None:
    from gpudash.ui.screens.themepicker import ThemePicker

    async with stage(sample_fleet()) as on:
        on.app.push_screen(ThemePicker())
        await on.settle()
        await on.press("down")
        assert on.app.look.name != "dark"
        await on.press("escape")
        assert on.app.look.name == "dark"
        on.app.push_screen(ThemePicker())
        await on.settle()
        await on.press("down", "enter")
        assert on.app.look.name == "dracula"


async def test_a_kept_theme_is_written_to_the_settings(tmp_path: object) -> None:
    from pathlib import Path

    from gpudash.config import Config, load

    path = Path(str(tmp_path)) / "config.toml"
    path.write_text('# mine\n[defaults]\nlease = "2h"\n')
    path.chmod(0o600)
    fleet = sample_fleet(config=Config(path=path))
    async with stage(fleet) as on:
        on.app.choose_theme("nord")
        await on.settle()
    assert load(path).defaults.theme == "nord"
    assert "# mine" in path.read_text()


async def test_the_welcome_screen_names_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDA_API_KEY", "secret-value")
    async with stage(sample_fleet(), welcome=True) as on:
        await on.pilot.pause(0.3)
        words = on.text()
        assert "LAMBDA_API_KEY" in words
        assert "secret-value" not in words
        await on.press("c")
        await on.paint()
        assert "gpudash configure" in on.text()
        await on.press("d")
        assert on.app.screen is on.fleet_screen


async def test_the_welcome_screen_fills_an_empty_sandbox() -> None:
    started: list[object] = []

    async def start(fleet: object) -> None:
        started.append(fleet)

    fleet = MemoryFleet(ManualClock(NOW))
    async with stage(fleet, welcome=True, start_hosts=start) as on:
        await on.press("enter")
        await on.settle()
        assert started == [fleet]
        assert "hosts are starting" in on.answer


async def test_the_board_filters_by_what_a_model_needs() -> None:
    """``fits:`` leaves offers with room for a model; an unknown one is said and hides nothing."""
    async with stage(sample_fleet()) as on:
        await on.press("n")
        screen = on.app.screen
        assert isinstance(screen, LaunchScreen)
        everything = len(screen.view.order)
        await on.press(*"fits:llama-3.3-70b@int4")
        fitting = [row.record for row in screen.view.order]
        assert 0 < len(fitting) < everything
        assert all(offer.gpu_count * offer.vram_gb >= 45 for offer in fitting)
        assert screen.table.record is fitting[0], "what was typed for is under the cursor, the cheapest first"
        await on.press(*"x")
        assert "wants one of" in on.text()
        assert len(screen.view.order) == everything


async def test_the_idle_action_is_one_that_the_cloud_has() -> None:
    """Where there is no stop the button says terminate, and pressing it never comes to an action that is missing."""
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("n")
        screen = on.app.screen
        assert isinstance(screen, LaunchScreen)
        button = screen.query_one("#then", Button)
        for account, first, others in (("lambda", "terminate", {"terminate"}), ("vast", "stop", {"stop", "terminate"})):
            screen.query_one("#filter").text = ""  # type: ignore[attr-defined]
            await on.press(*f"account:{account}")
            assert str(button.label) == first
            seen = set()
            for _ in range(4):
                screen._next_action()
                seen.add(str(button.label))
                assert screen.order is not None
                assert not isinstance(screen.order, str)
            assert seen == others
            await on.press(*["backspace"] * 20)
