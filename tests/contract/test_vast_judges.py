"""Is our Vast the real one? Its published API file and its own client, ``vastai``, judge the fake that we test against.

Where the live service, its client and its documentation agree against the file, the fake follows them; each such place
stands in `LIVE`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.clouds import launched, listing, reach
from support.published import published
from support.vast_cloud import VastCloud, vast_cloud
from support.vast_fake import KEY
from support.vendor_clients import python_client

from gpudash.errors import AuthRefused, ProviderError
from gpudash.model.instance import EVERYWHERE, InstanceKey, InstanceState
from gpudash.model.offer import OfferFilter

CLIENT = "vastai==1.9.1"
LIVE = re.compile(
    "|".join(
        (
            r"PUT /api/v0/asks/\d+ body: env:",  # an object: documentation and client; the file says a text
            r"PUT /api/v0/asks/\d+: body has client_id",  # the client sends it
            r"\w+ \S+ → 404: no such answer",  # a refused key, in the form that the live service and the client know
            r"GET /api/v0/instances/pending-price-increases: no such operation",  # the client's; not in the file yet
            r"DELETE /api/v0/instances/\d+: a body where none is described",  # an empty object, as the client sends
            r"GET /api/v0/instances/\d+ → 200: instances/(ports|extra_env)",  # a map, as in the list; the file says numbers
            r"PUT /api/v0/instances/accept-price-increase: no such operation",  # likewise
            r"GET /api/v0/gpu_names/unique: no such operation",  # the client asks at each start
        )
    )
)
"""Where the live service and the vendor's client go beyond the file."""


@pytest.fixture
def cloud() -> Iterator[VastCloud]:
    """An account at the fake, where calls that come too soon are refused."""
    with vast_cloud() as found:
        found.fake.strict = True
        yield found


def findings(cloud: VastCloud) -> str:
    """All exchanges so far against the published file: our requests with no field that it lacks, and every answer."""
    judge = published("vast.yaml")
    found = []
    for request, reply in cloud.fake.exchanges:
        ours = request.headers.get("user-agent", "").startswith("gpudash/")
        said = judge.findings(request, reply, closed=True)
        # What its own client sends against its own file is its affair: nulls, an older spelling of runtypes.
        found += [line for line in said if (ours or "→" in line) and not LIVE.match(line)]
    return "\n".join(found)


def test_all_that_we_send_and_the_fake_answers_is_as_published(
    cloud: VastCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Search with every filter, launch with everything, look, change, refuse, end."""
    provider = cloud.provider
    everything = OfferFilter(
        gpus=1, min_vram_gb=16, region="US", not_regions=("CN",), disk_gb=40, with_unverified=True,
        max_price=1, cuda=12, min_reliability=0, min_down_mbps=10, min_up_mbps=10, max_traffic_usd_per_gb=1,
    )  # fmt: skip
    assert provider.list_offers(everything).items
    options = {"env.A": "b", "ports": "8000", "onstart": "echo", "jupyter": "true", "template": "0" * 32, "image": "i"}
    instance = launched(cloud, options=options)
    bid = launched(cloud, spot=True)
    provider.set_bid(bid.key, 1)
    provider.stop(bid.key)
    provider.start(bid.key)
    provider.set_tags(instance.key, {"Name": "other"})
    provider.list_leftovers()
    provider.terminate(instance.key)
    provider.terminate(instance.key)
    with pytest.raises(ProviderError):
        provider.stop(instance.key)
    cloud.fake.machines.clear()
    monkeypatch.setenv("VAST_API_KEY", "another-test-key")
    with pytest.raises(AuthRefused):
        cloud.again().list_instances(EVERYWHERE)
    asked = {(request.method, request.path.split("/")[3]) for request, _ in cloud.fake.exchanges}
    assert {("POST", "bundles"), ("PUT", "asks"), ("DELETE", "instances"), ("POST", "ssh")} <= asked
    assert findings(cloud) == ""


def test_the_file_would_notice(cloud: VastCloud) -> None:
    """The check can fail: a wrong type in an answer, a field that nobody has described in a request."""
    judge = published("vast.yaml")
    listing(cloud)
    (request, reply), *_ = cloud.fake.exchanges
    wrong = {**reply.body, "total_instances": "many"}
    assert "'many' is not of type 'integer'" in judge.findings(request, replace(reply, body=wrong))[0]


class Client:
    """The vendor's own command against the fake, with a home of its own."""

    def __init__(self, cloud: VastCloud, home: Path) -> None:
        self._program = python_client(CLIENT).with_name("vastai")
        self._env = {
            "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "XDG_CACHE_HOME": str(home / "cache"),
            "TMPDIR": str(home), "VAST_URL": cloud.fake.url, "VAST_API_KEY": KEY, "PATH": "/usr/bin:/bin",
        }  # fmt: skip

    def __call__(self, *words: str) -> Any:
        """Its JSON answer; what is no JSON comes as text."""
        done = subprocess.run(
            [str(self._program), *words, "--raw"],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout


@pytest.mark.timeout(400)
def test_the_vendors_client_lives_a_life_at_the_fake(cloud: VastCloud, tmp_path: Path) -> None:
    """Search, create, look, label, stop, start, bid, ssh, destroy: by its client, and seen by ours at each step."""
    cloud.fake.strict = False
    client = Client(cloud, tmp_path)
    found = client("search", "offers", "gpu_name=RTX_4090 num_gpus=1 geolocation=US reliability>0.95", "-o", "dph")
    assert [offer["id"] for offer in found] == [101, 102]
    ours = cloud.provider.list_offers(
        OfferFilter(instance_type="1x_RTX_4090", region="US", spot=False, min_reliability=0.951)  # type: ignore[arg-type]
    )
    assert [offer.id for offer in ours.items] == ["101", "102"]
    made = client("create", "instance", "101", "--image", "me/train", "--disk", "40", "--ssh", "--direct",
                  "--env", "-p 8000:8000 -e A=b", "--label", "theirs")  # fmt: skip
    key = InstanceKey("vast", EVERYWHERE, str(made["new_contract"]))
    cloud.clock.sleep(10)
    seen = reach(cloud, key, InstanceState.RUNNING)
    assert (seen.name, seen.disk_gb, seen.managed, seen.price) == (
        "theirs",
        40,
        False,
        ours.items[0].price and seen.price,
    )
    assert client("ssh-url", key.id).strip() == f"ssh://root@{seen.ssh.host}:{seen.ssh.port}"  # type: ignore[union-attr]
    client("label", "instance", key.id, "renamed")
    client("stop", "instance", key.id)
    cloud.clock.sleep(10)
    assert reach(cloud, key, InstanceState.STOPPED).name == "renamed"
    client("start", "instance", key.id)
    bid = client("create", "instance", "102", "--image", "me/train", "--bid_price", "0.25")
    client("change", "bid", str(bid["new_contract"]), "--price", "0.30")
    cloud.clock.sleep(10)
    shown = {item["id"]: item for item in client("show", "instances")}
    listed = {int(item.key.id): item for item in listing(cloud).items}
    assert shown.keys() == listed.keys()
    for number, item in listed.items():
        assert (shown[number]["is_bid"], shown[number]["gpu_name"]) == (item.spot, item.gpu)
        assert float(item.price.usd_per_hour) == pytest.approx(shown[number]["dph_base"])  # type: ignore[union-attr]
    row = {"pending_price_increase_id": 9, "contract_id": int(key.id), "new_gpu_costpersec": 2e-4}
    cloud.fake.increases = [row]
    client("accept", "price-increase", key.id, "--yes")
    assert cloud.fake.answers == [("accept", int(key.id))]
    ours_made = launched(cloud, instance_type="1x_H100_SXM")
    assert ours_made.name in str(client("show", "instance", ours_made.key.id)["label"])
    for number in (*listed, ours_made.key.id):
        client("destroy", "instance", str(number), "-y")
    assert listing(cloud).items == ()
    assert findings(cloud) == ""
