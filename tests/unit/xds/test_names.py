"""Targets and Istio's cluster names."""

from __future__ import annotations

import pytest

from pyrpc_xds.errors import UsageError
from pyrpc_xds.xds.names import SubsetKey, Target, TargetKind, join_host_port, parse_target, split_host_port


@pytest.mark.parametrize(
    ("text", "kind", "authority"),
    [
        ("xds:///greeter.ns.svc.cluster.local:9090", TargetKind.XDS, "greeter.ns.svc.cluster.local:9090"),
        ("xds:///Greeter:80", TargetKind.XDS, "greeter:80"),
        ("xds:greeter:80", TargetKind.XDS, "greeter:80"),
        ("xds:///[fd00::1]:80", TargetKind.XDS, "[fd00::1]:80"),
        ("greeter:80", TargetKind.PLAIN, "greeter:80"),
        ("10.0.0.1:80", TargetKind.PLAIN, "10.0.0.1:80"),
        ("[::1]:80", TargetKind.PLAIN, "[::1]:80"),
        ("direct:///10.0.0.1:65535", TargetKind.DIRECT, "10.0.0.1:65535"),
        ("direct:///[::1]:1", TargetKind.DIRECT, "[::1]:1"),
    ],
)
def test_target_forms(text: str, kind: TargetKind, authority: str) -> None:
    target = parse_target(text)
    assert (target.kind, target.authority) == (kind, authority)
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no port"),
        ("greeter", "has no port"),
        ("xds:///greeter", "has no port"),
        ("xds:///", "has no port"),
        ("xds:///greeter:", "from 1 to 65535"),
        ("xds:///greeter:0", "from 1 to 65535"),
        ("xds:///greeter:65536", "from 1 to 65535"),
        ("xds:///greeter:http", "from 1 to 65535"),
        ("xds:///greeter:٣", "from 1 to 65535"),
        ("xds:///:80", "no valid host"),
        ("xds:///a b:80", "no valid host"),
        ("xds:///a/b:80", "no valid host"),
        ("xds:///::1:80", "brackets"),
        ("xds:///[greeter]:80", "IPv6"),
        ("xds:///[::1]80", "[IPv6]:PORT"),
        ("xds:///[::1]", "[IPv6]:PORT"),
        ("xds://authority/greeter:80", "authority 'authority' is not supported"),
        ("xds://greeter:80", "did you mean xds:///greeter:80?"),
        ("direct:///greeter:80", "does not appear to be an IPv4 or IPv6 address"),
        ("direct://10.0.0.1:80", "did you mean direct:///10.0.0.1:80?"),
        ("dns:///greeter:80", "unknown scheme"),
        ("http://greeter:80", "unknown scheme"),
    ],
)
def test_target_of_another_form_is_a_usage_error_that_shows_the_forms(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert reason in str(caught.value)
    assert repr(text) in str(caught.value)


def test_host_and_port_round_trip() -> None:
    for text in ("a:1", "[::1]:2"):
        assert join_host_port(*split_host_port(text)) == text
    assert Target(TargetKind.XDS, "::1", 5).authority == "[::1]:5"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (
            "outbound|9090|v1|a.b.svc.cluster.local",
            SubsetKey("outbound", 9090, "v1", "a.b.svc.cluster.local"),
        ),
        ("outbound|9090||a", SubsetKey("outbound", 9090, "", "a")),
        ("inbound|80||", SubsetKey("inbound", 80, "", "")),
    ],
)
def test_cluster_name_of_istio(name: str, key: SubsetKey) -> None:
    assert SubsetKey.parse(name) == key
    assert str(key) == name


@pytest.mark.parametrize(
    "name", ["", "c", "outbound|x||a", "outbound|1|a", "outbound|1|a|b|c", "outbound|-1||a"]
)
def test_other_cluster_names_are_not_istios(name: str) -> None:
    assert SubsetKey.parse(name) is None
