"""Thrift routes by method and service: a real Envoy and we send the same messages to the same clusters."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from envoy.extensions.filters.network.thrift_proxy.v3 import thrift_proxy_pb2
from google.protobuf import json_format

from pyrpc_xds._picker import Rng
from pyrpc_xds.errors import Unavailable
from pyrpc_xds.routing.table import compile_route_table
from pyrpc_xds.xds.decode.thrift_proxy import thrift_proxy

from .peers import envoy

pytestmark = pytest.mark.interop

THRIFT_PROXY = "type.googleapis.com/envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy"
ANSWER_SECONDS = 10.0


def rules(*routes: tuple[dict[str, Any], str]) -> dict[str, Any]:
    config = {"name": "r", "routes": [{"match": match, "route": {"cluster": to}} for match, to in routes]}
    return {"stat_prefix": "t", "route_config": config}


ONE_RULE = [
    {"method_name": ""},
    {"service_name": ""},
    {"method_name": "SayHello"},
    {"method_name": "sayhello"},
    {"method_name": "Say"},
    {"method_name": "SayHello", "invert": True},
    {"method_name": "Greeter:SayHello"},
    {"method_name": "Greeter:SayHello", "invert": True},
    {"service_name": "Greeter"},
    {"service_name": "Greeter:"},
    {"service_name": "Greet"},
    {"service_name": "Greeter", "invert": True},
    {"service_name": "Other", "invert": True},
]
RULES = [rules((match, "c0"), ({"method_name": ""}, "c1")) for match in ONE_RULE]
RULES += [
    rules(({"method_name": "SayHello"}, "c0")),
    rules(({"service_name": "Greeter"}, "c0"), ({"method_name": "SayHello"}, "c1")),
    rules(({"service_name": "Greeter", "invert": True}, "c0"), ({"service_name": "Greeter"}, "c1")),
    rules(),
]

# The name of the message on the wire, and the path of the same call. A call that is not multiplexed tells Envoy no
# service: rules that name one see nothing in it there, and see its service here.
MULTIPLEXED = [
    ("Greeter:SayHello", "/Greeter/SayHello"),
    ("Greeter:SayGoodbye", "/Greeter/SayGoodbye"),
    ("Other:Run", "/Other/Run"),
]
PLAIN = [("SayHello", "/pkg.Greeter/SayHello"), ("Run", "/pkg.Other/Run")]


def names_a_service(proxy: dict[str, Any]) -> bool:
    matches = [route["match"] for route in proxy["route_config"]["routes"]]
    return any(match.get("service_name") or ":" in match.get("method_name", "") for match in matches)


def names_a_bare_method(proxy: dict[str, Any]) -> bool:
    matches = [route["match"] for route in proxy["route_config"]["routes"]]
    return any(match.get("method_name") and ":" not in match["method_name"] for match in matches)


class Envoy:
    """An Envoy with a listener for each of RULES, and the clusters c0 and c1, which never answer."""

    def __init__(self, process: envoy.EnvoyProcess, clusters: dict[str, socket.socket]) -> None:
        self._process = process
        self._clusters = clusters

    def sends(self, index: int, name: str) -> str:
        """The cluster that a call of this message name goes to; empty: none."""
        message = struct.pack("!IL", 0x80010001, len(name)) + name.encode() + struct.pack("!Lb", 1, 0)
        address = ("127.0.0.1", self._process.port(f"l{index}"))
        with closing(socket.create_connection(address, ANSWER_SECONDS)) as client:
            client.sendall(struct.pack("!L", len(message)) + message)
            ready, _, _ = select.select([client, *self._clusters.values()], [], [], ANSWER_SECONDS)
            for cluster, listener in self._clusters.items():
                if listener in ready:
                    listener.accept()[0].close()
                    return cluster
            assert ready, f"Envoy did nothing with {name}"
            assert b"no route for method" in client.recv(4096)
            return ""


@pytest.fixture(scope="module")
def oracle() -> Iterator[Envoy]:
    if reason := envoy.skip_reason():
        pytest.skip(reason)
    with ExitStack() as stack:
        clusters = {
            name: stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            for name in ("c0", "c1")
        }
        config = {
            "static_resources": {
                "listeners": [
                    {
                        "name": f"l{index}",
                        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                        "filter_chains": [
                            {
                                "filters": [
                                    {
                                        "name": "envoy.filters.network.thrift_proxy",
                                        "typed_config": {"@type": THRIFT_PROXY, **proxy},
                                    }
                                ]
                            }
                        ],
                    }
                    for index, proxy in enumerate(RULES)
                ],
                "clusters": [
                    {
                        "name": name,
                        "load_assignment": {
                            "cluster_name": name,
                            "endpoints": [
                                {
                                    "lb_endpoints": [
                                        {
                                            "endpoint": {
                                                "address": {
                                                    "socket_address": {
                                                        "address": "127.0.0.1",
                                                        "port_value": listener.getsockname()[1],
                                                    }
                                                }
                                            }
                                        }
                                    ]
                                }
                            ],
                        },
                    }
                    for name, listener in clusters.items()
                ],
            }
        }
        process = stack.enter_context(envoy.EnvoyProcess(config))
        yield Envoy(process, clusters)


def ours(proxy: dict[str, Any], path: str) -> str:
    """The cluster that a call of ours goes to; empty: none."""
    message = json_format.ParseDict(proxy, thrift_proxy_pb2.ThriftProxy())
    config = thrift_proxy(message.SerializeToString())[0].route_config
    table = compile_route_table(config, "any:1", lambda route, action, cluster: cluster.name, Rng(1))
    try:
        return table.match(path, {})
    except Unavailable:
        return ""


@pytest.mark.parametrize("index", range(len(RULES)))
def test_rules_send_a_call_where_envoy_sends_it(oracle: Envoy, index: int) -> None:
    proxy = RULES[index]
    calls = []
    if not names_a_bare_method(proxy):
        calls += MULTIPLEXED
    if not names_a_service(proxy):
        calls += PLAIN
    assert calls or proxy == RULES[-3]
    assert {name: ours(proxy, path) for name, path in calls} == {
        name: oracle.sends(index, name) for name, _ in calls
    }


@pytest.mark.parametrize("kind", ["method_name", "service_name"])
def test_empty_name_with_invert_is_refused_here_and_there(kind: str) -> None:
    if reason := envoy.skip_reason():
        pytest.skip(reason)
    proxy = rules(({kind: "", "invert": True}, "c0"))
    with pytest.raises(Exception, match="with invert"):
        ours(proxy, "/a/b")
    listener = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "t", "typed_config": {"@type": THRIFT_PROXY, **proxy}}]}],
    }
    with pytest.raises(envoy.EnvoyUnavailable, match="with inversion enabled"):
        envoy.EnvoyProcess({"static_resources": {"listeners": [listener]}}).start()
