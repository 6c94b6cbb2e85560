"""Small parts of the sandbox that need no host."""

from __future__ import annotations

import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from gpudash.errors import Unreachable
from gpudash.providers.sandbox import catalogue, layout, processes
from gpudash.providers.sandbox.record import HostRecord, parse

HEAVY = {"paramiko", "cryptography", "textual", "httpx", "boto3"}


def test_adapter_and_control_import_nothing_heavy() -> None:
    """`gpudash ls` pays for no SSH library."""
    program = "import sys, gpudash.providers.sandbox.control, gpudash.providers.sandbox.adapter; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert HEAVY & {name.partition(".")[0] for name in done.stdout.split()} == set()


def test_catalogue_has_a_dozen_gpus_and_honest_prices() -> None:
    """Real names, several sizes, spot below on demand, in every region."""
    assert len({machine.gpu for machine in catalogue.TYPES.values()}) >= 12
    assert len(catalogue.REGIONS) >= 3
    assert any(machine.gpu_count == 8 for machine in catalogue.TYPES.values())
    for machine in catalogue.TYPES.values():
        for region in catalogue.REGIONS:
            assert Decimal(0) < machine.price_in(region, spot=True) < machine.price_in(region, spot=False)


def test_record_of_a_newer_version_is_read() -> None:
    """Unknown fields are passed over; a record that lacks what matters is none."""
    body = {
        "id": "sb-1", "region": "sandbox-east", "name": "comfy", "token": "t", "instance_type": "1x-t4",
        "gpu": "T4", "gpu_count": 1, "vram_gb": 16, "price": "1", "storage_price": "1", "disk_gb": 1, "spot": False,
        "created_at": "2026-03-01T12:00:00+00:00", "from_the_future": 1,
    }  # fmt: skip
    assert isinstance(parse(body), HostRecord)
    with pytest.raises(ValueError, match="not a record"):
        parse({"id": "sb-1"})


def test_lock_that_is_never_released_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended holder hangs no lane."""
    monkeypatch.setattr(layout, "LOCK_PATIENCE_S", 0.05)
    with layout.held(tmp_path / "lock"), pytest.raises(Unreachable, match="busy"), layout.held(tmp_path / "lock"):
        pass


def test_many_writers_of_one_file_leave_one_whole_version(tmp_path: Path) -> None:
    """A reader never sees half of anything."""
    path = tmp_path / "hosts" / "record.json"
    path.parent.mkdir()
    bodies = [bytes([65 + n]) * 50_000 for n in range(8)]
    threads = [threading.Thread(target=layout.write_private, args=(path, body)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in bodies
    assert [item.name for item in path.parent.iterdir()] == ["record.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_processes_are_found_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only `ps` tells: by the mark in the environment, and by descent from what carries it."""
    ps = tmp_path / "ps"
    ps.write_text(
        "#!/bin/sh\n"
        "echo '  501     1 Ss   python -m host PATH=/bin GPUDASH_SANDBOX_HOST=/s/hosts/sb-1 X=1'\n"
        "echo '  502   501 S    sleep 600'\n"
        "echo '  503     1 Z    (sleep) GPUDASH_SANDBOX_HOST=/s/hosts/sb-1'\n"
        "echo '  504     1 S    vi GPUDASH_SANDBOX_HOST=/s/hosts/sb-11'\n"
        "echo '  505     1 S'\n"
    )
    ps.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(processes.sys, "platform", "darwin")
    assert processes.of_host(Path("/s/hosts/sb-1")) == {501, 502}
    assert processes.of_host(Path("/s/hosts")) == {501, 502, 504}
