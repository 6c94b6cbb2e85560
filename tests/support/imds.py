"""EC2's instance metadata service, version 2, over real HTTP: as a host sees it, with the faults it can have.

Behaviour from the AWS documentation ("Use the Instance Metadata Service to access instance metadata"): a token by PUT
with its life in a header, 401 without it, 404 for what there is none of, and no answer at all to a PUT that comes from
further away than the hop limit.
"""

from __future__ import annotations

import http.server
import json
import secrets
import threading
from types import TracebackType
from typing import Any

from tests.support.links import Service

TAGS = "/latest/meta-data/tags/instance"
ROLE = "/latest/meta-data/iam/security-credentials/"
SPOT = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


class Imds:
    """One service. Change `documents` and the faults while it runs."""

    def __init__(self, instance_id: str = "i-1") -> None:
        self.documents: dict[str, str] = {"/latest/meta-data/instance-id": instance_id}
        self.is_too_far = False
        """The asker is behind one hop too many: a token is never answered."""
        self.is_silent = False
        """Takes every question and answers none."""
        self.slow_s = 0.0
        """How long every answer takes."""
        self.tokens: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self._release = threading.Event()

    def __enter__(self) -> Imds:
        imds = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                imds.asked.append(("PUT", self.path))
                if imds.is_silent or imds.is_too_far:
                    imds._release.wait(20)
                    return None
                life = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds") or ""
                if self.path != "/latest/api/token" or not (life.isdigit() and 1 <= int(life) <= 21600):
                    return self.say(400)
                token = secrets.token_urlsafe(16)
                imds.tokens.add(token)
                return self.say(200, token)

            def do_GET(self) -> None:
                imds.asked.append(("GET", self.path))
                if imds.is_silent:
                    imds._release.wait(20)
                    return None
                if self.headers.get("X-aws-ec2-metadata-token") not in imds.tokens:
                    return self.say(401)
                found = imds.documents.get(self.path)
                return self.say(404, "not found") if found is None else self.say(200, found)

            def say(self, status: int, text: str = "") -> None:
                imds._release.wait(imds.slow_s)
                content = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = Service(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def tag(self, **tags: str | None) -> None:
        """Set tags of the instance, by their names without the prefix and with ``_`` for ``-``; None takes one away."""
        for name, value in tags.items():
            path = f"{TAGS}/gpudash:{name.replace('_', '-')}"
            if value is None:
                self.documents.pop(path, None)
            else:
                self.documents[path] = value
        names = [path.removeprefix(TAGS + "/") for path in self.documents if path.startswith(TAGS + "/")]
        self.documents[TAGS] = "\n".join(names)

    def notice(self, path: str, **document: Any) -> None:
        """A notice at that path; without fields it is withdrawn."""
        if document:
            self.documents[path] = json.dumps(document)
        else:
            self.documents.pop(path, None)

    def give_role(self, name: str, access: str, secret: str, token: str) -> None:
        """Credentials of an instance role."""
        self.documents[ROLE] = name
        self.documents[ROLE + name] = json.dumps(
            {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "AccessKeyId": access,
                "SecretAccessKey": secret,
                "Token": token,
                "Expiration": "2030-01-02T00:00:00Z",
            }
        )

    def count(self, path: str) -> int:
        """How often something was asked for."""
        return sum(asked == ("GET", path) for asked in self.asked)

    def restart(self) -> None:
        """Forget every token, as the service does now and then."""
        self.tokens.clear()
