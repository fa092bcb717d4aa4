"""Routes by method and service, as Envoy's thrift_proxy names them; compiled and uncompiled."""

from __future__ import annotations

import pytest

from pyrpc_xds.model.route import HeaderMatcher, PathMatch, PathMatcher, StringMatch, StringMatcher
from pyrpc_xds.routing.explain import words_of_path
from tests.unit.ext.variants import Variant
from tests.unit.routing.test_table import compiled, config, to

M, S = PathMatch.METHOD, PathMatch.SERVICE


# Envoy's rows (router_impl.cc): a method name is compared whole, a service name with what comes before the colon of
# a multiplexed method name; here the path says both.
@pytest.mark.parametrize(
    ("kind", "value", "path", "holds"),
    [
        (M, "SayHello", "/pkg.Greeter/SayHello", True),
        (M, "SayHello", "/Greeter/SayHello", True),
        (M, "SayHello", "/pkg.Greeter/SayHelloTwice", False),
        (M, "SayHello", "/pkg.Greeter/NotSayHello", False),
        (M, "sayhello", "/pkg.Greeter/SayHello", False),
        (M, "Greeter:SayHello", "/pkg.Greeter/SayHello", True),
        (M, "pkg.Greeter:SayHello", "/pkg.Greeter/SayHello", True),
        (M, "Greeter:SayHello", "/pkg.Other/SayHello", False),
        (M, "Greeter:SayHello", "/pkg.Greeter/Other", False),
        (S, "Greeter", "/pkg.Greeter/SayHello", True),
        (S, "Greeter", "/Greeter/SayHello", True),
        (S, "pkg.Greeter", "/pkg.Greeter/SayHello", True),
        (S, "pkg.Greeter", "/Greeter/SayHello", False),
        (S, "Greeter", "/pkg.MyGreeter/SayHello", False),
        (S, "Greeter", "/pkg.GreeterTwo/SayHello", False),
        (S, "pkg", "/pkg.Greeter/SayHello", False),
        (S, "greeter", "/pkg.Greeter/SayHello", False),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
def test_condition_on_method_or_service(
    build: Variant, kind: PathMatch, value: str, path: str, holds: bool, invert: bool
) -> None:
    condition = PathMatcher(kind, value, invert=invert)
    table = compiled(build, config(to("named", path=condition), to("rest")))
    wanted = "named" if holds != invert else "rest"
    assert {table.match(path, {}) for _ in range(3)} == {wanted}  # the first call plans, the others remember
    assert table.explain(path, {}).clusters == ((wanted, 1),)


def test_first_matching_route_decides_among_all_kinds(build: Variant) -> None:
    user = HeaderMatcher("user", StringMatcher(StringMatch.EXACT, "admin"))
    table = compiled(
        build,
        config(
            to("header", path=PathMatcher(M, "Get"), headers=(user,)),
            to("exact", path=PathMatcher(PathMatch.EXACT, "/p.A/Get")),
            to("method", path=PathMatcher(M, "Get")),
            to("others", path=PathMatcher(S, "A", invert=True)),
            to("rest"),
        ),
    )
    assert table.match("/p.A/Get", {"user": "admin"}) == "header"
    assert table.match("/p.A/Get", {}) == "exact"
    assert table.match("/p.B/Get", {}) == "method"
    assert table.match("/p.B/Put", {}) == "others"
    assert table.match("/p.A/Put", {}) == "rest"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (PathMatcher(M, "Get"), "has the method 'Get'"),
        (PathMatcher(S, "A"), "has the service 'A'"),
        (PathMatcher(M, "Get", invert=True), "has another method than 'Get'"),
        (PathMatcher(S, "A", invert=True), "has another service than 'A'"),
    ],
)
def test_words_of_the_condition(path: PathMatcher, words: str) -> None:
    assert words_of_path(path) == words
