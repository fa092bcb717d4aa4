"""Wrong arguments of the public functions: refused where they come in, with argument, value and an example."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import grpc
import pytest
import thriftpy2

import pyrpc_xds
from pyrpc_xds.errors import ClosedError, PortNotBound, UsageError
from pyrpc_xds.transports.thrift.service import check_handler, describe
from pyrpc_xds.transports.triple import HttpOptions
from pyrpc_xds.transports.triple.registration import check_servicer

ENVIRONMENT = {
    "POD_NAME": "p",
    "POD_NAMESPACE": "default",
    "INSTANCE_IP": "127.0.0.1",
    "ISTIOD_ADDR": "127.0.0.1:1",
}
TARGET = "direct:///127.0.0.1:1"
ANY = "127.0.0.1:0"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("idl") / "arguments.thrift"
    path.write_text("service Base { string one(1: string a) }\nservice Two extends Base { string two() }\n")
    return thriftpy2.load(str(path), module_name="arguments_thrift").Two


class Handler:
    def one(self, a: str) -> str:
        return a

    def two(self) -> str:
        return ""


@pytest.fixture
def xds() -> Iterator[pyrpc_xds.XdsClient]:
    with pyrpc_xds.XdsClient.from_env(ENVIRONMENT) as client:
        yield client


def wrong_for(name: str) -> Any:
    """A value of another type than the argument has."""
    texts = ("package", "workload", "group", "version", "multiplexed_service")
    return 3 if name in texts else "3"


CLIENT = ("timeout", "package", "limits", "pool", "middleware", "multiplexed_service", "workload")
SERVER = ("labels", "workers", "limits", "expose_errors", "middleware", "services")
CHANNEL = ("options", "compression", "interceptors", "group", "version")
TRIPLE_SERVER = (
    *CHANNEL,
    *(
        "labels",
        "handlers",
        "max_workers",
        "maximum_concurrent_rpcs",
        "grace",
        "drain",
        "health",
        "reflection",
    ),
)


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        *(("thrift.client", each) for each in CLIENT),
        *(("thrift.aio_client", each) for each in CLIENT),
        *(("thrift.server", each) for each in SERVER),
        *(("thrift.aio_server", each) for each in SERVER),
        *(("triple.channel", each) for each in CHANNEL),
        *(("triple.aio_channel", each) for each in CHANNEL),
        *(("triple.server", each) for each in TRIPLE_SERVER),
        *(("triple.aio_server", each) for each in TRIPLE_SERVER),
    ],
)
async def test_an_argument_of_a_wrong_type_is_refused_by_name(
    xds: pyrpc_xds.XdsClient, service: Any, function: str, argument: str
) -> None:
    transport, _, name = function.partition(".")
    made: Callable[..., Any] = getattr(getattr(xds, transport), name)
    positional: tuple[Any, ...] = ()
    if transport == "thrift":
        positional = (service, TARGET) if "client" in name else (service, Handler(), ANY)
    elif "channel" in name:
        positional = (TARGET,)
    value = wrong_for(argument)
    with pytest.raises(UsageError) as caught:
        made(*positional, **{argument: value})
    assert f"xds.{function}: {argument}={value!r} is not " in str(caught.value)
    assert f"such as {argument}=" in str(caught.value)


@pytest.mark.parametrize("target", [None, 9090, b"xds:///a:1"])
def test_a_target_that_is_no_text_is_refused(xds: pyrpc_xds.XdsClient, service: Any, target: Any) -> None:
    for make in (
        lambda: xds.thrift.client(service, target),
        lambda: xds.thrift.aio_client(service, target),
        lambda: xds.triple.channel(target),
        lambda: xds.triple.aio_channel(target),
    ):
        with pytest.raises(UsageError, match=r"target=.*xds:///HOST:PORT"):
            make()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (9090, "0.0.0.0:9090"),
        (b"127.0.0.1:0", "it is a str"),
        ("9090", "host:port"),
        (":9090", "host:port"),
        ("127.0.0.1", "host:port"),
        ("127.0.0.1:", "host:port"),
        ("127.0.0.1:x", "host:port"),
        ("::1:80", "host:port"),
        ("127.0.0.1:65536", "up to 65535"),
        ("127.0.0.1:99999", "up to 65535"),
    ],
)
async def test_an_address_that_cannot_be_listened_on_is_refused_by_both_transports(
    xds: pyrpc_xds.XdsClient, service: Any, address: Any, says: str
) -> None:
    texts = set()
    for make in (
        lambda: xds.thrift.server(service, Handler(), address),
        lambda: xds.thrift.aio_server(service, Handler(), address),
        lambda: xds.triple.server(address=address),
        lambda: xds.triple.aio_server(address=address),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            make()
        texts.add(str(caught.value))
    assert len(texts) == 1


@pytest.mark.parametrize("address", ["unix-abstract:pyrpc-xds-test", "[::1]:0"])
def test_grpcios_own_forms_of_an_address_stay_allowed(xds: pyrpc_xds.XdsClient, address: str) -> None:
    server = xds.triple.server(address=address)
    assert server.port is not None
    server.start()
    server.stop(0).wait(5)


def refused_port(error: BaseException) -> str:
    """The text of a :class:`PortNotBound`; keeps nothing of the server that raised it."""
    assert isinstance(error, PortNotBound) and error.errno
    assert isinstance(error, pyrpc_xds.ConfigError) and isinstance(error, OSError | RuntimeError)
    return str(error)


@pytest.mark.may_leak("grpc.aio keeps the pollers of a server that was never started")
async def test_a_port_in_use_is_one_error_for_both_transports(xds: pyrpc_xds.XdsClient, service: Any) -> None:
    holder = xds.thrift.server(service, Handler(), ANY).start()
    address = holder.address
    texts = set()
    for make in (
        lambda: xds.thrift.server(service, Handler(), address).start(),
        lambda: xds.triple.server(address=address),
        lambda: xds.triple.aio_server(address=address),
    ):
        try:
            make()
        except PortNotBound as error:
            texts.add(refused_port(error))
    try:
        await xds.thrift.aio_server(service, Handler(), address).start()
    except PortNotBound as error:
        texts.add(refused_port(error))
    holder.stop()
    assert texts == {
        f"cannot listen on {address}: Address already in use. Another server has the port: stop it or take another; "
        "port 0 takes any free one"
    }


def test_an_address_of_another_machine_is_said_to_be_one(xds: pyrpc_xds.XdsClient, service: Any) -> None:
    with pytest.raises(PortNotBound, match="no address of this machine"):
        xds.thrift.server(service, Handler(), "192.0.2.1:0").start()
    with pytest.raises(PortNotBound, match="no address of this machine"):
        xds.triple.server(address="192.0.2.1:0")


# -- what was closed ----------------------------------------------------------------------------------------------


async def test_what_was_closed_is_one_error_for_both_transports(service: Any) -> None:
    xds = pyrpc_xds.XdsClient.from_env(ENVIRONMENT)
    thrift, triple = xds.thrift, xds.triple
    client, channel = thrift.client(service, TARGET), triple.channel(TARGET)
    call: Any = channel.unary_unary("/a.B/C", None, None)
    own_client, own_channel = thrift.client(service, TARGET), triple.channel(TARGET)
    own_call: Any = own_channel.unary_unary("/a.B/C", None, None)
    own_client.close()
    own_channel.close()
    own: tuple[Callable[[], Any], ...] = (own_client.two, lambda: own_call(b""))
    for use in own:
        with pytest.raises(ClosedError, match=r"of direct|to direct.*closed; make another"):
            use()
    aio_client = thrift.aio_client(service, TARGET)
    xds.close()
    with pytest.raises(ClosedError):
        await aio_client.two()
    for use in (
        client.two,
        lambda: call(b""),
        lambda: thrift.client(service, TARGET),
        lambda: triple.channel(TARGET),
        lambda: thrift.server(service, Handler(), ANY),
        lambda: triple.server(address=ANY),
        lambda: xds.on_close(lambda: None),
    ):
        with pytest.raises(ClosedError, match="make another"):
            use()
    assert issubclass(ClosedError, ValueError)


def test_a_triple_server_that_was_started_can_serve(xds: pyrpc_xds.XdsClient) -> None:
    server = xds.triple.server(address=ANY)
    server.start()
    server.stop(0).wait(5)
    server.serve()  # grpcio refuses to start it again


async def test_an_aio_triple_server_that_was_started_can_serve(xds: pyrpc_xds.XdsClient) -> None:
    server = xds.triple.aio_server(address=ANY)
    await server.start()
    await server.stop(0)
    await server.serve()


async def test_a_server_is_started_once(xds: pyrpc_xds.XdsClient, service: Any) -> None:
    thrift = xds.thrift.server(service, Handler(), ANY).start()
    triple, aio = xds.triple.server(address=ANY), xds.triple.aio_server(address=ANY)
    triple.start()
    await aio.start()
    for start in (thrift.start, triple.start):
        with pytest.raises(UsageError, match="started once"):
            start()
    with pytest.raises(UsageError, match="started once"):
        await aio.start()
    thrift.stop()
    triple.stop(0).wait(5)
    await aio.stop(0)
    for use in (
        thrift.start,
        triple.start,
        lambda: triple.add_insecure_port(ANY),  # grpcio crashes the process
        lambda: aio.add_insecure_port(ANY),
    ):
        with pytest.raises(ClosedError, match=r"was stopped, and .*make another"):
            use()
    with pytest.raises(ClosedError, match="was stopped"):
        await aio.start()


# -- handlers -----------------------------------------------------------------------------------------------------


def test_a_handler_that_lacks_methods_is_refused_naming_them(xds: pyrpc_xds.XdsClient, service: Any) -> None:
    class Half:
        two = "not a method"

    for make in (xds.thrift.server, xds.thrift.aio_server):
        with pytest.raises(UsageError, match=r"Half object.* lacks two, one of the service Two"):
            make(service, Half(), ANY)
        with pytest.raises(UsageError, match=r"lacks two, one of the service Two"):
            make(service, Handler(), ANY, services={"Other": (service, None)})


def test_a_handler_class_in_place_of_an_object_is_refused(xds: pyrpc_xds.XdsClient, service: Any) -> None:
    with pytest.raises(UsageError, match=r"is a class: pass an object of it, such as Handler\(\)"):
        xds.thrift.server(service, Handler, ANY)


def test_coroutines_need_the_aio_server(xds: pyrpc_xds.XdsClient, service: Any) -> None:
    class Waiting(Handler):
        async def two(self) -> str:  # type: ignore[override]
            return ""

    with pytest.raises(UsageError, match=r"^two of the handler .*aio_server"):
        xds.thrift.server(service, Waiting(), ANY)
    xds.thrift.aio_server(service, Waiting(), ANY)


def test_a_handler_may_find_its_methods_as_it_likes(service: Any) -> None:
    class Anything:
        def __getattr__(self, name: str) -> Callable[..., str]:
            return lambda *args: name

    check_handler(describe(service), Anything(), coroutines=False)
    static = type("Static", (), {"one": staticmethod(len), "two": staticmethod(str)})
    check_handler(describe(service), static, coroutines=False)


def test_a_handler_that_cannot_be_called_with_the_idls_arguments_is_refused(
    xds: pyrpc_xds.XdsClient, service: Any
) -> None:
    class Short(Handler):
        def one(self) -> str:  # type: ignore[override]
            return ""

    class Long(Handler):
        def two(self, a: str, b: str = "") -> str:  # type: ignore[override]
            return a

    for make in (xds.thrift.server, xds.thrift.aio_server):
        with pytest.raises(UsageError, match=r"^one\(\).* of the handler .*Short object.* arguments \(a\)"):
            make(service, Short(), ANY)
        with pytest.raises(UsageError, match=r"^two\(.*Long object.* arguments \(\).*missing"):
            make(service, Long(), ANY)


def decorated(function: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(function)
    def with_more(self: object, *args: str) -> str:
        return function(self, *args, "more")

    return with_more


def test_a_handler_that_takes_the_idls_arguments_in_any_way_is_served(service: Any) -> None:
    class Handlers:
        one = decorated(lambda self, a, more: a)

        def two(self, *args: str, more: int = 0, **rest: str) -> str:
            return ""

    partial = SimpleNamespace(one=functools.partial(max, "a"), two=functools.partial(Handler().one, "a"))
    for handler in (Handlers(), partial, Mock(), MagicMock(spec=Handler), create_autospec(Handler)()):
        check_handler(describe(service), handler, coroutines=False)
    check_handler(describe(service), AsyncMock(), coroutines=True)


def test_coroutines_around_threads_are_refused(xds: pyrpc_xds.XdsClient, service: Any) -> None:
    async def timed(method: str, args: Any, following: Callable[[Any], Any]) -> Any:
        return await following(args)

    class Timed:
        async def __call__(self, method: str, args: Any, following: Callable[[Any], Any]) -> Any:
            return await following(args)

    for middleware in (timed, Timed()):
        with pytest.raises(UsageError, match=r"coroutine function; xds.thrift.aio_client takes those"):
            xds.thrift.client(service, TARGET, middleware=[middleware])
        with pytest.raises(UsageError, match=r"coroutine function; xds.thrift.aio_server takes those"):
            xds.thrift.server(service, Handler(), ANY, middleware=[middleware])
        xds.thrift.aio_server(service, Handler(), ANY, middleware=[middleware])


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
def test_a_servicer_of_coroutines_is_refused_by_servers_of_threads(
    xds: pyrpc_xds.XdsClient, kind: str
) -> None:
    class Waiting:
        async def One(self, request: Any, context: Any) -> Any:
            return request

        async def Two(self, request: Any, context: Any) -> Any:
            yield request

    def add(servicer: Any, server: Any) -> None:
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        methods = {"Do": make(servicer.Two if kind.endswith("stream") else servicer.One)}
        server.add_registered_method_handlers("a.B", methods)

    server = xds.triple.server(address=ANY)
    with pytest.raises(
        UsageError, match=r"Do of a.B are coroutine functions: they need xds.triple.aio_server"
    ):
        add(Waiting(), server)
    with pytest.raises(UsageError, match="aio_server"):
        server.add(add, Waiting())
    server.start()
    server.stop(0).wait(5)


def test_a_servicer_that_lacks_methods_is_refused_naming_them(xds: pyrpc_xds.XdsClient) -> None:
    def add(servicer: Any, server: Any) -> None:
        methods = {
            "One": grpc.unary_unary_rpc_method_handler(servicer.One),
            "Two": grpc.unary_unary_rpc_method_handler(servicer.Two),
        }
        server.add_registered_method_handlers("a.B", methods)

    class Half:
        def One(self, request: Any, context: Any) -> Any:
            return request

    server = xds.triple.server(address=ANY)
    with pytest.raises(UsageError, match=r"Half object.* lacks Two: define"):
        server.add(add, Half())
    check_servicer(add, type("Whole", (Half,), {"Two": Half.One})())
    server.start()
    server.stop(0).wait(5)


# -- the client itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pyrpc_xds.XdsClient("bootstrap.json"), "bootstrap='bootstrap.json' is not a Bootstrap"),  # type: ignore[arg-type]
        (lambda: pyrpc_xds.XdsClient.from_env(ENVIRONMENT, labels=["v1"]), r"labels=\['v1'\] is not a map"),  # type: ignore[arg-type]
        (lambda: pyrpc_xds.XdsClient.from_env(ENVIRONMENT, ready_timeout="3"), "ready_timeout='3'"),  # type: ignore[arg-type]
        (lambda: pyrpc_xds.XdsClient.from_env(3), "environ=3"),  # type: ignore[arg-type]
    ],
)
def test_a_client_names_its_wrong_argument(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


# -- what help() says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["thrift", "triple"])
def test_help_tells_every_argument_of_a_transport(xds: pyrpc_xds.XdsClient, name: str) -> None:
    transport = getattr(xds, name)
    assert f"xds.{name}." in (type(transport).__doc__ or "")
    for function in ("server", "client" if name == "thrift" else "channel"):
        made = getattr(type(transport), function)
        told = inspect.getdoc(made) or ""
        missing = [each for each in inspect.signature(made).parameters if f":param {each}:" not in told]
        assert missing == ["self"]
        twin = getattr(type(transport), f"aio_{function}")
        assert f":meth:`{function}`" in (inspect.getdoc(twin) or "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origins", "https://app.example"),
        ("origins", ("https://app.example", 8080)),
        ("origins", None),
        ("max_message", 0),
        ("max_message", "4 MiB"),
        ("max_calls", None),
        ("max_head", 1.5),
        ("body_timeout", "30"),
        ("idle_timeout", 0),
    ],
)
def test_http_options_that_are_none_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(
        UsageError, match=rf"^HttpOptions: {name}={re.escape(repr(value))} is not .*; such as"
    ):
        HttpOptions(**{name: value})  # type: ignore[arg-type]
