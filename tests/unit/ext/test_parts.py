"""Cutting an encoded message apart: every test runs compiled and uncompiled."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.ext.variants import NAMES, source
from tests.unit.xds.build import assignment, lb_endpoint, locality

CLA = endpoint_pb2.ClusterLoadAssignment


def build(name: str) -> Any:
    if name == "python":
        return source("_parts")
    module = importlib.import_module("pyrpc_xds._parts")
    assert not str(module.__file__).endswith(".py") or os.environ.get("PYRPC_XDS_NO_EXTENSIONS")
    return module


BUILDS = {name: build(name) for name in NAMES}


@pytest.fixture(params=NAMES)
def parts(request: pytest.FixtureRequest) -> Any:
    return BUILDS[request.param]


def message(*hosts: list[str]) -> Any:
    return assignment("c", [locality([lb_endpoint(host) for host in each]) for each in hosts])


def test_elements_are_taken_out_in_order_and_the_rest_is_whole(parts: Any) -> None:
    whole = message(["10.0.0.1", "10.0.0.2"], [], ["10.0.0.3"])
    rest, taken, changed = parts.Cutter(whole.SerializeToString()).cut(2, 2, [])
    assert taken == [[each.SerializeToString() for each in group.lb_endpoints] for group in whole.endpoints]
    assert changed == [[0, 1], [], [0]]
    for group in whole.endpoints:
        del group.lb_endpoints[:]
    assert CLA.FromString(rest) == whole


def test_what_was_there_before_is_the_same_object_and_not_named(parts: Any) -> None:
    _, before, _ = parts.Cutter(message(["10.0.0.1", "10.0.0.2", "10.0.0.3"]).SerializeToString()).cut(
        2, 2, []
    )
    raw = message(["10.0.0.1", "10.0.0.9", "10.0.0.3", "10.0.0.4"]).SerializeToString()
    _, taken, changed = parts.Cutter(raw).cut(2, 2, before)
    assert changed == [[1, 3]]
    assert taken[0][0] is before[0][0]
    assert taken[0][2] is before[0][2]
    _, _, fewer = parts.Cutter(message(["10.0.0.1"]).SerializeToString()).cut(2, 2, before)
    assert fewer == [[]]


@given(groups=st.lists(st.lists(st.integers(0, 255), max_size=6), max_size=4), data=st.data())
def test_cutting_loses_nothing_whatever_was_before(groups: list[list[int]], data: st.DataObject) -> None:
    whole = message(*[[f"10.0.0.{host}" for host in group] for group in groups])
    raw = whole.SerializeToString()
    before = [[data.draw(st.binary(max_size=3)) for _ in group] for group in groups]
    for parts in BUILDS.values():
        rest, taken, _ = parts.Cutter(raw).cut(2, 2, before)
        again = CLA.FromString(rest)
        for group, elements in zip(again.endpoints, taken, strict=True):
            for each in elements:
                group.lb_endpoints.add().MergeFromString(each)
        assert again == whole


@settings(max_examples=500)
@given(raw=st.binary(max_size=60))
def test_any_bytes_are_cut_alike_by_every_build_or_refused(raw: bytes) -> None:
    outcomes = []
    for parts in BUILDS.values():
        try:
            outcomes.append(parts.Cutter(raw).cut(2, 2, [[b"\x08\x01"]]))
        except parts.Malformed as error:
            outcomes.append(str(error))
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x12",
        b"\x12\x05\x0a",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0b\x0c",
        b"\x09\x00",
        b"\x12\x02\x12\x05",
    ],
    ids=[
        "no length",
        "cut off",
        "endless number",
        "largest length",
        "group",
        "half a number",
        "inner cut off",
    ],
)
def test_bytes_that_are_no_message_are_refused(parts: Any, raw: bytes) -> None:
    with pytest.raises(parts.Malformed):
        parts.Cutter(raw).cut(2, 2, [])


def test_fields_of_every_kind_stay(parts: Any) -> None:
    rest = b"\x0a\x01c" + b"\x38\x96\x01" + b"\x3d1234" + b"\x3912345678"
    assert parts.Cutter(rest).cut(2, 2, []) == (rest, [], [])
