"""The stand-in ``nvidia-smi``: what a daemon parses and what a person reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpudash.providers.sandbox import nvidia_smi

WORKING = 86_400 * 180
"""A moment at which a bursty load works."""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The folder of a host with two cards; the clock stands still."""
    folder = tmp_path / "hosts" / "sb-1"
    folder.mkdir(parents=True)
    load(folder, "busy")
    clock(folder, WORKING)
    return folder


def load(folder: Path, pattern: str) -> None:
    """What the cards do."""
    record = {"id": "sb-1", "gpu": "H100 SXM", "gpu_count": 2, "vram_gb": 80, "load": pattern, "pid": 4711}
    (folder / "record.json").write_text(json.dumps(record))


def clock(folder: Path, now: float) -> None:
    """What time it is."""
    body = {"real0": 0, "virtual0": now, "speed": 0}
    (folder.parent.parent / "clock.json").write_text(json.dumps(body))


def ask(folder: Path, *args: str) -> tuple[int, str]:
    """Run it as the host does."""
    argv = [sys.executable, "-I", "-S", nvidia_smi.__file__, "--sandbox-host", str(folder), *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def figures(folder: Path) -> list[tuple[int, int]]:
    """Utilisation and used memory of each card."""
    query = "--query-gpu=utilization.gpu,memory.used"
    _, text = ask(folder, query, "--format=csv,noheader,nounits")
    return [(int(a), int(b)) for a, b in (line.split(", ") for line in text.splitlines())]


def test_table_names_every_card_and_process(host: Path) -> None:
    """Lines of one width, as people know them."""
    status, text = ask(host)
    assert status == 0
    assert text.count("NVIDIA H100 SXM") == 2
    assert "4711" in text
    assert {len(line) for line in text.splitlines()[1:] if line} == {91}


def test_query_has_header_and_units(host: Path) -> None:
    """Header with units, cells with units; each can be left out."""
    status, text = ask(host, "--query-gpu=index,name,memory.total,power.draw", "--format=csv")
    head, first, _ = text.splitlines()
    assert status == 0
    assert head == "index, name, memory.total [MiB], power.draw [W]"
    assert first.startswith("0, NVIDIA H100 SXM, 81920 MiB, ")
    assert first.endswith(" W")
    _, bare = ask(host, "--query-gpu", "index,memory.total", "--format", "csv,noheader,nounits")
    assert bare == "0, 81920\n1, 81920\n"


def test_compute_apps_name_who_holds_memory(host: Path) -> None:
    """One line a process; none where nothing is held."""
    query = ("--query-compute-apps=pid,process_name,used_memory,gpu_uuid", "--format=csv,noheader,nounits")
    _, text = ask(host, *query)
    assert [line.split(", ")[0] for line in text.splitlines()] == ["4711", "4711"]
    load(host, "idle")
    assert ask(host, *query) == (0, "")


def test_list_and_single_card(host: Path) -> None:
    """``-L`` shows UUIDs, ``-i`` picks one."""
    _, text = ask(host, "-L")
    assert text.startswith("GPU 0: NVIDIA H100 SXM (UUID: GPU-")
    _, one = ask(host, "-i", "1", "--query-gpu=index", "--format=csv,noheader")
    assert one == "1\n"


@pytest.mark.parametrize(
    ("pattern", "works", "holds"),
    [("busy", True, True), ("idle", False, False), ("parked", False, True), ("bursty", True, True)],
)
def test_patterns(host: Path, pattern: str, works: bool, holds: bool) -> None:
    """Each load is what its name says."""
    load(host, pattern)
    assert [(util > 50, memory > 1000) for util, memory in figures(host)] == [(works, holds)] * 2


def test_bursts_end(host: Path) -> None:
    """Between bursts memory is held and nothing computes."""
    load(host, "bursty")
    clock(host, WORKING + 100)
    assert all(util == 0 and memory > 1000 for util, memory in figures(host))


def test_broken_driver_is_exit_status_nine(host: Path) -> None:
    """With its well-known words."""
    load(host, "broken")
    status, text = ask(host, "-L")
    assert status == 9
    assert "NVIDIA-SMI has failed" in text


def test_hanging_never_answers(host: Path) -> None:
    """A daemon that waits for it must have a time-out of its own."""
    load(host, "hanging")
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-I", "-S", nvidia_smi.__file__, "--sandbox-host", host], timeout=0.4, check=False
        )


def test_loop_follows_a_changed_load(host: Path) -> None:
    """``-l N`` goes on, and reads the record each time."""
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "50"]
    argv = [sys.executable, "-I", "-S", nvidia_smi.__file__, "--sandbox-host", str(host), *query]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert int(program.stdout.readline()) > 50
        load(host, "idle")
        assert any(program.stdout.readline() == "0\n" for _ in range(50))
        program.kill()


@pytest.mark.parametrize("args", [("--no-such-thing",), ("--query-gpu=index",), ("--query-gpu=colour", "--format=csv")])
def test_wrong_arguments_are_refused_in_words(host: Path, args: tuple[str, ...]) -> None:
    """As the real one does: on standard output, and with a failing exit status where nothing was asked."""
    _, text = ask(host, *args)
    assert "nvalid" in text or "required" in text or "not a valid field" in text
