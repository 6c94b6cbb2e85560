"""The sandbox's SSH server under the real OpenSSH programs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pexpect
import pytest
from support.clouds import SandboxCloud, launched
from support.ssh import Ssh, free_port
from support.waiting import eventually

from gpudash.model.instance import Instance
from gpudash.providers.sandbox import control, keys

pytestmark = pytest.mark.needs("ssh", "scp", "sftp")

BLOB = os.urandom(3_000_001)
"""More than one window and packet, and no round number."""


@pytest.fixture(scope="module")
def two_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ssh, Path]]:
    """Two running hosts, `one` and `two`, for all tests of this file; and the home of the first."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    cloud = SandboxCloud()
    ssh = Ssh(tmp_path_factory.mktemp("ssh"))
    try:
        homes = []
        for name in ("one", "two"):
            instance: Instance = launched(cloud, options={"load": "busy"})
            folder = cloud.folder(instance.key)
            key = keys.public_half(folder.host_key).read_text()
            ssh.know(name, instance, " ".join(key.split()[:2]))
            homes.append(folder.home)
        yield ssh, homes[0]
        control.reset()
    finally:
        patch.undo()


@pytest.fixture
def ssh(two_hosts: tuple[Ssh, Path]) -> Ssh:
    return two_hosts[0]


@pytest.fixture
def home(two_hosts: tuple[Ssh, Path]) -> Path:
    return two_hosts[1]


def test_exec_gives_output_error_and_exit_status(ssh: Ssh) -> None:
    """Each stream on its own, the status as the program left it."""
    done = ssh.run("ssh", "one", "echo out; echo err >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)


def test_exec_reads_standard_input_to_its_end(ssh: Ssh) -> None:
    """Three megabytes through `cat` come back as they went."""
    assert ssh.run("ssh", "one", "cat", stdin=BLOB).stdout == BLOB


def test_program_ended_by_a_signal_is_128_and_n(ssh: Ssh) -> None:
    """As a shell reports it."""
    assert ssh.run("ssh", "one", "exec kill -TERM $$", check=False).returncode == 128 + 15


def test_missing_program_is_127(ssh: Ssh) -> None:
    """The shell's word for it."""
    assert ssh.run("ssh", "one", "no-such-program", check=False).returncode == 127


def test_environment_is_the_hosts_own(ssh: Ssh, home: Path) -> None:
    """HOME, the clock and the stand-ins are the host's; nothing of the user's settings leaks in."""
    script = "pwd; echo $HOME; echo ${XDG_STATE_HOME-unset}; command -v nvidia-smi; echo $GPUDASH_CLOCK_FILE"
    host, whole = home.parent, home.parent.parent.parent
    expected = [str(home), str(home), "unset", str(host / "bin" / "nvidia-smi"), str(whole / "clock.json")]
    assert ssh.run("ssh", "one", script).stdout.decode().splitlines() == expected


def test_python_on_the_host_is_ours_and_runs_isolated(ssh: Ssh) -> None:
    """statusd is run as `python3 -I`."""
    done = ssh.run(
        "ssh", "one", "python3 -I -c 'import sys; print(sys.version_info[:2] >= (3, 8), sys.flags.isolated)'"
    )
    assert done.stdout == b"True 1\n"


def test_background_work_outlives_its_session(ssh: Ssh, home: Path) -> None:
    """A daemon with its streams elsewhere does not hold the session."""
    ssh.run("ssh", "one", "(setsid sh -c 'sleep 0.3; echo done > later' </dev/null >/dev/null 2>&1 &)", timeout=5)
    eventually(lambda: (home / "later").exists() and (home / "later").read_text(), "the daemon's file")


def test_pty_is_a_controlling_terminal(ssh: Ssh) -> None:
    """`ssh -tt`: a tty, job control, and the exit status."""
    done = ssh.run("ssh", "-tt", "one", "tty; test -t 0 && ps -o stat= -p $$ | grep -c s; exit 5", check=False)
    assert b"/dev/" in done.stdout
    assert done.returncode == 5


def test_interactive_shell_with_resize_and_interrupt(ssh: Ssh) -> None:
    """A person's session: prompt, window size, ^C, ^D."""
    shell = pexpect.spawn("ssh", ["-F", str(ssh.config), "one"], dimensions=(30, 101), timeout=15)
    try:
        shell.expect(r"ubuntu@")
        shell.sendline("stty size")
        shell.expect("30 101")
        shell.setwinsize(41, 132)
        eventually(lambda: _size_of(shell) == b"41 132", "the new size arrives")
        shell.sendline("""sh -c 'echo be""gun; exec sleep 60'""")
        shell.expect("begun")  # the echo of the line has quotes in it; this is the program itself
        shell.sendintr()
        shell.sendline("echo status $?")
        shell.expect("status 130")
        shell.sendeof()
        shell.expect(pexpect.EOF)
    finally:
        shell.close(force=True)
    assert shell.exitstatus in (0, 130)


def test_end_of_input_ends_a_shell_on_a_pty(ssh: Ssh) -> None:
    """`ssh -tt host < script` runs the script and ends."""
    done = ssh.run("ssh", "-tt", "one", stdin=b"echo $((6*7))\n", timeout=15, check=False)
    assert b"42" in done.stdout


def test_cut_session_hangs_up_its_terminal(ssh: Ssh, home: Path) -> None:
    """A closed laptop leaves no shell behind."""
    client = pexpect.spawn(
        "ssh", ["-F", str(ssh.config), "-tt", "one", "echo $$ > shell.pid; exec sleep 600"], timeout=15
    )
    pid = int(eventually(lambda: (home / "shell.pid").exists() and (home / "shell.pid").read_text().strip(), "its pid"))
    client.close(force=True)
    eventually(lambda: not _lives(pid), "the program is hung up")


def test_scp_both_ways(ssh: Ssh, home: Path, tmp_path: Path) -> None:
    """Over SFTP, as scp does today, with times and modes."""
    _copy_both_ways(ssh, home, tmp_path, "scp", "-p")


def test_scp_old_protocol_both_ways(ssh: Ssh, home: Path, tmp_path: Path) -> None:
    """`scp -O`, which runs scp on the host."""
    _copy_both_ways(ssh, home, tmp_path, "scp", "-O", "-p")


def test_sftp_batch(ssh: Ssh, home: Path, tmp_path: Path) -> None:
    """Upload, rename, list, link, modes, remove; and an upload over an old, longer file."""
    source = tmp_path / "blob"
    source.write_bytes(BLOB)
    (home / "old").write_bytes(b"x" * 4_000_000)
    batch = (
        "mkdir box\ncd box\n"
        f"put {source} a\nput {source} ../old\nrename a b\nsymlink b c\nchmod 640 b\nls -l\n"
        f"get b {tmp_path}/back\nput {source} d\nrm d\nrm c\npwd\n"
    )
    done = ssh.run("sftp", "-b", "-", "one", stdin=batch.encode())
    assert (tmp_path / "back").read_bytes() == BLOB
    assert (home / "old").read_bytes() == BLOB
    assert (home / "box" / "b").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in (home / "box").iterdir()) == ["b"]
    assert f"Remote working directory: {home}/box".encode() in done.stdout


def test_sftp_plain_rename_refuses_an_existing_target(ssh: Ssh, home: Path) -> None:
    """Only the posix variant replaces."""
    for name in ("left", "right"):
        (home / name).write_text(name)
    done = ssh.run("sftp", "-b", "-", "one", stdin=b"rename -l left right\n", check=False)
    assert done.returncode != 0
    assert (home / "right").read_text() == "right"


@pytest.mark.needs("rsync")
def test_rsync_both_ways(ssh: Ssh, home: Path, tmp_path: Path) -> None:
    """A tree goes up and comes back; the second time nothing is sent."""
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "blob").write_bytes(BLOB)
    (tree / "small").write_text("hello")
    ssh.run("rsync", "-a", f"{tree}/", "one:tree/")
    assert (home / "tree" / "deep" / "blob").read_bytes() == BLOB
    again = ssh.run("rsync", "-ai", f"{tree}/", "one:tree/")
    assert again.stdout == b""
    ssh.run("rsync", "-a", "one:tree/", f"{tmp_path}/back/")
    assert (tmp_path / "back" / "deep" / "blob").read_bytes() == BLOB


def test_local_forward_reaches_the_service_through_the_port_map(ssh: Ssh) -> None:
    """Port 8000 as seen on the host is that host's own inference service."""
    local = free_port()
    forward = ssh.start("ssh", "-N", "-L", f"127.0.0.1:{local}:127.0.0.1:8000", "one")
    try:
        body = eventually(lambda: _get(f"http://127.0.0.1:{local}/health"), "an answer through the forward")
        assert b'"ok"' in body
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: _get(f"http://127.0.0.1:{local}/v1/models"), range(20)))
        assert all(b"sandbox-echo" in answer for answer in answers)
    finally:
        forward.kill()
        forward.communicate()


def test_forward_to_a_silent_port_or_elsewhere_is_refused(ssh: Ssh) -> None:
    """Nothing listens: connect failed. Not loopback: prohibited."""
    nothing = ssh.run("ssh", "-v", "-W", f"127.0.0.1:{free_port()}", "one", check=False)
    assert b"onnect failed" in nothing.stderr
    elsewhere = ssh.run("ssh", "-v", "-W", "192.0.2.1:80", "one", check=False)
    assert b"prohibited" in elsewhere.stderr


def test_jump_through_one_host_to_another(ssh: Ssh) -> None:
    """`ssh -J one two`."""
    assert ssh.run("ssh", "-J", "one", "two", "echo there").stdout == b"there\n"


def test_twenty_sessions_at_once(ssh: Ssh) -> None:
    """Each is answered, with its own output."""
    with ThreadPoolExecutor(20) as pool:
        jobs = [pool.submit(ssh.run, "ssh", "one", f"echo {n}; sleep 0.2; echo {n}", timeout=60) for n in range(20)]
    assert [job.result().stdout for job in jobs] == [f"{n}\n{n}\n".encode() for n in range(20)]


def test_keep_alives_are_answered(ssh: Ssh) -> None:
    """OpenSSH gives up after one unanswered keep-alive here; the session lives on."""
    options = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1")
    assert ssh.run("ssh", *options, "one", "sleep 3.2; echo still here").stdout == b"still here\n"


def test_only_the_sandbox_key_opens(ssh: Ssh, tmp_path: Path) -> None:
    """No password, no other key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    config = tmp_path / "config"
    config.write_text("".join(line for line in ssh.config.read_text().splitlines(True) if "IdentityFile" not in line))
    argv = ["ssh", "-F", config, "-i", tmp_path / "other", "-o", "BatchMode=yes", "one", "true"]
    done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
    assert done.returncode == 255
    assert b"Permission denied (publickey)" in done.stderr


def _copy_both_ways(ssh: Ssh, home: Path, tmp_path: Path, *program: str) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(BLOB)
    source.chmod(0o751)
    os.utime(source, (1_700_000_000, 1_700_000_000))
    ssh.run(program[0], *program[1:], str(source), "one:copied")
    there = home / "copied"
    assert there.read_bytes() == BLOB
    assert (there.stat().st_mode & 0o777, int(there.stat().st_mtime)) == (0o751, 1_700_000_000)
    ssh.run(program[0], *program[1:], "one:copied", str(back))
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(BLOB).digest()
    there.unlink()


def _size_of(shell: pexpect.spawn) -> bytes:
    shell.sendline("stty size")
    shell.expect(r"(\d+ \d+)\r\n")
    return bytes(shell.match.group(1))


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
