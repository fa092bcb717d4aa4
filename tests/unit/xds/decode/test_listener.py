"""Listener: one row per rule of gRFC A27, A30, A31, A39 and A41."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import config_source_pb2, extension_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from udpa.type.v1 import typed_struct_pb2

from pyrpc_xds.errors import ResourceInvalid
from pyrpc_xds.model.listener import Listener
from pyrpc_xds.xds.decode.listener import decode_listener
from tests.unit.xds.build import ADS, ROUTES, TARGET, hcm, http_filter, listener, route_config, router

Rds = http_connection_manager_pb2.Rds


def decoded(message: Any) -> Listener:
    return decode_listener(message.SerializeToString())


def with_hcm(**fields: Any) -> Any:
    return listener(TARGET, hcm(**fields))


def duration(seconds: int, nanos: int = 0) -> Any:
    return {"max_stream_duration": {"seconds": seconds, "nanos": nanos}}


def typed_struct(type_url: str) -> Any:
    return typed_struct_pb2.TypedStruct(type_url=f"type.googleapis.com/{type_url}")


def test_listener_as_istio_sends_it() -> None:
    filters = [http_filter("envoy.filters.http.fault", fault_pb2.HTTPFault()), router()]
    assert decoded(with_hcm(http_filters=filters)) == Listener(TARGET, ROUTES)
    assert decoded(with_hcm(http_filters=filters)).notes == ()


def test_inline_routes_are_decoded_in_place() -> None:
    result = decoded(with_hcm(route_config=route_config("inline")))
    assert result.route_config_name == ""
    assert result.route_config is not None
    assert result.route_config.name == "inline"


def test_self_config_source_is_as_good_as_ads() -> None:
    source = config_source_pb2.ConfigSource(self={})
    assert decoded(with_hcm(rds=Rds(config_source=source, route_config_name="r"))).route_config_name == "r"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, None), (duration(0), None), (duration(5), 5.0), (duration(0, 500_000_000), 0.5)],
)
def test_max_stream_duration_of_the_connection_manager(fields: Any, expected: float | None) -> None:
    assert decoded(with_hcm(common_http_protocol_options=fields)).max_stream_duration == expected


def any_of(message: Any) -> AnyMessage:
    result = AnyMessage()
    result.Pack(message)
    return result


def with_api_listener(config: AnyMessage) -> Any:
    result = listener_pb2.Listener(name=TARGET)
    result.api_listener.api_listener.CopyFrom(config)
    return result


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (listener_pb2.Listener(name=TARGET), "no api_listener"),
        (with_api_listener(any_of(tcp_proxy_pb2.TcpProxy())), "TcpProxy' is not supported"),
        (with_api_listener(AnyMessage(type_url=any_of(hcm()).type_url, value=b"\xff")), "not an Http"),
        (with_hcm(xff_num_trusted_hops=1), "xff_num_trusted_hops"),
        (
            with_hcm(original_ip_detection_extensions=[extension_pb2.TypedExtensionConfig(name="x")]),
            "original_ip_detection_extensions",
        ),
        (with_hcm(common_http_protocol_options=duration(-1)), "not a valid duration"),
        (with_hcm(common_http_protocol_options=duration(1, -1)), "not a valid duration"),
        (with_hcm(common_http_protocol_options=duration(2**60)), "not a valid duration"),
        (with_hcm(rds=Rds(config_source=ADS)), "rds.route_config_name is empty"),
        (with_hcm(rds=Rds(route_config_name="r")), "rds: config source missing"),
        (
            with_hcm(scoped_routes=http_connection_manager_pb2.ScopedRoutes(name="s")),
            "route_specifier scoped_routes",
        ),
        (
            with_hcm(route_config=route_config("inline", domains=[])),
            "api_listener: route_config: virtual_hosts[0] 'host': domains is empty",
        ),
        (with_hcm(http_filters=[]), "the last one must be the router"),
        (with_hcm(http_filters=[http_filter("f", fault_pb2.HTTPFault())]), "must be the router"),
        (with_hcm(http_filters=[router(), http_filter("f", fault_pb2.HTTPFault())]), "must be the router"),
        (with_hcm(http_filters=[router(), router()]), "the name is repeated"),
        (with_hcm(http_filters=[http_filter("r1", None), router()]), "http_filters[0] 'r1': has no typed"),
        (with_hcm(http_filters=[http_filter("", fault_pb2.HTTPFault()), router()]), "the name is empty"),
    ],
)
def test_listener_that_breaks_a_rule_is_refused(message: Any, reason: str) -> None:
    with pytest.raises(ResourceInvalid) as caught:
        decoded(message)
    assert caught.value.kind == "LDS"
    assert caught.value.name == TARGET
    assert reason in caught.value.reason


def test_two_routers_under_different_names_are_refused() -> None:
    first = router()
    first.name = "other"
    with pytest.raises(ResourceInvalid, match="router must be the last"):
        decoded(with_hcm(http_filters=[first, router()]))


GUARDS = [rbac_pb2.RBAC(), jwt_pb2.JwtAuthentication(), ext_authz_pb2.ExtAuthz()]


@pytest.mark.parametrize("config", GUARDS, ids=lambda config: config.DESCRIPTOR.name)
def test_filter_that_guards_access_is_never_passed_over(config: Any) -> None:
    with pytest.raises(ResourceInvalid, match=config.DESCRIPTOR.full_name):
        decoded(with_hcm(http_filters=[http_filter("guard", config), router()]))


@pytest.mark.parametrize("config", GUARDS, ids=lambda config: config.DESCRIPTOR.name)
def test_unsupported_filter_that_is_optional_is_left_out_with_a_note(config: Any) -> None:
    result = decoded(with_hcm(http_filters=[http_filter("guard", config, optional=True), router()]))
    assert "optional filter 'guard' is left out" in result.notes[0]


def test_guard_inside_a_typed_struct_is_refused_by_its_inner_type() -> None:
    config = typed_struct("envoy.extensions.filters.http.rbac.v3.RBAC")
    with pytest.raises(ResourceInvalid, match=r"rbac\.v3\.RBAC' in a TypedStruct"):
        decoded(with_hcm(http_filters=[http_filter("x", config), router()]))


def test_router_inside_a_typed_struct_is_the_router() -> None:
    config = typed_struct("envoy.extensions.filters.http.router.v3.Router")
    assert decoded(with_hcm(http_filters=[http_filter("x", config)])).name == TARGET


def test_fault_with_an_abort_is_noted_as_not_applied() -> None:
    fault = fault_pb2.HTTPFault(abort=fault_pb2.FaultAbort(http_status=503))
    result = decoded(with_hcm(http_filters=[http_filter("f", fault), router()]))
    assert result.notes == ("filter 'f': fault injection (abort) is not applied",)


def test_stateful_session_is_noted_as_not_applied() -> None:
    session = stateful_session_pb2.StatefulSession()
    result = decoded(with_hcm(http_filters=[http_filter("s", session), router()]))
    assert result.notes == ("filter 's': session affinity is not applied",)


def test_fault_whose_bytes_are_broken_is_refused() -> None:
    broken = http_filter("f", fault_pb2.HTTPFault())
    broken.typed_config.value = b"\xff"
    with pytest.raises(ResourceInvalid, match=r"not a envoy\.extensions\..*HTTPFault"):
        decoded(with_hcm(http_filters=[broken, router()]))
