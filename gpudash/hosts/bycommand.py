"""Asks statusd where the SSH server forbids forwards: one command on the host carries a question and its answer.

Slower than a stream (a Python starts for each question), so only the second choice. The host's own Python reads port
and token from the files of statusd, so the token does not travel at all.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from gpudash.errors import NoService, StatusdError
from gpudash.hosts.link import Link
from gpudash.hosts.probe import PYTHONS

# Any Python 3 of a host must be able to read it; no single quote may occur in it.
_ASK = r"""
import base64, json, os, socket, sys
if sys.version_info < (3, 8): sys.exit(1)
order = json.loads(base64.b64decode(sys.argv[1]).decode())
def read(name):
    with open(os.path.join(os.path.expanduser("~/.gpudash"), name), encoding="utf-8") as file: return file.read()
try:
    port, token = order["port"] or json.loads(read("run.json"))["port"], read("token").strip()
    link = socket.create_connection(("127.0.0.1", port), order["timeout"])
except (OSError, ValueError, KeyError) as exc:
    print(json.dumps(dict(problem=str(exc))))
    sys.exit(0)
link.settimeout(order["timeout"])
body = order["body"].encode()
head = [order["method"] + " " + order["path"] + " HTTP/1.1", "Host: 127.0.0.1", "Connection: close",
        "Authorization: Bearer " + token, "Content-Type: application/json", "Content-Length: " + str(len(body))]
peer = os.environ.get("SSH_CONNECTION", "").split()[:2]
if len(peer) == 2: head.append("X-Gpudash-Link: " + " ".join(peer))
link.sendall(("\r\n".join(head) + "\r\n\r\n").encode() + body)
answer = b"".join(iter(lambda: link.recv(65536), b""))
head, _, body = answer.partition(b"\r\n\r\n")
print(json.dumps(dict(status=int(head.split()[1]), body=body.decode())))
"""

_SCRIPT = """\
ask='{ask}'
for python in {pythons}; do
  command -v "$python" >/dev/null 2>&1 || continue
  "$python" -I -S -c "$ask" {order} </dev/null 2>/dev/null && exit 0
done
exit 7
"""


def ask_by_command(
    link: Link, method: str, path: str, body: Mapping[str, Any] | None, timeout: float, port: int | None = None
) -> tuple[int, dict[str, Any]]:
    """One question: HTTP status and document of the answer.

    Args:
        link: the way there.
        method: GET or POST.
        path: such as ``/status``.
        body: sent as JSON.
        timeout: seconds.
        port: where it listens; by default where its own file says.

    Raises:
        NoService: no statusd listens there.
        StatusdError: what answers is none.
        HostError: the command could not be run.
    """
    text = "" if body is None else json.dumps(body)
    order = {"method": method, "path": path, "body": text, "timeout": timeout, "port": port}
    packed = base64.b64encode(json.dumps(order).encode()).decode()
    script = _SCRIPT.format(ask=_ASK, pythons=" ".join(PYTHONS), order=packed)
    told = link.exec("sh -s", timeout=timeout + 5, stdin=script.encode())
    try:
        answer: dict[str, Any] = json.loads(told.text.strip().splitlines()[-1])
        if "problem" in answer:
            raise NoService(f"statusd on {link.name} does not run ({answer['problem']}).")
        document = json.loads(answer["body"])
        return int(answer["status"]), document if isinstance(document, dict) else {}
    except (ValueError, KeyError, IndexError, TypeError) as exc:
        raise StatusdError(f"statusd on {link.name} cannot be asked by a command: {told.complaint}") from exc
