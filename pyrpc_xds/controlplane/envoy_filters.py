"""EnvoyFilter, read from its YAML: what merges into outbound clusters is served, the rest is noted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .cluster_patches import THRIFT_OPTIONS, ClusterPatch, EnvoyFilter
from .fields import MAX_PORT, Fields
from .meta import Meta

_APPLY_TO = (
    "LISTENER",
    "FILTER_CHAIN",
    "NETWORK_FILTER",
    "HTTP_FILTER",
    "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST",
    "HTTP_ROUTE",
    "CLUSTER",
    "EXTENSION_CONFIG",
    "BOOTSTRAP",
    "LISTENER_FILTER",
)
_CONTEXTS = ("ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT")
_OPERATIONS = (
    "MERGE",
    "ADD",
    "REMOVE",
    "INSERT_BEFORE",
    "INSERT_AFTER",
    "INSERT_FIRST",
    "REPLACE",
    "MERGE_AND_REPLACE_LIST",
)
_TRANSPORTS = ("AUTO_TRANSPORT", "FRAMED", "UNFRAMED", "HEADER")
_PROTOCOLS = ("AUTO_PROTOCOL", "BINARY", "LAX_BINARY", "COMPACT", "TWITTER")
_NOT_SERVED = "is not served here"
_OPTIONS_TYPE = "type.googleapis.com/envoy.extensions.filters.network.thrift_proxy.v3.ThriftProtocolOptions"


def read_envoy_filter(meta: Meta, document: Fields) -> EnvoyFilter:
    """An EnvoyFilter. Raises ConfigError."""
    spec = document.child("spec")
    selector = spec.child("workloadSelector")
    labels = selector.labels("labels")
    selector.finish()
    patches = [patch for each in spec.children("configPatches") if (patch := _patch(each)) is not None]
    if spec.has("targetRefs"):
        spec.note("spec.targetRefs is for gateways and waypoints: nothing of it is served here")
        patches = []
    spec.ignore("targetRefs")
    found = EnvoyFilter(
        meta, tuple(patches), labels, spec.integer("priority", 0, low=-(2**31), high=2**31 - 1)
    )
    spec.finish()
    return found


def _patch(field: Fields) -> ClusterPatch | None:
    """The patch, or None where it is for something else than the outbound clusters of a node."""
    apply_to = field.choice("applyTo", _APPLY_TO, "")
    match, patch = field.child("match"), field.child("patch")
    context = match.choice("context", _CONTEXTS, "ANY")
    operation = patch.choice("operation", _OPERATIONS, "")
    field.finish()
    if apply_to != "CLUSTER":
        field.note(f"{field.path}: applyTo {apply_to} {_NOT_SERVED}")
        return None
    if context not in ("ANY", "SIDECAR_OUTBOUND"):
        return None
    if operation != "MERGE":
        field.note(f"{field.path}: operation {operation} of a cluster {_NOT_SERVED}")
        return None
    if match.has("proxy"):
        field.note(f"{field.path}: a patch with match.proxy {_NOT_SERVED}")
        return None
    cluster = match.child("cluster")
    made = ClusterPatch(
        name=cluster.text("name"),
        service=cluster.text("service"),
        subset=cluster.text("subset"),
        port=cluster.integer("portNumber", 0, high=MAX_PORT),
        **_value(patch),
    )
    for part in (cluster, match, patch):
        part.ignore("filterClass")
        part.finish()
    return made if made.metadata or made.thrift else None


def _value(patch: Fields) -> dict[str, Any]:
    """What is served of ``patch.value``, a Cluster of Envoy's; protobuf's JSON has two spellings of a name."""
    value = patch.child("value")
    raw = patch.raw("value")
    if not raw:
        patch.fail("value", "is missing", "Give the fields to merge.")
    if "transportSocket" in raw or "transport_socket" in raw:
        # istiod merges nothing else then.
        value.note(f"{value.path}: a patch of transport_socket {_NOT_SERVED}")
        return {}
    found: dict[str, Any] = {}
    for key in raw:
        if key == "metadata":
            metadata = value.child(key)
            name = _spelt(metadata, "filterMetadata", "filter_metadata")
            found["metadata"] = tuple(
                (each, _mapping(metadata, f"{name}.{each}", inner))
                for each, inner in _mapping(metadata, name, metadata.raw(name) or {}).items()
            )
            metadata.finish()
        elif key in ("typedExtensionProtocolOptions", "typed_extension_protocol_options"):
            for each, options in value.entries(key):
                if each == THRIFT_OPTIONS:
                    found["thrift"] = _thrift(options)
                else:
                    value.note(f"{value.path}.{key}.{each} {_NOT_SERVED}")
        else:
            value.note(f"{value.path}.{key} {_NOT_SERVED}")
    return found


def _thrift(options: Fields) -> tuple[str, str]:
    kind = options.text("@type", None)
    if kind != _OPTIONS_TYPE:
        options.fail("@type", f"is {kind!r}", f"It is {_OPTIONS_TYPE}.")
    found = (
        options.choice("transport", _TRANSPORTS, "AUTO_TRANSPORT"),
        options.choice("protocol", _PROTOCOLS, "AUTO_PROTOCOL"),
    )
    options.finish()
    return found


def _spelt(field: Fields, *names: str) -> str:
    return next((name for name in names if field.has(name)), names[0])


def _mapping(field: Fields, place: str, value: Any) -> Mapping[str, Any]:
    """A mapping of JSON, as a google.protobuf.Struct is."""
    if not isinstance(value, dict):
        field.fail(place, f"is {value!r}, not a mapping")
    _check_json(field, place, value)
    return value


def _check_json(field: Fields, place: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                field.fail(place, f"has the key {key!r}, not a string", "Put it in quotes.")
            _check_json(field, f"{place}.{key}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_json(field, f"{place}[{index}]", inner)
    elif value is not None and not isinstance(value, str | int | float):
        field.fail(place, f"is {value!r}, which JSON does not have", "Put it in quotes.")
