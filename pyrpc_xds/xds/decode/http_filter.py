"""HTTP filters of a listener and their overrides in routes (gRFC A39).

The rule: a filter that is not understood refuses the resource unless the control plane marked it optional.
Fault injection and stateful sessions are understood and not applied yet; where they would do something, a
note says so. A filter that guards access (RBAC, JWT, external authorisation) is never passed over silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from .common import Refused, type_name
from .descriptors import message_class

_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_FAULT = "envoy.extensions.filters.http.fault.v3.HTTPFault"
_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"
_SESSION = frozenset(
    {
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
    }
)
# Only browsers, or only the numbers of a sidecar, know the difference.
_HARMLESS = frozenset(
    {
        "envoy.extensions.filters.http.cors.v3.Cors",
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        # What Istio gives sidecars beside routing: telemetry, and the ALPN of mutual TLS.
        "io.istio.http.peer_metadata.Config",
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "stats.PluginConfig",
    }
)
TYPED_STRUCTS = frozenset({"udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"})


def listener_filters(filters: Iterable[Any]) -> tuple[str, ...]:
    """Check the filters of an HttpConnectionManager.

    :returns: notes on what is not applied.
    :raises Refused: one is neither supported nor optional, a name is empty or repeated, or the router is
        not last.
    """
    notes: list[str] = []
    names: set[str] = set()
    types: list[str] = []
    for index, http_filter in enumerate(filters):
        name = http_filter.name
        place = f"http_filters[{index}] {name!r}"
        if not name or name in names:
            raise Refused(f"{place}: the name is {'repeated' if name else 'empty'}")
        names.add(name)
        try:
            if not http_filter.HasField("typed_config"):
                raise Refused("has no typed_config (config_discovery is not supported)")
            kind, note = _understood(http_filter.typed_config)
        except Refused as error:
            if not http_filter.is_optional:
                raise error.inside(place) from None
            notes.append(f"optional filter {name!r} is left out: {error.reason}")
            continue
        if note:
            notes.append(f"filter {name!r}: {note}")
        types.append(kind)
    if not types or types[-1] != _ROUTER:
        raise Refused("http_filters: the last one must be the router")
    if _ROUTER in types[:-1]:
        raise Refused("http_filters: the router must be the last one")
    return tuple(notes)


def overrides(configs: Mapping[str, Any], place: str) -> list[str]:
    """Check a ``typed_per_filter_config``.

    :param place: what it belongs to, for notes.
    :returns: notes on what is not applied.
    :raises Refused: one is not supported and not optional.
    """
    notes = []
    for name, config in configs.items():
        optional = False
        try:
            if type_name(config.type_url) == _FILTER_CONFIG:
                wrapper = _parse(_FILTER_CONFIG, config.value)
                optional = wrapper.is_optional
                if wrapper.disabled:
                    continue
                config = wrapper.config  # noqa: PLW2901
            _, note = _understood(config)
        except Refused as error:
            if not optional:
                raise error.inside(f"typed_per_filter_config[{name!r}]") from None
            note = error.reason
        if note:
            notes.append(f"{place}: filter {name!r}: {note}")
    return notes


def _understood(config: Any) -> tuple[str, str]:
    """The type of a filter's config and what is not applied of it; empty: nothing."""
    kind = type_name(config.type_url)
    if kind in TYPED_STRUCTS:
        kind = type_name(_parse(kind, config.value).type_url)
        if kind not in _HARMLESS | _SESSION | {_ROUTER}:
            raise Refused(f"type {kind!r} in a TypedStruct is not supported")
    if kind == _ROUTER or kind in _HARMLESS:
        return kind, ""
    if kind == _FAULT:
        fault = _parse(_FAULT, config.value)
        active = [field for field in ("abort", "delay") if fault.HasField(field)]
        return kind, f"fault injection ({' and '.join(active)}) is not applied" if active else ""
    if kind in _SESSION:
        return kind, "session affinity is not applied"
    raise Refused(f"type {kind!r} is not supported")


def _parse(kind: str, value: bytes) -> Any:
    try:
        return message_class(kind).FromString(value)
    except DecodeError as error:
        raise Refused(f"not a {kind}: {error}") from None
