"""Answers that come gzipped to the deserializer, which grpcio should have decompressed."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError

from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.compressed import decompressing

from .fakes import FakeMesh


def test_gzipped_message_is_read(pb: Any) -> None:
    message = pb.User(name="Hello")
    read = decompressing(pb.User.FromString)
    assert read(message.SerializeToString()) == message
    assert read(gzip.compress(message.SerializeToString())) == message


@pytest.mark.parametrize(
    "data",
    [b"\x1f", b"\x1f\x8b\x08", gzip.compress(b"x" * 100)[:-4], gzip.compress(b"\x1f\x8b\x08 no message")],
    ids=["no gzip", "head alone", "cut short", "gzip of no message"],
)
def test_what_is_no_message_stays_refused(pb: Any, data: bytes) -> None:
    with pytest.raises(DecodeError):
        decompressing(pb.User.FromString)(data)


def test_what_inflates_without_measure_stays_refused(pb: Any) -> None:
    with pytest.raises(DecodeError):
        decompressing(pb.User.FromString)(gzip.compress(bytes((64 << 20) + 1)))


def test_deserializer_that_takes_what_is_gzipped_has_it_as_it_came() -> None:
    data = gzip.compress(b"a file")
    assert decompressing(bytes)(data) == data


async def test_channels_give_the_message_of_an_answer_that_grpcio_left_compressed(pb: Any) -> None:
    answer = gzip.compress(pb.User(name="Hello").SerializeToString())
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: answer)
    server = grpc.server(
        ThreadPoolExecutor(1), handlers=[grpc.method_handlers_generic_handler("T", {"Hello": handler})]
    )
    mesh = FakeMesh(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    triple = TripleTransport(mesh)
    read = pb.User.FromString
    try:
        with triple.channel("xds:///greeter:80") as channel:
            assert channel.unary_unary("/T/Hello", None, read)(b"", timeout=10).name == "Hello"
        async with triple.aio_channel("xds:///greeter:80") as aio:
            assert (await aio.unary_unary("/T/Hello", None, read)(b"", timeout=10)).name == "Hello"
    finally:
        server.stop(0).wait(10)
        mesh.close()
