"""Everything that the real istiod was seen to send is understood (D9): tests/data/istiod, written down from it.

Its keys name the resources. What is refused is refused for a reason that this file states.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2  # noqa: F401  (JSON of Any needs it registered)
from envoy.extensions.filters.http.fault.v3 import fault_pb2  # noqa: F401
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,  # noqa: F401
)
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2  # noqa: F401
from envoy.extensions.http.stateful_session.header.v3 import header_pb2  # noqa: F401
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from google.protobuf.json_format import ParseDict

from pyrpc_xds.errors import ResourceInvalid
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS

DATA = Path(__file__).resolve().parents[3] / "data" / "istiod"
INBOUND = "xds.istio.io/grpc/lds/inbound/"
SECTIONS: dict[str, Any] = {
    "Listener": (LDS, listener_pb2.Listener),
    "RouteConfiguration": (RDS, route_pb2.RouteConfiguration),
    "Cluster": (CDS, cluster_pb2.Cluster),
    "ClusterLoadAssignment": (EDS, endpoint_pb2.ClusterLoadAssignment),
}


def resources(path: Path) -> Iterator[tuple[Any, str, Any, bytes]]:
    for section, held in json.loads(path.read_text()).items():
        kind, message = SECTIONS[section]
        for name, document in held.items():
            yield kind, name, document, ParseDict(document, message()).SerializeToString()


def test_corpus_is_there() -> None:
    assert len(list(DATA.glob("*.json"))) >= 40


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.stem)
def test_every_resource_of_istiod_is_understood(path: Path) -> None:
    for kind, name, document, raw in resources(path):
        try:
            decoded_name, _ = kind.decode(raw)
            assert decoded_name == name
        except ResourceInvalid as error:
            assert refused_for_a_stated_reason(kind, document, error), error


def refused_for_a_stated_reason(kind: Any, document: Any, error: ResourceInvalid) -> bool:
    """What is not there yet, and must not be half there: mutual TLS, and the listeners of servers."""
    if kind is CDS:
        return "transport_socket" in document and "demands UpstreamTlsContext" in error.reason
    return kind is LDS and document["name"].startswith(INBOUND) and "no api_listener" in error.reason
