"""Links against a real OpenSSH server: trust, keys, commands, and a server that dies, stalls or moves."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gpudash.clock import SystemClock
from gpudash.errors import HostError, LinkDown, NeedsUser, NoService
from gpudash.hosts import Hosts, Limits, LinkState
from gpudash.hosts.auth import AuthUndecided, PassphraseWanted
from gpudash.hosts.connect import open_way
from gpudash.hosts.hostkeys import HostKeyUndecided
from gpudash.hosts.sshcmd import ssh_argv
from gpudash.model.instance import InstanceKey, SshAddress
from gpudash.model.sshkey import key_name
from tests.support.links import QUICK, STRICT, descriptors
from tests.support.sshd import Sshd, free_port, make_key, until
from tests.support.waiting import PATIENCE_S

pytest_plugins = ["tests.support.link_fixtures"]
pytestmark = pytest.mark.needs("sshd", "ssh", "ssh-keygen", "ssh-agent")


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


# ---- trust


def test_first_contact_is_recorded_and_shown(hosts: Hosts, sshd: Sshd, state_dir: Path) -> None:
    """A machine of ours is trusted on first contact; its fingerprint is what ssh-keygen says."""
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    said = subprocess.run(["ssh-keygen", "-lf", f"{sshd.host_keys[0]}.pub"], capture_output=True, text=True, check=True)
    assert link.fingerprint in said.stdout.split()
    assert (state_dir / "known_hosts").read_text().startswith("gpudash-acct-i-box ssh-ed25519 ")


def test_strange_machine_waits_for_a_person(hosts: Hosts, sshd: Sshd) -> None:
    """Nothing is sent to it before its fingerprint was accepted; the wrong one does not help."""
    link = hosts.link(sshd.instance(managed=False))
    with pytest.raises(HostKeyUndecided) as caught:
        link.wait_up(PATIENCE_S)
    assert link.state is LinkState.NEEDS_USER
    assert "Accepted" not in sshd.log()
    with pytest.raises(NeedsUser, match="Look again"):
        link.accept("SHA256:wrong")
    link.accept(caught.value.offered.fingerprint)
    link.wait_up(PATIENCE_S)


def test_told_fingerprint_is_checked(hosts: Hosts, sshd: Sshd) -> None:
    """The cloud told another key: the link stops, and says both."""
    address = dataclasses.replace(sshd.address, host_key_fingerprint="SHA256:told")
    link = hosts.link(sshd.instance(ssh=address))
    with pytest.raises(HostKeyUndecided, match="SHA256:told"):
        link.wait_up(PATIENCE_S)


def test_changed_key_stops_until_accepted(hosts: Hosts, sshd: Sshd) -> None:
    """After a re-installed machine nothing goes on by itself; a person who accepts it sets it going."""
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    before = link.fingerprint
    sshd.kill()
    sshd.host_keys[0].unlink()
    make_key(sshd.host_keys[0])
    sshd.start()
    until(lambda: link.state is LinkState.NEEDS_USER)
    assert isinstance(link.decision, HostKeyUndecided)
    assert before is not None
    assert link.fingerprint is not None
    assert before in str(link.problem)
    assert link.fingerprint in str(link.problem)
    link.accept(link.fingerprint)
    link.wait_up(PATIENCE_S)


def test_trust_follows_the_instance_and_not_the_address(hosts: Hosts, sshd: Sshd, tmp_path: Path) -> None:
    """The cloud gave the address to another machine: its own key is recorded beside, not taken for a change."""
    hosts.link(sshd.instance("old")).wait_up(PATIENCE_S)
    hosts.drop(sshd.instance("old").key)
    sshd.kill()
    with Sshd(tmp_path / "next") as other:
        hosts.link(other.instance("new")).wait_up(PATIENCE_S)


def test_host_with_several_keys_is_asked_for_the_one_we_hold(hosts: Hosts, tmp_path: Path) -> None:
    """We hold its RSA key; it also has newer ones. That is no change."""
    with Sshd(tmp_path / "s", key_kinds=("rsa",)) as sshd:
        link = hosts.link(sshd.instance())
        link.wait_up(PATIENCE_S)
        sshd.kill()
        sshd.host_keys += [make_key(tmp_path / "s" / "late", "ed25519")]
        sshd.start()
        until(lambda: link.state is LinkState.UP)
        assert (link.generation, link.problem) == (2, None)


# ---- who we are


def test_usual_keys_are_tried(hosts: Hosts, sshd: Sshd, own_home: Path) -> None:
    """No key file named by the cloud: ~/.ssh/id_ed25519 does it."""
    (own_home / ".ssh").mkdir()
    sshd.user_key.rename(own_home / ".ssh" / "id_ed25519")
    hosts.link(sshd.instance(ssh=dataclasses.replace(sshd.address, identity_file=None))).wait_up(PATIENCE_S)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A running ssh-agent."""
    socket = f"/tmp/gpudash-agent-{os.getpid()}"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as process:
        until(lambda: os.path.exists(socket))
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        yield
        process.terminate()


@pytest.mark.usefixtures("agent")
def test_agent_opens_a_locked_key(hosts: Hosts, sshd: Sshd, tmp_path: Path) -> None:
    """The key file is locked, but the agent holds the key: no question."""
    open_copy = make_key(tmp_path / "locked")
    subprocess.run(["ssh-add", "-q", str(open_copy)], check=True)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(open_copy)], check=True, capture_output=True)
    sshd.unauthorize()
    sshd.authorize(tmp_path / "locked.pub")
    hosts.link(sshd.instance(ssh=dataclasses.replace(sshd.address, identity_file=str(open_copy)))).wait_up(PATIENCE_S)


def test_locked_key_asks_for_its_pass_phrase(hosts: Hosts, sshd: Sshd, tmp_path: Path) -> None:
    """Missing and wrong pass phrases are told apart; the right one opens, and nobody asks again after an outage."""
    locked = make_key(tmp_path / "locked", passphrase="open sesame")
    sshd.authorize(tmp_path / "locked.pub")
    link = hosts.link(sshd.instance(ssh=dataclasses.replace(sshd.address, identity_file=str(locked))))
    with pytest.raises(PassphraseWanted, match="needs its pass phrase"):
        link.wait_up(PATIENCE_S)
    link.unlock("wrong")
    with pytest.raises(PassphraseWanted, match="does not open"):
        link.wait_up(PATIENCE_S)
    link.unlock("open sesame")
    link.wait_up(PATIENCE_S)
    sshd.cut()
    until(lambda: link.generation >= 2)


def test_refused_keys_are_named(hosts: Hosts, sshd: Sshd) -> None:
    """It says who was refused with which key; one connection was made for it, and no second by itself."""
    sshd.unauthorize()
    link = hosts.link(sshd.instance())
    with pytest.raises(AuthUndecided, match=re.escape(str(sshd.user_key))):
        link.wait_up(PATIENCE_S)
    sshd.authorize(sshd.user_key.with_suffix(".pub"))
    with pytest.raises(AuthUndecided):
        link.wait_up(PATIENCE_S)
    assert sshd.log().count("Connection closed by authenticating user") <= 1
    link.retry()
    link.wait_up(PATIENCE_S)


@pytest.mark.usefixtures("agent")
def test_a_refusal_names_the_key_here_that_fits(hosts: Hosts, sshd: Sshd, own_home: Path) -> None:
    """The key that the cloud gave to the machine lies here under another name: what is advised opens the door."""
    folder = own_home / ".ssh"
    folder.mkdir()
    make_key(folder / "id_ed25519")
    for suffix in ("", ".pub"):
        shutil.copy(f"{sshd.user_key}{suffix}", folder / f"work{suffix}")
    public = folder / "work.pub"
    given = key_name(public.read_text().split()[1])
    address = dataclasses.replace(sshd.address, identity_file=None, given_key=given)
    link = hosts.link(sshd.instance(ssh=address))
    with pytest.raises(AuthUndecided) as refused:
        link.wait_up(PATIENCE_S)
    hint = str(refused.value.hint)
    advised = f"ssh-add {folder / 'work'}"
    assert f"gave it the key {given}, which is {public}: {advised}" in hint
    subprocess.run([*advised.split()[:1], "-q", advised.split()[1]], check=True)
    link.retry()
    link.wait_up(PATIENCE_S)


def test_a_refusal_says_that_no_key_here_fits_and_how_to_add_one(hosts: Hosts, sshd: Sshd, own_home: Path) -> None:
    """The line that it names, put where it says, opens the door."""
    folder = own_home / ".ssh"
    folder.mkdir()
    public = make_key(folder / "id_ed25519").with_suffix(".pub")
    link = hosts.link(sshd.instance(ssh=dataclasses.replace(sshd.address, identity_file=None, given_key="laptop")))
    with pytest.raises(AuthUndecided) as refused:
        link.wait_up(PATIENCE_S)
    hint = str(refused.value.hint)
    assert "gave it the key laptop, and no key in ~/.ssh is that one" in hint
    assert f"put the line of {public} into ~{sshd.user}/.ssh/authorized_keys" in hint
    sshd.authorize(public)
    link.retry()
    link.wait_up(PATIENCE_S)


def test_young_machine_may_not_have_our_key_yet(sshd: Sshd, state_dir: Path) -> None:
    """While it boots a refusal is waited out."""
    quick = dataclasses.replace(QUICK, boot_s=2 * PATIENCE_S)
    hosts = Hosts(state_dir, SystemClock(), owner="cli", limits=quick)
    sshd.unauthorize()
    link = hosts.link(sshd.instance(started_at=datetime.now(UTC)))
    link.start()
    until(lambda: link.problem)
    with pytest.raises(LinkDown, match="may not have our key yet"):
        link.wait_up(0.0)
    sshd.authorize(sshd.user_key.with_suffix(".pub"))
    link.wait_up(PATIENCE_S)
    hosts.close()


# ---- commands and streams


def test_command_streams_and_status(hosts: Hosts, sshd: Sshd) -> None:
    """stdin goes in, both streams and the status come out, megabytes on both at once too."""
    link = hosts.link(sshd.instance())
    result = link.exec("cat; echo bad >&2; exit 3", timeout=PATIENCE_S, stdin=b"good")
    assert (result.exit_status, result.stdout, result.complaint) == (3, b"good", "bad")
    result = link.exec("head -c 4000000 /dev/zero | tee /dev/stderr", timeout=PATIENCE_S)
    assert (len(result.stdout), len(result.stderr)) == (4_000_000, 4_000_000)


def test_command_that_does_not_end(hosts: Hosts, sshd: Sshd) -> None:
    """It is given up in time, and the link lives on."""
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    begun = time.monotonic()
    with pytest.raises(HostError, match="did not end in time"):
        link.exec(f"sleep {2 * PATIENCE_S}", timeout=0.5)
    assert time.monotonic() - begun < PATIENCE_S
    assert link.exec("echo well", timeout=PATIENCE_S).text == "well\n"


def test_many_commands_at_once(hosts: Hosts, sshd: Sshd) -> None:
    """Twelve at once pass, though the server allows ten sessions."""
    link = hosts.link(sshd.instance())
    results: list[str] = []
    crowd = [
        threading.Thread(target=lambda: results.append(link.exec("sleep 0.1; echo x", timeout=PATIENCE_S).text))
        for _ in range(12)
    ]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert results == ["x\n"] * 12


def test_sftp_is_one_session_kept(hosts: Hosts, sshd: Sshd) -> None:
    """Twenty uses, one session."""
    link = hosts.link(sshd.instance())
    for number in range(20):
        with link.sftp() as sftp, sftp.open(f"{sshd.home}/file", "w") as file:
            file.write(str(number))
    assert (sshd.home / "file").read_text() == "19"


def test_host_without_sftp(hosts: Hosts, tmp_path: Path) -> None:
    """Said in words; commands still work."""
    with Sshd(tmp_path / "s", "Subsystem none /bin/false") as sshd:
        link = hosts.link(sshd.instance())
        with pytest.raises(HostError, match="offers no SFTP"), link.sftp():
            pass
        assert link.exec("echo well", timeout=PATIENCE_S).text == "well\n"


def test_port_without_service_is_no_fault_of_the_link(hosts: Hosts, sshd: Sshd) -> None:
    """Refused there is not refused here."""
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    with pytest.raises(NoService, match="Nothing listens"):
        link.open_channel("127.0.0.1", free_port(), 5)
    assert (link.state, link.generation) == (LinkState.UP, 1)


# ---- life and death


def test_nothing_listens(hosts: Hosts, sshd: Sshd) -> None:
    """The text names the address; the link goes on trying, and comes up when the server does."""
    sshd.kill()
    link = hosts.link(sshd.instance())
    link.start()
    until(lambda: link.problem)
    with pytest.raises(LinkDown, match=f"Nothing listens at 127.0.0.1:{sshd.port}"):
        link.wait_up(0.0)
    sshd.start()
    link.wait_up(PATIENCE_S)


def test_a_dead_port_is_passed_by_through_the_clouds_proxy(hosts: Hosts, sshd: Sshd) -> None:
    """Straight first, then the proxy, and the link says which; both dead names both; the straight one is preferred."""
    dead = free_port()
    through = dataclasses.replace(sshd.address, port=dead, proxy_host="127.0.0.1", proxy_port=sshd.port)
    link = hosts.link(sshd.instance(ssh=through))
    link.wait_up(PATIENCE_S)
    assert link.way == dataclasses.replace(sshd.address, by_proxy=True)
    assert str(sshd.port) in ssh_argv(sshd.instance(ssh=link.way), state_dir=Path("/nowhere"))
    assert open_way(through, PATIENCE_S) == link.way
    straight = dataclasses.replace(sshd.address, proxy_host="127.0.0.1", proxy_port=dead)
    hosts.link(sshd.instance(ssh=straight))
    until(lambda: link.state is LinkState.UP and link.generation == 2)
    assert link.way == straight
    nowhere = dataclasses.replace(through, proxy_port=free_port())
    hosts.link(sshd.instance(ssh=nowhere))
    until(lambda: link.problem and "Nor by the proxy" in link.problem)
    assert link.problem == (
        f"Nothing listens at 127.0.0.1:{dead}. Nor by the proxy: Nothing listens at 127.0.0.1:{nowhere.proxy_port}."
    )


def test_no_address_yet_and_then_one(hosts: Hosts, sshd: Sshd) -> None:
    """A booting machine has no address; the listing that brings it sets the link going at once."""
    link = hosts.link(sshd.instance(ssh=None))
    link.start()
    until(lambda: link.problem)
    with pytest.raises(LinkDown, match="not told its SSH address"):
        link.wait_up(0.0)
    assert hosts.link(sshd.instance()) is link
    link.wait_up(PATIENCE_S)


def test_moved_machine_is_followed(hosts: Hosts, sshd: Sshd, tmp_path: Path) -> None:
    """Stopped and started, it has another address: the link leaves the old one."""
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    port = free_port()
    sshd._options.append(f"Port {port}")
    sshd.kill()
    sshd.start()
    until(lambda: link.state is LinkState.UP and link.generation >= 2)
    hosts.link(sshd.instance(ssh=SshAddress("127.0.0.1", port, sshd.address.user, sshd.address.identity_file)))
    until(lambda: link.state is LinkState.UP and link.generation == 3)
    assert str(port) in link.exec("echo $SSH_CONNECTION", timeout=PATIENCE_S).text.split()


def test_dead_server_is_seen_at_once(sshd: Sshd, state_dir: Path) -> None:
    """A killed server is seen because its connection breaks: nobody waits for a tick, and no ping has to fail."""
    hours = dataclasses.replace(Limits(), tick_s=3600, ping_every_s=3600, dead_after_s=7200)
    hosts = Hosts(state_dir, SystemClock(), owner="cli", limits=hours)
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    sshd.kill()
    until(lambda: link.state is not LinkState.UP)
    hosts.close()


def test_stalled_server_is_cut_and_comes_back(sshd: Sshd, state_dir: Path) -> None:
    """A frozen server holds its connections open; the link is cut once its last answer is too old."""
    told: list[str | None] = []
    hosts = Hosts(state_dir, SystemClock(), owner="cli", limits=STRICT, on_change=lambda _: told.append(link.problem))
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    sshd.freeze()
    until(lambda: any("no answer for" in str(problem) for problem in told))
    sshd.thaw()
    until(lambda: link.state is LinkState.UP)
    hosts.close()


@pytest.mark.parametrize("is_frozen", [False, True])
def test_sleep_of_this_machine_is_noticed(sshd: Sshd, state_dir: Path, is_frozen: bool) -> None:
    """The wall clock jumped: a live server is asked at once, answers, and the link stays; a frozen one is cut."""
    from gpudash.hosts.hostkeys import KnownHosts
    from gpudash.hosts.link import Link

    ahead = [0.0]
    waking = 0.5 if is_frozen else PATIENCE_S
    limits = dataclasses.replace(QUICK, ping_every_s=3600, dead_after_s=3600, wake_answer_s=waking)
    known = KnownHosts(state_dir / "known_hosts")
    link = Link(sshd.instance(), known, SystemClock(), limits=limits, wall=lambda: time.time() + ahead[0])
    transport = link.wait_up(PATIENCE_S)
    asked, answered, ask = threading.Event(), threading.Event(), transport.global_request

    def noted(*words: object, **more: object) -> object:
        asked.set()
        answer = ask(*words, **more)  # type: ignore[arg-type]
        answered.set()
        return answer

    transport.global_request = noted  # type: ignore[method-assign, assignment]
    if is_frozen:
        sshd.freeze()
    ahead[0] += 3600
    if is_frozen:  # nothing but the wake can cut it: the next ping is an hour away
        until(lambda: link.state is not LinkState.UP)
        sshd.thaw()
    else:
        assert asked.wait(PATIENCE_S)
        assert answered.wait(PATIENCE_S)
        assert (link.state, link.generation) == (LinkState.UP, 1)
    link.close()


def test_close_leaves_nothing(sshd: Sshd, state_dir: Path) -> None:
    """Ten links opened and closed: no thread and no descriptor more than before, a frozen server included."""
    first = Hosts(state_dir, SystemClock(), owner="cli", limits=QUICK)
    first.link(sshd.instance()).wait_up(PATIENCE_S)
    first.close()
    before, open_before = threads(), descriptors()
    hosts = Hosts(state_dir, SystemClock(), owner="cli", limits=QUICK)
    for number in range(10):
        hosts.link(sshd.instance(f"n{number}")).wait_up(PATIENCE_S)
    sshd.freeze()
    hosts.close()
    until(lambda: threads() <= before and descriptors() <= open_before)
    sshd.thaw()


def test_closed_link_refuses(hosts: Hosts, sshd: Sshd) -> None:
    """After a drop the same object says so, and a new one is made on demand."""
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    hosts.drop(link.key)
    with pytest.raises(LinkDown, match="was closed"):
        link.wait_up(PATIENCE_S)
    assert hosts.peek(link.key) is None
    assert hosts.link(sshd.instance()) is not link


def test_changes_are_told(sshd: Sshd, state_dir: Path) -> None:
    """Whoever watches hears of every state, by key."""
    seen: list[tuple[InstanceKey, LinkState]] = []

    def note(key: InstanceKey) -> None:
        link = hosts.peek(key)
        if link is not None:
            seen.append((key, link.state))

    hosts = Hosts(state_dir, SystemClock(), owner="cli", limits=QUICK, on_change=note)
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    sshd.cut()
    until(lambda: link.generation >= 2)
    states = [state for key, state in seen if key == link.key]
    assert states[:2] == [LinkState.CONNECTING, LinkState.UP]
    assert LinkState.BACKOFF in states
    hosts.close()


def test_real_ssh_runs_by_our_command_line(sshd: Sshd, tmp_path: Path) -> None:
    """What we print works, with our host keys, and asks nothing; ssh that met the host first is trusted by the link."""
    state_dir = tmp_path / "Application Support" / "100%h"
    hosts = Hosts(state_dir, SystemClock(), owner="cli", limits=QUICK)
    argv = ssh_argv(sshd.instance(), command=["echo", "$HOME"], state_dir=state_dir)
    state_dir.mkdir(parents=True)
    for _ in range(2):
        done = subprocess.run(
            [*argv[:1], "-o", "BatchMode=yes", *argv[1:]], capture_output=True, text=True, check=False
        )
        assert done.stdout == f"{sshd.home}\n", done.stderr
    assert (state_dir / "known_hosts").exists()
    hosts.link(sshd.instance(managed=False)).wait_up(PATIENCE_S)
    hosts.close()


def test_jump_host_of_the_user_is_gone_through(hosts: Hosts, sshd: Sshd, tmp_path: Path, own_home: Path) -> None:
    """~/.ssh/config names a jump host: the link goes through it, as ssh would; nothing of it is left."""
    with Sshd(tmp_path / "jump") as jump:
        (own_home / ".ssh").mkdir()
        (own_home / ".ssh" / "config").write_text(
            f"Host 127.0.0.1\n ProxyJump {jump.address.user}@localhost:{jump.port}\n"
            f"Host localhost\n IdentityFile {jump.user_key}\n StrictHostKeyChecking no\n"
            f" UserKnownHostsFile {tmp_path / 'jump_known'}\n"
        )
        link = hosts.link(sshd.instance())
        assert link.exec("echo through", timeout=PATIENCE_S).text == "through\n"
        assert jump.log().count("Accepted publickey") == 1
        hosts.close()
        until(lambda: "jump" not in threads())


def test_proxy_command_of_the_user(hosts: Hosts, sshd: Sshd, own_home: Path) -> None:
    """ProxyCommand is followed too; one that fails is a link that is down, with words."""
    (own_home / ".ssh").mkdir()
    script = own_home / "relay.py"
    script.write_text(
        "import os, socket, sys, threading\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while part := os.read(0, 65536): s.sendall(part)\n"
        "    os._exit(0)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while part := s.recv(65536): os.write(1, part)\n"
    )
    config = own_home / ".ssh" / "config"
    config.write_text(f"Host 127.0.0.1\n ProxyCommand {sys.executable} {script} %h %p\n")
    link = hosts.link(sshd.instance())
    assert link.exec("echo through", timeout=PATIENCE_S).text == "through\n"
    config.write_text("Host 127.0.0.1\n ProxyCommand false\n")
    failed = hosts.link(sshd.instance("two"))
    failed.start()
    until(lambda: failed.problem)
    with pytest.raises(LinkDown, match="SSH server"):
        failed.wait_up(0.0)


def test_watcher_that_fails_does_not_end_the_link(sshd: Sshd, state_dir: Path) -> None:
    """A dashboard on its way out raises in the callback: the link goes on."""

    def fail(_: InstanceKey) -> None:
        raise RuntimeError("the loop is closed")

    hosts = Hosts(state_dir, SystemClock(), owner="cli", limits=QUICK, on_change=fail)
    link = hosts.link(sshd.instance())
    link.wait_up(PATIENCE_S)
    sshd.cut()
    until(lambda: link.generation >= 2)
    hosts.close()


def test_library_says_nothing_on_the_screen(sshd: Sshd, tmp_path: Path) -> None:
    """A server that is none, a cut and a refusal: not a letter on stderr."""
    code = f"""
import time
from pathlib import Path
from gpudash.clock import SystemClock
from gpudash.errors import GpudashError
from gpudash.hosts import Hosts
from gpudash.model.instance import *
hosts = Hosts(Path({str(tmp_path)!r}), SystemClock(), owner="cli")
for name, port in (("good", {sshd.port}), ("bad", {free_port()})):
    address = SshAddress("127.0.0.1", port, "nobody", {str(sshd.user_key)!r})
    instance = Instance(InstanceKey("a", "r", name), "x", name, InstanceState.RUNNING, "", managed=True, ssh=address)
    try:
        hosts.link(instance).wait_up(0.5)
    except GpudashError:
        pass
hosts.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
