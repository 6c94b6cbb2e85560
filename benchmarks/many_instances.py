"""Serves EC2's list of N instances over HTTP, page by page, as quickly as a file: ``many_instances.py N`` prints its URL.

The record is moto's own answer to DescribeInstances for one instance, repeated under other ids; moto itself takes a
minute for 5,000. What else a first listing asks (disks, images, prices) is answered too.
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


def record_of_one() -> str:
    """One reservation as moto writes it."""
    from support.aws_cloud import aws_environment, linux_image, raw_client

    with aws_environment():
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "NAME"}]}]
        raw_client("ec2").run_instances(
            ImageId=linux_image(), InstanceType="g5.xlarge", MinCount=1, MaxCount=1, TagSpecifications=tags
        )
        seen: list[bytes] = []
        raw_client("ec2").meta.events.register(
            "after-call.ec2.DescribeInstances", lambda http_response, **_: seen.append(http_response.content)
        )
        raw_client("ec2").describe_instances()
    found = re.search(r"<reservationSet>(.*)</reservationSet>", seen[0].decode(), re.DOTALL)
    assert found is not None
    return found.group(1).strip()


def page(record: str, first: int, last: int, whole: int) -> str:
    """Instances of that page."""
    names = re.search(r"<instanceId>(i-[0-9a-f]+)</instanceId>", record)
    volume = re.search(r"<volumeId>(vol-[0-9a-f]+)</volumeId>", record)
    assert names is not None
    assert volume is not None
    items = "".join(
        record.replace(names.group(1), f"i-{number:017x}")
        .replace(volume.group(1), f"vol-{number:017x}")
        .replace("NAME", f"worker-{number}")
        for number in range(first, last)
    )
    token = f"<nextToken>{last}</nextToken>" if last < whole else ""
    body = f"<reservationSet>{items}</reservationSet>{token}"
    return f"{HEAD}<DescribeInstancesResponse><requestId>r</requestId>{body}</DescribeInstancesResponse>"


def volumes(asked: dict[str, list[str]]) -> str:
    """The disks that are asked for by id."""
    ids = [values[0] for name, values in asked.items() if name.startswith("VolumeId")]
    items = "".join(
        f"<item><volumeId>{one}</volumeId><size>100</size><volumeType>gp3</volumeType><iops>3000</iops></item>"
        for one in ids
    )
    return f"{HEAD}<DescribeVolumesResponse><volumeSet>{items}</volumeSet></DescribeVolumesResponse>"


def main(count: int) -> None:
    """Serve until killed."""
    from support.aws_cloud import _products

    record = record_of_one()
    pages: dict[tuple[int, int], bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            if self.headers.get("X-Amz-Target", "").endswith("GetProducts"):
                _, body = _products("", {"body": raw})
                return self.say(json.dumps({"PriceList": body["PriceList"]}).encode())
            asked = parse_qs(raw)
            action = asked["Action"][0]
            if action == "DescribeInstances":
                first, size = int(asked.get("NextToken", ["0"])[0]), int(asked.get("MaxResults", ["1000"])[0])
                last = min(first + size, count)
                if (first, last) not in pages:
                    pages[first, last] = page(record, first, last, count).encode()
                return self.say(pages[first, last])
            if action == "DescribeVolumes":
                return self.say(volumes(asked).encode())
            if action == "DescribeImages":
                return self.say(f"{HEAD}<DescribeImagesResponse><imagesSet/></DescribeImagesResponse>".encode())
            return self.send_error(400, action)

        def say(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
