"""A channel: grpc's own surface over routed calls."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from pyrpc_xds.attachments import attachments
from pyrpc_xds.errors import Code, DeadlineExceeded, Unavailable
from pyrpc_xds.transports.triple import ChannelClosed, TripleDeadlineExceeded, TripleUnavailable
from tests.unit.transports.triple.conftest import Client, Running, eventually
from tests.unit.transports.triple.fakes import FakeDestination

Connect = Callable[..., Client]
Start = Callable[..., Running]


@pytest.fixture
def greeter(start: Start) -> Running:
    return start("v1")


@pytest.fixture
def client(connect: Connect, greeter: Running) -> Client:
    return connect(greeter.address)


@pytest.fixture
def stub(client: Client, pb_grpc: Any) -> Any:
    return pb_grpc.GreeterStub(client.channel)


class TestFourKinds:
    def test_channel_is_a_grpc_channel(self, client: Client) -> None:
        assert isinstance(client.channel, grpc.Channel)

    def test_unary_answers(self, stub: Any, pb: Any) -> None:
        assert stub.SayHello(pb.HelloRequest(name="Joe")) == pb.User(name="Hello Joe", id="v1", age=3)

    def test_unary_with_call_gives_metadata_of_both_ends(self, stub: Any, pb: Any) -> None:
        user, call = stub.SayHello.with_call(pb.HelloRequest(name="Joe"))
        assert user.name == "Hello Joe"
        assert call.code() is grpc.StatusCode.OK
        assert ("version", "v1") in call.initial_metadata()
        assert ("trail", "v1") in call.trailing_metadata()

    def test_unary_future_resolves(self, stub: Any, pb: Any) -> None:
        for _ in range(2):  # the first waits for the connection, the second is grpcio's own
            future = stub.SayHello.future(pb.HelloRequest(name="Joe"))
            assert isinstance(future, grpc.Future)
            done = threading.Event()
            future.add_done_callback(lambda finished, done=done: done.set())
            assert future.result(5).name == "Hello Joe"
            assert future.code() is grpc.StatusCode.OK
            assert ("trail", "v1") in future.trailing_metadata()
            assert future.exception(5) is None
            assert future.done() and not future.cancelled() and not future.running()
            assert done.wait(5)

    def test_unary_stream_yields(self, stub: Any, pb: Any) -> None:
        for _ in range(2):
            stream = stub.SayHelloServerStream(pb.HelloRequest(name="Joe"))
            assert [user.name for user in stream] == ["Hello Joe"] * 2
            assert stream.code() is grpc.StatusCode.OK
            assert ("version", "v1") in stream.initial_metadata()

    def test_stream_unary_answers(self, stub: Any, pb: Any) -> None:
        def names() -> list[Any]:
            return [pb.HelloRequest(name=name) for name in "abc"]

        for _ in range(2):
            assert stub.SayHelloClientStream.future(iter(names())).result(5).name == "Hello a+b+c"
        assert stub.SayHelloClientStream(iter(names())).name == "Hello a+b+c"
        user, call = stub.SayHelloClientStream.with_call(iter(names()))
        assert (user.name, call.code()) == ("Hello a+b+c", grpc.StatusCode.OK)

    def test_stream_stream_is_interactive(self, stub: Any, pb: Any) -> None:
        for _ in range(2):
            turn: list[Any] = [pb.HelloRequest(name="a")]
            answered = threading.Semaphore(1)

            def requests(turn: list[Any] = turn, answered: threading.Semaphore = answered) -> Any:
                for _ in range(3):
                    assert answered.acquire(timeout=5)
                    yield turn[0]

            names = []
            for user in stub.SayHelloStream(requests()):
                names.append(user.name)
                turn[0] = pb.HelloRequest(name=user.name)
                answered.release()
            assert names == ["Hello a", "Hello Hello a", "Hello Hello Hello a"]

    def test_methods_work_without_serializers(self, client: Client, pb: Any) -> None:
        raw = client.channel.unary_unary("/org.apache.dubbo.sample.Greeter/SayHello")
        answer = raw(pb.HelloRequest(name="raw").SerializeToString())
        assert pb.User.FromString(answer).name == "Hello raw"

    def test_compression_and_credentials_pass_through(self, stub: Any, pb: Any, greeter: Running) -> None:
        name = "x" * 1000
        assert stub.SayHello(pb.HelloRequest(name=name), compression=grpc.Compression.Gzip).age == 1000
        # grpcio refuses call credentials on a plaintext channel: it has seen them.
        credentials = grpc.access_token_call_credentials("token")
        with pytest.raises(grpc.RpcError) as caught:
            stub.SayHello(pb.HelloRequest(name="a"), credentials=credentials)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    def test_authority_is_the_targets(self, client: Client) -> None:
        seen = []

        def handle(request: bytes, context: Any) -> bytes:
            seen.append(context._rpc_event.call_details.host)  # grpcio shows it nowhere else
            return request

        with ThreadPoolExecutor(1) as pool:
            server = grpc.server(pool)
            handler = grpc.unary_unary_rpc_method_handler(handle)
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("any.Service", {"Method": handler}),)
            )
            client.router.serve(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
            server.start()
            client.channel.unary_unary("/any.Service/Method")(b"")
            server.stop(0).wait(5)
        assert seen == [b"greeter:80"]


class TestServerErrors:
    def test_status_of_the_server_reaches_the_caller(self, stub: Any, pb: Any) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            stub.SayHello(pb.HelloRequest(name="abort"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == "as asked"
        assert ("trail", "v1") in caught.value.trailing_metadata()

    def test_unavailable_from_the_server_is_not_tried_again(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        first, second = start("v1"), start("v2")
        client = connect(first.address, second.address)
        stub = pb_grpc.GreeterStub(client.channel)
        for _ in range(4):
            with pytest.raises(grpc.RpcError, match="as asked"):
                stub.SayHello(pb.HelloRequest(name="unavailable"))
        assert first.servicer.calls + second.servicer.calls == 4
        assert not any(each.failures for each in client.router.endpoints.values())

    def test_unknown_method_is_unimplemented(self, client: Client) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            client.channel.unary_unary("/org.apache.dubbo.sample.Greeter/Nothing")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


class TestRouting:
    def test_route_decides_by_metadata(self, connect: Connect, start: Start, pb: Any, pb_grpc: Any) -> None:
        one, two = start("v1"), start("v2")
        client = connect(one.address)
        rest = FakeDestination(client.router.cluster(one.address, name="v1"))
        admin = FakeDestination(client.router.cluster(two.address, name="v2"))
        client.router.apply(lambda path, headers: admin if headers.get("user") == "admin" else rest)
        stub = pb_grpc.GreeterStub(client.channel)
        assert stub.SayHello(pb.HelloRequest(name="a")).id == "v1"
        assert stub.SayHello(pb.HelloRequest(name="a"), metadata=(("user", "admin"),)).id == "v2"
        with attachments({"user": "admin"}):
            assert stub.SayHello(pb.HelloRequest(name="a")).id == "v2"
            assert stub.SayHello.future(pb.HelloRequest(name="a")).result(5).id == "v2"
        assert two.servicer.seen[-1]["user"] == "admin"

    def test_snapshot_is_given_path_and_headers(self, client: Client, stub: Any, pb: Any) -> None:
        with attachments({"user": "joe", "zone": "a"}):
            stub.SayHello(
                pb.HelloRequest(name="a"),
                metadata=[("tag", "1"), ("tag", "2"), ("blob-bin", b"\x00"), ("user", "admin")],
            )
        path, headers = client.router.snapshot.routed[-1]
        assert path == "/org.apache.dubbo.sample.Greeter/SayHello"
        assert headers == {
            ":authority": "greeter:80",
            ":method": "POST",
            ":path": path,
            ":scheme": "http",
            "content-type": "application/grpc",
            "te": "trailers",
            "user": "admin",
            "zone": "a",
            "tag": "1,2",
        }

    def test_sent_metadata_has_attachments_unless_explicit(
        self, stub: Any, pb: Any, greeter: Running
    ) -> None:
        with attachments({"user": "joe", "zone": "a"}):
            stub.SayHello(
                pb.HelloRequest(name="a"),
                metadata=(pair for pair in [("user", "admin"), ("blob-bin", b"\x00\x01")]),
            )
            assert greeter.servicer.seen[-1].items() >= {
                ("user", "admin"),
                ("zone", "a"),
                ("blob-bin", b"\x00\x01"),
            }
            list(stub.SayHelloServerStream(pb.HelloRequest(name="a")))
            assert greeter.servicer.seen[-1]["user"] == "joe"

    def test_attachments_of_the_caller_travel_when_the_call_begins_on_a_thread(
        self, connect: Connect, greeter: Running, pb: Any, pb_grpc: Any
    ) -> None:
        client = connect()
        stub = pb_grpc.GreeterStub(client.channel)
        with attachments({"user": "joe"}):
            future = stub.SayHello.future(pb.HelloRequest(name="a"))
        client.router.serve(greeter.address)
        assert future.result(5).id == "v1"
        assert greeter.servicer.seen[-1]["user"] == "joe"

    def test_calls_go_round_the_endpoints(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        servers = [start(f"v{number}") for number in range(3)]
        client = connect(*(server.address for server in servers))
        stub = pb_grpc.GreeterStub(client.channel)
        assert {stub.SayHello(pb.HelloRequest(name="a")).id for _ in range(12)} == {"v0", "v1", "v2"}

    def test_channels_to_one_target_share_connections(
        self, client: Client, greeter: Running, pb: Any, pb_grpc: Any
    ) -> None:
        with client.triple.channel("xds:///greeter:80") as other:
            assert pb_grpc.GreeterStub(other).SayHello(pb.HelloRequest(name="a")).id == "v1"
            assert len(client.mesh.routers) == 1
        assert pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a")).id == "v1"


class TestMeshErrors:
    """Faults of the mesh: UNAVAILABLE or DEADLINE_EXCEEDED, no status of the control plane (gRFC A54)."""

    def test_no_route_is_unavailable_in_both_trees(self, client: Client, stub: Any, pb: Any) -> None:
        def no_route(path: str, headers: Any) -> FakeDestination:
            raise Unavailable("no route matches")

        client.router.apply(no_route)
        with pytest.raises(TripleUnavailable) as caught:
            stub.SayHello(pb.HelloRequest(name="a"))
        error = caught.value
        assert isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call)
        assert isinstance(error, Unavailable)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.code == Code.UNAVAILABLE
        assert error.details() == (
            "xds:///greeter:80 /org.apache.dubbo.sample.Greeter/SayHello: no route matches"
        )
        assert not error.is_active() and not tuple(error.trailing_metadata())

    def test_cluster_without_endpoints_is_unavailable_at_once(
        self, client: Client, stub: Any, pb: Any
    ) -> None:
        client.router.serve()
        with pytest.raises(TripleUnavailable, match="greeter has no endpoints"):
            stub.SayHello(pb.HelloRequest(name="a"))

    def test_futures_and_streams_fail_at_their_result(self, client: Client, stub: Any, pb: Any) -> None:
        client.router.serve()
        request = pb.HelloRequest(name="a")
        future = stub.SayHello.future(request)
        with pytest.raises(TripleUnavailable):
            future.result()
        assert isinstance(future.exception(), TripleUnavailable)
        assert future.code() is grpc.StatusCode.UNAVAILABLE
        assert future.done() and not future.is_active()
        called: list[Any] = []
        future.add_done_callback(called.append)
        assert called == [future]
        for stream in (stub.SayHelloServerStream(request), stub.SayHelloStream(iter([request]))):
            with pytest.raises(TripleUnavailable):
                next(stream)
        with pytest.raises(TripleUnavailable):
            stub.SayHelloClientStream.future(iter([request])).result()

    def test_target_that_does_not_exist(self, connect: Connect, pb: Any, pb_grpc: Any) -> None:
        client = connect()
        client.router.fail(Unavailable("LDS 'greeter:80': does not exist"))
        with pytest.raises(TripleUnavailable, match=r"greeter:80.*SayHello.*does not exist"):
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))

    def test_wait_for_ready_waits_for_endpoints(
        self, client: Client, stub: Any, pb: Any, greeter: Running
    ) -> None:
        client.router.serve()
        timer = threading.Timer(0.1, client.router.serve, [greeter.address])
        timer.start()
        try:
            assert stub.SayHello(pb.HelloRequest(name="a"), wait_for_ready=True, timeout=5).id == "v1"
        finally:
            timer.join()

    def test_wait_for_ready_ends_with_the_deadline(self, client: Client, stub: Any, pb: Any) -> None:
        client.router.serve()
        with pytest.raises(TripleDeadlineExceeded, match="no endpoints"):
            stub.SayHello(pb.HelloRequest(name="a"), wait_for_ready=True, timeout=0.1)


class TestDeadlines:
    @pytest.mark.parametrize(
        ("route", "cap_only", "caller"),
        [(0.1, False, None), (0.1, False, 60), (60, False, 0.1), (0.1, True, 60), (None, False, 0.1)],
        ids=["route's", "route's, shorter", "caller's, shorter", "cap on the caller's", "caller's alone"],
    )
    def test_shorter_deadline_ends_the_call(
        self, client: Client, stub: Any, pb: Any, greeter: Running, route: Any, cap_only: bool, caller: Any
    ) -> None:
        stub.SayHello(pb.HelloRequest(name="connect"))
        client.router.serve(greeter.address, timeout=route, cap_only=cap_only)
        with pytest.raises(grpc.RpcError) as caught:
            stub.SayHello(pb.HelloRequest(name="hang"), timeout=caller)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert greeter.servicer.cancelled.wait(5)

    def test_cap_alone_sets_no_deadline(self, client: Client, stub: Any, pb: Any, greeter: Running) -> None:
        client.router.serve(greeter.address, timeout=0.05, cap_only=True)
        future = stub.SayHello.future(pb.HelloRequest(name="hang"))
        with pytest.raises(grpc.FutureTimeoutError):
            future.result(0.2)
        greeter.servicer.release.set()
        assert future.result(5).id == "v1"

    def test_waiting_for_the_configuration_counts(self, connect: Connect, pb: Any, pb_grpc: Any) -> None:
        client = connect()
        with pytest.raises(TripleDeadlineExceeded, match=r"the last error was 'fake'") as caught:
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"), timeout=0.05)
        assert isinstance(caught.value, DeadlineExceeded)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_time_spent_waiting_is_taken_from_the_callers_deadline(
        self, connect: Connect, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        client = connect()
        stub = pb_grpc.GreeterStub(client.channel)
        future = stub.SayHello.future(pb.HelloRequest(name="hang"), timeout=0.4)
        with pytest.raises(grpc.FutureTimeoutError):
            future.result(0.2)
        client.router.serve(greeter.address)
        eventually(lambda: greeter.servicer.calls)
        assert future.time_remaining() < 0.21
        assert future.exception(5).code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_wait_without_a_deadline_is_left_to_the_client(
        self, connect: Connect, pb: Any, pb_grpc: Any
    ) -> None:
        client = connect()
        client.mesh.default_wait = 0.05
        with pytest.raises(TripleDeadlineExceeded):
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
        assert client.router.waited == [None]


class TestCancellation:
    def test_future_in_flight(self, stub: Any, pb: Any, greeter: Running) -> None:
        future = stub.SayHello.future(pb.HelloRequest(name="hang"))
        eventually(lambda: greeter.servicer.calls)
        assert future.cancel()
        assert future.cancelled()
        with pytest.raises(grpc.FutureCancelledError):
            future.result()
        assert greeter.servicer.cancelled.wait(5)

    def test_future_that_waits_for_the_configuration(
        self, connect: Connect, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        client = connect()
        future = pb_grpc.GreeterStub(client.channel).SayHello.future(pb.HelloRequest(name="a"))
        called = threading.Event()
        future.add_done_callback(lambda _: called.set())
        assert future.running() and future.is_active()
        assert future.cancel()
        assert future.cancelled() and future.done() and called.wait(5)
        with pytest.raises(grpc.FutureCancelledError):
            future.result()
        assert future.code() is grpc.StatusCode.CANCELLED
        assert not future.cancel()
        client.router.serve(greeter.address)
        eventually(lambda: "pyrpc-xds-triple-start" not in {thread.name for thread in threading.enumerate()})
        assert pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="b")).name == "Hello b"
        assert greeter.servicer.calls == 1

    def test_stream(self, stub: Any, pb: Any, greeter: Running) -> None:
        stream = stub.SayHelloServerStream(pb.HelloRequest(name="hold"))
        next(stream)
        stream.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is grpc.StatusCode.CANCELLED
        assert greeter.servicer.cancelled.wait(5)


class TestThreads:
    def test_64_threads_share_a_channel_while_the_configuration_changes(
        self, connect: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        one, two = start("v1"), start("v2")
        client = connect(one.address)
        stub = pb_grpc.GreeterStub(client.channel)
        failures: list[BaseException] = []
        stop = threading.Event()

        def call() -> None:
            try:
                for number in range(20):
                    name = f"{threading.get_ident()}-{number}"
                    assert stub.SayHello(pb.HelloRequest(name=name)).name == f"Hello {name}"
            except BaseException as error:
                failures.append(error)

        def change() -> None:
            while not stop.is_set():
                client.router.serve(one.address, two.address)
                client.router.serve(two.address)  # drains the first under load
                client.router.serve(one.address)

        changer = threading.Thread(target=change)
        callers = [threading.Thread(target=call) for _ in range(64)]
        changer.start()
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        stop.set()
        changer.join()
        assert not failures
        assert one.servicer.calls + two.servicer.calls == 64 * 20

    def test_more_futures_than_threads_all_begin(
        self, connect: Connect, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        client = connect()
        stub = pb_grpc.GreeterStub(client.channel)
        timer = threading.Timer(0.2, client.router.serve, [greeter.address])
        timer.start()
        before = threading.active_count()
        futures = [stub.SayHello.future(pb.HelloRequest(name=str(number))) for number in range(60)]
        most = threading.active_count() - before
        futures += [stub.SayHello.future(pb.HelloRequest(name=str(number))) for number in range(60, 90)]
        assert [future.result(5).name for future in futures] == [f"Hello {number}" for number in range(90)]
        assert most <= 64
        timer.join()


class TestInterceptors:
    class AddUser(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            changed = details._replace(metadata=[*(details.metadata or ()), ("user", "intercepted")])
            return continuation(changed, request)

        intercept_unary_stream = intercept_unary_unary

    def test_intercept_channel_wraps_it_and_routes_see_its_metadata(
        self, client: Client, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        for channel in (
            grpc.intercept_channel(client.channel, self.AddUser()),
            client.triple.channel("xds:///greeter:80", interceptors=[self.AddUser()]),
        ):
            stub = pb_grpc.GreeterStub(channel)
            assert stub.SayHello(pb.HelloRequest(name="a")).id == "v1"
            assert client.router.snapshot.routed[-1][1]["user"] == "intercepted"
            assert greeter.servicer.seen[-1]["user"] == "intercepted"
            assert stub.SayHello.future(pb.HelloRequest(name="a")).result(5).id == "v1"
            assert len(list(stub.SayHelloServerStream(pb.HelloRequest(name="a")))) == 2
            assert greeter.servicer.seen[-1]["user"] == "intercepted"

    def test_interceptor_sees_an_unroutable_call_fail(self, client: Client, pb: Any, pb_grpc: Any) -> None:
        client.router.serve()
        stub = pb_grpc.GreeterStub(grpc.intercept_channel(client.channel, self.AddUser()))
        with pytest.raises(grpc.RpcError) as caught:
            stub.SayHello(pb.HelloRequest(name="a"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


class TestConnectivity:
    def test_ready_once_configured(self, connect: Connect, greeter: Running) -> None:
        client = connect()
        states: list[grpc.ChannelConnectivity] = []
        client.channel.subscribe(states.append, try_to_connect=True)
        eventually(lambda: states == [grpc.ChannelConnectivity.CONNECTING])
        client.router.serve(greeter.address)
        eventually(lambda: states[-1:] == [grpc.ChannelConnectivity.READY])
        client.channel.unsubscribe(states.append)
        grpc.channel_ready_future(client.channel).result(timeout=5)

    def test_transient_failure_while_there_is_no_such_target(self, connect: Connect) -> None:
        client = connect()
        client.router.fail(Unavailable("does not exist"))
        states: list[grpc.ChannelConnectivity] = []
        client.channel.subscribe(states.append)
        eventually(lambda: grpc.ChannelConnectivity.TRANSIENT_FAILURE in states)
        client.router.fail(None)
        client.router.serve("127.0.0.1:1")
        eventually(lambda: states[-1] is grpc.ChannelConnectivity.READY)


def starting() -> list[threading.Thread]:
    """The threads that begin calls."""
    return [thread for thread in threading.enumerate() if thread.name == "pyrpc-xds-triple-start"]


class TestClosing:
    def test_closed_channel_refuses_calls(self, client: Client, stub: Any, pb: Any) -> None:
        stub.SayHello(pb.HelloRequest(name="a"))
        with client.channel:
            pass
        client.channel.close()
        for call in (stub.SayHello, stub.SayHello.future, stub.SayHelloServerStream):
            with pytest.raises(ChannelClosed, match="xds:///greeter:80 is closed"):
                call(pb.HelloRequest(name="a"))
        assert issubclass(ChannelClosed, ValueError)
        assert client.router.closed

    def test_close_ends_what_runs(self, client: Client, stub: Any, pb: Any, greeter: Running) -> None:
        request = pb.HelloRequest(name="hang")
        stream = stub.SayHelloServerStream(pb.HelloRequest(name="hold"))
        next(stream)
        future = stub.SayHello.future(request)
        with ThreadPoolExecutor(1) as pool:
            blocked = pool.submit(stub.SayHello, request)
            eventually(lambda: greeter.servicer.calls == 3)
            client.channel.close()
            assert blocked.exception(5).code() is grpc.StatusCode.CANCELLED
        assert future.code() is grpc.StatusCode.CANCELLED
        assert stream.code() is grpc.StatusCode.CANCELLED

    def test_close_leaves_other_channels_of_the_target_alone(
        self, client: Client, stub: Any, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        other = client.triple.channel("xds:///greeter:80")
        mine = stub.SayHelloServerStream(pb.HelloRequest(name="hold"))
        theirs = pb_grpc.GreeterStub(other).SayHelloServerStream(pb.HelloRequest(name="hold"))
        next(mine), next(theirs)
        client.channel.close()
        assert mine.code() is grpc.StatusCode.CANCELLED
        greeter.servicer.release.set()
        assert next(theirs).id == "v1"
        assert theirs.code() is grpc.StatusCode.OK

    def test_close_ends_calls_that_wait_for_ready(
        self, client: Client, pb: Any, pb_grpc: Any, refused: Callable[[], str]
    ) -> None:
        client.router.serve(refused())
        other = client.triple.channel("xds:///greeter:80")  # keeps the target
        stub = pb_grpc.GreeterStub(client.channel)
        request = pb.HelloRequest(name="a")
        with ThreadPoolExecutor(1) as pool:
            blocked = pool.submit(stub.SayHello, request, wait_for_ready=True)
            future = stub.SayHello.future(request, wait_for_ready=True)
            stream = stub.SayHelloServerStream(request, wait_for_ready=True)
            eventually(lambda: client.router.snapshot.routed)
            client.channel.close()
            assert blocked.exception(5).code() is grpc.StatusCode.CANCELLED
        assert future.cancelled() and stream.cancelled()
        eventually(lambda: not starting())
        other.close()

    @pytest.mark.parametrize(
        "call", ["SayHello", "SayHello.with_call", "SayHello.future", "SayHelloServerStream"]
    )
    def test_channel_that_closes_while_a_call_begins_refuses_it(
        self, client: Client, stub: Any, pb: Any, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name, _, way = call.partition(".")
        multicallable = getattr(stub, name)
        begin = getattr(multicallable, way or "__call__")
        first = begin(pb.HelloRequest(name="a"))
        if name.endswith("Stream"):
            list(first)
        elif way == "future":
            first.result()
        found = client.channel._begin

        def begin_and_close(*args: Any) -> Any:
            ready = found(*args)
            client.channel.close()
            return ready

        monkeypatch.setattr(client.channel, "_begin", begin_and_close)
        with pytest.raises(ChannelClosed, match="xds:///greeter:80 is closed"):
            begin(pb.HelloRequest(name="a"))

    def test_channel_that_closes_while_a_call_is_routed_refuses_it(
        self, client: Client, stub: Any, pb: Any
    ) -> None:
        stub.SayHello(pb.HelloRequest(name="a"))
        connection = client.router.endpoints[next(iter(client.router.endpoints))].connection
        state = connection.state

        def close_and_ask(connect: bool) -> Any:
            client.channel.close()
            return state(connect)

        connection.state = close_and_ask
        with pytest.raises(ChannelClosed, match="xds:///greeter:80 is closed"):
            stub.SayHello(pb.HelloRequest(name="a"))

    def test_dropped_channel_gives_its_target_up(self, client: Client) -> None:
        channel: Any = client.triple.channel("xds:///dropped:80")
        channel.subscribe(lambda state: None)
        router, connectivity = client.mesh.routers[-1], channel._connectivity
        del channel
        gc.collect()
        assert not router.closed
        client.triple.channel("xds:///greeter:80").close()
        assert router.closed and not connectivity._subscribers
        assert not client.router.closed

    def test_dropped_channel_is_counted_once(self, client: Client) -> None:
        client.triple.channel("xds:///greeter:80").close()
        gc.collect()
        client.triple.channel("xds:///greeter:80").close()
        assert not client.router.closed

    def test_call_outlives_its_dropped_channel(
        self, client: Client, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        stub = pb_grpc.GreeterStub(client.triple.channel("xds:///dropped:80"))
        stream = stub.SayHelloServerStream(pb.HelloRequest(name="hold"))
        next(stream)
        del stub
        gc.collect()
        client.triple.channel("xds:///greeter:80").close()
        assert client.mesh.routers[-1].closed
        greeter.servicer.release.set()
        assert [user.id for user in stream] == ["v1"]
        assert stream.code() is grpc.StatusCode.OK

    def test_callback_that_raises_is_logged_and_costs_the_others_nothing(
        self, connect: Connect, pb: Any, pb_grpc: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        future = pb_grpc.GreeterStub(connect().channel).SayHello.future(pb.HelloRequest(name="a"))
        called: list[Any] = []
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(called.append)
        assert future.cancel()
        assert called == [future]
        assert "ZeroDivisionError" in caplog.text

    def test_cancelled_future_that_waited_for_ready_gives_its_thread_back(
        self, client: Client, stub: Any, pb: Any, refused: Callable[[], str]
    ) -> None:
        client.router.serve(refused())
        futures = [stub.SayHello.future(pb.HelloRequest(name="a"), wait_for_ready=True) for _ in range(3)]
        assert len(starting()) == 3
        for future in futures:
            assert future.cancel()
        eventually(lambda: not starting())

    def test_client_that_closes_closes_its_channels(self, client: Client, stub: Any, pb: Any) -> None:
        stub.SayHello(pb.HelloRequest(name="a"))
        client.mesh.close()
        with pytest.raises(ChannelClosed):
            stub.SayHello(pb.HelloRequest(name="a"))
