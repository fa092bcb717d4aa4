"""Endpoints that cannot be reached, leave, or come back."""

from __future__ import annotations

import gc
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from pyrpc_xds import XdsClient
from pyrpc_xds.bootstrap import Bootstrap, Node, Server
from pyrpc_xds.transports.triple import TripleDeadlineExceeded, TripleUnavailable, connectivity
from pyrpc_xds.transports.triple import connection as connection_module
from pyrpc_xds.transports.triple.options import grpc_address, merged
from tests.unit.transports.triple.conftest import Client, Running, eventually

Connect = Callable[..., Client]
Start = Callable[..., Running]


def sockets() -> int:
    found = 0
    for name in os.listdir("/dev/fd"):
        try:
            found += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
        except OSError:
            pass  # the listing's own
    return found


class TestUnreachable:
    def test_refused_endpoint_is_skipped_by_every_call_kind(
        self, connect: Connect, start: Start, refused: Callable[[], str], pb: Any, pb_grpc: Any
    ) -> None:
        request = pb.HelloRequest(name="a")
        calls: list[Callable[[Any], Any]] = [
            lambda stub: stub.SayHello(request).id,
            lambda stub: stub.SayHello.with_call(request)[0].id,
            lambda stub: stub.SayHello.future(request).result(5).id,
            lambda stub: next(stub.SayHelloServerStream(request)).id,
            lambda stub: stub.SayHelloClientStream(iter([request])).id,
            lambda stub: next(stub.SayHelloStream(iter([request]))).id,
        ]
        server = start("v1")
        for call in calls:
            bad = refused()
            client = connect(bad, server.address)
            assert [call(pb_grpc.GreeterStub(client.channel)) for _ in range(4)] == ["v1"] * 4
            assert client.router.endpoints[bad].failures >= 1
            assert client.router.endpoints[server.address].failures == 0
            client.channel.close()
        assert server.servicer.calls == 4 * len(calls)

    def test_all_refused_is_unavailable_and_says_where_and_why(
        self, connect: Connect, refused: Callable[[], str], pb: Any, pb_grpc: Any
    ) -> None:
        bad = [refused(), refused()]
        client = connect(*bad)
        with pytest.raises(TripleUnavailable, match="Connection refused") as caught:
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
        for part in (
            *bad,
            "xds:///greeter:80",
            "/org.apache.dubbo.sample.Greeter/SayHello",
            "cluster greeter",
        ):
            assert part in caught.value.details()
        assert [each.failures for each in client.router.endpoints.values()] == [1, 1]

    def test_no_more_than_five_endpoints_are_tried(
        self, connect: Connect, refused: Callable[[], str], pb: Any, pb_grpc: Any
    ) -> None:
        client = connect(*(refused() for _ in range(8)))
        with pytest.raises(TripleUnavailable):
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
        assert sum(each.failures for each in client.router.endpoints.values()) == 5

    def test_endpoint_that_never_answers_ends_with_the_deadline(
        self, connect: Connect, silent: str, pb: Any, pb_grpc: Any
    ) -> None:
        client = connect(silent)
        stub = pb_grpc.GreeterStub(client.channel)
        with pytest.raises(TripleDeadlineExceeded, match=f"connecting to {silent}"):
            stub.SayHello(pb.HelloRequest(name="a"), timeout=0.2)
        future = stub.SayHello.future(pb.HelloRequest(name="a"), timeout=0.2)
        assert future.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        client.channel.close()

    def test_endpoint_that_never_answers_delays_a_call_but_a_moment(
        self, connect: Connect, start: Start, silent: str, pb: Any, pb_grpc: Any
    ) -> None:
        server = start("v1")
        client = connect(silent, server.address)
        stub = pb_grpc.GreeterStub(client.channel)
        # Less than gRPC's patience with one connection, 20 s, and than ours, 5 s.
        assert [stub.SayHello(pb.HelloRequest(name="a"), timeout=3).id for _ in range(6)] == ["v1"] * 6
        assert client.router.endpoints[silent].failures == 1
        client.channel.close()

    def test_endpoint_that_comes_back_is_used_again(
        self, connect: Connect, start: Start, refused: Callable[[], str], pb: Any, pb_grpc: Any
    ) -> None:
        server = start("v1")
        client = connect(server.address)
        stub = pb_grpc.GreeterStub(client.channel)
        assert stub.SayHello(pb.HelloRequest(name="a")).id == "v1"
        server.stop()
        with pytest.raises(grpc.RpcError):
            for _ in range(100):
                stub.SayHello(pb.HelloRequest(name="a"))
        assert client.router.endpoints[server.address].failures
        again = start("v2", port=server.port)
        assert again.address == server.address
        assert stub.SayHello(pb.HelloRequest(name="a"), wait_for_ready=True, timeout=10).id == "v2"
        assert client.router.endpoints[server.address].successes == 1

    def test_idle_connection_that_broke_costs_no_call(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        one, two = start("v1"), start("v2")
        client = connect(one.address, two.address)
        stub = pb_grpc.GreeterStub(client.channel)
        assert {stub.SayHello(pb.HelloRequest(name="a")).id for _ in range(4)} == {"v1", "v2"}
        one.stop()
        state = client.router.endpoints[one.address].connection.state
        eventually(lambda: state(False) != connectivity.READY)
        assert {stub.SayHello(pb.HelloRequest(name="a")).id for _ in range(6)} == {"v2"}


class TestLeaving:
    def test_stream_finishes_on_the_endpoint_that_left(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        one, two = start("v1"), start("v2")
        client = connect(one.address)
        stub = pb_grpc.GreeterStub(client.channel)
        stream = stub.SayHelloServerStream(pb.HelloRequest(name="hold"))
        assert next(stream).id == "v1"
        client.router.serve(two.address)
        assert stub.SayHello(pb.HelloRequest(name="a")).id == "v2"
        one.servicer.release.set()
        assert [user.id for user in stream] == ["v1"]
        assert stream.code() is grpc.StatusCode.OK

    @pytest.mark.parametrize("kind", ["blocking", "future", "stream", "single-threaded stream"])
    def test_drained_channel_closes_when_its_last_call_ends(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any, kind: str
    ) -> None:
        options = [(grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1)]
        server = start("v1")
        before = sockets()
        client = connect(server.address, options=options if kind.startswith("single") else None)
        stub = pb_grpc.GreeterStub(client.channel)
        assert stub.SayHello(pb.HelloRequest(name="a")).id == "v1"
        eventually(lambda: sockets() == before + 2)  # both ends are this process's
        gc.disable()  # what closes it is the end of the call, not the collector
        try:
            with ThreadPoolExecutor(1) as pool:
                if kind == "blocking":
                    future: Any = pool.submit(stub.SayHello, pb.HelloRequest(name="hang"))
                elif kind == "future":
                    future = stub.SayHello.future(pb.HelloRequest(name="hang"))
                else:
                    stream = stub.SayHelloServerStream(pb.HelloRequest(name="hold"))
                    next(stream)
                    future = pool.submit(list, stream)
                    del stream
                eventually(lambda: server.servicer.calls == 2)
                client.router.serve()
                assert sockets() == before + 2
                server.servicer.release.set()
                future.result(5)
            del future
            eventually(lambda: sockets() == before)
        finally:
            gc.enable()

    def test_idle_drained_channel_closes_at_once(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        server = start("v1")
        before = sockets()
        client = connect(server.address)
        stub = pb_grpc.GreeterStub(client.channel)
        for _ in range(3):
            stub.SayHello(pb.HelloRequest(name="a"))
            connection = client.router.endpoints[server.address].connection
            client.router.serve()
            eventually(lambda: sockets() == before)
            with pytest.raises(connection_module.Drained):
                connection.reach(("unary_unary", "/pkg.Greeter/SayHello", None, None, None), 1)
            client.router.serve(server.address)

    def test_call_that_picked_just_before_the_endpoint_left_goes_elsewhere(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        one, two = start("v1"), start("v2")
        client = connect(one.address)
        stub = pb_grpc.GreeterStub(client.channel)
        stub.SayHello(pb.HelloRequest(name="a"))
        cluster = client.router.serve(one.address, two.address).cluster
        client.router.endpoints[one.address].connection.drain()  # the picker still names it
        assert len(cluster.endpoints) == 2
        assert {stub.SayHello(pb.HelloRequest(name="a")).id for _ in range(6)} == {"v2"}

    @pytest.mark.parametrize("name", ["abort", "hang"])
    def test_errors_that_the_caller_keeps_keep_no_connection(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any, name: str
    ) -> None:
        server = start("v1")
        before = sockets()
        client = connect(server.address)
        kept = []
        with pytest.raises(grpc.RpcError) as caught:
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name=name), timeout=1)
        kept.append(caught.value)
        client.router.serve()
        eventually(lambda: sockets() == before)
        assert len(kept) == 1

    def test_multicallables_are_made_once_per_method(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        server = start("v1")
        client = connect(server.address)
        for _ in range(5):
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
        assert len(client.router.endpoints[server.address].connection.calls) == 1

    def test_serializers_made_per_call_do_not_pile_up(
        self, connect: Connect, start: Start, pb: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection_module, "MAX_METHODS", 4)
        server = start("v1")
        client = connect(server.address)
        for _ in range(10):
            method = client.channel.unary_unary(
                "/org.apache.dubbo.sample.Greeter/SayHello",
                request_serializer=lambda request: request.SerializeToString(),
                response_deserializer=lambda data: pb.User.FromString(data or b""),
            )
            assert method(pb.HelloRequest(name="a")).id == "v1"
        assert len(client.router.endpoints[server.address].connection.calls) <= 4

    def test_concurrent_first_calls_open_one_channel(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        server = start("v1")
        before = sockets()
        client = connect(server.address)
        stub = pb_grpc.GreeterStub(client.channel)
        together = threading.Barrier(16)

        def call() -> str:
            together.wait()
            return str(stub.SayHello(pb.HelloRequest(name="a")).id)

        with ThreadPoolExecutor(16) as pool:
            assert {each.result() for each in [pool.submit(call) for _ in range(16)]} == {"v1"}
        assert sockets() == before + 2

    def test_transports_share_no_connection_behind_our_back(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        server = start("v1")
        before = sockets()
        for number in (1, 2):
            client = connect(server.address)
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
            assert sockets() == before + 2 * number


class TestOptions:
    @pytest.mark.parametrize(
        ("target", "authority"),
        [
            ("xds:///greeter.default.svc:80", "greeter.default.svc:80"),
            ("xds:///Greeter.default.svc:80", "greeter.default.svc:80"),
            ("xds:Greeter.default.svc:80", "greeter.default.svc:80"),
            ("direct:///127.0.0.1:80", "127.0.0.1:80"),
            ("direct:127.0.0.1:80", "127.0.0.1:80"),
            ("greeter:80", "greeter:80"),
        ],
    )
    def test_authority_is_what_virtual_hosts_are_matched_against(self, target: str, authority: str) -> None:
        bootstrap = Bootstrap((Server("127.0.0.1:1"),), Node("sidecar~127.0.0.1~client.default~default"))
        with XdsClient(bootstrap) as client:
            channel: Any = client.triple.channel(target)
            assert channel._target.router.authority == authority
            assert channel.unary_unary("/any.Service/Any")._method.headers[":authority"] == authority
            assert dict(channel._target.connector.options)["grpc.default_authority"] == authority

    @pytest.mark.parametrize(
        ("address", "target"),
        [
            ("10.0.0.1:80", "ipv4:10.0.0.1:80"),
            ("[::1]:80", "ipv6:[::1]:80"),
            ("unix:/tmp/socket", "unix:/tmp/socket"),
            ("greeter:80", "dns:///greeter:80"),
            ("1234.example:80", "dns:///1234.example:80"),
        ],
    )
    def test_address_as_a_grpc_target(self, address: str, target: str) -> None:
        assert grpc_address(address) == target

    def test_callers_options_win(self) -> None:
        options = dict(merged("greeter:80", [("grpc.default_authority", "other"), ("grpc.x", 1)]))
        assert options["grpc.default_authority"] == "other"
        assert options["grpc.x"] == 1
        assert options["grpc.keepalive_time_ms"] == 300_000
