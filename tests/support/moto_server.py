"""moto's server on loopback, made to behave more like AWS. Its private names stand here and nowhere else.

What moto answers and AWS would not, and what it lacks, is bridged by hooks of the SDK in `support.aws_cloud`, where
each stands in one list.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

ACCOUNT_ID = "123456789012"


@cache
def server_url() -> str:
    """The server of this test run; it starts when a test first needs it and ends with the process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ["MOTO_AMIS_PATH"] = str(_few_images())
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def _few_images() -> Path:
    """Amazon Linux 2023 out of moto's 1,300 images: it makes them all anew after each reset."""
    from moto.utilities.utils import load_resource

    images = load_resource("ec2/resources/latest_amis/us-east-1.json")
    with NamedTemporaryFile("w", suffix=".json", prefix="gpudash-amis-", delete=False) as file:
        json.dump([image for image in images if image["name"].startswith("al2023-ami-2023")], file)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return Path(file.name)


def reset() -> None:
    """Forget every resource of every region."""
    urllib.request.urlopen(urllib.request.Request(f"{server_url()}/moto-api/reset", method="POST"), timeout=10).close()


def instance(region: str, instance_id: str) -> Any:
    """moto's own object behind an instance."""
    from moto.ec2.models import ec2_backends

    return ec2_backends[ACCOUNT_ID][region].get_instance(instance_id)


def set_state(region: str, instance_id: str, name: str, reason: str = "") -> None:
    """Put an instance into a state that moto never shows by itself."""
    from moto.ec2.models.instances import StateReason

    found = instance(region, instance_id)
    codes = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
    found._state.name, found._state.code = name, codes[name]
    found.state_reason = StateReason("", reason)


def add_parameter(region: str, name: str, value: str) -> None:
    """A public SSM parameter that moto's data lacks."""
    from moto.ssm.models import Parameter, ssm_backends

    backend = ssm_backends[ACCOUNT_ID][region]
    made = Parameter(
        account_id=ACCOUNT_ID, name=name, value=value, parameter_type="String", description="", allowed_pattern=None,
        keyid=None, last_modified_date=0, version=1, data_type="text",
    )  # fmt: skip
    backend._parameters[name].append(made)


@contextmanager
def slow_transitions(seconds: float) -> Iterator[None]:
    """Starts, stops and ends take time, as on AWS: the transitional state is listed until then."""
    from moto.ec2.models.instances import Instance

    whole = {name: getattr(Instance, name) for name in ("start", "stop", "terminate")}
    passing = {"start": ("pending", 0), "stop": ("stopping", 64), "terminate": ("shutting-down", 32)}
    timers: list[threading.Timer] = []

    def taking_time(verb: str) -> Any:
        def act(self: Any, *args: Any, **kwargs: Any) -> Any:
            answer = whole[verb](self, *args, **kwargs)
            final = (self._state.name, self._state.code)
            self._state.name, self._state.code = passing[verb]

            def arrive() -> None:
                self._state.name, self._state.code = final

            timer = threading.Timer(seconds, arrive)
            timer.daemon = True
            timers.append(timer)
            timer.start()
            return answer

        return act

    for name in whole:
        setattr(Instance, name, taking_time(name))
    try:
        yield
    finally:
        for name, method in whole.items():
            setattr(Instance, name, method)
        for timer in timers:
            timer.cancel()
            timer.join()


@contextmanager
def stops_with(reason: str) -> Iterator[None]:
    """What EC2 gives as the reason of stops, by its code; moto says that a user asked for it, also to hibernate."""
    from moto.ec2.models.instances import Instance, StateReason

    whole = Instance.stop

    def stop(self: Any) -> Any:
        answer = whole(self)
        self.state_reason = StateReason("", reason)
        return answer

    Instance.stop = stop
    try:
        yield
    finally:
        Instance.stop = whole
