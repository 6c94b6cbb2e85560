"""What a person can get wrong, and the one line that answers: exit code, words, and no change."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.cli import Cli


@pytest.fixture
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A fresh home in which nothing runs."""
    return Cli(tmp_path_factory.mktemp("input"))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Two stopped-for-nothing hosts that share a name."""
    program = Cli(tmp_path_factory.mktemp("twins"))
    for _ in range(2):
        assert program("launch", "--type", "1x-t4", "--name", "twin", "--yes", "--no-wait").code == 6
    yield program
    program.clean()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["extend", "x", "2x"], 2, "Write it like 90s, 30m, 4h, 1h30m or 2d."),
        (["extend", "x", "0s"], 2, "no time at all"),
        (["extend", "x", "-1h"], 2, "-1"),
        (["extend", "x"], 2, "DURATION"),
        (["keepalive", "x", "soon"], 2, "soon"),
        (["launch", "--type", "1x-t4", "--lease", "1h30", "--yes"], 2, "--lease"),
        (["launch", "--yes"], 2, "--type"),
        (["launch", "--type", "no-such-type", "--yes"], 2, "no-such-type"),
        (["launch", "--type", "1x-t4", "--account", "nowhere", "--yes"], 2, "nowhere"),
        (["launch", "--type", "1x-t4", "--idle-action", "explode", "--yes"], 2, "explode"),
        (["launch", "--type", "1x-t4", "--recipe", "vllm", "--yes"], 2, "vllm"),
        (["launch", "--type", "1x-t4", "--max-price", "cheap", "--yes"], 2, "cheap"),
        (["offers", "--max-price", "-3"], 2, "-3"),
        (["offers", "--min-vram", "lots"], 2, "lots"),
        (["offers", "--account", "nowhere"], 2, "nowhere"),
        (["offers", "--reliability", "99"], 2, "like 0.99"),
        (["launch", "--type", "1x-t4", "-o", "disk"], 2, "NAME=VALUE"),
        (["show", "nothing-here"], 3, "nothing-here"),
        (["stop", "nothing-here", "--yes"], 3, "nothing-here"),
        (["terminate", "sandbox:sb-00000000", "--yes"], 3, "sb-00000000"),
        (["tunnel", "nothing-here", "-L", "99999"], 2, "99999"),
        (["tunnel", "nothing-here", "-L", "8888"], 3, "nothing-here"),
        (["tunnel", "close", "nothing-here"], 3, "nothing-here"),
        (["sandbox", "fault", "no-such-fault", "on"], 2, "api-down"),
        (["sandbox", "fault", "api-down"], 2, "on or off"),
        (["sandbox", "fault", "ssh-cut", "on", "--host", "sb-nope"], 3, "sb-nope"),
        (["watchdog", "--once", "--account", "nowhere"], 2, "nowhere"),
        (["completion", "tcsh"], 2, "tcsh"),
        (["frobnicate"], 2, "frobnicate"),
        (["ls", "--frobnicate"], 2, "--frobnicate"),
        ([], 2, "needs a terminal"),
        (["demo"], 2, "needs a terminal"),
        (["demo", "--speed", "0"], 2, "--speed"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_wrong_words_get_one_line(cli: Cli, words: list[str], code: int, said: str) -> None:
    """The exit code, one line on stderr that names what was wrong, nothing on stdout."""
    answer = cli(*words)
    assert answer.code == code, answer
    assert answer.out == ""
    lines = answer.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("gpudash: ")
    assert said in lines[0]


@pytest.mark.parametrize(
    ("words", "code"), [(["extend", "box", "2x"], 2), (["terminate", "sandbox:sb-1", "--yes"], 3), (["nonsense"], 2)]
)
def test_json_answers_failure_too(cli: Cli, words: list[str], code: int) -> None:
    """A script that reads stdout gets one document, also when it did not work."""
    answer = cli(*words, "--json")
    assert answer.code == code
    body = answer.doc
    assert list(body) == ["action", "account", "id", "ok", "proved", "detail", "instance"]
    assert (body["action"], body["ok"], body["proved"], body["instance"]) == (words[0], False, False, None)
    assert body["detail"]


def test_ambiguous_name_lists_candidates(twins: Cli) -> None:
    """Exit 3, and both ids to choose from; the id decides."""
    ids = [machine["id"] for machine in twins.ok("ls")["instances"]]
    answer = twins("show", "twin")
    assert answer.code == 3
    assert all(instance_id in answer.err for instance_id in ids)
    assert twins.ok("show", ids[0])["instance"]["id"] == ids[0]
    assert twins("stop", "sb-", "--yes").code == 3


def test_adopt_takes_a_stranger_under_management(twins: Cli) -> None:
    """Without our tags and our ledger it is nobody's; adopted, it is managed and has a lease and a hard deadline."""
    stranger = next(twins.state.glob("sandbox/hosts/*/record.json"))
    body = json.loads(stranger.read_text())
    stranger.write_text(json.dumps({**body, "tags": {}, "token": "somebody-else"}))
    for part in twins.state.glob("ledger.db*"):
        part.unlink()
    before = twins.ok("show", body["id"])["instance"]
    assert (before["managed"], before["lease_deadline"]) == (False, None)
    after = twins.ok("adopt", body["id"], "--lease", "2h")["instance"]
    assert after["managed"]
    assert 7100 < after["lease_remaining_s"] <= 7200
    assert twins("adopt", body["id"], "--lease", "9d").code == 0, "managed already"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lease = 4", "defaults"),
        ("[defaults]\nlease = '4 hours'\n", "lease"),
        ("[defaults]\nlaese = '4h'\n", "lease"),
        ("[defaults]\nread_only = 'yes'\n", "read_only"),
        ("[defaults\n", "TOML"),
        ("[accounts.x]\nprovider = 'nosuch'\n", "nosuch"),
        ("[accounts.x]\napi_key_env = 'K'\n", "provider"),
    ],
)
def test_bad_settings_name_file_and_field(cli: Cli, text: str, said: str) -> None:
    """Exit 2, with the file and what is wrong in it; `doctor` still runs and says the same."""
    cli.config(text)
    for words in (["ls"], ["terminate", "x", "--yes"], ["watchdog", "--once", "--enforce"]):
        answer = cli(*words)
        assert answer.code == 2, answer
        assert "config.toml" in answer.err
        assert said in answer.err
    doctor = cli("doctor", "--json")
    assert doctor.code == 2
    assert any(said in problem for problem in doctor.doc["problems"])


def test_world_readable_key_file_is_refused(cli: Cli) -> None:
    """A key that others can read is not used, and the line says what to do."""
    key = cli.home / "key"
    key.write_text("secret-key-value")
    key.chmod(0o644)
    cli.config(f"[accounts.lambda]\napi_key_file = '{key}'\n")
    answer = cli("doctor", "--json")
    assert answer.code in {1, 2}
    assert any("chmod 600" in problem for problem in answer.doc["problems"])
    assert "secret-key-value" not in answer.out + answer.err


def test_unknown_theme_does_not_stop_commands(cli: Cli) -> None:
    """Colours are the dashboard's matter."""
    cli.config("[defaults]\ntheme = 'no-such-theme'\n")
    assert cli("ls").code == 0


def test_corrupt_ledger_is_set_aside(cli: Cli) -> None:
    """One clear line, the old file kept, and the command works."""
    cli.state.mkdir(parents=True, mode=0o700)
    damaged = cli.state / "ledger.db"
    damaged.write_bytes(b"no database, " + b"\xff" * 4096)
    answer = cli("ls")
    assert answer.code == 0
    notices = [line for line in answer.err.splitlines() if "corrupt" in line]
    assert len(notices) == 1
    (kept,) = cli.state.glob("ledger.db.corrupt-*")
    assert kept.read_bytes().endswith(b"\xff" * 16)
    assert sqlite3.connect(cli.state / "ledger.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_closed_pipe_is_quiet(cli: Cli) -> None:
    """`gpudash offers | head -1` complains about nothing: stderr has at most the age of the offers."""
    command = f"{sys.executable} -m gpudash offers | head -1"
    done = subprocess.run(["bash", "-c", command], env=cli.env, capture_output=True, text=True, timeout=30, check=True)
    assert re.fullmatch(r"(as of [\d:]+, \d+s ago\n)?", done.stderr)
    assert done.stdout.count("\n") == 1


def test_unexpected_error_leaves_a_report(cli: Cli) -> None:
    """No traceback on the screen; a file for developers, for the owner alone."""
    (cli.state / "sandbox").mkdir(parents=True, mode=0o700)
    (cli.state / "sandbox" / "clock.json").write_text("[]")
    answer = cli("ls")
    assert answer.code == 1
    assert len(answer.err.strip().splitlines()) == 1
    (report,) = cli.state.glob("reports/*.txt")
    assert str(report) in answer.err
    assert "Traceback" in report.read_text()
    assert report.stat().st_mode & 0o077 == 0


def test_a_filter_that_a_cloud_cannot_answer_is_named(cli: Cli) -> None:
    """Its offers are left out, and nobody has to guess why."""
    answer = cli("offers", "--reliability", "0.99", "--json")
    assert (answer.code, answer.doc["offers"]) == (0, [])
    assert "sandbox does not tell reliability" in answer.err
