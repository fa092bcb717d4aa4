"""NameTable: Istio's own message, read with a descriptor of our own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pyrpc_xds.errors import ResourceInvalid
from pyrpc_xds.xds.decode.descriptors import message_class
from pyrpc_xds.xds.decode.name_table import decode_name_table

PROTO = Path(__file__).resolve().parents[4] / "idl" / "nds.proto"

# As istiod sent it: greeter has a ClusterIP, headless two endpoints.
CAPTURED = (
    b'\nO\n!greeter.default.svc.cluster.local\x12*\n\n10.96.0.10\x12\nKubernetes\x1a\x07greeter"\x07default'
    b'\n[\n"headless.default.svc.cluster.local\x125\n\t127.0.0.1\n\t127.0.0.2\x12\nKubernetes\x1a\x08headless'
    b'"\x07default'
)


def encoded(**table: list[str]) -> bytes:
    message = message_class("istio.networking.nds.v1.NameTable")()
    for host, ips in table.items():
        message.table[host].ips.extend(ips)
    return bytes(message.SerializeToString())


def test_table_of_istiod_is_read() -> None:
    assert decode_name_table(CAPTURED).addresses == {
        "greeter.default.svc.cluster.local": ("10.96.0.10",),
        "headless.default.svc.cluster.local": ("127.0.0.1", "127.0.0.2"),
    }


def test_hosts_are_in_lower_case_and_addresses_in_their_shortest_form() -> None:
    assert decode_name_table(encoded(Host=["fd00:0::0011"])).addresses == {"host": ("fd00::11",)}


def test_address_that_is_none_is_noted_and_left_out() -> None:
    table = decode_name_table(encoded(a=["x", "10.0.0.1"], b=["y"], c=[]))
    assert table.addresses == {"a": ("10.0.0.1",)}
    assert sorted(table.notes) == ["host 'a': 'x' is not an IP address", "host 'b': 'y' is not an IP address"]


def test_no_bytes_are_an_empty_table() -> None:
    assert decode_name_table(b"").addresses == {}


def test_other_bytes_are_refused() -> None:
    with pytest.raises(ResourceInvalid, match=r"not a istio\.networking\.nds\.v1\.NameTable"):
        decode_name_table(b"\xff")


def test_descriptor_says_what_the_proto_file_says() -> None:
    descriptor: Any = message_class("istio.networking.nds.v1.NameTable").DESCRIPTOR
    assert descriptor.full_name == "istio.networking.nds.v1.NameTable"
    info = descriptor.nested_types_by_name["NameInfo"]
    made = {(field.name, field.number) for field in [*descriptor.fields, *info.fields]}
    written = re.findall(r"^\s+(?:repeated )?\S.*? (\w+) = (\d+);", PROTO.read_text(), re.MULTILINE)
    assert made == {(name, int(number)) for name, number in written}
