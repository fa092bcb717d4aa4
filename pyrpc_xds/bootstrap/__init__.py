"""Where the control plane is and who we are: gRPC's bootstrap JSON, or a pod's environment variables.

The JSON form is that of gRFC A27 and A65 (``xds_servers``, ``node``, ``certificate_providers``), so the
file that Istio's agent writes for gRPC works unchanged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from ..errors import ConfigError
from ..frozen import frozen
from .document import JsonObject, read_node, read_server
from .files import read_file
from .node import Locality, Mode, Node, parse_mode
from .pod import DEFAULT_ISTIOD, parse_labels, read_pod
from .server import ChannelCredentials, Server

__all__ = [
    "DEFAULT_ISTIOD",
    "ISTIO_INBOUND_TEMPLATE",
    "Bootstrap",
    "ChannelCredentials",
    "Locality",
    "Mode",
    "Node",
    "Server",
    "parse_labels",
]

ISTIO_INBOUND_TEMPLATE = "xds.istio.io/grpc/lds/inbound/%s"


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
        mode = parse_mode(environ.get("XDS_MODE"), "XDS_MODE")
        if path := environ.get("GRPC_XDS_BOOTSTRAP"):
            result = cls.from_file(path)
        elif text := environ.get("GRPC_XDS_BOOTSTRAP_CONFIG"):
            result = cls.from_json(text, source="GRPC_XDS_BOOTSTRAP_CONFIG")
        else:
            server, node = read_pod(environ)
            result = cls(
                servers=(server,),
                node=node,
                server_listener_resource_name_template=ISTIO_INBOUND_TEMPLATE,
                source="environment (ISTIOD_ADDR, POD_NAME, POD_NAMESPACE, INSTANCE_IP)",
            )
        if mode is not None:
            result = result.in_mode(mode)
        return result.with_labels(labels) if labels else result

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Bootstrap:
        """Read a JSON file.

        :raises ConfigError: it cannot be read or is wrong.
        """
        return cls.from_json(
            read_file(os.fspath(path), "GRPC_XDS_BOOTSTRAP"), source=f"file {os.fspath(path)}"
        )

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
        settings = JsonObject(document, source)
        servers = settings.list("xds_servers")
        if not servers:
            raise ConfigError(
                "xds_servers is missing or empty",
                where=source,
                hint='Name a server: {"xds_servers": [{"server_uri": "istiod.istio-system.svc:15010", '
                '"channel_creds": [{"type": "insecure"}]}], "node": {"id": "..."}}',
            )
        node = read_node(JsonObject(settings.dict("node"), f"{source}: node"))
        mode = parse_mode(node.metadata.get("XDS_MODE"), f"{source}: node: metadata: XDS_MODE")
        result = cls(
            servers=tuple(
                read_server(JsonObject(value, f"{source}: xds_servers[{index}]"))
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
