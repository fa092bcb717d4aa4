"""What ``dump`` shows."""

from __future__ import annotations

import json

from pyrpc_xds.bootstrap import Node
from pyrpc_xds.xds.cache import plain
from pyrpc_xds.xds.session import Session
from pyrpc_xds.xds.types import CDS, EDS, LDS
from tests.unit.xds.build import assignment, cluster, listener, response
from tests.unit.xds.world import Watcher


def test_dump_is_json_and_shows_state_version_error_and_age() -> None:
    session = Session(Node("n"))
    for kind, name in ((CDS, "good"), (CDS, "bad"), (LDS, "gone"), (EDS, "waiting")):
        session.subscribe(kind, name, Watcher())
    session.opened(10.0)
    session.requests()
    session.received(response(CDS, cluster("good"), cluster("bad", type="STATIC"), version="5"), 11.0)
    session.received(response(LDS, version="6"), 12.0)
    dump = {entry["name"]: entry for entry in json.loads(json.dumps(session.cache.dump(20.0)))}
    assert {name: entry["state"] for name, entry in dump.items()} == {
        "good": "ACKED",
        "bad": "NACKED",
        "gone": "DOES_NOT_EXIST",
        "waiting": "REQUESTED",
    }
    assert dump["good"]["version"] == "5"
    assert dump["good"]["age_seconds"] == 9.0
    assert dump["good"]["resource"]["eds_service_name"] == "good"
    assert dump["good"]["error"] == ""
    assert dump["bad"]["rejected_version"] == "5"
    assert dump["bad"]["version"] == ""
    assert "STATIC" in dump["bad"]["error"]
    assert dump["waiting"]["age_seconds"] is None
    assert dump["waiting"]["resource"] is None
    assert {entry["type"] for entry in dump.values()} == {"CDS", "LDS", "EDS"}


def test_plain_writes_every_kind_of_model_value() -> None:
    _, model = EDS.decode(assignment("c").SerializeToString())
    assert plain(model)["localities"] == [
        {"name": "/z/", "weight": 1, "priority": 0, "endpoints": [{"address": "10.0.0.1:80", "weight": 1}]}
    ]
    _, model = LDS.decode(listener("l").SerializeToString())
    assert plain(model)["route_config"] is None
    assert plain({"a": (1, frozenset({2}))}) == {"a": [1, [2]]}
