"""Where the control plane is and who we are: gRPC's bootstrap JSON, or a pod's environment variables.

The JSON form is that of gRFC A27 and A65 (``xds_servers``, ``node``, ``certificate_providers``), so the
file that Istio's agent writes for gRPC works unchanged. Unknown keys are ignored, as the gRFC asks.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .frozen import frozen

_log = logging.getLogger("pyrpc_xds.bootstrap")

DEFAULT_ISTIOD = "istiod.istio-system.svc:15010"
ISTIO_INBOUND_TEMPLATE = "xds.istio.io/grpc/lds/inbound/%s"
_NO_SETTINGS: Mapping[str, Any] = {}


@frozen
class ChannelCredentials:
    """How to secure the connection to one server.

    :param kind: ``insecure`` or ``tls``.
    :param ca_file: PEM roots to trust; empty: the system's (``tls`` only).
    :param certificate_file: PEM chain to present; empty: none.
    :param private_key_file: PEM key of that chain.
    """

    kind: str = "insecure"
    ca_file: str = ""
    certificate_file: str = ""
    private_key_file: str = ""


@frozen
class Server:
    """One control plane.

    :param uri: a gRPC target: ``host:port``, ``dns:///host:port``, ``unix:///path``.
    :param features: ``server_features`` (gRFC A53, A88), as written.
    """

    uri: str
    credentials: ChannelCredentials = ChannelCredentials()
    features: frozenset[str] = frozenset()

    @property
    def fail_on_data_errors(self) -> bool:
        """Whether a bad or removed resource takes its last good version with it (gRFC A88)."""
        return "fail_on_data_errors" in self.features

    @property
    def resource_timer_is_transient_error(self) -> bool:
        """Whether a silent server means a transient error after 30 s, not absence after 15 s (gRFC A88).

        The gRFC spells the feature both ways.
        """
        return bool(
            {"resource_timer_is_transient_error", "resource_timer_is_transient_failure"} & self.features
        )


@frozen
class Locality:
    """Where the node runs."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


# Labels that name a workload, the one that Istio itself sets first.
_WORKLOAD_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")


@frozen
class Node:
    """Who the client says it is (envoy.config.core.v3.Node).

    :param id: Istio's form is ``sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local``.
    :param metadata: JSON values. Istio reads ``GENERATOR``, ``NAMESPACE``, ``CLUSTER_ID``, ``LABELS``,
        ``INSTANCE_IPS``, ``ISTIO_VERSION`` and ``SERVICE_ACCOUNT``.
    """

    id: str
    cluster: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    locality: Locality = Locality()

    @property
    def workload(self) -> str:
        """The name of the workload: ``WORKLOAD_NAME`` of the metadata (Istio's agent sets it), else the labels
        ``service.istio.io/canonical-name``, ``app.kubernetes.io/name`` and ``app``, else the pod's name;
        empty where nothing says it."""
        labels = self.metadata.get("LABELS")
        held: Mapping[str, Any] = labels if isinstance(labels, Mapping) else {}
        names = (self.metadata.get("WORKLOAD_NAME"), *(held.get(label) for label in _WORKLOAD_LABELS))
        said = next((str(name) for name in names if name), "")
        parts = self.id.split("~")
        return said or (parts[2].partition(".")[0] if len(parts) == 4 else "")


class Mode(Enum):
    """Which view of the mesh a client asks Istio for."""

    GRPC = "grpc"
    """That of a proxyless gRPC client, made on demand (node metadata ``GENERATOR: grpc``)."""
    SIDECAR = "sidecar"
    """All that a sidecar gets, which kitex-contrib/xds uses: TCP routes and what EnvoyFilters add are only here."""


@frozen
class Bootstrap:
    """What the client must know before its first byte.

    :param servers: at least one, the preferred one first.
    :param certificate_providers: as written, for the security layer.
    :param server_listener_resource_name_template: name of a server's own Listener; ``%s`` is ``IP:port``.
    :param source: where this came from, for error texts and ``dump``.
    :param mode: in ``SIDECAR`` the node's metadata must not say ``GENERATOR``; see :meth:`in_mode`.
    """

    servers: tuple[Server, ...]
    node: Node
    certificate_providers: Mapping[str, Any] = field(default_factory=dict, hash=False)
    server_listener_resource_name_template: str = ""
    source: str = "code"
    mode: Mode = Mode.GRPC

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None
    ) -> Bootstrap:
        """Read the environment. The first of these that is set decides:

        1. ``GRPC_XDS_BOOTSTRAP``: path of a JSON file.
        2. ``GRPC_XDS_BOOTSTRAP_CONFIG``: the JSON itself.
        3. The pod's variables: ``POD_NAME``, ``POD_NAMESPACE`` and ``INSTANCE_IP`` (required), and

           - ``ISTIOD_ADDR``: ``host:port`` or ``unix:PATH``; default ``istiod.istio-system.svc:15010``;
           - ``POD_LABELS``: JSON object, ``key="value"`` lines (the downward API's form) or ``k=v,k=v``;
           - ``POD_LABELS_FILE``: a file in one of these forms, such as a downward API volume's ``labels``;
           - ``CLUSTER_ID`` (default ``Kubernetes``), ``ISTIO_VERSION``, ``SERVICE_ACCOUNT``.

        With each of them ``XDS_MODE`` is ``grpc`` (the default) or ``sidecar``: which view of the mesh istiod is
        asked for, see :class:`Mode`. In a bootstrap file the node metadata's ``XDS_MODE`` says the same; the
        variable wins over it.

        :param environ: the variables; ``None``: those of the process.
        :param labels: labels of this workload (version labels, for example), in every form; they win over
            ``POD_LABELS``, which wins over ``POD_LABELS_FILE``.
        :raises ConfigError: something is missing or wrong; the text names it.
        """
        environ = os.environ if environ is None else environ
        mode = _mode(environ.get("XDS_MODE"), "XDS_MODE")
        if path := environ.get("GRPC_XDS_BOOTSTRAP"):
            result = cls.from_file(path)
        elif text := environ.get("GRPC_XDS_BOOTSTRAP_CONFIG"):
            result = cls.from_json(text, source="GRPC_XDS_BOOTSTRAP_CONFIG")
        else:
            result, labels = _from_pod(environ, labels or {}), None
        if mode is not None:
            result = result.in_mode(mode)
        return result.with_labels(labels) if labels else result

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Bootstrap:
        """Read a JSON file.

        :raises ConfigError: it cannot be read or is wrong.
        """
        return cls.from_json(_read(os.fspath(path), "GRPC_XDS_BOOTSTRAP"), source=f"file {os.fspath(path)}")

    @classmethod
    def from_json(cls, text: str, source: str = "bootstrap") -> Bootstrap:
        """Read JSON text.

        :param source: named in error texts.
        :raises ConfigError: it is not JSON or lacks what is needed; the text names line or field.
        """
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"not JSON: {error.msg}",
                where=f"{source}, line {error.lineno}, column {error.colno}",
                hint="gRFC A27 describes the format",
            ) from None
        except RecursionError:
            raise ConfigError("JSON nested too deeply", where=source) from None
        settings = _Fields(document, source)
        servers = settings.list("xds_servers")
        if not servers:
            raise ConfigError(
                "xds_servers is missing or empty",
                where=source,
                hint='Name a server: {"xds_servers": [{"server_uri": "istiod.istio-system.svc:15010", '
                '"channel_creds": [{"type": "insecure"}]}], "node": {"id": "..."}}',
            )
        node = _node(_Fields(settings.dict("node"), f"{source}: node"))
        mode = _mode(node.metadata.get("XDS_MODE"), f"{source}: node: metadata: XDS_MODE")
        result = cls(
            servers=tuple(
                _server(_Fields(value, f"{source}: xds_servers[{index}]"))
                for index, value in enumerate(servers)
            ),
            node=node,
            certificate_providers=settings.dict("certificate_providers"),
            server_listener_resource_name_template=settings.text("server_listener_resource_name_template"),
            source=source,
        )
        return result if mode is None else result.in_mode(mode)

    def in_mode(self, mode: Mode) -> Bootstrap:
        """The same for another view of the mesh: ``GENERATOR`` of the node's metadata is set, or taken out."""
        kept = {
            key: value for key, value in self.node.metadata.items() if key not in ("GENERATOR", "XDS_MODE")
        }
        metadata = {"GENERATOR": "grpc", **kept} if mode is Mode.GRPC else kept
        return replace(self, mode=mode, node=replace(self.node, metadata=metadata))

    def with_labels(self, labels: Mapping[str, str]) -> Bootstrap:
        """The same with ``labels`` added to the node's ``LABELS``."""
        held = self.node.metadata.get("LABELS")
        merged = {**(held if isinstance(held, Mapping) else {}), **labels}
        return replace(self, node=replace(self.node, metadata={**self.node.metadata, "LABELS": merged}))


class _Fields:
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


def _mode(value: object, where: str) -> Mode | None:
    if value in (None, ""):
        return None
    if value not in [mode.value for mode in Mode]:
        raise ConfigError(
            f"{value!r} is not a mode", where=where, hint="Use 'grpc' (the default) or 'sidecar'"
        )
    return Mode(value)


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    return _KINDS.get(type(value), "a number")


def _server(fields: _Fields) -> Server:
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


def _credentials(fields: _Fields) -> ChannelCredentials:
    """The first of ``channel_creds`` that is understood (gRFC A27); ``tls`` is that of gRFC A65."""
    where = f"{fields.where}: channel_creds"
    offered = []
    for index, value in enumerate(fields.list("channel_creds")):
        entry = _Fields(value, f"{where}[{index}]")
        kind = entry.text("type")
        if kind == "insecure":
            return ChannelCredentials()
        if kind == "tls":
            config = _Fields(entry.dict("config"), f"{where}[{index}]: config")
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


def _node(fields: _Fields) -> Node:
    locality = _Fields(fields.dict("locality"), f"{fields.where}: locality")
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


def _from_pod(environ: Mapping[str, str], labels: Mapping[str, str]) -> Bootstrap:
    missing = [name for name in ("POD_NAME", "POD_NAMESPACE", "INSTANCE_IP") if not environ.get(name)]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} not set, and neither is GRPC_XDS_BOOTSTRAP nor GRPC_XDS_BOOTSTRAP_CONFIG",
            where="environment",
            hint="In Kubernetes take them from the downward API (metadata.name, metadata.namespace, "
            "status.podIP); elsewhere any pod name, namespace and own IP address will do",
        )
    pod, namespace, ip = environ["POD_NAME"], environ["POD_NAMESPACE"], environ["INSTANCE_IP"].strip()
    try:
        ipaddress.ip_address(ip)
    except ValueError:
        raise ConfigError(
            f"{ip!r} is not an IP address", where="INSTANCE_IP", hint="Use the pod's own (status.podIP)"
        ) from None
    for variable, value in (("POD_NAME", pod), ("POD_NAMESPACE", namespace)):
        if "~" in value or not value.isprintable():
            raise ConfigError(f"{value!r} cannot be part of a node id", where=variable)
    address = environ.get("ISTIOD_ADDR") or DEFAULT_ISTIOD
    host, _, port = address.rpartition(":")
    if not address.startswith("unix:") and not (
        host and "/" not in host and port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535
    ):
        raise ConfigError(
            f"{address!r} is not host:port (1 to 65535), without a scheme",
            where="ISTIOD_ADDR",
            hint="istiod's plaintext port is 15010",
        )
    metadata: dict[str, Any] = {
        "GENERATOR": "grpc",
        "NAMESPACE": namespace,
        "CLUSTER_ID": environ.get("CLUSTER_ID") or "Kubernetes",
        "LABELS": {**_pod_labels(environ), **labels},
        "INSTANCE_IPS": ip,
    }
    for key in ("ISTIO_VERSION", "SERVICE_ACCOUNT"):
        if environ.get(key):
            metadata[key] = environ[key]
    return Bootstrap(
        servers=(Server(address),),
        node=Node(f"sidecar~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local", metadata=metadata),
        server_listener_resource_name_template=ISTIO_INBOUND_TEMPLATE,
        source="environment (ISTIOD_ADDR, POD_NAME, POD_NAMESPACE, INSTANCE_IP)",
    )


def _pod_labels(environ: Mapping[str, str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    if path := environ.get("POD_LABELS_FILE"):
        labels.update(parse_labels(_read(path, "POD_LABELS_FILE"), where=f"POD_LABELS_FILE {path}"))
    labels.update(parse_labels(environ.get("POD_LABELS", ""), where="POD_LABELS"))
    return labels


def parse_labels(text: str, where: str = "labels") -> dict[str, str]:
    """Labels in any of three forms: a JSON object, ``key="value"`` lines (downward API), ``k=v,k=v``.

    :param where: named in error texts.
    :raises ConfigError: the text is none of them.
    """
    text = text.strip()
    if not text:
        return {}
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"not JSON: {error}", where=where) from None
        if not all(isinstance(item, str) for item in value.values()):
            raise ConfigError("label values must be strings", where=where)
        return dict(value)
    labels = {}
    # A quoted value may hold a comma, so lines are only split where the text is one unquoted line.
    parts = text.splitlines() if "\n" in text or '"' in text else text.split(",")
    for part in filter(None, map(str.strip, parts)):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"{part!r} is not key=value", where=where, hint='Use JSON, key="value" lines or k=v,k=v'
            )
        value = value.strip()
        if value.startswith('"'):
            try:
                value = json.loads(value)  # the downward API quotes as Go does, which is JSON for labels
            except ValueError:
                raise ConfigError(f"{part!r}: the quotes do not match", where=where) from None
        labels[key.strip()] = value
    return labels


def _read(path: str, variable: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read {path!r}: {error.strerror or error}",
            where=variable,
            hint="Check path and rights",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path!r} is not UTF-8 text: {error.reason}", where=variable) from None
