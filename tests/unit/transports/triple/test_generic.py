"""Calls without IDL: functions served and called in Dubbo's wrapper."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgpack
import pytest

import pyrpc_xds
from pyrpc_xds.errors import BusinessError, RemoteProtocolError, UsageError
from pyrpc_xds.transports.triple import GenericService, TripleTransport
from pyrpc_xds.transports.triple.generic import serializations, wrapper
from tests.unit.transports.triple.conftest import IDL
from tests.unit.transports.triple.fakes import FakeMesh
from tests.unit.transports.triple.http import clients

SERVICE = "org.apache.Plain"


@dataclasses.dataclass
class User:
    name: str
    age: int


def greet(name: str) -> str:
    return f"Hello {name}"


def add(left: int, right: int = 1) -> int:
    return left + right


def refuse(text: str) -> None:
    raise BusinessError(4711, text)


def attached() -> Any:
    return dict(pyrpc_xds.incoming_attachments())


def odd() -> Any:
    return object()


METHODS = {
    "greet": greet,
    "add": add,
    "echo": lambda value: value,
    "user": lambda name: User(name, 7),
    "nothing": lambda: None,
    "refuse": refuse,
    "attached": attached,
    "odd": odd,
    "number": float,
}


def coroutine(function: Any) -> Any:
    async def call(*args: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args)

    call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return call


@pytest.fixture(params=["sync", "threads of asyncio", "asyncio"])
async def server(request: pytest.FixtureRequest, pb: Any) -> AsyncIterator[Any]:
    """A server with the methods above and one for messages, on a gRPC and an HTTP port."""
    aio = request.param != "sync"
    triple = TripleTransport(FakeMesh())
    made: Any = (triple.aio_server if aio else triple.server)(address="127.0.0.1:0", max_workers=4)

    def message(given: Any) -> Any:
        return pb.User(name=given.name)

    message.__annotations__ = {"given": pb.HelloRequest}
    wrap = coroutine if request.param == "asyncio" else lambda function: function
    made.add_generic(
        SERVICE, {name: wrap(function) for name, function in METHODS.items()} | {"message": message}
    )
    made.add_generic(SERVICE, {"greet": lambda name: f"v2 {name}"}, version="2.0.0")
    made.http_port = made.add_http_port("127.0.0.1:0")
    await made.start() if aio else made.start()
    yield made
    if aio:
        await made.stop(0)
    else:
        await asyncio.to_thread(made.stop(0).wait, 10)
    del made._server


@pytest.fixture(params=["sync", "asyncio"])
async def invoke(request: pytest.FixtureRequest, server: Any) -> AsyncIterator[Any]:
    """Calls a method with a client of either kind."""
    mesh = FakeMesh(f"127.0.0.1:{server.port}")
    transport = TripleTransport(mesh)

    async def call(
        method: str, *args: Any, serialization: str = "gson", version: str = "", **rest: Any
    ) -> Any:
        rest.setdefault("timeout", 10)
        if request.param == "asyncio":
            async with transport.aio_channel("xds:///plain:80", version=version) as channel:
                return await GenericService(channel, SERVICE, serialization=serialization).invoke(
                    method, args, **rest
                )
        with transport.channel("xds:///plain:80", version=version) as blocking:
            service = GenericService(blocking, SERVICE, serialization=serialization)
            return await asyncio.to_thread(service.invoke, method, args, **rest)

    yield call
    mesh.close()


VALUES = [
    "text \u00fc \U0001f600 \\ud800",
    7,
    -(2**40),
    1.5,
    True,
    None,
    [1, "a", None],
    {"a": {"b": [1]}},
    "",
]


@pytest.mark.parametrize("serialization", ["gson", "jackson", "msgpack"])
async def test_values_go_both_ways(invoke: Any, serialization: str) -> None:
    for value in VALUES:
        assert await invoke("echo", value, serialization=serialization) == value
    assert await invoke("add", 2, 3, serialization=serialization) == 5
    assert await invoke("add", 2, serialization=serialization) == 3
    assert await invoke("nothing", serialization=serialization) is None
    assert await invoke("user", "Joe", serialization=serialization) == {"name": "Joe", "age": 7}
    assert await invoke("echo", User("Joe", 7), serialization=serialization) == {"name": "Joe", "age": 7}


@pytest.mark.parametrize("serialization", ["protobuf", "gson"])
async def test_messages_of_protobuf_go_where_their_classes_are_said(
    invoke: Any, pb: Any, serialization: str
) -> None:
    answer = await invoke(
        "message", pb.HelloRequest(name="Joe"), serialization=serialization, returns=pb.User
    )
    assert answer == pb.User(name="Joe")


async def test_version_selects_and_attachments_arrive(invoke: Any) -> None:
    assert await invoke("greet", "Joe", version="2.0.0") == "v2 Joe"
    assert await invoke("attached", metadata=[("user", "Joe")]) == {"user": "Joe"}


async def test_errors_are_those_of_other_calls(invoke: Any) -> None:
    with pytest.raises(BusinessError) as business:
        await invoke("refuse", "no")
    assert (business.value.business_code, business.value.message) == (4711, "no")
    with pytest.raises(grpc.RpcError, match=r"Method not found: /org[.]apache[.]Plain/no_such") as unknown:
        await invoke("no_such")
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_arguments_that_do_not_fit_are_invalid(invoke: Any) -> None:
    with pytest.raises(grpc.RpcError, match=r"org.apache.Plain/greet: .*argument") as caught:
        await invoke("greet", "a", "b")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_result_that_cannot_be_written_is_internal(invoke: Any) -> None:
    with pytest.raises(grpc.RpcError, match="its result: object cannot be written") as caught:
        await invoke("odd")
    assert caught.value.code() is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
async def test_number_that_json_does_not_have_is_not_written(invoke: Any, value: str) -> None:
    with pytest.raises(grpc.RpcError, match=r"its result: .*JSON") as caught:
        await invoke("number", value)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    with pytest.raises(UsageError, match="JSON"):
        await invoke("echo", float(value))


async def test_argument_that_cannot_be_written_is_the_callers_fault(invoke: Any) -> None:
    with pytest.raises(UsageError, match="object cannot be written"):
        await invoke("echo", object())
    with pytest.raises(UsageError, match="1 arguments and 2 types"):
        await invoke("echo", 1, types=["int", "int"])


HESSIAN = wrapper.encode("hessian4", [b"\x03Joe"], ["java.lang.String"])


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (HESSIAN, "UNIMPLEMENTED", "Hessian2, Dubbo's default, is not supported.*Set serialization to gson"),
        (wrapper.encode("fastjson2", [b"x"], ["x"]), "UNIMPLEMENTED", "fastjson2, which is binary"),
        (wrapper.encode("kryo", [b"x"], ["x"]), "UNIMPLEMENTED", "'kryo' is not supported"),
        (b"", "INVALID_ARGUMENT", "no wrapper"),
        (b"\xff\xff\xff", "INVALID_ARGUMENT", "ends within"),
        (b"\x08\x01", "INVALID_ARGUMENT", "another type"),
        (b"\x0a\x7fgson", "INVALID_ARGUMENT", "ends within"),
        (wrapper.encode("gson", [b"{"], ["x"]), "INVALID_ARGUMENT", "Expecting"),
        (wrapper.encode("gson", [b"\xff"], ["x"]), "INVALID_ARGUMENT", "decode"),
        (wrapper.encode("gson", ['"a"'.encode("utf-16")], ["x"]), "INVALID_ARGUMENT", "decode"),
        (
            wrapper.encode("gson", [b'[{"a": "\\uD800"}]'], ["x"]),
            "INVALID_ARGUMENT",
            "surrogates not allowed",
        ),
        (wrapper.encode("gson", [b"[NaN]"], ["x"]), "INVALID_ARGUMENT", "NaN is no number of JSON"),
        (wrapper.encode("gson", [b"-Infinity"], ["x"]), "INVALID_ARGUMENT", "-Infinity is no number"),
        (wrapper.encode("gson", [b"1e999"], ["x"]), "INVALID_ARGUMENT", "1e999 is no number of JSON"),
        (wrapper.encode("gson", [b"[" * 100_000], ["x"]), "INVALID_ARGUMENT", "deep"),
        (wrapper.encode("msgpack", [b"\xc1"], ["x"]), "INVALID_ARGUMENT", "MessagePack"),
        (wrapper.encode("msgpack", [b"\x91" * 100_000], ["x"]), "INVALID_ARGUMENT", "MessagePack"),
        (wrapper.encode("msgpack", [b"\xdd\xff\xff\xff\xff"], ["x"]), "INVALID_ARGUMENT", "MessagePack"),
        (wrapper.encode("msgpack", [b"\x81\x90\x01"], ["x"]), "INVALID_ARGUMENT", "MessagePack"),
        (wrapper.encode("protobuf", [b"\x00"], ["x"]), "INVALID_ARGUMENT", "annotate"),
    ],
)
async def test_what_cannot_be_read_is_refused_and_named(
    server: Any, request_: bytes, code: str, reason: str
) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError, match=reason) as caught:
            await channel.unary_unary(f"/{SERVICE}/echo")(request_, timeout=10)
    assert caught.value.code().name == code


@pytest.mark.parametrize(
    ("method", "body", "answer"),
    [
        ("greet", '"Joe"', "Hello Joe"),
        ("greet", '["Joe"]', "Hello Joe"),
        ("add", "[2, 3]", 5),
        ("nothing", "[]", None),
        ("nothing", "", None),
        ("user", '"Joe"', {"name": "Joe", "age": 7}),
        ("Greet", '"Joe"', "Hello Joe"),
        ("message", '[{"name": "Joe"}]', {"name": "Joe"}),
    ],
)
async def test_json_over_http_is_an_array_of_the_arguments(
    server: Any, method: str, body: str, answer: Any
) -> None:
    path = f"/{SERVICE}/{method}"
    found = await asyncio.to_thread(clients.http1, server.http_port, body.encode(), clients.JSON, path)
    assert (found.status, found.said) == (200, answer)


@pytest.mark.parametrize(
    "body", ["", "{", "7", "[]", "[1, 2, 3]", "[NaN, 1]", "[Infinity, 1]", "[1, -1e999]"]
)
async def test_json_over_http_that_does_not_fit_is_400(server: Any, body: str) -> None:
    path = f"/{SERVICE}/add"
    found = await asyncio.to_thread(clients.http1, server.http_port, body.encode(), clients.JSON, path)
    assert (found.status, found.said["code"]) == (400, "invalid_argument")


def test_unknown_serialization_of_a_client_names_what_there_is() -> None:
    for name, reason in [
        ("hessian2", "Hessian2"),
        ("fastjson2", "JSONB"),
        ("kryo", "gson, jackson, msgpack"),
    ]:
        with pytest.raises(UsageError, match=reason):
            GenericService(None, SERVICE, serialization=name)


def test_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(pyrpc_xds.errors.ConfigError, match=r"pip install 'pyrpc-xds\[msgpack\]'"):
        GenericService(None, SERVICE, serialization="msgpack")


def test_methods_that_cannot_be_served_are_refused() -> None:
    server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0")
    with pytest.raises(UsageError, match="coroutine"):
        server.add_generic(SERVICE, {"greet": coroutine(greet)})
    with pytest.raises(UsageError, match="no function"):
        server.add_generic(SERVICE, {"greet": "x"})  # type: ignore[dict-item]
    server.start()
    server.stop(0).wait(5)
    del server._server


def test_answer_that_cannot_be_read_is_the_peers_fault() -> None:
    class Channel:
        def __init__(self, answer: bytes) -> None:
            self.answer = answer

        def unary_unary(self, path: str) -> Any:
            return lambda request, **rest: self.answer

    for answer in (b"\xff", HESSIAN, wrapper.encode("gson", [b"{"], ["x"])):
        with pytest.raises(RemoteProtocolError, match=r"org.apache.Plain/greet"):
            GenericService(Channel(answer), SERVICE).invoke("greet", ["Joe"])
    assert GenericService(Channel(wrapper.encode("gson", [], [])), SERVICE).invoke("greet", ["Joe"]) is None


@pytest.fixture(scope="module")
def wrapper_pb2(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The wrapper as protobuf's own code has it."""
    from grpc_tools import protoc

    folder: Path = tmp_path_factory.mktemp("wrapper")
    assert protoc.main(["protoc", f"-I{IDL}", f"--python_out={folder}", "triple_wrapper.proto"]) == 0
    sys.path.insert(0, str(folder))
    yield importlib.import_module("triple_wrapper_pb2")
    sys.path.remove(str(folder))


def test_wrapper_is_what_protobuf_writes_and_reads(wrapper_pb2: Any) -> None:
    data, types = [b"", b"\x00\xff", bytes(300)], ["java.lang.String", "\u00fc", ""]
    theirs = wrapper_pb2.TripleRequestWrapper(serialize_type="gson", args=data, arg_types=types)
    ours = wrapper.encode("gson", data, types)
    assert wrapper_pb2.TripleRequestWrapper.FromString(ours) == theirs
    assert wrapper.decode(theirs.SerializeToString()) == wrapper.Wrapper("gson", tuple(data), tuple(types))
    response = wrapper_pb2.TripleResponseWrapper.FromString(wrapper.encode("gson", [b"x"], ["int"]))
    assert (response.data, response.type) == (b"x", "int")


def test_message_pack_of_the_old_form_is_text() -> None:
    # dubbo-go's library writes text as raw bytes, longer than 31 with 16 bits of length.
    old = b"\xda" + struct.pack(">H", 40) + b"x" * 40
    assert serializations.named("msgpack").loads(old, None) == "x" * 40
    assert msgpack.unpackb(serializations.named("msgpack").dumps("x")) == "x"


@pytest.mark.parametrize(
    ("value", "name"),
    [("x", "java.lang.String"), (True, "boolean"), (1, "long"), (1.5, "double"), ([], "java.util.List"),
     ({}, "java.util.Map"), (None, "java.lang.Object"), (b"", "[B"), (User("", 0), "java.lang.Object")],
)  # fmt: skip
def test_types_that_values_suggest(value: Any, name: str) -> None:
    assert serializations.java_type(value) == name
