"""Placeholders in Dubbo's YAML: what fills them, and what does not."""

from __future__ import annotations

import pytest

from pyrpc_xds.dubbo.files import parse
from pyrpc_xds.dubbo.placeholders import fill_dubbo
from pyrpc_xds.errors import ConfigError


def tree(text: str, **environ: str) -> object:
    return fill_dubbo(parse(text, "dubbogo.yaml"), environ, "dubbogo.yaml")


def error_of(text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        tree(text, **environ)
    return str(caught.value)


def test_placeholder_is_a_variable_of_the_environment() -> None:
    text = "dubbo: {registries: {xds: {address: 'xds://${HOST}:${PORT:15010}', group: '${EMPTY:}'}}}"
    assert tree(text, HOST="istiod") == {
        "registries": {"xds": {"address": "xds://istiod:15010", "group": ""}}
    }


def test_placeholder_is_another_key_of_the_file_as_in_dubbo_go() -> None:
    text = "dubbo:\n  application: {name: shop, module: '${dubbo.application.name}-m'}\n  x: ${dubbo.none:other}\n"
    assert tree(text) == {"application": {"name": "shop", "module": "shop-m"}, "x": "other"}


def test_placeholder_that_nothing_fills_is_an_error_with_its_key() -> None:
    assert error_of("dubbo: {protocols: {triple: {port: '${PORT}'}}}").endswith(
        "dubbogo.yaml: dubbo.protocols.triple.port: nothing fills ${PORT}: it is no key of this file and no "
        "environment variable. Set PORT, or write ${PORT:default}"
    )


def test_placeholders_that_multiply_are_an_error() -> None:
    lines = [f"  a{i}: '{f'${{dubbo.a{i + 1}}}' * 20}'" for i in range(6)]
    assert "longer than" in error_of("\n".join(["dubbo:", *lines, "  a6: xxxxxxxxxx"]))


def test_placeholders_that_name_each_other_are_an_error() -> None:
    assert "dubbo.a: its placeholders name each other" in error_of(
        "dubbo: {a: '${dubbo.b}', b: '${dubbo.a}'}"
    )


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("${A:${B:c}}", "${B:c}"),
        ("${A:${B}}", "${B}"),
        ("${A: ${B:${C:d}} }", "${B:${C:d}}"),
        ("${dubbo.none:${dubbo.there}}", "${dubbo.there}"),
        ("${A:{x}}", "{x}"),
        ("${${A}:d}", "d"),
    ],
)
def test_default_is_taken_as_it_is_written_as_in_dubbo_go(value: str, filled: str) -> None:
    """dubbo-go v3.3.0, config_resolver.go: the name ends at the first colon, and nothing looks into the rest again."""
    assert tree(f"dubbo: {{there: x, a: '{value}'}}", B="b", C="c") == {"there": "x", "a": filled}


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("${A:${B:c}}", "a"),
        ("${dubbo.there:${B}}", "x"),
        ("<${A:${B:{}}}:${NONE:${B}}>", "<a:${B}>"),
        ("${A:{}", "${A:{}"),
        ("}${A}", "}a"),
        ("{${A}}", "{a}"),
    ],
)
def test_placeholder_ends_at_its_own_brace(value: str, filled: str) -> None:
    assert tree(f"dubbo: {{there: x, a: '{value}'}}", A="a") == {"there": "x", "a": filled}
