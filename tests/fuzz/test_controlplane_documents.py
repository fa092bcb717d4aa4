"""Whatever a document says, reading it ends in objects or in errors, and objects can always be served."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrpc_xds.controlplane.documents import read_text
from pyrpc_xds.controlplane.names import NodeView
from pyrpc_xds.controlplane.registry import Mesh
from pyrpc_xds.controlplane.snapshot import Snapshot
from pyrpc_xds.controlplane.wire import CLUSTER, ENDPOINT, LISTENER, ROUTE
from tests.interop.cases import CASES

NODE = NodeView("default", "default.svc.cluster.local", labels=(("app", "client"),), addresses=("127.0.0.2",))
# What people write by mistake, and what nobody should.
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 65536, 2**31, 2**64, 0.5, float("nan"), "", "x", "*", "5s", "1h", "-1s", "(", "::1",
    "127.0.0.1", "999.1.1.1", "a" * 1000, "\x00", "ü", [], {}, [[]], [None], [{}], {"a": None}, {"": ""}, {1: 2},
    {"exact": "a"}, {"regex": "("}, {"value": 200}, ["a"], "unix:///s", "outbound|1|2|3", "~", ".", "a|b", "{}",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything within a document."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        found.extend(places(item, (*path, key)))
    return found


def changed(document: Any, choose: random.Random) -> Any:
    """The document with one thing in it replaced, removed, doubled or renamed."""
    document = copy.deepcopy(document)
    path = choose.choice(places(document))
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    match choose.randrange(4):
        case 0:
            del holder[path[-1]]
        case 1 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[path[-1]]))
        case 2 if isinstance(holder, dict):
            holder[str(path[-1]) + choose.choice(["s", "x", ""])] = holder.pop(path[-1])
        case _:
            holder[path[-1]] = copy.deepcopy(choose.choice(ODD))
    return document


def serve(text: str) -> None:
    """Read the text and build everything that a node could ask of it."""
    documents = read_text(text, "fuzz.yaml")
    assert all(str(error).startswith("fuzz.yaml") for error in documents.errors)
    snapshot = Snapshot(Mesh(documents.resources), "1")
    names = snapshot.every_name(LISTENER, NODE)
    clusters = set()
    for name in names:
        host, _, port = name.rpartition(":")
        snapshot.resources(LISTENER, NODE, name)
        clusters.update(f"outbound|{port}|{subset}|{host}" for subset in ("", "v1"))
    for name in clusters:
        for type_url in (ROUTE, CLUSTER, ENDPOINT):
            snapshot.resources(type_url, NODE, name)


@pytest.mark.parametrize("seed", range(3))
def test_changed_documents_are_read_or_refused_and_served(seed: int) -> None:
    choose = random.Random(seed)
    for case in CASES:
        documents = [document for document in yaml.safe_load_all(case.text) if document]
        for _ in range(2):
            index = choose.randrange(len(documents))
            mutated = [changed(item, choose) if at == index else item for at, item in enumerate(documents)]
            serve(yaml.safe_dump_all(mutated, allow_unicode=True))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    serve(text)
