"""The stand-in ``nvidia-smi`` of a sandbox host. One file, standard library only, run with ``python -I -S``.

It reads the host's ``record.json`` each time it samples, so the load can be changed while it runs:

    busy     computes all the time              parked   holds memory, computes nothing
    idle     nothing on the cards               broken   fails as with a lost driver
    bursty   40 s of work every 3 minutes       hanging  never answers

Figures are functions of the sandbox's clock and the card: two that ask in the same second see the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOADS = ("busy", "idle", "parked", "bursty", "broken", "hanging")
BURST_S, CYCLE_S = 40, 180
DRIVER, CUDA = "570.124.06", "12.8"
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running."
)
MAX_POWER_W = {
    "T4": 70, "L4": 72, "A10": 150, "V100": 300, "L40S": 350, "A100 PCIe": 250, "A100 SXM": 400, "H100 PCIe": 350,
    "H100 SXM": 700, "H200": 700, "GH200": 700, "B200": 1000, "RTX A4000": 140, "RTX A6000": 300,
    "RTX 3090": 350, "RTX 4090": 450, "RTX 5090": 575,
}  # fmt: skip


USAGE = (
    "nvidia-smi [-L] [-l SECONDS] [-i INDEX] "
    "[--query-gpu=FIELD,… | --query-compute-apps=FIELD,…] [--format=csv[,noheader][,nounits]]\n"
)


class Broken(Exception):
    """The driver cannot be reached."""


def main(argv: list[str]) -> int:
    """Answer as nvidia-smi would; the exit status is returned."""
    folder, options = _parse(argv)
    if options is None:
        return 1
    try:
        while True:
            sys.stdout.write(_answer(folder, options))
            sys.stdout.flush()
            if not options["loop"]:
                return 0
            threading.Event().wait(options["loop"])
    except Broken:
        sys.stdout.write(NO_DRIVER + "\n\n")
        return 9
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130


def _parse(argv: list[str]) -> tuple[str, dict[str, Any] | None]:
    folder = argv[1]
    options: dict[str, Any] = {"kind": "table", "fields": (), "format": set(), "loop": 0.0, "only": None}
    words: list[str] = []
    for word in argv[2:]:
        words.extend(word.split("=", 1) if word.startswith("--") else [word])
    while words:
        word = words.pop(0)
        if word in ("--query-gpu", "--query-compute-apps") and words:
            options["kind"] = word[len("--query-") :]
            options["fields"] = tuple(name.strip() for name in words.pop(0).split(","))
        elif word == "--format" and words:
            options["format"] = {part.strip() for part in words.pop(0).split(",")}
        elif word in ("-l", "--loop", "-lms", "--loop-ms"):
            value = float(words.pop(0)) if words and words[0].replace(".", "", 1).isdigit() else 5.0
            options["loop"] = value / 1000 if word.endswith("ms") else value
        elif word in ("-i", "--id") and words:
            options["only"] = {int(part) for part in words.pop(0).split(",") if part.isdigit()}
        elif word in ("-L", "--list-gpus"):
            options["kind"] = "list"
        elif word in ("-h", "--help"):
            options["kind"] = "help"
        else:
            sys.stdout.write("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n\n")
            return folder, None
    if options["kind"] in ("gpu", "compute-apps") and "csv" not in options["format"]:
        sys.stdout.write('Error: "--format=csv" is required with a query.\n')
        return folder, None
    return folder, options


def _answer(folder: str, options: dict[str, Any]) -> str:
    if options["kind"] == "help":
        return USAGE
    record = _record(folder)
    now = _now(folder)
    gpus = [_sample(record, index, now) for index in range(record["gpu_count"])]
    if options["only"] is not None:
        gpus = [gpu for gpu in gpus if gpu["index"] in options["only"]]
    if options["kind"] == "list":
        return "".join(f"GPU {gpu['index']}: {gpu['name']} (UUID: {gpu['uuid']})\n" for gpu in gpus)
    if options["kind"] == "table":
        return _table(gpus, now)
    rows = gpus if options["kind"] == "gpu" else [app for gpu in gpus for app in gpu["apps"]]
    return _csv(rows, GPU_FIELDS if options["kind"] == "gpu" else APP_FIELDS, options)


def _record(folder: str) -> dict[str, Any]:
    with open(os.path.join(folder, "record.json"), encoding="utf-8") as file:
        record: dict[str, Any] = json.load(file)
    load = record.get("load") or "idle"
    if load == "hanging":
        threading.Event().wait()
    if load == "broken" or _sensor_is_broken(folder, record["id"]):
        raise Broken
    return record


def _sensor_is_broken(folder: str, host_id: str) -> bool:
    try:
        with open(os.path.join(folder, "..", "..", "faults.json"), encoding="utf-8") as file:
            switch = json.load(file).get("sensor-broken") or {}
    except (OSError, ValueError):
        return False
    return bool(switch.get("all")) or host_id in (switch.get("hosts") or ())


def _now(folder: str) -> float:
    try:
        with open(os.path.join(folder, "..", "..", "clock.json"), encoding="utf-8") as file:
            clock = json.load(file)
        return float(clock["virtual0"] + (time.time() - clock["real0"]) * clock["speed"])
    except (OSError, ValueError, KeyError):
        return time.time()


def _sample(record: dict[str, Any], index: int, now: float) -> dict[str, Any]:
    load, total = record.get("load") or "idle", record["vram_gb"] * 1024
    if load == "bursty":
        working = (now + index * 3) % CYCLE_S < BURST_S
        share = 0.62
    else:
        working = load == "busy"
        share = {"busy": 0.86, "parked": 0.71}.get(load, 0.0)
    wobble = _noise(record["id"], index, now)
    util = round(88 + 11 * wobble) if working else 0
    held = int(total * (share + 0.03 * _noise(record["id"], index, now // 600))) if share else 0
    limit = MAX_POWER_W.get(record["gpu"], 300)
    name = "NVIDIA " + record["gpu"]
    uuid = "GPU-" + _digest(record["id"], index)
    app = {
        "pid": record.get("pid") or 1,
        "name": "python3" if load != "parked" else "/usr/bin/ollama",
        "used_memory": held,
        "gpu_name": name,
        "gpu_uuid": uuid,
        "gpu_index": index,
        "timestamp": time.strftime("%Y/%m/%d %H:%M:%S.000", time.localtime()),
    }
    return {
        "index": index,
        "count": record["gpu_count"],
        "bus_id": f"00000000:{index + 1:02X}:00.0",
        "driver": DRIVER,
        "timestamp": app["timestamp"],
        "compute_mode": "Default",
        "persistence": "Enabled",
        "name": name,
        "uuid": uuid,
        "util": util,
        "memory_util": round(util * 0.6),
        "memory_used": held + 4,
        "memory_total": total,
        "memory_free": total - held - 4,
        "temperature": round(34 + (36 + 6 * wobble) * util / 100 + (6 if held else 0)),
        "power": round(limit * (0.11 + 0.84 * util / 100 + (0.08 if held else 0.0) + 0.02 * wobble), 2),
        "power_limit": float(limit),
        "fan": round(30 + util * 0.5),
        "pstate": "P0" if util or held else "P8",
        "apps": [app] if held else [],
    }


def _noise(host_id: str, index: int, moment: float) -> float:
    """Between 0 and 1; the same for the same host, card and two seconds."""
    return int(hashlib.sha256(f"{host_id} {index} {int(moment) // 2}".encode()).hexdigest()[:6], 16) / 0xFFFFFF


def _digest(host_id: str, index: int) -> str:
    text = hashlib.sha256(f"{host_id} {index}".encode()).hexdigest()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


GPU_FIELDS = {
    "index": ("index", ""),
    "count": ("count", ""),
    "name": ("name", ""),
    "gpu_name": ("name", ""),
    "uuid": ("uuid", ""),
    "gpu_uuid": ("uuid", ""),
    "pci.bus_id": ("bus_id", ""),
    "driver_version": ("driver", ""),
    "timestamp": ("timestamp", ""),
    "pstate": ("pstate", ""),
    "utilization.gpu": ("util", "%"),
    "utilization.memory": ("memory_util", "%"),
    "memory.used": ("memory_used", "MiB"),
    "memory.total": ("memory_total", "MiB"),
    "memory.free": ("memory_free", "MiB"),
    "temperature.gpu": ("temperature", ""),
    "power.draw": ("power", "W"),
    "power.draw.instant": ("power", "W"),
    "power.limit": ("power_limit", "W"),
    "fan.speed": ("fan", "%"),
    "compute_mode": ("compute_mode", ""),
    "persistence_mode": ("persistence", ""),
    "ecc.errors.uncorrected.volatile.total": ("none", ""),
    "mig.mode.current": ("none", ""),
}
APP_FIELDS = {
    "pid": ("pid", ""),
    "name": ("name", ""),
    "process_name": ("name", ""),
    "used_memory": ("used_memory", "MiB"),
    "used_gpu_memory": ("used_memory", "MiB"),
    "gpu_name": ("gpu_name", ""),
    "gpu_uuid": ("gpu_uuid", ""),
    "gpu_index": ("gpu_index", ""),
    "timestamp": ("timestamp", ""),
}


def _csv(rows: list[dict[str, Any]], known: dict[str, tuple[str, str]], options: dict[str, Any]) -> str:
    wrong = [name for name in options["fields"] if name not in known]
    if wrong:
        return f'Field "{wrong[0]}" is not a valid field to query.\n\n'
    out = io.StringIO()
    if "noheader" not in options["format"]:
        heads = []
        for name in options["fields"]:
            unit = known[name][1]
            heads.append(f"{name} [{unit}]" if unit else name)
        out.write(", ".join(heads) + "\n")
    for row in rows:
        out.write(", ".join(_cell(row, known[name], options) for name in options["fields"]) + "\n")
    return out.getvalue()


def _cell(row: dict[str, Any], field: tuple[str, str], options: dict[str, Any]) -> str:
    key, unit = field
    value = row.get(key, "[N/A]")
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return f"{text} {unit}" if unit and "nounits" not in options["format"] else text


def _table(gpus: list[dict[str, Any]], now: float) -> str:
    bar = "+" + "-" * 89 + "+"
    split = "+" + "-" * 41 + "+" + "-" * 24 + "+" + "-" * 22 + "+"
    head = "| {:<39} | {:<22} | {:<20} |".format
    lines = [
        time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(now)),
        bar,
        f"| {'NVIDIA-SMI ' + DRIVER:<30}{'Driver Version: ' + DRIVER:<35}{'CUDA Version: ' + CUDA:<22} |",
        split,
        head("GPU  Name                 Persistence-M", "Bus-Id          Disp.A", "Volatile Uncorr. ECC"),
        head("Fan  Temp   Perf          Pwr:Usage/Cap", "          Memory-Usage", "GPU-Util  Compute M."),
        split.replace("-", "="),
    ]
    for gpu in gpus:
        cap = f"{gpu['power']:.0f}W / {gpu['power_limit']:.0f}W"
        memory = f"{gpu['memory_used']}MiB / {gpu['memory_total']}MiB"
        lines += [
            "| {:>3}  {:<26}{:>8} | {:<22} | {:>20} |".format(
                gpu["index"], gpu["name"], "On", gpu["bus_id"] + " Off", "Off"
            ),
            "| {:>3}%  {:>3}C    {:<4} {:>20} | {:>22} | {:>7}%  {:>10} |".format(
                gpu["fan"], gpu["temperature"], gpu["pstate"], cap, memory, gpu["util"], "Default"
            ),
            split,
        ]
    lines += ["", bar, f"| {'Processes:':<87} |"]
    lines.append(f"| {'  GPU       PID   Type   Process name':<66}{'GPU Memory Usage':>21} |")
    lines.append("|" + "=" * 89 + "|")
    apps = [app for gpu in gpus for app in gpu["apps"]]
    for app in apps:
        lines.append(
            "| {:>5} {:>9} {:>6}   {:<40}{:>22} |".format(
                app["gpu_index"], app["pid"], "C", app["name"], "{}MiB".format(app["used_memory"])
            )
        )
    if not apps:
        lines.append(f"| {'  No running processes found':<87} |")
    return "\n".join([*lines, bar]) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
