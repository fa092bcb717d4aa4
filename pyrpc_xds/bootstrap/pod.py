"""A pod's environment variables, as Istio's agent reads them: the node, its control plane and its labels."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .files import read_file
from .node import Node
from .server import Server

DEFAULT_ISTIOD = "istiod.istio-system.svc:15010"


def read_pod(environ: Mapping[str, str]) -> tuple[Server, Node]:
    """The control plane of a pod, and the node that it is.

    :param environ: the variables that :meth:`.Bootstrap.from_env` lists.
    :raises ConfigError: something is missing or wrong; the text names it.
    """
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
        host and not {*"/@?"} & {*host} and port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535
    ):
        # What has a user or parameters may have a password or a token.
        shown = "what it says" if {*"@?"} & {*address} else repr(address)
        raise ConfigError(
            f"{shown} is not host:port (1 to 65535), without a scheme",
            where="ISTIOD_ADDR",
            hint="istiod's plaintext port is 15010",
        )
    metadata: dict[str, Any] = {
        "GENERATOR": "grpc",
        "NAMESPACE": namespace,
        "CLUSTER_ID": environ.get("CLUSTER_ID") or "Kubernetes",
        "LABELS": _labels(environ),
        "INSTANCE_IPS": ip,
    }
    for key in ("ISTIO_VERSION", "SERVICE_ACCOUNT"):
        if environ.get(key):
            metadata[key] = environ[key]
    node_id = f"sidecar~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"
    return Server(address), Node(node_id, metadata=metadata)


def _labels(environ: Mapping[str, str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    if path := environ.get("POD_LABELS_FILE"):
        labels.update(parse_labels(read_file(path, "POD_LABELS_FILE"), where=f"POD_LABELS_FILE {path}"))
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
