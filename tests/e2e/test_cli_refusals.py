"""Exit 4: read-only, no confirmation, price cap, hard deadline, a verb that cloud does not have. Nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.cli import Cli

MUTATING = [
    ["launch", "--type", "1x-t4", "--yes"],
    ["extend", "box", "1h"],
    ["keepalive", "box", "10m"],
    ["start", "box"],
    ["stop", "box", "--yes"],
    ["hibernate", "box", "--yes"],
    ["terminate", "box", "--yes"],
    ["restart", "box", "--yes"],
    ["adopt", "box"],
    ["push", "box"],
    ["watchdog", "--once", "--enforce"],
    ["sandbox", "up", "2"],
    ["sandbox", "down"],
    ["sandbox", "reset", "--yes"],
    ["sandbox", "fault", "api-down", "on"],
]


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A home with one armed instance called ``box``."""
    program = Cli(tmp_path_factory.mktemp("refusals"))
    program.ok("launch", "--type", "1x-a10", "--name", "box", "--lease", "23h", "--yes")
    yield program
    program.config("")
    program.clean()


@pytest.fixture(autouse=True)
def no_settings(cli: Cli) -> None:
    """Each test begins without a settings file."""
    cli.config_file.unlink(missing_ok=True)


@pytest.mark.parametrize("words", MUTATING, ids=lambda words: " ".join(words[:3]))
def test_read_only_refuses_and_changes_nothing(cli: Cli, words: list[str]) -> None:
    """The same before and after the verb: exit 4, one line, and every host's record as it was."""
    before = cli.records()
    for line in (["--read-only", *words], [*words, "--read-only"]):
        answer = cli(*line)
        assert answer.code == 4, (line, answer)
        assert "read-only" in answer.err
    assert cli.records() == before


def test_read_only_in_the_settings_holds_too(cli: Cli) -> None:
    """`read_only = true` needs no option, and names itself."""
    cli.config("[defaults]\nread_only = true\n")
    before = cli.records()
    for words in (["stop", "box", "--yes"], ["launch", "--type", "1x-t4", "--yes"], ["sandbox", "reset", "--yes"]):
        answer = cli(*words)
        assert answer.code == 4, answer
        assert "read_only" in answer.err
    assert cli.records() == before


def test_read_only_account(cli: Cli) -> None:
    """One account can be read-only while others are not."""
    cli.config("[accounts.sandbox]\nread_only = true\n")
    assert cli("terminate", "box", "--yes").code == 4
    assert cli("launch", "--type", "1x-t4", "--yes").code == 4
    assert cli("ls").code == 0


@pytest.mark.parametrize("words", [["ls"], ["show", "box"], ["offers"], ["leftovers"], ["events"], ["costs"]])
def test_read_only_reads(cli: Cli, words: list[str]) -> None:
    """What only looks is not refused."""
    assert cli("--read-only", *words, "--json").code == 0


@pytest.mark.parametrize("verb", ["stop", "terminate"])
def test_without_terminal_and_yes_an_end_is_refused(cli: Cli, verb: str) -> None:
    """It says what would be lost and what to add, and the instance lives on."""
    answer = cli(verb, "box", stdin="box\ny\n")
    assert answer.code == 4
    assert "sandbox" in answer.err
    assert "--yes" in answer.err.splitlines()[-1]
    assert cli.ok("show", "box")["instance"]["state"] == "running"


def test_launch_without_terminal_and_yes_is_refused(cli: Cli) -> None:
    """Plan on stderr, exit 4, and nothing was asked for."""
    before = cli.records()
    answer = cli("launch", "--type", "1x-t4")
    assert answer.code == 4
    assert "price" in answer.err
    assert cli.records() == before


def test_dry_run_shows_plan_and_cost(cli: Cli) -> None:
    """No confirmation needed, nothing made, the cost of the lease with its disk in the document."""
    before = cli.records()
    answer = cli("launch", "--type", "1x-h200", "--lease", "2h", "--dry-run", "--json")
    assert answer.code == 0, answer
    body = answer.doc
    assert (body["ok"], body["proved"], body["instance"]) == (True, False, None)
    plan = body["plan"]
    disk = 0.08 / 730 * plan["offer"]["disk_gb"]
    assert plan["cost_usd"] == pytest.approx(2 * (plan["offer"]["price_usd_per_hour"] + disk), rel=1e-3)
    assert plan["lease_s"] == 7200
    assert cli.records() == before
    assert "cost" in cli("launch", "--type", "1x-h200", "--dry-run").out


def test_price_cap(cli: Cli) -> None:
    """Above the cap of the settings, or of the flag: exit 4 with both figures."""
    cli.config("[defaults]\nmax_price_usd_per_hour = 1.00\n")
    before = cli.records()
    answer = cli("launch", "--type", "8x-h100-sxm", "--yes")
    assert answer.code == 4
    assert re.search(r"\b1\.?0?0?\b", answer.err)
    cli.config_file.unlink()
    assert cli("launch", "--type", "8x-h100-sxm", "--max-price", "0.10", "--yes").code == 4
    assert cli.records() == before


def test_hard_deadline_is_not_moved(cli: Cli) -> None:
    """An extend beyond it is refused with the time that is left, and the lease stays."""
    before = cli.ok("show", "box")["instance"]["lease_deadline"]
    answer = cli("extend", "box", "3h")
    assert answer.code == 4
    assert "hard deadline" in answer.err
    assert cli.ok("show", "box")["instance"]["lease_deadline"] == before


def test_verb_that_the_cloud_lacks(cli: Cli) -> None:
    """The sandbox cannot hibernate, and says what it can."""
    answer = cli("hibernate", "box", "--yes")
    assert answer.code == 4
    assert "stop" in answer.err


def test_terminal_asks_for_the_name_where_data_is_lost(cli: Cli, tmp_path: Path) -> None:
    """A wrong name or Enter changes nothing; what is lost, the account and what bills on stand above the question."""
    child = pexpect.spawn(
        str(cli.home / "bin" / "gpudash"), ["terminate", "box"], env=cli.env, encoding="utf-8", timeout=20
    )
    child.expect("Type the name")
    said = child.before or ""
    assert all(word in said for word in ("Terminate box?", "sandbox", "lost", "bills on", "saves"))
    child.sendline("bux")
    child.expect("nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 4
    assert cli.ok("show", "box")["instance"]["state"] == "running"


def test_terminal_asks_before_a_stop(cli: Cli) -> None:
    """Enter alone means no."""
    child = pexpect.spawn(str(cli.home / "bin" / "gpudash"), ["stop", "box"], env=cli.env, encoding="utf-8", timeout=20)
    child.expect(r"\[y/N\]")
    child.sendline("")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 4


def test_interrupt_says_what_goes_on(cli: Cli) -> None:
    """Ctrl-C at a question: 130, and nothing was done."""
    child = pexpect.spawn(str(cli.home / "bin" / "gpudash"), ["stop", "box"], env=cli.env, encoding="utf-8", timeout=20)
    child.expect(r"\[y/N\]")
    child.sendintr()
    child.expect("interrupted")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert cli.ok("show", "box")["instance"]["state"] == "running"
