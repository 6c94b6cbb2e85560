"""The other signals: differences and never totals, containers, connections, SSH sessions, files; broken is not idle."""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

import pytest

from .conftest import Host, alarm_codes, signal_of, until

POLICY = {"lease_deadline": None, "hard_deadline": None, "idle_timeout_s": 1800}


class Machine:
    """A made-up /proc and /sys whose counters the test turns."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("/proc/sys/kernel/random/boot_id", "made-up-boot\n")
        self.write("/proc/1/stat", "1 (init) S " + " ".join(str(i) for i in range(3, 40)))
        self.write("/proc/1/cgroup", "0::/init.scope\n")
        self.write("/proc/meminfo", "MemTotal: 65536000 kB\nMemAvailable: 32768000 kB\n")
        self.write("/sys/block/sda/size", "1")
        self.write("/proc/net/tcp6", "  sl  local_address remote_address st\n")
        self.cpu(0, 0)
        self.net(10**12)
        self.disk(10**9)
        self.connections()

    def write(self, path: str, text: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(target.name + ".new")
        fresh.write_text(text)
        fresh.replace(target)

    def cpu(self, busy: int, idle: int) -> None:
        self.write("/proc/stat", f"cpu  {10**9 + busy} 0 0 {10**9 + idle} 500 0 0 0 0 0\ncpu0 1 1 1 1\n")

    def net(self, received: int, loopback: int = 0) -> None:
        row = "{:>6}: {} 1 0 0 0 0 0 0 {} 1 0 0 0 0 0 0\n"
        head = "Inter-|   Receive |  Transmit\n face |bytes packets\n"
        self.write("/proc/net/dev", head + row.format("lo", 10**15 + loopback, 5) + row.format("eth0", received, 7))

    def disk(self, sectors: int) -> None:
        rows = f"   8 0 sda 1 0 {sectors} 0 1 0 500 0 0 0 0\n   8 1 sda1 1 0 {sectors} 0 1 0 500 0 0 0 0\n"
        self.write("/proc/diskstats", rows + f"   7 0 loop0 1 0 {sectors} 0 1 0 500 0 0 0 0\n")

    def connections(self, *rows: tuple[int, str, int, str]) -> None:
        """Rows of (local port, remote address, remote port, state)."""
        lines = ["  sl  local_address rem_address   st"]
        for local, address, port, state in rows:
            turned = socket.inet_aton(address)[::-1].hex().upper()
            lines.append(f"   0: 0100007F:{local:04X} {turned}:{port:04X} {state} 00000000:00000000")
        self.write("/proc/net/tcp", "\n".join(lines) + "\n")


@pytest.fixture
def machine(host: Host, tmp_path: Path) -> Machine:
    """The host sees this machine instead of the real one, and every signal counts but the load."""
    made = Machine(tmp_path / "machine")
    host.env["GPUDASH_SYSROOT"] = str(made.root)
    host.config.update(ignore_signals=["cpu"], policy=POLICY)
    return made


def test_totals_since_boot_are_no_activity(host: Host, machine: Machine) -> None:
    """Huge counters that stand still are idleness (promise 5)."""
    machine.cpu(10**8, 10**8)
    host.start()
    host.wait(lambda s: signal_of(s, "net")["verdict"] == signal_of(s, "disk")["verdict"] == "idle", "they stand still")
    assert host.signal("net")["value"] == 0


def test_network_traffic_is_a_difference(host: Host, machine: Machine) -> None:
    """Bytes since the last sample make the rate; it holds the host."""
    host.start().settle()
    sent = [10**12]

    def flows() -> bool:
        sent[0] += 10**7
        machine.net(sent[0])
        return "net" in host.status()["idle"]["held_by"]

    until(flows, "the traffic is seen")


def test_loopback_traffic_does_not_count(host: Host, machine: Machine) -> None:
    """What the host says to itself is not use."""
    host.start().settle()
    for total in range(1, 6):
        machine.net(10**12, loopback=total * 10**9)
        host.pass_time(1)
        host.settle()
        assert host.signal("net")["verdict"] == "idle"


def test_disk_traffic_is_a_difference(host: Host, machine: Machine) -> None:
    """Sectors since the last sample, of whole disks only."""
    host.start().settle()
    sectors = [10**9]

    def flows() -> bool:
        sectors[0] += 10**5
        machine.disk(sectors[0])
        return "disk" in host.status()["idle"]["held_by"]

    until(flows, "the traffic is seen")


def test_cpu_load_is_a_difference(host: Host, machine: Machine) -> None:
    """Busy ticks of all ticks since the last sample."""
    host.start(ignore_signals=[])
    ticks = [0]

    def works() -> bool:
        ticks[0] += 100
        machine.cpu(ticks[0], ticks[0])
        return host.status()["cpu_pct"] == 50.0

    until(works, "half of the time is busy")
    assert host.wait(lambda s: signal_of(s, "cpu")["verdict"] == "active", "active")


@pytest.mark.parametrize("version", ["v2", "v1"])
def test_container_cpu_is_its_own(host: Host, machine: Machine, version: str) -> None:
    """In a container the machine's load is somebody else's; the cgroup tells ours."""
    used = [0]
    machine.write("/proc/1/cgroup", "0::/docker/abc\n")

    def account(seconds: int) -> None:
        used[0] += seconds
        if version == "v2":
            machine.write("/sys/fs/cgroup/cpu.max", "400000 100000\n")
            machine.write("/sys/fs/cgroup/cpu.stat", f"usage_usec {used[0] * 10**6}\nuser_usec 1\n")
        else:
            machine.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n")
            machine.write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
            machine.write("/sys/fs/cgroup/cpuacct/cpuacct.usage", f"{used[0] * 10**9}\n")

    account(10**6)
    machine.write("/proc/stat", "cpu  broken\n")
    host.start(ignore_signals=[]).settle()
    assert (host.signal("cpu")["verdict"], host.signal("cpu")["threshold"]) == ("idle", 10.0)

    def works() -> bool:
        account(10)
        return host.signal("cpu")["verdict"] == "active"

    until(works, "the container's own work is seen")


@pytest.mark.parametrize("version", ["v2", "v1"])
def test_container_disk_is_its_own(host: Host, machine: Machine, version: str) -> None:
    """The cgroup's bytes count; the machine's disks do not."""
    machine.write("/proc/1/cgroup", "0::/kubepods/abc\n")
    machine.write("/sys/fs/cgroup/cpu.stat", "usage_usec 5\n")
    moved = [10**12]

    def account(count: int) -> None:
        moved[0] += count
        if version == "v2":
            machine.write("/sys/fs/cgroup/io.stat", f"8:0 rbytes={moved[0]} wbytes=0 rios=1 wios=1\n")
        else:
            text = f"8:0 Read {moved[0]}\n8:0 Write 0\n8:0 Total {moved[0]}\nTotal {moved[0]}\n"
            machine.write("/sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes", text)

    account(0)
    host.start().settle()
    assert host.signal("disk")["verdict"] == "idle"

    def works() -> bool:
        account(10**8)
        return host.signal("disk")["verdict"] == "active"

    until(works, "the container's own traffic is seen")


def test_container_memory_is_its_own(host: Host, machine: Machine) -> None:
    """Memory is the container's, under its limit."""
    machine.write("/sys/fs/cgroup/cgroup.type", "domain\n")
    machine.write("/sys/fs/cgroup/memory.current", str(3 << 30))
    machine.write("/sys/fs/cgroup/memory.max", str(8 << 30))
    host.start()
    assert host.status()["memory"] == {"used_mib": 3072, "total_mib": 8192}


@pytest.mark.parametrize(
    ("path", "names"),
    [("/proc/net/dev", ["net"]), ("/proc/diskstats", ["disk"]), ("/proc/net/tcp", ["conn", "ssh"])],
)
def test_broken_sensor_holds_and_raises_an_alarm(host: Host, machine: Machine, path: str, names: list[str]) -> None:
    """A source that goes away is unknown: the host stays awake and says so (promise 5)."""
    host.start().settle()
    (machine.root / path.lstrip("/")).unlink()
    status = host.wait(lambda s: s["idle"]["unknown"] == names, "unknown")
    assert {f"sensor-{name}" for name in names} <= alarm_codes(status)
    assert (status["idle"]["idle_s"], status["idle"]["remaining_s"]) == (None, None)
    host.pass_time(90000)
    host.wait(lambda s: s["now"] > "2030-01-02", "a day has passed")
    assert (host.ended(), host.status()["phase"]) == ([], "watching")


def test_counter_that_never_moves_is_unknown(host: Host, machine: Machine) -> None:
    """A load that cannot be measured from the start on is a broken sensor, not an endless start."""
    host.start(ignore_signals=[])
    status = host.wait(lambda s: "sensor-cpu" in alarm_codes(s), "the alarm is on")
    assert status["idle"]["unknown"] == ["cpu"]


def test_nonsense_in_a_sensor_is_unknown(host: Host, machine: Machine) -> None:
    """A source that changed its form is broken, not zero."""
    host.start().settle()
    machine.write("/proc/net/dev", "a\nb\n  eth0: many bytes\n")
    host.wait(lambda s: s["idle"]["unknown"] == ["net"], "unknown")


def test_visitor_on_a_service_port_holds(host: Host) -> None:
    """A real connection to a service port is activity while it stands, and only then."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        host.start(policy=POLICY, service_ports=[port]).settle()
        assert host.signal("conn")["verdict"] == "idle"
        with socket.create_connection(("127.0.0.1", port)):
            status = host.wait(lambda s: s["idle"]["held_by"] == ["conn"], "the visitor is seen")
            assert status["awake_because"] == f"connections: 1 on port {port}"
            server.accept()[0].close()
        host.wait(lambda s: s["idle"]["held_by"] == [], "the visitor is gone")


def test_visitor_over_ipv6_counts(host: Host) -> None:
    """The IPv6 table is read as well."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with server:
        port = server.getsockname()[1]
        host.start(policy=POLICY, service_ports=[port]).settle()
        with socket.create_connection(("::1", port)):
            host.wait(lambda s: s["idle"]["held_by"] == ["conn"], "the visitor is seen")


def test_proc_tables_do_without_netlink(host: Host, machine: Machine) -> None:
    """Where there is no sock_diag, /proc/net/tcp tells the same; only established connections count."""
    machine.connections((8000, "10.0.0.9", 4000, "01"), (8000, "10.0.0.9", 4001, "06"))
    host.start(service_ports=[8000])
    host.wait(lambda s: signal_of(s, "conn")["value"] == 1, "one is established")


def test_ssh_session_holds_but_our_own_link_does_not(host: Host) -> None:
    """A session on the SSH port is activity, unless a request says that it is gpudash's own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        host.start(policy=POLICY, ssh_port=port, ignore_signals=["cpu", "net", "disk"]).settle()
        with socket.create_connection(("127.0.0.1", port)) as session:
            own = session.getsockname()[1]
            status = host.wait(lambda s: s["idle"]["held_by"] == ["ssh"], "the session is seen")
            assert status["awake_because"] == "ssh: 1 from 127.0.0.1"
            host.get("/status", headers={"X-Gpudash-Link": f"127.0.0.1 {own}"})
            host.wait(lambda s: s["idle"]["held_by"] == [], "it is known as ours")


def test_link_marked_from_the_first_moment_never_counts(host: Host) -> None:
    """A dashboard that connects and says so does not restart the idle clock."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        host.start(policy=POLICY, ssh_port=port, ignore_signals=["cpu", "net", "disk"], sample_interval_s=0.3).settle()
        host.pass_time(1000)
        host.wait(lambda s: s["idle"]["idle_s"] == 1000, "idle")
        with socket.create_connection(("127.0.0.1", port)) as session:
            link = f"127.0.0.1 {session.getsockname()[1]}"
            before = host.get("/status", headers={"X-Gpudash-Link": link}).json
            host.pass_time(10)
            status = host.wait(lambda s: s["idle"]["idle_s"] == 1010, "it is still idle")
        assert (before["idle"]["idle_s"], status["idle"]["held_by"]) == (1000, [])


def test_changed_file_below_a_watched_folder_holds(host: Host, tmp_path: Path) -> None:
    """A file written anywhere below a watched folder is activity, whatever its date says."""
    work = tmp_path / "work" / "deep"
    work.mkdir(parents=True)
    (work / "model.bin").touch()
    host.speed = 60.0
    host.set_clock()
    host.start(policy={**POLICY, "idle_timeout_s": 10**6}, watch_paths=[str(tmp_path / "work")]).settle()
    host.wait(lambda s: signal_of(s, "files")["verdict"] == "idle", "nothing changes")
    moments = itertools.count(1)

    def writes() -> bool:
        os.utime(work / "model.bin", (next(moments),) * 2)
        status = host.status()
        return "files" in status["idle"]["held_by"] and "files changed below" in status["awake_because"]

    until(writes, "the change is seen")
    host.wait(lambda s: s["idle"]["held_by"] == [], "it is over")


def test_unreadable_watched_folder_is_unknown(host: Host, tmp_path: Path) -> None:
    """A folder that cannot be read is a broken sensor."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    host.start(policy=POLICY, watch_paths=[str(loop)])
    host.wait(lambda s: "sensor-files" in alarm_codes(s), "the alarm is on")


def test_every_signal_has_its_fields(host: Host) -> None:
    """Each signal comes with value, threshold, verdict and age (DESIGN, statusd HTTP)."""
    host.start(policy=POLICY).settle()
    signals = host.status()["signals"]
    assert [s["name"] for s in signals] == [
        "gpu", "gpu_mem", "cpu", "net", "disk", "conn", "requests", "ssh", "files", "declared",
    ]  # fmt: skip
    fields = {"name", "verdict", "value", "unit", "threshold", "age_s", "detail", "last_active_at", "counts"}
    assert all(set(s) == fields and s["verdict"] in ("active", "idle", "unknown") for s in signals)
