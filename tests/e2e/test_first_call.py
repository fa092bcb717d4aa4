"""What a fresh process has imported when its first routed call is answered: what the call needs, before the call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.mesh import PATH, TARGET, environment, mesh, to

ROOT = Path(__file__).resolve().parents[2]
FIRST_CALL = """
import json, sys
from pyrpc_xds import XdsClient
imported = set(sys.modules)
with XdsClient.from_env() as xds:
    say_hello = xds.triple.channel(sys.argv[1]).unary_unary(sys.argv[2])
    say_hello(b"", timeout=20, wait_for_ready=True)
    called = set(sys.modules)
print(json.dumps([sorted(imported), sorted(called - imported)]))
"""
NEEDLESS = (
    # Envoy's generated modules, what they import, and the control plane's codec.
    "envoy",
    "udpa",
    "validate",
    "xds",
    "google.protobuf.descriptor_pb2",
    "google.rpc",
    "betterproto2",
    "envoy_data_plane",
    # Other parts of the package, and what sidecar mode alone has.
    "pyrpc_xds.cli",
    "pyrpc_xds.controlplane",
    "pyrpc_xds.dubbo",
    "pyrpc_xds.server",
    "pyrpc_xds.transports.thrift",
    "pyrpc_xds.model.filter_chain",
    "pyrpc_xds.model.name_table",
    "pyrpc_xds.xds.sidecar",
    "pyrpc_xds.xds.sidecar_types",
    "pyrpc_xds.xds.decode.name_table",
    "pyrpc_xds.xds.decode.proxy_listener",
    "pyrpc_xds.xds.decode.thrift_proxy",
    # Triple's servers, its asyncio twins, and its other HTTP/2 codec.
    "pyrpc_xds.transports.triple.aio_channel",
    "pyrpc_xds.transports.triple.aio_server",
    "pyrpc_xds.transports.triple.builtin",
    "pyrpc_xds.transports.triple.generic",
    "pyrpc_xds.transports.triple.grpc_json",
    "pyrpc_xds.transports.triple.h2",
    "pyrpc_xds.transports.triple.handling",
    "pyrpc_xds.transports.triple.health",
    "pyrpc_xds.transports.triple.http",
    "pyrpc_xds.transports.triple.json_messages",
    "pyrpc_xds.transports.triple.server",
    "pyrpc_xds.transports.triple.services",
    # Of the standard library and of others, what takes long.
    "grpc_health.v1",
    "grpc_reflection.v1alpha",
    "http",
    "importlib.metadata",
    "logging.config",
    "opentelemetry",
    "re2",
    "thriftpy2",
    "yaml",
)


def test_first_call_of_a_fresh_process_imports_no_more_than_it_needs() -> None:
    with mesh("triple") as world:
        world.apply(to("v1"), [world.serve("v1")])
        done = subprocess.run(
            [sys.executable, "-c", FIRST_CALL, TARGET, PATH],
            cwd=ROOT,
            env={**os.environ, **environment(world.plane.address)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    imported, by_the_call = json.loads(done.stdout)
    assert by_the_call == []
    assert [name for name in imported if name in NEEDLESS] == []
