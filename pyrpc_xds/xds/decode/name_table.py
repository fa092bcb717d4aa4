"""NameTable (NDS), Istio's own resource type; its proto file is ``idl/nds.proto``."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ...model.name_table import NAME, NameTable
from .common import decoder

_FILE = "istio/networking/nds/v1/nds.proto"
_PACKAGE = "istio.networking.nds.v1"


def _message_type() -> Any:
    """The class of ``istio.networking.nds.v1.NameTable``, as far as it is read here.

    The descriptor is made here and not by protoc, whose output is tied to a release of protobuf, and lives in a
    pool of its own: the application may have generated code for the same file.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    table = file.message_type.add(name="NameTable")
    info = table.nested_type.add(name="NameInfo")
    info.field.add(name="ips", number=1, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    for number, name in enumerate(("registry", "shortname", "namespace"), 2):
        info.field.add(name=name, number=number, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry = table.nested_type.add(name="TableEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    value_type = f".{_PACKAGE}.NameTable.NameInfo"
    entry.field.add(
        name="value", number=2, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL, type_name=value_type
    )
    entry_type = f".{_PACKAGE}.NameTable.TableEntry"
    table.field.add(
        name="table", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED, type_name=entry_type
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.NameTable"))


def _name_table(message: Any) -> NameTable:
    addresses: dict[str, tuple[str, ...]] = {}
    notes = []
    for host, info in message.table.items():
        usable = []
        for ip in info.ips:
            try:
                # Listeners are named by the shortest spelling (RFC 5952), whatever the Service says.
                usable.append(str(ip_address(ip)))
            except ValueError:
                notes.append(f"host {host!r}: {ip!r} is not an IP address")
        if usable:
            addresses[host.lower()] = tuple(usable)
    return NameTable(addresses, tuple(notes))


decode_name_table = decoder("NDS", _message_type(), lambda message: NAME, _name_table)
"""Bytes of an istio.networking.nds.v1.NameTable to :class:`~pyrpc_xds.model.name_table.NameTable`.

An address that is none is left out with a note: the others are still good.

:raises ResourceInvalid: it is not.
"""
