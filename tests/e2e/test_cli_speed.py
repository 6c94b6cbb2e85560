"""What a command costs before it does anything: modules, not seconds. And completion, which runs at every Tab."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from gpudash.cli import reference
from gpudash.cli.main import COMMANDS
from tests.support.cli import Cli

HEAVY = ("textual", "rich", "boto3", "botocore", "httpx", "sshtunnel", "pydantic", "keyring", "tomlkit")
PROBE = """
import json, sys
from gpudash.cli.main import run
code = run({words!r})
print(json.dumps([code, sorted({{name.partition(".")[0] for name in sys.modules}})]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A home with one armed instance that has just been read."""
    program = Cli(tmp_path_factory.mktemp("speed"))
    program.ok("launch", "--type", "1x-t4", "--name", "quick", "--yes")
    yield program
    program.clean()


def modules(cli: Cli, *words: str) -> set[str]:
    """Everything a command imports."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(words=list(words))],
        env=cli.env, capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    code, names = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done
    return set(names)


@pytest.mark.parametrize("words", [["ls"], ["events"], ["costs"], ["tunnel", "ls"], ["doctor"], ["sandbox", "fault"]])
def test_reads_import_nothing_heavy(cli: Cli, words: list[str]) -> None:
    """No screen, no SDK, no SSH stack for what can be answered without."""
    loaded = modules(cli, *words)
    assert not loaded & {*HEAVY, "paramiko"}


def test_show_needs_ssh_and_no_screen(cli: Cli) -> None:
    """Asking a host brings in the SSH stack, and nothing else of weight."""
    loaded = modules(cli, "show", "quick")
    assert "paramiko" in loaded
    assert not loaded & set(HEAVY)


def test_version_imports_no_command_line(cli: Cli) -> None:
    """`--version` is answered before anything is loaded."""
    ask = "import sys; sys.argv = ['gpudash', '--version']; from gpudash.__main__ import main; main()"
    probe = f"{ask}; print(len(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], env=cli.env, capture_output=True, text=True, check=True)
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(len(sys.modules))"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) - int(bare.stdout) <= 3


def test_seconds_are_printed(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures for people; machines differ, so nothing is asserted but that they are there."""
    with capsys.disabled():
        for words in (["--version"], ["ls"]):
            took = []
            for _ in range(3):
                began = time.perf_counter()
                assert cli(*words).code == 0
                took.append(time.perf_counter() - began)
            print(f"\n  gpudash {' '.join(words)}: {min(took):.3f} s", end="")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(cli: Cli, shell: str) -> None:
    """Each shell gets its script."""
    script = cli("completion", shell)
    assert script.code == 0
    assert "_GPUDASH_COMPLETE" in script.out


def complete(cli: Cli, line: str) -> set[str]:
    """What bash would offer at the end of a line."""
    words = line.split(" ")
    env = {"_GPUDASH_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    answer = cli(env=env)
    return {entry.partition(",")[2] for entry in answer.out.splitlines() if entry}


def test_completes_verbs_options_and_instances(cli: Cli) -> None:
    """Verbs, their options, names and ids of the last listing, subcommands."""
    assert complete(cli, "gpudash ext") == {"extend"}
    assert "--dry-run" in complete(cli, "gpudash launch --")
    assert complete(cli, "gpudash show qu") == {"quick"}
    assert len(complete(cli, "gpudash stop sb-")) == 1
    assert {"ls", "close"} <= complete(cli, "gpudash tunnel ")
    assert complete(cli, "gpudash sandbox r") == {"reset"}


def test_completion_without_a_ledger_makes_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A Tab changes nothing."""
    fresh = Cli(tmp_path_factory.mktemp("fresh"))
    assert complete(fresh, "gpudash show ") == set()
    assert not fresh.state.exists() or not list(fresh.state.glob("ledger*"))


def test_reference_lists_every_command() -> None:
    """README's tables come from the command line itself, and verbs of other times are not in it."""
    listed = [command for command, _ in reference.commands()]
    assert [f"gpudash {name}" for name in COMMANDS] == [name for name in listed if name.count(" ") == 1]
    assert "| 6 | accepted, but not proved in time |" in reference.readme_tables()
    assert not {"pool", "gateway"} & set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    """The one line of the table is how the command's own help begins, in other words or the same."""
    from gpudash.cli.main import cli as root

    command = root.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.help
    flags = {option for param in command.params for option in param.opts}
    assert "--read-only" in flags
