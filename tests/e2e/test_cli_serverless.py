"""`serverless` as people type it: what is shown, what is asked first, exit codes, and JSON."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.http_cloud import Fault
from support.runpod_cloud import RunpodCloud, problem, runpod_cloud
from support.waiting import eventually

from gpudash.clock import SystemClock
from tests.support.cli import Cli


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    """RunPod by the real clock."""
    with runpod_cloud(SystemClock()) as found:
        yield found


@pytest.fixture
def cli(cloud: RunpodCloud, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The command line with that account alone."""
    cli = Cli(tmp_path_factory.mktemp("serverless"))
    cli.config(f'[accounts.runpod]\napi_key_env = "RUNPOD_TEST_KEY"\nbase_url = "{cloud.fake.url}"\n')
    return cli


def test_ls_shows_workers_queue_and_the_forgotten_minimum(cli: Cli, cloud: RunpodCloud) -> None:
    """One line an endpoint, the warning with its dollars a day, and the same as JSON."""
    cloud.fake.add_endpoint(name="chat", low=1, high=2)
    cloud.fake.add_endpoint(name="asleep")
    text = cli("serverless", "ls")
    assert text.code == 0
    assert "! chat keeps 1 worker warm around the clock: $26.40 a day" in text.err
    assert "1 idle" in text.out
    chat, asleep = cli.ok("serverless", "ls")["endpoints"]
    assert (chat["min_workers"], chat["max_workers"], chat["idle_timeout_s"]) == (1, 2, 10)
    assert (chat["price_usd_per_hour"], chat["warm_usd_per_day"]) == (1.1, 26.4)
    assert (chat["workers"]["idle"], chat["jobs"]["in_queue"]) == (1, 0)
    assert (asleep["price_usd_per_hour"], asleep["warning"]) == (0, None)


def test_show_has_each_worker(cli: Cli, cloud: RunpodCloud) -> None:
    """By name or the beginning of its id; nobody of that name is 3, several are 3."""
    endpoint = cloud.fake.add_endpoint(name="chat", low=1)
    shown = cli.ok("serverless", "show", endpoint.id[:6])
    assert shown["worker_list"][0]["state"] == "idle"
    assert "a worker $1.10/h" in cli("serverless", "show", "chat").out
    assert cli("serverless", "show", "nobody").code == 3
    cloud.fake.add_endpoint(name="chat")
    several = cli("serverless", "show", "chat")
    assert several.code == 3
    assert "Several endpoints fit" in several.err


def test_set_asks_first_and_is_proved(cli: Cli, cloud: RunpodCloud) -> None:
    """Without a terminal and without --yes nothing changes; with it, it is read back."""
    endpoint = cloud.fake.add_endpoint(name="chat", low=2, high=3)
    asked = cli("serverless", "set", "chat", "--min", "1", "--idle", "2m")
    assert asked.code == 4
    assert "bills on $26.40 a day for 1 workers" in asked.err
    assert endpoint.low == 2
    done = cli.ok("serverless", "set", "chat", "--min", "1", "--idle", "2m", "--yes")
    assert (done["ok"], done["proved"]) == (True, True)
    assert done["detail"] == "chat: now min 1, max 3, idle timeout 120 s."
    assert (endpoint.low, endpoint.idle_s) == (1, 120)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("set", "chat"), 2, "Nothing to change was named"),
        (("set", "chat", "--min", "9", "--yes"), 2, "contradict"),
        (("set", "chat", "--idle", "2h", "--yes"), 2, "from 1 s to 1 h"),
        (("submit", "chat"), 2, "needs one input"),
        (("submit", "chat", "--input", "{"), 2, "is no JSON"),
        (("set", "chat", "--min", "0", "--yes", "--read-only"), 4, "read-only"),
        (("purge", "chat", "--read-only"), 4, "read-only"),
        (("purge", "chat"), 4, "add --yes"),
        (("cancel", "chat", "job-1"), 4, "add --yes"),
        (("purge", "web", "--yes"), 4, "has no queue"),
        (("cancel", "chat", "job-1", "--yes"), 1, "job not found"),
    ],
)
def test_refusals(cli: Cli, cloud: RunpodCloud, words: tuple[str, ...], code: int, says: str) -> None:
    """One line with the way out, the right exit code, and nothing changed."""
    endpoint = cloud.fake.add_endpoint(name="chat", low=1)
    cloud.fake.add_endpoint(name="web", kind="LOAD_BALANCER")
    answer = cli("serverless", *words)
    assert (answer.code, says in answer.err) == (code, True), answer
    assert endpoint.low == 1


def test_a_job_from_submit_to_output(cli: Cli, cloud: RunpodCloud) -> None:
    """submit --watch prints what came out; watch of a job under way is 6, of one taken back 1."""
    cloud.fake.add_endpoint(name="chat", job_s=0.2, high=1)
    done = cli("serverless", "submit", "chat", "--input", '{"prompt": "hi"}', "--watch", "--json")
    assert done.code == 0, done
    assert (done.doc["state"], done.doc["output"]) == ("COMPLETED", {"echo": {"prompt": "hi"}})
    next(iter(cloud.fake.endpoints.values())).job_s = 1000
    job = cli.ok("serverless", "submit", "chat", "--input", "1")["job"]
    assert cli("serverless", "watch", "chat", job, "--timeout", "1s").code == 6
    cancelled = cli.ok("serverless", "cancel", "chat", job, "--yes")
    assert (cancelled["proved"], cancelled["job"]) == (True, job)
    assert cli("serverless", "watch", "chat", job, "--timeout", "1s").code == 1


def test_purge_tells_how_many(cli: Cli, cloud: RunpodCloud) -> None:
    """And only once it is asked for in so many words."""
    endpoint = cloud.fake.add_endpoint(name="chat", high=0)
    for number in range(3):
        cloud.provider.endpoints.submit(cloud.provider.endpoints.listing().items[0].key, number)
    assert cli.ok("serverless", "purge", "chat", "--yes")["removed"] == 3
    assert endpoint.jobs == []


def test_a_cloud_that_fails_is_five(cli: Cli, cloud: RunpodCloud) -> None:
    """What came is printed all the same."""
    cloud.fake.add_endpoint(name="chat")
    with cloud.fake.fault(Fault("down", problem(503, "maintenance"), path="serverless")):
        answer = cli("serverless", "ls", "--json")
    assert answer.code == 5
    assert answer.doc["endpoints"] == []
    assert "maintenance" in answer.err


def test_costs_have_endpoints(cli: Cli, cloud: RunpodCloud) -> None:
    """What workers cost is in the reports beside instances."""
    cloud.fake.add_endpoint(name="chat", low=1)
    cli.ok("serverless", "ls")
    cli.ok("serverless", "ls")
    names = {line["name"] for line in cli.ok("costs")["instances"]}
    assert "chat" in names


def test_ls_warns_of_a_forgotten_minimum(cli: Cli, cloud: RunpodCloud) -> None:
    """Who never looks at endpoints is told all the same, and the burn has what they cost.

    `ls` waits a fraction of a second for them, so a busy machine gets another try.
    """
    cloud.fake.add_endpoint(name="chat", low=1)
    answer = eventually(lambda: (told := cli("ls", "--json")).err and told, "ls saw the endpoint")
    assert "! endpoint runpod:chat keeps 1 worker warm around the clock: $26.40 a day" in answer.err
    assert answer.doc["totals"]["burn_usd_per_hour"] == 1.1
