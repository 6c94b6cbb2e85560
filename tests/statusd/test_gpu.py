"""The GPU signals, from a stand-in nvidia-smi on PATH and from a stand-in NVML library."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from .conftest import Host, after, alarm_codes, hurry, signal_of, until

IDLE = {"lease_deadline": None, "hard_deadline": None, "idle_timeout_s": 1800}
SMI = """
echo $$ >> {started}
while [ -e {load} ]; do cat {load}; sleep 0.1; done
echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."; exit 9
"""


class Smi:
    """A stand-in nvidia-smi that repeats the lines of a file."""

    def __init__(self, host: Host) -> None:
        self.load, self.started = host.bin / "load", host.bin / "started"
        host.script(host.bin / "nvidia-smi", SMI.format(load=self.load, started=self.started))
        self.show((3, 10))

    def show(self, *devices: tuple[object, object]) -> None:
        """Report these (utilisation, memory) from now on."""
        fresh = self.load.with_suffix(".new")
        lines = [f"{i}, NVIDIA H100, {util}, {mem}, 81559, 41, 118.20" for i, (util, mem) in enumerate(devices)]
        fresh.write_text("".join(line + "\n" for line in lines))
        fresh.replace(self.load)

    def starts(self) -> int:
        """How often the tool was started."""
        return len(self.started.read_text().split()) if self.started.exists() else 0


@pytest.fixture
def smi(host: Host) -> Iterator[Smi]:
    """The tool, which would outlive a daemon that is killed and so ends with its file."""
    made = Smi(host)
    yield made
    made.load.unlink(missing_ok=True)


def test_all_devices_are_reported(host: Host, smi: Smi) -> None:
    """Every device stands in /status with what the tool says of it."""
    smi.show((3, 10), (97, 71000))
    host.start(gpus=None, policy=IDLE)
    gpus = host.wait(lambda s: len(s["gpus"]) == 2, "both are seen")["gpus"]
    assert gpus[1] == {
        "index": 1, "name": "NVIDIA H100", "util_pct": 97.0, "memory_used_mib": 71000.0, "memory_total_mib": 81559.0,
        "temperature_c": 41.0, "power_w": 118.2, "processes": None,
    }  # fmt: skip


def test_one_busy_device_of_many_holds(host: Host, smi: Smi) -> None:
    """The busiest device decides."""
    smi.show((0, 10), (98, 10))
    host.start(gpus=None, policy=IDLE)
    status = host.wait(lambda s: s["idle"]["held_by"] == ["gpu"], "the GPU holds")
    assert status["awake_because"] == "gpu 98 % (> 5 %)"


def test_idle_gpu_lets_the_host_end(host: Host, smi: Smi) -> None:
    """Devices that do nothing do not hold."""
    host.start(gpus=None, policy=IDLE).settle()
    host.pass_time(1801)
    until(lambda: host.ended() == ["stop"], "the stop command ran")


def test_a_burst_counts_for_the_whole_window(host: Host, smi: Smi) -> None:
    """Work between pauses is work: the peak of the window decides, then it is over."""
    smi.show((90, 10))
    host.start(gpus=None, policy={**IDLE, "idle_timeout_s": 86400})
    host.wait(lambda s: s["idle"]["held_by"] == ["gpu"], "busy")
    smi.show((0, 10))
    until(lambda: host.status()["gpus"][0]["util_pct"] == 0, "the device rests")
    assert host.signal("gpu")["verdict"] == "active"
    hurry(host)
    host.wait(lambda s: s["idle"]["held_by"] == [], "the window is over")


def test_missing_tool_is_unknown_and_holds(host: Host) -> None:
    """No NVML and no nvidia-smi is not idleness unless the configuration says that there is no GPU."""
    host.start(gpus=None, policy=IDLE).settle()
    host.pass_time(90000)
    status = host.wait(lambda s: "sensor-gpu" in alarm_codes(s), "the alarm is on")
    assert "gpu" in status["idle"]["unknown"]
    assert "no nvidia-smi on PATH" in signal_of(status, "gpu")["detail"]
    assert (host.ended(), status["idle"]["idle_s"]) == ([], None)


def test_dying_tool_is_unknown_and_restarted(host: Host, smi: Smi) -> None:
    """A tool that fails is unknown with its own words; when it works again the alarm goes."""
    host.start(gpus=None, policy=IDLE)
    host.wait(lambda s: s["gpus"], "it works")
    kept = smi.load.rename(smi.load.with_suffix(".kept"))
    status = host.wait(lambda s: "sensor-gpu" in alarm_codes(s), "the alarm is on")
    assert "couldn't communicate with the NVIDIA driver" in signal_of(status, "gpu")["detail"]
    kept.rename(smi.load)
    host.wait(lambda s: "sensor-gpu" not in alarm_codes(s), "the alarm is off")


def test_hanging_tool_only_blinds_the_gpu(host: Host, smi: Smi) -> None:
    """A tool that says nothing more becomes unknown by age; the other sensors go on and so does the lease."""
    host.start(gpus=None, policy={**IDLE, "lease_deadline": after(600)})
    host.wait(lambda s: s["gpus"], "it works")
    pid = smi.started.read_text().split()[-1]
    subprocess.run(["kill", "-STOP", pid], check=True)
    try:
        host.wait(lambda s: "sensor-gpu" in alarm_codes(s), "the alarm is on")
        host.wait(lambda s: signal_of(s, "conn")["age_s"] <= 2, "the others go on")
        host.pass_time(601)
        until(lambda: host.ended() == ["terminate"], "the lease ended all the same")
    finally:
        subprocess.run(["kill", "-CONT", pid], check=True)


def test_one_long_lived_tool(host: Host, smi: Smi) -> None:
    """Sampling starts the tool once, not once for each sample."""
    host.start(gpus=None, policy=IDLE)
    first = host.wait(lambda s: s["gpus"], "it works")
    host.wait(lambda s: signal_of(s, "conn")["age_s"] is not None and s["now"] == first["now"], "more samples")
    assert smi.starts() == 1


def test_tool_ends_with_the_daemon(host: Host, smi: Smi) -> None:
    """SIGTERM leaves no nvidia-smi behind."""
    host.start(gpus=None, policy=IDLE)
    host.wait(lambda s: s["gpus"], "it works")
    pid = int(smi.started.read_text().split()[-1])
    host.stop()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the tool is gone")


def test_device_without_utilisation_is_unknown(host: Host, smi: Smi) -> None:
    """[N/A], as on MIG devices, is not zero."""
    smi.show(("[N/A]", 10))
    host.start(gpus=None, policy=IDLE)
    status = host.wait(lambda s: "sensor-gpu" in alarm_codes(s), "the alarm is on")
    assert "device 0 reports no utilisation" in signal_of(status, "gpu")["detail"]


def test_missing_device_is_unknown(host: Host, smi: Smi) -> None:
    """A device that fell off the bus is a broken sensor, where the number of devices is known."""
    host.start(gpus=2, policy=IDLE)
    status = host.wait(lambda s: "sensor-gpu" in alarm_codes(s), "the alarm is on")
    assert signal_of(status, "gpu")["detail"] == "only 1 of 2 devices answer"


def test_parked_holds_and_says_so(host: Host, smi: Smi) -> None:
    """Memory held without work keeps the host awake when no parked timeout is set, with an alarm."""
    smi.show((0, 40000))
    host.start(gpus=None, policy=IDLE).settle()
    host.pass_time(2000)
    status = host.wait(lambda s: s["parked"]["parked_s"] == 2000, "parked time counts")
    assert (status["idle"]["held_by"], "parked" in alarm_codes(status), host.ended()) == (["gpu_mem"], True, [])


def test_parked_ends_by_its_own_timer(host: Host, smi: Smi) -> None:
    """With a parked timeout the idle action runs when it is over."""
    smi.show((0, 40000))
    host.start(gpus=None, policy={**IDLE, "parked_timeout_s": 3600}).settle()
    host.pass_time(3500)
    status = host.wait(lambda s: s["parked"]["parked_s"] == 3500, "parked time counts")
    assert (status["ends_why"], status["ends_at"], status["parked"]["remaining_s"]) == ("parked", after(3600), 100)
    host.pass_time(101)
    until(lambda: host.ended() == ["stop"], "the stop command ran")


def test_work_ends_the_parked_condition(host: Host, smi: Smi) -> None:
    """A kernel that starts to compute is no longer parked."""
    smi.show((0, 40000))
    host.start(gpus=None, policy={**IDLE, "parked_timeout_s": 3600})
    host.wait(lambda s: s["parked"]["parked_s"] is not None, "parked")
    smi.show((80, 40000))
    status = host.wait(lambda s: s["parked"]["parked_s"] is None, "no longer parked")
    assert status["idle"]["held_by"] == ["gpu", "gpu_mem"]


NVML = """
#include <stdio.h>
#include <string.h>
struct proc { unsigned pid; unsigned long long used; unsigned gi, ci; };
static int number(const char *name) { int n = -1; char path[512]; snprintf(path, 512, "%s/%s", DIR, name);
  FILE *f = fopen(path, "r"); if (f) { if (fscanf(f, "%d", &n) != 1) n = -1; fclose(f); } return n; }
int nvmlInit_v2(void) { return number("fail") > 0 ? number("fail") : 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)1; return 0; }
int nvmlDeviceGetName(void *h, char *s, unsigned n) { strncpy(s, "Stand-in GPU", n); return 0; }
int nvmlDeviceGetUtilizationRates(void *h, unsigned *u) { if (number("fail") > 0) return number("fail");
  u[0] = number("util"); u[1] = 0; return 0; }
int nvmlDeviceGetMemoryInfo(void *h, unsigned long long *m) { m[0] = 1ull << 34; m[2] = 1ull << 33; m[1] = m[2];
  return 0; }
int nvmlDeviceGetTemperature(void *h, unsigned s, unsigned *t) { *t = 55; return 0; }
int nvmlDeviceGetPowerUsage(void *h, unsigned *p) { *p = 118200; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *n, struct proc *p) {
  p[0].pid = 1; p[0].used = 1ull << 32; *n = 1; return 0; }
"""


@pytest.fixture
def nvml(host: Host, tmp_path: Path, without: Callable[[str], NoReturn]) -> Path:
    """A stand-in libnvidia-ml.so.1; the numbers it reports stand in files of the folder."""
    if shutil.which("gcc") is None:
        without("gcc to build a stand-in NVML")
    folder = tmp_path / "nvml"
    folder.mkdir()
    (folder / "nvml.c").write_text(NVML)
    command = ["gcc", "-shared", "-fPIC", f'-DDIR="{folder}"', "-o", "libnvidia-ml.so.1", "nvml.c"]
    subprocess.run(command, cwd=folder, check=True)
    host.env["LD_LIBRARY_PATH"] = str(folder)
    (folder / "util").write_text("77")
    return folder


def test_nvml_is_preferred(host: Host, smi: Smi, nvml: Path) -> None:
    """Where the library is, it is read and no tool is started."""
    host.start(gpus=None, policy=IDLE)
    gpu = host.wait(lambda s: s["gpus"], "it works")["gpus"][0]
    assert (gpu["name"], gpu["util_pct"], gpu["power_w"]) == ("Stand-in GPU", 77, 118.2)
    assert gpu["processes"][0]["memory_mib"] == 4096
    assert smi.starts() == 0


def test_nvml_that_fails_is_unknown_then_recovers(host: Host, nvml: Path) -> None:
    """A lost device makes the signal unknown; the library is opened afresh when it works again."""
    host.start(gpus=None, policy=IDLE)
    host.wait(lambda s: s["idle"]["held_by"] == ["gpu", "gpu_mem"], "it works")
    (nvml / "fail").write_text("15")
    status = host.wait(lambda s: "sensor-gpu" in alarm_codes(s), "the alarm is on")
    assert "error 15" in signal_of(status, "gpu")["detail"]
    (nvml / "fail").write_text("0")
    host.wait(lambda s: "sensor-gpu" not in alarm_codes(s), "the alarm is off")
