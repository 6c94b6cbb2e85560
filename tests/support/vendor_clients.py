"""Vendors' own clients, to judge a fake by. Each is installed once into a folder of its own beside the tests.

Their dependencies must not meddle with ours, so a Python client gets an environment and a Node client a folder. Where the
package index or the program that is needed cannot be had, the test is skipped and says so.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, find_program

FOLDER = ROOT / ".vendor-clients"
INSTALL_S = 300


def python_client(package: str) -> Path:
    """The Python of an environment that holds ``name==version``."""
    folder = FOLDER / package.replace("==", "-")
    python = folder / "bin" / "python"
    with _once(folder) as is_there:
        if not is_there:
            _run([sys.executable, "-m", "venv", "--clear", str(folder)], package)
            _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", package], package)
    return python


def node_client(package: str, program: str) -> list[str]:
    """The argument list that starts ``program`` of an npm package ``name@version``."""
    node, npm = find_program("node"), find_program("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    if int(version.strip().removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"needs Node 20, this is {version.strip()}")
    folder = FOLDER / package.replace("@", "-").replace("/", "-").strip("-")
    with _once(folder) as is_there:
        if not is_there:
            folder.mkdir(parents=True, exist_ok=True)
            _run([npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), package], package)
    return [node, str(folder / "node_modules" / program)]


@contextmanager
def _once(folder: Path) -> Iterator[bool]:
    """One process installs while the others wait; whether it was there already."""
    FOLDER.mkdir(exist_ok=True)
    done = folder.with_name(f"{folder.name}.done")
    with (FOLDER / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield done.exists()
        done.touch()


def _run(command: Sequence[str], package: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{package} could not be installed in {INSTALL_S} s")
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no word why"]
        pytest.skip(f"{package} could not be installed: {words[-1]}")
