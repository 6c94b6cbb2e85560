"""statusd on EC2: tags and notices from the metadata service, and an end by its own API."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.support.end_api import EndApi
from tests.support.imds import REBALANCE, SPOT, TAGS, Imds

from .conftest import STATUSD, Host, after, alarm_codes, refuse_power, until

POLICY = {"lease_deadline": after(4 * 3600), "hard_deadline": after(8 * 3600), "revision": 2}
ACCESS, PASSPHRASE, SESSION = "test-access-key", "test-key-of-the-role", "test-session-token"


@pytest.fixture
def imds() -> Iterator[Imds]:
    with Imds() as service:
        yield service


@pytest.fixture
def box(host: Host, imds: Imds) -> Host:
    """A host on EC2, not yet running."""
    host.configure(provider="aws", metadata={"url": imds.url}, policy=POLICY)
    return host


def lease(host: Host) -> str:
    return str(host.status()["policy"]["lease_deadline"])


def looked(imds: Imds, path: str = SPOT, times: int = 2) -> None:
    """Wait for whole looks that began after now."""
    seen = imds.count(path)
    until(lambda: imds.count(path) >= seen + times, f"{path} was asked for again")


# ---- tags


def test_tags_of_a_higher_revision_are_in_force(box: Host, imds: Imds) -> None:
    """Somebody extended from afar: the host follows without any connection to it."""
    imds.tag(lease_deadline=after(6 * 3600), hard_deadline=after(8 * 3600), idle_timeout="1h30m", revision="3")
    box.start()
    status = box.wait(lambda s: s["policy"]["revision"] == 3, "the tags were taken")
    assert status["policy"]["lease_deadline"] == after(6 * 3600)
    assert status["policy"]["idle_timeout_s"] == 5400
    assert status["metadata"]["tags"] is True
    imds.tag(lease_deadline=after(7 * 3600), revision="4")
    box.wait(lambda s: s["policy"]["lease_deadline"] == after(7 * 3600), "the next one too, while it runs")


def test_tags_that_are_written_while_they_are_read_are_taken_whole(box: Host, imds: Imds) -> None:
    """The old deadline never comes in under the new revision, where it would stand."""
    path = f"{TAGS}/gpudash:lease-deadline"

    class Changing(dict[str, str]):
        """Somebody extends right after the old deadline was read."""

        def get(self, name: str, default: Any = None) -> Any:
            found = super().get(name, default)
            if name == path and self[f"{TAGS}/gpudash:revision"] == "2":
                self.update({path: after(6 * 3600), f"{TAGS}/gpudash:revision": "3"})
            return found

    imds.tag(lease_deadline=POLICY["lease_deadline"], hard_deadline=POLICY["hard_deadline"], revision="2")
    imds.documents = Changing(imds.documents)
    box.start()
    box.wait(lambda s: s["policy"]["revision"] == 3, "the tags were taken")
    assert lease(box) == after(6 * 3600)


def test_tags_of_a_lower_revision_are_old_news(box: Host, imds: Imds) -> None:
    """An extension on the host whose tags were never written stands."""
    imds.tag(lease_deadline=after(3600), revision="1")
    box.start()
    looked(imds, TAGS)
    assert lease(box) == POLICY["lease_deadline"]
    assert "config-old" not in alarm_codes(box.status())


def test_hard_deadline_never_moves_later_by_tags(box: Host, imds: Imds) -> None:
    """Whatever the tags say; that is an alarm."""
    imds.tag(lease_deadline=after(20 * 3600), hard_deadline=after(24 * 3600), revision="3")
    box.start()
    status = box.wait(lambda s: s["policy"]["revision"] == 3, "the tags were taken")
    assert status["policy"]["hard_deadline"] == status["policy"]["lease_deadline"] == POLICY["hard_deadline"]
    assert "hard-deadline" in alarm_codes(status)


def test_same_revision_counts_only_when_it_is_edited_and_stricter(box: Host, imds: Imds) -> None:
    """A tag edited by hand ends the host earlier, never later; what stood there from the start takes nothing back."""
    imds.tag(lease_deadline=after(3 * 3600), revision="2")
    box.start()
    looked(imds, TAGS)
    assert lease(box) == POLICY["lease_deadline"]
    imds.tag(lease_deadline=after(5 * 3600))
    box.wait(lambda s: "tags-revision" in alarm_codes(s), "more time is refused")
    assert lease(box) == POLICY["lease_deadline"]
    imds.tag(lease_deadline=after(2 * 3600))
    status = box.wait(lambda s: s["policy"]["lease_deadline"] == after(2 * 3600), "less is taken")
    assert "tags-revision" not in alarm_codes(status)


def test_limits_of_tags_survive_a_crash_without_the_service(box: Host, imds: Imds) -> None:
    """They are in the state file; the older configuration is no alarm then."""
    imds.tag(lease_deadline=after(6 * 3600), revision="3")
    box.start().wait(lambda s: s["policy"]["revision"] == 3, "the tags were taken")
    until(lambda: box.state()["policy"]["revision"] == 3, "on the disk")
    box.kill()
    imds.is_silent = True
    status = box.start().status()
    assert status["policy"]["lease_deadline"] == after(6 * 3600)
    assert "config-old" not in alarm_codes(status)


@pytest.mark.parametrize(
    "tags", [{"idle_timeout": "soon"}, {"lease_deadline": "tomorrow"}, {"revision": "x"}, {"idle_action": "sing"}]
)
def test_tags_that_make_no_sense_are_told_and_ignored(box: Host, imds: Imds, tags: dict[str, str]) -> None:
    """The policy in force stays."""
    imds.tag(**{"revision": "3", **tags})
    box.start()
    status = box.wait(lambda s: "tags" in alarm_codes(s), "the alarm is on")
    assert status["policy"]["lease_deadline"] == POLICY["lease_deadline"]


def test_instance_without_tags_in_its_metadata(box: Host, imds: Imds) -> None:
    """That is a setting of the instance and no fault; the file is in force."""
    box.start()
    status = box.wait(lambda s: s["metadata"]["tags"] is False, "it looked")
    assert not {"metadata", "tags"} & alarm_codes(status)


def test_tags_have_the_names_that_the_fleet_writes() -> None:
    """One list on both sides."""
    from gpudash.model import tags
    from gpudash.model.policy import Policy

    text = STATUSD.read_text()
    assert all(f'"{name}"' in text for name in tags.policy_tags(Policy()))


# ---- notices


def test_spot_notice_warns_and_runs_the_hook_with_what_time_is_left(box: Host, imds: Imds) -> None:
    """Terminals, file, alarm, event, and the hook with a limit that fits before the end."""
    said = box.bin / "said"
    box.script(box.bin / "wall", f"cat >> {said}")
    box.script(box.home / "pre-stop", f'echo "$GPUDASH_REASON-$GPUDASH_ACTION" >> {box.ended_path}; sleep 600')
    box.start(wall=True).settle()
    imds.notice(SPOT, action="terminate", time=after(7))
    status = box.wait(lambda s: "spot-notice" in alarm_codes(s), "the alarm is on")
    assert (status["ends_at"], status["ends_why"]) == (after(7), "spot")
    until(lambda: box.ended() == ["spot-terminate"], "the hook ran")
    until(lambda: said.exists() and f"terminate at {after(7)}" in said.read_text(), "who is logged in was told")
    file = box.home / "warning.txt"
    until(lambda: file.exists() and "takes this spot host back" in file.read_text(), "the file says it")
    box.wait(lambda s: "hook-failed" in alarm_codes(s), "a hook that takes too long is cut short")
    assert [e["kind"] for e in box.status()["events"]].count("spot") == 1


def test_spot_notice_runs_the_hook_once(box: Host, imds: Imds) -> None:
    """Not at every look, not after a restart, and not again when the lease ends meanwhile."""
    box.script(box.home / "pre-stop", f"echo hook >> {box.ended_path}")
    imds.notice(SPOT, action="stop", time=after(120))
    box.start()
    until(lambda: box.ended() == ["hook"], "the hook ran")
    until(lambda: box.state()["spot_hooked"] == after(120), "that is on the disk")
    box.kill()
    box.start().settle()
    box.wait(lambda s: "spot-notice" in alarm_codes(s), "it is told again")
    box.post("/shutdown", {"action": "stop"})
    until(lambda: "stop" in box.ended(), "the end came")
    assert box.ended() == ["hook", "stop"]


def test_withdrawn_notice_takes_the_warning_back(box: Host, imds: Imds) -> None:
    """EC2 may think better of it."""
    imds.notice(SPOT, action="stop", time=after(120))
    box.start().wait(lambda s: s["ends_why"] == "spot", "it is told")
    imds.notice(SPOT)
    box.wait(lambda s: s["ends_why"] != "spot" and "spot-notice" not in alarm_codes(s), "all is well")
    until(lambda: not (box.home / "warning.txt").exists(), "the file is gone")


def test_rebalance_is_told_and_ends_nothing(box: Host, imds: Imds) -> None:
    """A higher risk is no end."""
    box.script(box.home / "pre-stop", f"echo hook >> {box.ended_path}")
    imds.notice(REBALANCE, noticeTime=after(0))
    box.start()
    status = box.wait(lambda s: "rebalance" in alarm_codes(s), "it is told")
    assert status["metadata"]["rebalance"] == {"noticeTime": after(0)}
    looked(imds)
    assert (box.ended(), box.status()["ends_why"]) == ([], "lease")


# ---- the service itself


def test_token_is_fetched_once_and_again_when_it_is_over(box: Host, imds: Imds) -> None:
    """One PUT for many questions; a 401 fetches another one and asks again."""
    box.start()
    looked(imds, times=5)
    assert imds.asked.count(("PUT", "/latest/api/token")) == 1
    imds.restart()
    looked(imds)
    assert imds.asked.count(("PUT", "/latest/api/token")) == 2
    assert "metadata" not in alarm_codes(box.status())


def test_too_many_hops_are_told_with_the_way_out(box: Host, imds: Imds) -> None:
    """Inside a container the token never comes: an alarm that says why, and everything else goes on."""
    imds.is_too_far = True
    box.start(end={"stop": [{"method": "ec2"}], "terminate": box.end_command("terminate")})
    status = box.status()
    (way,) = [way for way in status["end"]["ways"] if way["method"] == "ec2"]
    assert "hop limit has to be 2" in way["problem"]
    assert status["policy"]["lease_deadline"] == POLICY["lease_deadline"]


def test_service_that_is_down_is_an_alarm_and_no_more(box: Host) -> None:
    """The host's own limits are enforced without it."""
    box.start(metadata={"url": "http://127.0.0.1:9"}, policy={"lease_deadline": after(60)}).settle()
    box.wait(lambda s: "metadata" in alarm_codes(s), "the alarm is on")
    box.pass_time(61)
    until(lambda: box.ended() == ["terminate"], "the lease ended it")


def test_service_that_hangs_holds_nothing_up(box: Host, imds: Imds) -> None:
    """Answers to clients and the end of a lease do not wait for it."""
    box.start(policy={"lease_deadline": after(60)}).settle()
    looked(imds)
    imds.is_silent = True
    looked(imds, times=1)
    begun = time.monotonic()
    for _ in range(20):
        box.status()
    assert time.monotonic() - begun < 20, "each question would take two seconds"
    box.pass_time(61)
    until(lambda: box.ended() == ["terminate"], "the lease ended it")


def test_service_that_is_slow_is_listened_to(box: Host, imds: Imds) -> None:
    """Within two seconds an answer is an answer."""
    imds.slow_s = 0.1
    imds.tag(lease_deadline=after(6 * 3600), revision="3")
    box.start().wait(lambda s: s["policy"]["revision"] == 3, "the tags were taken")


def test_address_may_come_from_the_environment(box: Host, imds: Imds) -> None:
    """The variable that AWS's own tools read."""
    imds.tag(lease_deadline=after(6 * 3600), revision="3")
    box.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = imds.url
    box.start(metadata={"url": "http://127.0.0.1:9"})
    box.wait(lambda s: s["policy"]["revision"] == 3, "the tags were taken")


def test_other_clouds_are_not_asked(box: Host, imds: Imds) -> None:
    """No EC2, no metadata service."""
    box.start(provider="lambda").settle()
    assert (imds.asked, box.status()["metadata"]) == ([], None)


# ---- the end by the API


def test_end_by_the_api_is_signed_for_this_instance(box: Host, imds: Imds) -> None:
    """One signed call on itself, exactly as the SDK's own signer would sign it; no key is told anywhere."""
    imds.give_role("gpudash-self-end", ACCESS, PASSPHRASE, SESSION)
    with EndApi([(200, b"<TerminateInstancesResponse/>")]) as api:
        step = {"method": "ec2", "region": "eu-west-1", "endpoint": api.url}
        box.start(policy={"lease_deadline": after(60)}, end={"terminate": [step], "stop": None, "hibernate": None})
        assert box.settle()["end"]["can"] == ["terminate"]
        box.pass_time(61)
        until(lambda: api.asked, "EC2 was asked")
        (asked,) = api.asked
    assert parse_qs(asked.body.decode()) == {
        "Action": ["TerminateInstances"], "InstanceId.1": ["i-1"], "Version": ["2016-11-15"],
    }  # fmt: skip
    assert asked.headers["authorization"] == botocore_signature(asked, api.url)
    until(lambda: (box.state()["ending"] or {}).get("tried"), "it is recorded")
    files = b"".join(path.read_bytes() for path in box.home.rglob("*") if path.is_file())
    for secret in (PASSPHRASE, SESSION):
        assert secret.encode() not in files + box.get("/status").body


def botocore_signature(asked: Any, url: str) -> str:
    """The header that botocore writes for the same request at the same moment."""
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signer = botocore.auth.SigV4Auth(Credentials(ACCESS, PASSPHRASE, SESSION), "ec2", "eu-west-1")
    headers = {"Content-Type": asked.headers["content-type"], "Host": asked.headers["host"]}
    request = AWSRequest("POST", url + "/", data=asked.body, headers=headers)
    stamp = asked.headers["x-amz-date"]
    request.headers["X-Amz-Date"] = stamp
    request.headers["X-Amz-Security-Token"] = SESSION
    request.context["timestamp"] = stamp
    canonical = signer.canonical_request(request)
    scope = f"{stamp[:8]}/eu-west-1/ec2/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signature = signer.signature(text, request)
    names = signer.signed_headers(signer.headers_to_sign(request))
    assert abs(datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() - time.time()) < 120
    return f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, SignedHeaders={names}, Signature={signature}"


def test_refusal_of_the_api_is_told_in_its_words_and_the_next_way_taken(box: Host, imds: Imds) -> None:
    """The chain goes on, and EC2's own text is in /status."""
    imds.give_role("gpudash-self-end", ACCESS, PASSPHRASE, SESSION)
    said = (
        b"<Response><Errors><Error><Code>OperationNotPermitted</Code><Message>protected</Message></Error></Errors>"
        b"</Response>"
    )
    with EndApi([(400, said)]) as api:
        ways = [{"method": "ec2", "endpoint": api.url}, {"method": "command", "argv": box.end_command("next")}]
        box.start(policy={"lease_deadline": after(60)}, end={"terminate": ways, "stop": None, "hibernate": None})
        box.settle()
        box.pass_time(61)
        until(lambda: box.ended() == ["next"], "the next way was taken")
    tried = box.status()["ending"]["tried"]
    assert tried[0]["error"] == "TerminateInstances: OperationNotPermitted: protected"


def test_hibernation_is_a_stop_that_says_so(box: Host, imds: Imds) -> None:
    """A power-off cannot reach it."""
    imds.give_role("gpudash-self-end", ACCESS, PASSPHRASE, SESSION)
    with EndApi([(200, b"")]) as api:
        box.start(end={"hibernate": [{"method": "ec2", "region": "eu-west-1", "endpoint": api.url}]})
        box.post("/shutdown", {"action": "hibernate"})
        until(lambda: api.asked, "EC2 was asked")
    assert parse_qs(api.asked[0].body.decode())["Hibernate"] == ["true"]


def test_configuration_of_another_instance_ends_nothing(box: Host, imds: Imds) -> None:
    """A home that came with a cloned disk must not end the instance it came from."""
    imds.documents["/latest/meta-data/instance-id"] = "i-clone"
    imds.give_role("gpudash-self-end", ACCESS, PASSPHRASE, SESSION)
    with EndApi([(200, b"")]) as api:
        box.start(end={"stop": [{"method": "ec2", "endpoint": api.url}], "terminate": None, "hibernate": None})
        assert not box.status()["enforcing"]
        box.post("/shutdown", {"action": "stop"})
        status = box.wait(lambda s: (s["ending"] or {}).get("tried"), "it was tried")
    assert "this is i-clone, the configuration is for i-1" in status["ending"]["tried"][0]["error"]
    assert api.asked == []


def test_instance_without_a_role_says_so_until_it_has_one(box: Host, imds: Imds) -> None:
    """The row can say that the host cannot end itself, and why; a role that is attached later is noticed."""
    box.start(end={"terminate": [{"method": "ec2"}], "stop": None, "hibernate": None})
    (way,) = box.status()["end"]["ways"]
    assert way["problem"] == "this instance has no instance role"
    imds.give_role("gpudash-self-end", ACCESS, PASSPHRASE, SESSION)
    box.wait(lambda s: s["enforcing"] and s["end"]["can"] == ["terminate"], "it can now")


def test_refused_power_off_then_ec2_ends_the_instance(box: Host, imds: Imds, tmp_path: Path) -> None:
    """The chain of a real instance, taken by an independent server of EC2's API: the instance is gone there."""
    import boto3

    from tests.support import moto_server

    client = boto3.client(
        "ec2", region_name="us-east-1", endpoint_url=moto_server.server_url(),
        aws_access_key_id=ACCESS, aws_secret_access_key=PASSPHRASE,
    )  # fmt: skip
    moto_server.reset()
    image = client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    made = client.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro")["Instances"][0]
    imds.documents["/latest/meta-data/instance-id"] = made["InstanceId"]
    imds.give_role("gpudash-self-end", ACCESS, PASSPHRASE, SESSION)
    step = {"method": "ec2", "region": "us-east-1", "endpoint": moto_server.server_url()}
    refuse_power(box, tmp_path / "root")
    off = {"method": "poweroff"}
    box.start(instance={"id": made["InstanceId"]}, end={"terminate": [step], "stop": [off, step], "poweroff": [off]})
    box.post("/shutdown", {"action": "stop"})

    def state() -> str:
        found = client.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"][0]["Instances"][0]
        return str(found["State"]["Name"])

    until(lambda: state() == "stopped", "EC2 stopped it")
    assert box.ended()[0] == "systemctl-poweroff"
    tried = box.wait(lambda s: len((s["ending"] or {}).get("tried", ())) == 2, "both are recorded")["ending"]["tried"]
    assert [(way["method"], way["error"] is None) for way in tried] == [("poweroff", False), ("ec2", True)]
    box.post("/shutdown", {"action": "terminate"})
    until(lambda: state() == "terminated", "and terminated it")
