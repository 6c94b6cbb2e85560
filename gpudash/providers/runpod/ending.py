"""How a pod ends itself: with the key that RunPod puts into it, which is good for that pod alone. Pure.

RunPod sets ``RUNPOD_API_KEY`` and ``RUNPOD_POD_ID`` for the container's first process; the daemon reads them there.
`podStop` over GraphQL works with that key (records of August 2026); whether REST v2 takes it nobody has published, so
it comes second. A power-off inside is no way out: the host starts the container again. Nothing secret is in the
daemon's settings.
"""

from __future__ import annotations

KEY, POD_ID = "RUNPOD_API_KEY", "RUNPOD_POD_ID"
_MUTATIONS = {
    "stop": "mutation End($id: String!) { podStop(input: {podId: $id}) { id desiredStatus } }",
    "terminate": "mutation End($id: String!) { podTerminate(input: {podId: $id}) }",
}


def chain(action: str, pod_id: str, graphql_url: str, rest_url: str) -> list[dict[str, object]]:
    """The steps that end the pod, tried in turn. `action`: ``stop`` or ``terminate``."""
    common: dict[str, object] = {"method": "http", "verb": "POST", "token_env": KEY, "only_if_env": {POD_ID: pod_id}}
    return [
        common
        | {
            "url": graphql_url,
            "body": {"query": _MUTATIONS[action], "variables": {"id": pod_id}},
            "ok_status": [200],
            "ok_json": {"errors": None},
        },
        common | {"url": f"{rest_url}/pods/{pod_id}/action", "body": {"action": action}, "ok_status": [200, 204]},
    ]
