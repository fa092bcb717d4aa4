"""What a call's metadata becomes: headers to route by, and what is sent."""

from __future__ import annotations

from typing import Any

import grpc.aio
import pytest

from pyrpc_xds.transports.triple.metadata import base_headers, incoming, outgoing

BASE = base_headers("greeter:80", "/pkg.Service/Method")


def routed(metadata: Any, attached: dict[str, str] | None = None) -> dict[str, str]:
    headers = outgoing(metadata, attached or {}, BASE)[1]
    assert headers.items() >= {name: value for name, value in BASE.items() if name not in headers}.items()
    return {name: value for name, value in headers.items() if BASE.get(name) != value}


def sent(metadata: Any, attached: dict[str, str] | None = None) -> list[tuple[str, Any]]:
    return list(outgoing(metadata, attached or {}, BASE)[0] or ())


def test_several_values_of_a_name_are_joined_for_routing_and_sent_apart() -> None:
    pairs = (("tag", "1"), ("tag", "2"), ("user", "admin"))
    assert routed(pairs) == {"tag": "1,2", "user": "admin"}
    assert sent(pairs) == list(pairs)


def test_binary_metadata_is_sent_and_not_matched() -> None:
    assert routed((("blob-bin", b"\xff"), ("user", "a"))) == {"user": "a"}
    assert sent((("blob-bin", b"\xff"),)) == [("blob-bin", b"\xff")]


def test_ascii_values_given_as_bytes_are_matched_as_text() -> None:
    assert routed((("user", b"admin"),)) == {"user": "admin"}


def test_attachments_alone_are_matched_and_sent() -> None:
    assert routed(None, {"user": "admin"}) == {"user": "admin"}
    assert sent(None, {"user": "admin"}) == [("user", "admin")]


def test_persistent_attachments_are_sent_with_kitexs_prefix_and_routed_by_their_name() -> None:
    pairs, headers = outgoing(None, {"lane": "dev", "user": "admin"}, BASE, frozenset({"lane"}))
    assert list(pairs or ()) == [("rpc-persist-lane", "dev"), ("user", "admin")]
    assert (headers["lane"], headers["user"]) == ("dev", "admin")
    assert "rpc-persist-lane" not in headers


@pytest.mark.parametrize("prefix", ["rpc-persist-", "rpc-transit-"])
def test_explicit_metadata_in_kitexs_form_is_routed_by_its_name_and_replaces_an_attachment(
    prefix: str,
) -> None:
    pairs = ((f"{prefix}lane", "explicit"),)
    assert routed(pairs, {"lane": "attached"}) == {"lane": "explicit"}
    assert sent(pairs, {"lane": "attached"}) == list(pairs)


def test_binary_attachments_are_sent_as_bytes() -> None:
    assert sent(None, {"blob-bin": "AP8"}) == [("blob-bin", b"AP8")]


def test_metadata_of_the_channel_is_sent_with_every_call_unless_the_call_has_its_own() -> None:
    fixed = (("tri-service-version", "1.0.0"),)
    assert outgoing(None, {"user": "a"}, BASE, (), fixed)[0] == (*fixed, ("user", "a"))
    assert outgoing((("user", "a"),), {}, BASE, (), fixed)[0] == (*fixed, ("user", "a"))
    own = (("tri-service-version", "2.0.0"),)
    assert outgoing(own, {}, {**BASE, **dict(fixed)}, (), fixed)[0] == own


def test_incoming_names_lose_kitexs_prefixes_and_persistent_ones_are_told_apart() -> None:
    pairs = (("rpc-persist-lane", "dev"), ("rpc-transit-user", "admin"), ("zone", "a"), ("lane", "other"))
    assert incoming(pairs) == ({"lane": "dev", "user": "admin", "zone": "a"}, {"lane": "dev"})
    assert incoming((("rpc-persist-", "x"),)) == ({"rpc-persist-": "x"}, {})


def test_incoming_copies_of_baggage_count_where_none_came_and_are_never_joined_to_it() -> None:
    assert incoming((("rpc-persist-baggage", "lane=old"),)) == ({"baggage": "lane=old"}, {})
    both = (("rpc-persist-baggage", "lane=old"), ("baggage", "lane=new"), ("rpc-persist-x", "y"))
    assert incoming(both) == ({"baggage": "lane=new", "x": "y"}, {"x": "y"})


def test_incoming_parameters_of_dubbo_gos_reference_are_no_attachments() -> None:
    pairs = (("interface", "a.B"), ("timeout", "3s"), ("retries", ""), ("user", "admin"))
    assert incoming((*pairs, ("user-agent", "grpc-go-triple/0.1.0")))[0] == {"user": "admin"}
    assert incoming((*pairs, ("user-agent", "grpc-python/1.85.1")))[0] == dict(pairs)


def test_explicit_metadata_replaces_an_attachment_of_its_name() -> None:
    assert routed((("user", "explicit"),), {"user": "attached", "zone": "a"}) == {
        "user": "explicit",
        "zone": "a",
    }
    assert sorted(sent((("user", "explicit"),), {"user": "attached", "zone": "a"})) == [
        ("user", "explicit"),
        ("zone", "a"),
    ]


def test_explicit_binary_metadata_replaces_nothing_but_its_name() -> None:
    assert sorted(sent((("blob-bin", b"x"),), {"user": "a"})) == [("blob-bin", b"x"), ("user", "a")]


@pytest.mark.parametrize("of", [tuple, list, iter, lambda pairs: grpc.aio.Metadata(*pairs)])
def test_metadata_of_any_iterable_is_read_once(of: Any) -> None:
    pairs, headers = outgoing(of([("user", "admin")]), {}, BASE)
    assert headers["user"] == "admin"
    assert list(pairs or ()) == [("user", "admin")]
    assert list(pairs or ()) == [("user", "admin")]


def test_metadata_with_nothing_to_add_is_passed_on_itself() -> None:
    metadata = (("user", "admin"),)
    assert outgoing(metadata, {}, BASE)[0] is metadata


def test_shared_headers_of_the_method_are_not_changed() -> None:
    before = dict(BASE)
    outgoing((("user", "admin"),), {"zone": "a"}, BASE)
    assert before == BASE
