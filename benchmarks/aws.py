"""AWS adapter against a bare boto3 paginator on the same moto server, and what clients for all regions cost.

python benchmarks/aws.py [INSTANCES]
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main(count: int) -> None:
    """Print the figures; seconds are shown and not judged."""
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, XDG_STATE_HOME=f"{home}/state", XDG_CONFIG_HOME=f"{home}/config")
        from support.aws_cloud import aws_environment

        with aws_environment():
            clients_of_all_regions()
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


def listings(count: int) -> None:
    """Paired rounds: bare paginator, the first listing ever, and that of the next program."""
    from support import moto_server
    from support.aws_cloud import AwsCloud, linux_image, raw_client

    from gpudash.clock import SystemClock
    from gpudash.providers.aws.provider import PAGE_SIZE

    moto_server.reset()
    ec2 = raw_client("ec2")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "x"}]}]
    for _ in range(count):
        ec2.run_instances(
            ImageId=linux_image(), InstanceType="g5.xlarge", MinCount=1, MaxCount=1, TagSpecifications=tags
        )
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
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
