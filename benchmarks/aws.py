"""EC2: `gpudash ls --json` against a bare boto3 paginator on the same moto server, clients of all regions, and keys of
the dashboard while thousands of instances load.

python benchmarks/aws.py [INSTANCES [LOADING]]
"""

from __future__ import annotations

import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]


def main(count: int, loading: int) -> None:
    """Print the figures; seconds are shown and not judged."""
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, XDG_STATE_HOME=f"{home}/state", XDG_CONFIG_HOME=f"{home}/config")
        from support.aws_cloud import aws_environment

        with aws_environment():
            clients_of_all_regions()
            keys_while_loading(home, loading)
            fill(count)
            whole_commands(home, count)
            listings(count)


def clients_of_all_regions() -> None:
    """One Session, seventeen regions."""
    import boto3  # noqa: F401  # its import is a cost of the first call, not of the clients

    from gpudash.config import Account
    from gpudash.providers.aws.clients import Clients
    from gpudash.providers.aws.regions import DEFAULT_REGIONS

    before, begun = resident_mb(), time.perf_counter()
    clients = Clients(Account("work", "aws"))
    for region in DEFAULT_REGIONS:
        clients.read("ec2", region)
    took = time.perf_counter() - begun
    print(f"clients of {len(DEFAULT_REGIONS)} regions: {took:.2f} s, +{resident_mb() - before:.0f} MB")


def resident_mb() -> float:
    """Resident memory of this process now; the peak where the system does not tell."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 1e6


def settings(home: str, url: str) -> None:
    """One account of one region behind that URL, for a program of its own."""
    folder = Path(home) / "config" / "gpudash"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.toml"
    file.write_text(f'[accounts.work]\nprovider = "aws"\nregions = ["us-east-1"]\nbase_url = "{url}"\n')
    file.chmod(0o600)


def keys_while_loading(home: str, count: int) -> None:
    """The real dashboard in a pty while a list of that length comes in for the first time, and while it comes again."""
    from screen import arrows
    from terminal import Terminal, at

    serve = [sys.executable, str(ROOT / "benchmarks" / "many_instances.py"), str(count)]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        settings(home, server.stdout.readline().strip())
        environment = {
            "XDG_STATE_HOME": f"{home}/dashboard",  # what it remembers is no instance of the commands below
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": f"{home}/pycache",  # compiled as an installed program is
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
        }
        for number in range(2):
            terminal = Terminal([sys.executable, "-m", "gpudash"], environment=environment)
            shown = terminal.read(40, until=b"worker-")
            told = f"first rows after {shown - terminal.started:.2f} s" if shown else "no rows in 20 s"
            took = arrows(terminal, 150, gap_s=0.01)
            over = ", ".join(f"p{part * 100:.0f} {at(took, part):.1f}" for part in (0.5, 0.95, 0.99))
            print(f"keys while {count} instances load, start {number + 1}: {told}; {over} ms ({len(took)} keys)")
            terminal.close()
        server.kill()


BARE = """
import boto3, json
pages = boto3.client("ec2", region_name="us-east-1", endpoint_url=URL).get_paginator("describe_instances").paginate(
    PaginationConfig={"PageSize": 200})
print(json.dumps([i for p in pages for r in p["Reservations"] for i in r["Instances"]], default=str))
"""


def whole_commands(home: str, count: int) -> None:
    """Paired rounds of two programs from start to end: the bare paginator, and `gpudash ls --json`."""
    from support import moto_server

    url = moto_server.server_url()
    settings(home, url)
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{home}/pycache"}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | compiled
    ours = [sys.executable, "-m", "gpudash", "ls", "--json", "--timeout", "2m"]
    bare = [sys.executable, "-c", BARE.replace("URL", repr(url))]
    ratios = []
    for number in range(4):
        figures = []
        for argv in (bare, ours) if number % 2 else (ours, bare):
            begun = time.perf_counter()
            done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
            figures.append((argv is ours, time.perf_counter() - begun))
            found = json.loads(done.stdout)
            assert len(found["instances"] if argv is ours else found) == count
        (_, plain), (_, full) = sorted(figures)
        if number:  # the first round fills caches
            ratios.append(full / plain)
        print(
            f"{count} instances, round {number}: bare script {plain:.2f} s, gpudash ls {full:.2f} s, {full / plain:.2f}x"
        )
    print(f"gpudash ls --json of {count} instances: {statistics.median(ratios):.2f}x a bare paginator script")


def fill(count: int) -> None:
    """So many instances on moto."""
    from support import moto_server
    from support.aws_cloud import linux_image, raw_client

    moto_server.reset()
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "x"}]}]
    for _ in range(count):
        raw_client("ec2").run_instances(
            ImageId=linux_image(), InstanceType="g5.xlarge", MinCount=1, MaxCount=1, TagSpecifications=tags
        )


def listings(count: int) -> None:
    """Paired rounds: bare paginator, the first listing ever, and that of the next program."""
    from support.aws_cloud import AwsCloud, raw_client

    from gpudash.clock import SystemClock
    from gpudash.providers.aws.provider import PAGE_SIZE

    ec2 = raw_client("ec2")
    for number in range(3):
        begun = time.perf_counter()
        pages = ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": PAGE_SIZE})
        seen = sum(len(reservation["Instances"]) for page in pages for reservation in page["Reservations"])
        bare = time.perf_counter() - begun
        cloud = AwsCloud(SystemClock())
        figures = []
        for _ in range(2):
            cloud.provider = cloud.again()  # as the next program would: caches on disk, nothing in memory
            begun = time.perf_counter()
            came: list[float] = []
            whole = cloud.provider.list_in_pages(cloud.region, lambda _, came=came: came.append(time.perf_counter()))
            ended = time.perf_counter()
            figures.append((ended - begun, (came or [ended])[0] - begun))
            assert len(whole.items) == seen == count
        cloud.provider.close()
        told = ", ".join(
            f"{took:.2f} s ({took / bare:.2f}x, first rows after {first:.2f} s)" for took, first in figures
        )
        print(f"{count} instances, round {number + 1}: bare {bare:.2f} s; first listing and next: {told}")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [1000, 5000][len(given) :]))
