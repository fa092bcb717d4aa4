"""Servers and nodes of the bootstrap's JSON form (gRFC A27, A65). Unknown keys are ignored, as the gRFC asks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .node import Locality, Node
from .server import ChannelCredentials, Server

_log = logging.getLogger("pyrpc_xds.bootstrap")


class JsonObject:
    """A JSON object whose values are asked for by type; a wrong one is a ConfigError that names its place."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ConfigError(f"must be a JSON object, not {_json_type(value)}", where=where)
        self.value = value
        self.where = where

    def _get(self, key: str, kind: type, default: object) -> Any:
        value = self.value.get(key)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise ConfigError(
                f"must be {_KINDS[kind]}, not {_json_type(value)}", where=f"{self.where}: {key}"
            )
        return value

    def text(self, key: str) -> str:
        return str(self._get(key, str, ""))

    def list(self, key: str) -> list[Any]:
        return list(self._get(key, list, ()))

    def dict(self, key: str) -> dict[str, Any]:
        return dict(self._get(key, dict, {}))


_KINDS: Mapping[type, str] = {str: "a string", list: "an array", dict: "an object"}


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    return _KINDS.get(type(value), "a number")


def read_server(fields: JsonObject) -> Server:
    """One of ``xds_servers``."""
    uri = fields.text("server_uri")
    if not uri:
        raise ConfigError("server_uri is missing", where=fields.where, hint="Use host:port or unix:///path")
    if uri.startswith("xds:"):
        raise ConfigError(
            f"server_uri {uri!r} would be looked up in xDS itself", where=fields.where, hint="Use host:port"
        )
    features = fields.list("server_features")
    if not all(isinstance(feature, str) for feature in features):
        raise ConfigError("must be strings", where=f"{fields.where}: server_features")
    return Server(uri, _credentials(fields), frozenset(features))


def _credentials(fields: JsonObject) -> ChannelCredentials:
    """The first of ``channel_creds`` that is understood (gRFC A27); ``tls`` is that of gRFC A65."""
    where = f"{fields.where}: channel_creds"
    offered = []
    for index, value in enumerate(fields.list("channel_creds")):
        entry = JsonObject(value, f"{where}[{index}]")
        kind = entry.text("type")
        if kind == "insecure":
            return ChannelCredentials()
        if kind == "tls":
            config = JsonObject(entry.dict("config"), f"{where}[{index}]: config")
            result = ChannelCredentials(
                "tls",
                config.text("ca_certificate_file"),
                config.text("certificate_file"),
                config.text("private_key_file"),
            )
            if bool(result.certificate_file) != bool(result.private_key_file):
                raise ConfigError("certificate_file and private_key_file need each other", where=config.where)
            return result
        offered.append(kind or "(no type)")
    if not offered:
        raise ConfigError(
            "is missing or empty",
            where=where,
            hint='Say [{"type": "insecure"}] for plaintext',
        )
    raise ConfigError(
        f"none of {', '.join(map(repr, offered))} is supported", where=where, hint="Use 'insecure' or 'tls'"
    )


def read_node(fields: JsonObject) -> Node:
    """The ``node``. An id that istiod would refuse is logged."""
    locality = JsonObject(fields.dict("locality"), f"{fields.where}: locality")
    node_id = fields.text("id")
    if node_id.count("~") != 3:
        _log.warning(
            "%s: id %r is not in Istio's form sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local; "
            "istiod refuses it, other control planes may not",
            fields.where,
            node_id,
        )
    return Node(
        id=node_id,
        cluster=fields.text("cluster"),
        metadata=fields.dict("metadata"),
        locality=Locality(locality.text("region"), locality.text("zone"), locality.text("sub_zone")),
    )
