"""What only the sandbox promises: real processes, and nothing left of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.clouds import SandboxCloud, find, launched, reach, sandbox_cloud
from support.ssh import Ssh
from support.waiting import eventually

from gpudash.clock import ScaledClock
from gpudash.config import Account
from gpudash.errors import Ambiguous, ConfigError, ProviderError, Unreachable, UsageError
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.providers import sandbox
from gpudash.providers.sandbox import control, keys, machine, processes
from gpudash.providers.sandbox import record as records

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def cloud() -> Iterator[SandboxCloud]:
    with sandbox_cloud() as found:
        yield found


def shell(cloud: SandboxCloud, instance: Instance, tmp_path: Path) -> Ssh:
    """SSH to that instance, as ``host``."""
    ssh = Ssh(tmp_path)
    key = keys.public_half(cloud.folder(instance.key).host_key).read_text()
    ssh.know("host", instance, " ".join(key.split()[:2]))
    return ssh


def end_daemons(ssh: Ssh) -> list[int]:
    """Start processes that do all they can to be forgotten; their pids."""
    script = """
    (setsid sh -c 'echo $$ >> pids; trap "" TERM HUP; exec sleep 600' </dev/null >/dev/null 2>&1 &)
    (setsid setsid env -i sh -c 'echo $$ >> pids; exec sleep 600' </dev/null >/dev/null 2>&1 &)
    (cd /; nohup sleep 600 </dev/null >/dev/null 2>&1 & echo $! >> ~/pids)
    while [ $(wc -l < pids) -lt 3 ]; do sleep 0.02; done; cat pids
    """
    return [int(line) for line in ssh.run("ssh", "host", script).stdout.split()]


@pytest.mark.parametrize(
    ("state", "words"), [("unknown", "has no instance"), ("theirs", "not managed"), ("ended", "has ended")]
)
def test_a_parent_that_is_no_living_instance_of_ours_is_refused(cloud: SandboxCloud, state: str, words: str) -> None:
    """In the words of a cloud; nothing is made."""
    parent = "sb-00000000"
    if state != "unknown":
        instance = launched(cloud)
        parent = instance.key.id
        if state == "theirs":
            cloud.provider.set_tags(instance.key, {"gpudash:managed": ""})
        else:
            cloud.provider.terminate(instance.key)
    before = len(control.sandbox().hosts())
    with pytest.raises(UsageError, match=words):
        cloud.provider.launch(cloud.order(options={"parent": parent}))
    assert len(control.sandbox().hosts()) == before


def test_a_host_that_cannot_be_read_is_not_gone(cloud: SandboxCloud) -> None:
    """No answer is no proof, here as at every cloud."""
    instance = launched(cloud)
    cloud.folder(instance.key).record.write_text("{")
    with pytest.raises(Unreachable):
        cloud.provider.is_gone(instance.key)  # type: ignore[attr-defined]


def lives(pid: int) -> bool:
    """Whether something still runs there; a zombie does not."""
    try:
        os.kill(pid, 0)
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    except ProcessLookupError:
        return False
    return bool(state.strip()) and not state.startswith("Z")


@pytest.mark.needs("ssh", "ps")
@linux
@pytest.mark.parametrize("verb", ["stop", "terminate"])
def test_an_end_ends_every_process(cloud: SandboxCloud, tmp_path: Path, verb: str) -> None:
    """Double-forked, deaf to TERM, without its environment: all go with the host."""
    instance = launched(cloud)
    pids = end_daemons(shell(cloud, instance, tmp_path))
    getattr(cloud.provider, verb)(instance.key)
    reach(cloud, instance.key, InstanceState.STOPPED if verb == "stop" else InstanceState.TERMINATED)
    assert [pid for pid in pids if lives(pid)] == []
    assert processes.of_host(cloud.folder(instance.key).path) == set()


@pytest.mark.needs("ssh")
def test_stop_keeps_the_disk_and_terminate_deletes_it(cloud: SandboxCloud, tmp_path: Path) -> None:
    """What is in home survives a stop; nothing of it survives the end."""
    instance = launched(cloud)
    shell(cloud, instance, tmp_path).run("ssh", "host", "echo weights > model.bin; mkdir locked; chmod 0 locked")
    cloud.provider.stop(instance.key)
    reach(cloud, instance.key, InstanceState.STOPPED)
    cloud.provider.start(instance.key)
    again = reach(cloud, instance.key, InstanceState.RUNNING)
    (tmp_path / "second").mkdir()
    assert shell(cloud, again, tmp_path / "second").run("ssh", "host", "cat model.bin").stdout == b"weights\n"
    cloud.provider.terminate(instance.key)
    reach(cloud, instance.key, InstanceState.TERMINATED)
    assert not cloud.folder(instance.key).home.exists()
    assert not cloud.folder(instance.key).host_key.exists()


def test_tombstone_goes_after_a_minute(cloud: SandboxCloud) -> None:
    """First listed as terminated, then absent, and its folder is gone."""
    instance = launched(cloud)
    cloud.provider.terminate(instance.key)
    reach(cloud, instance.key, InstanceState.TERMINATED)
    folder = cloud.folder(instance.key)
    records.change(folder, lambda old: replace(old, gone_real=(old.gone_real or 0) - machine.TOMBSTONE_S - 1))
    assert find(cloud, instance.key) is None
    assert not folder.path.exists()


def test_power_failure_reads_stopped_and_start_works(cloud: SandboxCloud, tmp_path: Path) -> None:
    """After `kill -9` of its process the host does not vanish; what ran on it is ended, and it can be started."""
    instance = launched(cloud)
    pids = [int(pid) for pid in _background(shell(cloud, instance, tmp_path))]
    os.kill(cloud.record(instance.key).pid or 0, signal.SIGKILL)
    stopped = reach(cloud, instance.key, InstanceState.STOPPED)
    assert stopped.provider_state == "power lost"
    assert [pid for pid in pids if lives(pid)] == []
    cloud.provider.start(instance.key)
    assert reach(cloud, instance.key, InstanceState.RUNNING)


def test_term_signal_to_a_host_is_a_power_failure(cloud: SandboxCloud) -> None:
    """The machine under the sandbox shuts down: no host was asked to stop, and none is lost."""
    instance = launched(cloud)
    os.kill(cloud.record(instance.key).pid or 0, signal.SIGTERM)
    assert reach(cloud, instance.key, InstanceState.STOPPED).provider_state == "power lost"


def test_launch_whose_process_never_began_is_booted_by_a_listing(
    cloud: SandboxCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is on disk before the process is; whoever died in between, the next listing goes on."""

    class Killed(BaseException):
        pass

    def die(host: object) -> None:
        raise Killed

    order = cloud.order()
    with monkeypatch.context() as patch:
        patch.setattr(machine, "boot", die)
        with pytest.raises(Killed):
            cloud.provider.launch(order)
    found = next(item for item in cloud.provider.list_instances(cloud.region).items if item.launch_token == order.token)
    assert found.state is InstanceState.PENDING
    assert reach(cloud, found.key, InstanceState.RUNNING)


def test_host_that_never_comes_up_is_an_error(cloud: SandboxCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes that die at once, and the instance says so instead of being tried for ever."""
    monkeypatch.setattr(machine.sys, "executable", "/bin/false")  # type: ignore[attr-defined]
    key = cloud.provider.launch(cloud.order())
    assert "host.log" in reach(cloud, key, InstanceState.ERROR).provider_state
    cloud.provider.terminate(key)
    assert reach(cloud, key, InstanceState.TERMINATED)


def test_host_survives_whoever_launched_it(cloud: SandboxCloud) -> None:
    """Launched by a process that is gone, it is nobody's child and runs."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from support.clouds import SandboxCloud\n"
        "cloud = SandboxCloud(); print(cloud.provider.launch(cloud.order()).id)\n"
    )
    support = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program, support], capture_output=True, text=True, check=True, timeout=30
    )
    key = InstanceKey("sandbox", cloud.region, done.stdout.strip())
    assert reach(cloud, key, InstanceState.RUNNING)


def test_frozen_host_is_ended_from_outside(cloud: SandboxCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not react is switched off like one whose plug is pulled."""
    instance = launched(cloud)
    control.set_fault("host-frozen", True, instance.key.id)
    monkeypatch.setattr(machine, "FORCE_AFTER_S", 0.2)
    cloud.provider.terminate(instance.key)
    assert reach(cloud, instance.key, InstanceState.TERMINATED)


def test_start_while_stopping_is_refused(cloud: SandboxCloud) -> None:
    """As at a cloud: first stopped, then started."""
    instance = launched(cloud)
    cloud.provider.stop(instance.key)
    assert find(cloud, instance.key).state is InstanceState.STOPPING  # type: ignore[union-attr]
    with pytest.raises(ProviderError, match="still stopping"):
        cloud.provider.start(instance.key)


@pytest.mark.needs("ssh")
@pytest.mark.parametrize(
    ("command", "state"),
    [
        ("instance-end stop", InstanceState.STOPPED),
        ("instance-end terminate", InstanceState.TERMINATED),
        ("poweroff", InstanceState.STOPPED),
        ("shutdown -h now", InstanceState.STOPPED),
    ],
)
def test_power_button_answers_and_ends_the_host(
    cloud: SandboxCloud, tmp_path: Path, command: str, state: InstanceState
) -> None:
    """Whoever presses it gets its answer first."""
    instance = launched(cloud)
    done = shell(cloud, instance, tmp_path).run("ssh", "host", command)
    assert done.returncode == 0
    assert reach(cloud, instance.key, state)


@pytest.mark.needs("ssh")
def test_power_button_works_from_the_end_spec_and_refuses_hibernate(cloud: SandboxCloud, tmp_path: Path) -> None:
    """The very argument list that statusd is given."""
    instance = launched(cloud)
    ssh = shell(cloud, instance, tmp_path)
    refused = ssh.run("ssh", "host", "instance-end hibernate", check=False)
    assert refused.returncode == 4
    argv = cloud.provider.end_spec(instance.key)["stop"]
    assert isinstance(argv, list)
    ssh.run("ssh", "host", " ".join(argv))
    assert reach(cloud, instance.key, InstanceState.STOPPED)


@linux
def test_nothing_listens_beyond_loopback(cloud: SandboxCloud) -> None:
    """Every listening socket of every process of the host is on 127.0.0.1."""
    instance = launched(cloud)
    pids = processes.of_host(cloud.folder(instance.key).path)
    inodes = set().union(*(_socket_inodes(pid) for pid in pids))
    assert {address for inode, address in _listeners().items() if inode in inodes} == {"0100007F"}


def test_keys_and_records_are_private(cloud: SandboxCloud) -> None:
    """0600 for files, 0700 for folders, for everything the sandbox makes."""
    launched(cloud)
    open_to_others = [
        path
        for path in control.sandbox().path.rglob("*")
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert open_to_others == []


def test_reset_leaves_no_process_port_or_file(cloud: SandboxCloud, tmp_path: Path) -> None:
    """Running, stopped, frozen and broken hosts alike."""
    running, stopped, frozen = launched(cloud), launched(cloud), launched(cloud)
    cloud.provider.stop(stopped.key)
    reach(cloud, stopped.key, InstanceState.STOPPED)
    control.set_fault("host-frozen", True, frozen.key.id)
    control.set_fault("api-down", True)
    (cloud.folder(stopped.key).record).write_text("{")
    pids = processes.of_host(control.sandbox().hosts_dir)
    ports = [item.ssh.port for item in (running, frozen) if item.ssh]
    assert len(pids) >= 2
    control.reset()
    assert [pid for pid in pids if lives(pid)] == []
    assert not control.sandbox().path.exists()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_account_watches_the_regions_it_names(cloud: SandboxCloud) -> None:
    """And a region that is not there is told by the setting's name."""
    some = sandbox.create(Account("sandbox", "sandbox", regions=("sandbox-west",)), cloud.clock)
    assert some.regions() == ("sandbox-west",)
    with pytest.raises(ConfigError, match=r"accounts\.sandbox\.regions.*mars"):
        sandbox.create(Account("sandbox", "sandbox", regions=("mars",)), cloud.clock)


def test_unreadable_record_makes_the_listing_incomplete(cloud: SandboxCloud) -> None:
    """One broken file hides one host, and the listing says so."""
    good, bad = launched(cloud), launched(cloud)
    cloud.folder(bad.key).record.write_text("{")
    listing = cloud.provider.list_instances(cloud.region)
    assert [item.key for item in listing.items] == [good.key]
    assert not listing.complete
    assert bad.key.id in (listing.problem or "")


def test_times_come_from_the_clock_handed_in(cloud: SandboxCloud) -> None:
    """With a fast clock, a start is later than the launch by the virtual time between."""
    fast = ScaledClock(control.sandbox().clock_file)
    fast.set_speed(3600)
    quick = SandboxCloud(fast)
    instance = launched(quick)
    quick.provider.stop(instance.key)
    reach(quick, instance.key, InstanceState.STOPPED)
    quick.provider.start(instance.key)
    again = reach(quick, instance.key, InstanceState.RUNNING)
    assert again.created_at
    assert again.started_at
    assert (again.started_at - again.created_at).total_seconds() > 900


def test_service_answers_503_until_it_is_warm(cloud: SandboxCloud) -> None:
    """So that `ready` has something to wait for."""
    instance = launched(cloud, options={"warmup_s": "1.2"}, service_port=9000)
    port = cloud.record(instance.key).ports["9000"]
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
    with eventually(lambda: _open(f"http://127.0.0.1:{port}/health"), "it warms up") as answer:
        assert json.load(answer)["status"] == "ok"
    body = json.dumps({"prompt": "two words"}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/completions", body, timeout=5) as answer:
        assert json.load(answer)["usage"]["prompt_tokens"] == 2


def test_demo_orders_launch_and_up_starts_what_is_stopped(cloud: SandboxCloud) -> None:
    """`up` makes a morning; after `down` it brings the same hosts back."""
    first = control.up(3)
    for key in first:
        eventually(lambda key=key: _state(key) is InstanceState.RUNNING, f"{key} runs")  # type: ignore[misc]
    control.set_fault("host-frozen", True, first[0].id)
    assert {key.id for key in control.down()} == {key.id for key in first}
    assert {_state(key) for key in first} == {InstanceState.STOPPED}
    control.set_fault("host-frozen", False)
    assert {key.id for key in control.up(3)} == {key.id for key in first}
    names = {order.name for order in control.demo_orders(cloud.clock, 20)}
    assert len(names) == 20


def test_one_token_from_many_threads_is_one_host(cloud: SandboxCloud) -> None:
    """Twice at the same moment is still twice the same."""
    order = cloud.order()
    with ThreadPoolExecutor(8) as pool:
        keys_made = set(pool.map(lambda _: cloud.again().launch(order), range(8)))
    assert len(keys_made) == 1
    assert len(cloud.provider.list_instances(cloud.region).items) == 1


def test_twenty_hosts_come_up_together(cloud: SandboxCloud) -> None:
    """A fleet on a small machine."""
    found = [cloud.provider.launch(cloud.order()) for _ in range(20)]

    def all_run() -> bool:
        items = cloud.provider.list_instances(cloud.region).items
        return {item.key for item in items if item.state is InstanceState.RUNNING} == set(found)

    eventually(all_run, "twenty running hosts", timeout_s=60)


@pytest.mark.needs("ssh")
@linux
def test_host_looks_like_a_machine_of_its_own(cloud: SandboxCloud, tmp_path: Path) -> None:
    """Its memory is what was rented, and its CPU time is that of its own processes, whatever the laptop does."""
    ssh = shell(cloud, launched(cloud, instance_type="1x-h100-pcie"), tmp_path)
    script = """
    cpu() { sed -n 's/^usage_usec //p' $GPUDASH_SYSROOT/sys/fs/cgroup/cpu.stat; }
    a=$(cpu); b=$(cpu); timeout 0.5 sh -c 'while :; do :; done' & c=$!; sleep 0.4; d=$(cpu); wait $c; e=$(cpu)
    echo $((b - a)) $((d - b)) $((e - d)); grep -c 235929600 $GPUDASH_SYSROOT/proc/meminfo; echo $GPUDASH_BOOT_ID
    """
    rest, live, past, memory, boot = ssh.run("ssh", "host", script).stdout.split()
    assert int(rest) < 50_000 < int(live)
    assert int(past) >= 0
    assert (memory, boot.endswith(b"-1")) == (b"1", True)


@pytest.mark.needs("ssh")
@linux
def test_visits_count_under_the_port_seen_inside(cloud: SandboxCloud, tmp_path: Path) -> None:
    """statusd watches port 8000 and finds the visitor there."""
    instance = launched(cloud)
    ssh = shell(cloud, instance, tmp_path)
    count = "grep -c ':1F40 ' $GPUDASH_SYSROOT/proc/net/tcp; true"
    assert ssh.run("ssh", "host", count).stdout == b"0\n"
    with socket.create_connection(("127.0.0.1", cloud.record(instance.key).ports["8000"]), timeout=5):
        assert ssh.run("ssh", "host", count).stdout == b"1\n"


def test_slow_write_is_ambiguous_and_a_slow_read_unreachable(
    cloud: SandboxCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls hang until their time-out; a write that timed out may have happened."""
    monkeypatch.setenv("GPUDASH_SANDBOX_TIMEOUT", "0.2")
    quick = cloud.again()
    control.set_fault("api-slow", True)
    with pytest.raises(Ambiguous):
        quick.launch(cloud.order())
    with pytest.raises(Exception, match=r"no answer within 0\.2 s"):
        quick.list_instances(cloud.region)


def _state(key: InstanceKey) -> InstanceState | None:
    sight = machine.look(control.sandbox().host(key.id))
    return sight.state if sight else None


def _background(ssh: Ssh) -> list[bytes]:
    work = "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!"
    return ssh.run("ssh", "host", f"({work}); (cd /; {work})").stdout.split()


def _open(url: str) -> Any:
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(url, timeout=5)
    return None


def _socket_inodes(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def _listeners() -> dict[str, str]:
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            part = line.split()
            if part[3] == "0A":
                found[part[9]] = part[1].split(":")[0]
    return found
