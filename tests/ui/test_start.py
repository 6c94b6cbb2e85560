"""From the command line to the first frame, and out again: in real processes and a real pty."""

from __future__ import annotations

import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
HEAVY = ["boto3", "botocore", "paramiko", "sshtunnel", "httpx", "pydantic", "keyring", "rich.markdown"]

FIRST_FRAME = """
import sys
from gpudash.config import load
from gpudash.ui import launcher
from gpudash.ui.app import GpudashApp

def ready(self):
    heavy = sorted(set(sys.modules) & set(sys.argv[1].split(",")))
    print(f"HEAVY {heavy}", file=sys.__stderr__)  # one write: the screen is being written to the same terminal
    self.exit(0)

GpudashApp.on_ready = ready
sys.exit(launcher.launch(launcher.Run(load(), demo=True)))
"""

PLAIN_START = """
import sys
from gpudash.__main__ import main
from gpudash.ui.app import GpudashApp

def ready(self):
    unneeded = ("click", "zipfile", "pygments", "markdown_it", "http.client", "httpx")
    print(f"LOADED {sorted(set(sys.modules) & set(unneeded))}", file=sys.__stderr__)
    self.exit(0)

GpudashApp.on_ready = ready
sys.argv[1:] = ["demo", "--synthetic", sys.argv[1]]
main()
"""

CRASH = """
import sys
from gpudash.config import load
from gpudash.ui import launcher
from gpudash.ui.app import GpudashApp

def broken(self):
    secret = "sk-very-secret"
    raise RuntimeError("a bug")

GpudashApp.beat = broken
sys.exit(launcher.launch(launcher.Run(load(), synthetic=5)))
"""


def spawn(*arguments: str, script: str | None = None, **environment: str) -> pexpect.spawn:
    argv = ["-c", script, *arguments] if script else ["-m", "gpudash", *arguments]
    variables = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"} | environment
    return pexpect.spawn(sys.executable, argv, dimensions=(40, 120), timeout=PATIENCE_S, env=variables, cwd=str(ROOT))


def ended(child: pexpect.spawn) -> int:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus if child.exitstatus is not None else -child.signalstatus


def test_the_first_frame_needs_no_sdk() -> None:
    child = spawn(",".join(HEAVY), script=FIRST_FRAME)
    child.expect(r"HEAVY (\[.*?\])")
    assert child.match[1] == b"[]"
    assert ended(child) == 0


def test_a_plain_start_needs_no_parser_of_command_lines() -> None:
    child = spawn("30", script=PLAIN_START)
    child.expect(r"LOADED (\[.*?\])")
    assert child.match[1] == b"[]"
    assert ended(child) == 0


def test_without_a_terminal_it_says_so_and_ends_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from gpudash.ui import run_dashboard; from gpudash.config import Config; "
         "import sys; sys.exit(run_dashboard(Config()))"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert done.stdout == ""


def test_the_light_module_imports_nothing_of_the_screen() -> None:
    code = "import sys, gpudash.ui; sys.exit(any(name.startswith(('textual', 'rich')) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_last_frame_is_kept_for_its_owner_only_and_shown_first(own_home: Path) -> None:
    child = spawn("demo", "--synthetic", "30")
    child.expect("BURN")
    child.expect(r"\d\d:\d\d:\d\d")
    time.sleep(0.5)
    child.send("q")
    assert ended(child) == 0
    frame = own_home / ".state" / "gpudash" / "frames" / "synthetic-120x40.ansi"
    assert stat.S_IMODE(frame.stat().st_mode) == 0o600
    assert b"as of" in frame.read_bytes()
    again = spawn("demo", "--synthetic", "30")
    again.expect("as of")
    again.expect("made-up rows")
    again.send("q")
    assert ended(again) == 0


def test_made_up_rows_start_no_host(own_home: Path) -> None:
    child = spawn("demo", "--synthetic", "30")
    child.expect("made-up rows")
    time.sleep(1.5)
    child.send("q")
    assert ended(child) == 0
    assert not (own_home / ".state" / "gpudash" / "sandbox").exists()


def test_keys_typed_while_it_loads_are_kept_and_do_not_echo() -> None:
    child = spawn("demo", "--synthetic", "30")
    time.sleep(0.12)
    child.send("?")
    child.expect("Act on the marked instances")
    child.send("q")
    assert ended(child) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_the_terminal_clean(number: signal.Signals) -> None:
    child = spawn("demo", "--synthetic", "30")
    child.expect("BURN")
    child.expect("made-up rows")
    time.sleep(0.3)
    child.kill(number)
    child.expect(r"\x1b\[\?1049l")
    assert ended(child) == 128 + number


def test_a_crash_leaves_the_terminal_clean_and_says_where_the_report_lies(own_home: Path) -> None:
    child = spawn(script=CRASH)
    child.expect("BURN")
    child.expect(r"\x1b\[\?1049l")
    child.expect("The report is in")
    assert ended(child) == 1
    (report,) = (own_home / ".state" / "gpudash").glob("crash-*.txt")
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert "RuntimeError: a bug" in report.read_text()
    assert b"secret" not in (child.before or b"")


def test_suspending_and_coming_back_repaints_everything() -> None:
    child = spawn("demo", "--synthetic", "30")
    child.expect("BURN")
    child.expect("made-up rows")
    time.sleep(0.3)
    child.send("\x1a")
    child.expect(r"\x1b\[\?1049l")
    time.sleep(0.3)
    child.kill(signal.SIGCONT)
    child.expect("BURN")
    child.expect("NAME")
    child.send("q")
    assert ended(child) == 0


def test_no_color_is_plain_and_children_get_it_back() -> None:
    child = spawn("demo", "--synthetic", "30", NO_COLOR="1")
    child.expect("BURN")
    child.expect("made-up rows")
    time.sleep(0.2)
    child.send("q")
    child.expect(pexpect.EOF)
    seen = child.before or b""
    assert b"38;2;" not in seen
    assert b"38;5;" not in seen


def test_the_terminal_is_given_back_as_it_was() -> None:
    import termios

    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        child = subprocess.Popen(
            [sys.executable, "-m", "gpudash", "demo", "--synthetic", "5"], stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True, cwd=ROOT, env=os.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8"},
        )  # fmt: skip
        seen = b""
        while b"made-up rows" not in seen:
            seen += os.read(master, 65536)
        time.sleep(0.3)
        os.write(master, b"q")
        while child.poll() is None:
            if select.select([master], [], [], 0.1)[0]:
                os.read(master, 65536)
        assert termios.tcgetattr(slave)[3] == before[3]
    finally:
        os.close(master)
        os.close(slave)


CHILDREN = {
    "that fails": ("echo CHILD; exit 255", "failed"),
    "that is killed": ("echo CHILD; kill -9 $$", "CHILD"),
    "that leaves the terminal raw, without echo and in its own screen": (
        r"stty raw -echo; printf 'CHILD\033[?1049h\033[?1000h'; exit 1", "CHILD",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_shell_comes_back_whole_from_a_child(kind: str, tmp_path: Path) -> None:
    body, word = CHILDREN[kind]
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    child = spawn("demo", "--synthetic", "30", PATH=f"{tmp_path}:{os.environ['PATH']}")
    child.expect("made-up rows")
    time.sleep(0.3)
    child.send("s")
    child.expect(r"\x1b\[\?1049l")
    child.expect("CHILD")
    child.expect(r"\x1b\[\?1049h")
    missing = ["BURN", "NAME", *(["failed"] if word == "failed" else [])]
    while missing:  # the footer may come before the rest
        del missing[child.expect(missing)]
    child.send("?")
    child.expect("Act on the marked instances")
    child.send("q")
    assert ended(child) == 0


def test_without_an_ssh_program_the_dashboard_says_so_and_stays(tmp_path: Path) -> None:
    child = spawn("demo", "--synthetic", "30", PATH=str(tmp_path))
    child.expect("made-up rows")
    time.sleep(0.3)
    child.send("s")
    child.expect("No such file or directory")
    child.send("?")
    child.expect("Act on the marked instances")
    child.send("q")
    assert ended(child) == 0


def test_a_signal_while_a_shell_is_open_ends_both_cleanly(tmp_path: Path) -> None:
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\necho CHILD; read line\n")
    program.chmod(0o755)
    child = spawn("demo", "--synthetic", "30", PATH=f"{tmp_path}:{os.environ['PATH']}")
    child.expect("made-up rows")
    time.sleep(0.3)
    child.send("s")
    child.expect("CHILD")
    child.kill(signal.SIGTERM)
    child.send("\r")
    child.expect(r"\x1b\[\?1049l")
    assert ended(child) == 128 + signal.SIGTERM
