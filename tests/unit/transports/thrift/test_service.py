"""What is worked out of an IDL: paths, arguments, and where the scan must compare types."""

from __future__ import annotations

import io
from typing import Any

import pytest
import thriftpy2

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.thrift.schema import must_compare, struct_node
from pyrpc_xds.transports.thrift.service import describe, package_of
from tests.unit.transports.thrift.peers import idl


def load(source: str, name: str) -> Any:
    return thriftpy2.load_fp(io.StringIO(source), name)


@pytest.mark.parametrize(
    ("namespaces", "package"),
    [
        ("namespace py a.b\nnamespace * c\nnamespace go d", "a.b"),
        ("namespace go d\nnamespace * c", "c"),
        ("namespace java e\nnamespace go d", "d"),
        ("namespace java e\nnamespace cpp f", "e"),
        ("namespace cpp f", ""),
        ("", ""),
    ],
)
def test_package_is_the_first_namespace_of_the_order(namespaces: str, package: str) -> None:
    service = load(namespaces + "\nservice S { void m() }", f"s{abs(hash(namespaces))}_thrift").S
    assert package_of(service) == package
    assert describe(service).methods["m"].path == (f"/{package}.S/m" if package else "/S/m")
    assert describe(service, "x.y").methods["m"].path == "/x.y.S/m"


def test_package_of_a_module_loaded_without_a_name(tmp_path: Any) -> None:
    path = tmp_path / "unnamed.thrift"
    path.write_text("namespace py un.named\nservice S { void m() }")
    assert package_of(thriftpy2.load(str(path)).S) == "un.named"


def test_inherited_methods_have_the_path_of_the_service_called() -> None:
    assert describe(idl.Everything).methods["ping"].path == "/example.everything.Everything/ping"
    assert describe(idl.Base).methods["ping"].path == "/example.everything.Base/ping"


def test_something_else_is_a_usage_error() -> None:
    for wrong in (idl, idl.Item, "Everything", None):
        with pytest.raises(UsageError, match="not a service"):
            describe(wrong)


@pytest.mark.parametrize(
    ("field", "binary", "compact"),
    [
        ("string", False, False),
        ("list<string>", False, True),
        ("set<i32>", False, True),
        ("map<string, string>", False, True),
        ("map<string, binary>", False, True),
        ("map<i32, string>", True, True),
        ("map<string, i32>", True, True),
        ("list<map<string, i32>>", True, True),
        ("map<string, map<string, bool>>", True, True),
        ("Deep", True, True),
        # What can be sent many times over in few bytes is counted.
        ("Plain", False, False),
        ("list<Plain>", True, True),
        ("set<list<string>>", True, True),
        ("Selfish", True, True),
        ("Twins", True, True),
    ],
)
def test_types_are_compared_where_the_decoder_does_not(field: str, binary: bool, compact: bool) -> None:
    source = (
        "struct Deep { 1: list<Deeper> more }\nstruct Deeper { 1: Deep up 2: map<i64, Deep> all }\n"
        "struct Plain { 1: i32 number }\nstruct Selfish { 1: Selfish rest }\n"
        "struct Twins { 1: Plain one 2: Plain other }\n"
        f"struct T {{ 1: {field} value }}"
    )
    struct = load(source, f"t{abs(hash(field))}_thrift").T
    assert (must_compare(struct, False), must_compare(struct, True)) == (binary, compact)


def test_node_of_a_recursive_struct_is_recursive() -> None:
    node = struct_node(idl.Item)
    assert node[3] == (15, (12, node))
    assert node[3][1][1] is node
    assert node[4] == (13, (8, None, 11, None))
    assert node[6] == (11, None)
    assert node[7] == (13, (11, None, 15, (8, None)))
