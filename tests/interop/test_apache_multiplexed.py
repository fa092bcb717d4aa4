"""Our clients of Apache Thrift's server of several services (TMultiplexedProcessor)."""

from __future__ import annotations

import pytest

from tests.interop.peers.echo import ECHOES, EchoHandler, exact_result, idl
from tests.interop.peers.ours import KINDS, our_client

thrift = pytest.importorskip(
    "thrift.Thrift", reason="Apache Thrift's library (PyPI: thrift) is not installed"
)

from tests.interop.peers.apache_thrift import apache_server  # noqa: E402

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("framing", ["framed", "buffered", "theader"])
@pytest.mark.parametrize("protocol", ["binary", "compact"])
def test_service_is_found_by_the_name_that_it_has_there(kind: str, framing: str, protocol: str) -> None:
    with (
        apache_server(EchoHandler(), framing, protocol, multiplexed="the echo") as address,
        our_client(
            kind, idl.Echo, address, framing=framing, protocol=protocol, multiplexed_service="the echo"
        ) as client,
    ):
        for method, values in ECHOES.items():
            for value in values:
                assert exact_result(method, getattr(client, method)(value)) == exact_result(method, value)
