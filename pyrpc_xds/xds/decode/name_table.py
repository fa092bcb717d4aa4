"""NameTable (NDS), Istio's own resource type; its proto file is ``idl/nds.proto``."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from ...model.name_table import NAME, NameTable
from .common import decoder
from .descriptors import declare, message_class

_FULL_NAME = "istio.networking.nds.v1.NameTable"
declare("""
package istio.networking.nds.v1;
message NameTable {
  message NameInfo {
    repeated string ips = 1;
    string registry = 2;
    string shortname = 3;
    string namespace = 4;
  }
  map<string, NameInfo> table = 1;
}
""")


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


decode_name_table = decoder("NDS", message_class(_FULL_NAME), lambda message: NAME, _name_table)
"""Bytes of an istio.networking.nds.v1.NameTable to :class:`~pyrpc_xds.model.name_table.NameTable`.

An address that is none is left out with a note: the others are still good.

:raises ResourceInvalid: it is not.
"""
