"""A pod's variables and the shortest bootstrap in JSON: what the tests of this folder bend."""

from __future__ import annotations

import json
from typing import Any

from pyrpc_xds.bootstrap import Bootstrap, Server

POD = {"POD_NAME": "p", "POD_NAMESPACE": "ns", "INSTANCE_IP": "10.0.0.1"}
MINIMAL: dict[str, Any] = {
    "xds_servers": [{"server_uri": "istiod:15010", "channel_creds": [{"type": "insecure"}]}],
    "node": {"id": "sidecar~10.0.0.1~p.ns~ns.svc.cluster.local"},
}


def parsed(**changes: Any) -> Bootstrap:
    return Bootstrap.from_json(json.dumps({**MINIMAL, **changes}))


def server(**changes: Any) -> Server:
    return parsed(xds_servers=[{**MINIMAL["xds_servers"][0], **changes}]).servers[0]
