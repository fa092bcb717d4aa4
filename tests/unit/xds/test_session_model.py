"""The ADS session against a model: whatever the order of events, the protocol's promises hold.

The resource types here are toys (``name=content``, bad where the content is ``bad``): the machine spends
its time on orders of events and not on protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyrpc_xds.bootstrap import Node
from pyrpc_xds.errors import ResourceInvalid, StreamError
from pyrpc_xds.xds.cache import ResourceState
from pyrpc_xds.xds.decode.envelope import DiscoveryRequest, DiscoveryResponse, RawResource
from pyrpc_xds.xds.session import Session
from pyrpc_xds.xds.timers import RESOURCE_TIMEOUT
from pyrpc_xds.xds.types import ResourceType

NODE = Node("a~b~c~d")
NAMES = ("x", "y", "z")


@dataclass(frozen=True)
class Toy:
    name: str
    content: str


def toy_type(short: str, *, full_state: bool) -> ResourceType:
    def decode(raw: bytes) -> Toy:
        name, _, content = raw.decode().partition("=")
        if not name:
            raise ResourceInvalid(short, "", "no name")
        if content == "bad":
            raise ResourceInvalid(short, name, "bad content")
        return Toy(name, content)

    return ResourceType(short, f"type/{short}", full_state, decode)


FULL = toy_type("FULL", full_state=True)
PART = toy_type("PART", full_state=False)
KINDS = st.sampled_from([FULL, PART])
CONTENTS = st.sampled_from(["1", "2", "3", "bad"])


class View:
    """A watcher that knows only what it was told."""

    def __init__(self) -> None:
        self.value: Any = None
        self.told: list[str] = []

    def on_changed(self, name: str, resource: Any) -> None:
        assert resource is not None
        self.value = resource
        self.told.append("changed")

    def on_error(self, name: str, error: Any) -> None:
        self.value = None
        self.told.append("error")

    def on_ambient_error(self, name: str, error: Any) -> None:
        assert self.value is not None
        self.told.append("ambient")


class SessionMachine(RuleBasedStateMachine):
    @initialize(drop=st.booleans())
    def start(self, drop: bool) -> None:
        self.drop = drop
        self.session = Session(
            NODE, types={kind.type_url: kind for kind in (FULL, PART)}, fail_on_data_errors=drop
        )
        self.now = 0.0
        self.open = False
        self.views: dict[tuple[ResourceType, str], list[View]] = {}
        # What each watched name should hold: its last good content since it was last left for good.
        self.good: dict[tuple[ResourceType, str], Toy | None] = {}
        self.version = {FULL: "", PART: ""}
        self.nonce = {FULL: "", PART: ""}
        self.requested: dict[ResourceType, tuple[str, ...]] = {}
        self.owed: dict[str, bool] = {}
        self.node_sent = False
        self.number = 0
        self.departed: list[tuple[View, int]] = []

    # ---- inputs

    @rule(kind=KINDS, name=st.sampled_from(NAMES))
    def subscribe(self, kind: ResourceType, name: str) -> None:
        view = View()
        self.views.setdefault((kind, name), []).append(view)
        self.good.setdefault((kind, name), None)
        self.session.subscribe(kind, name, view)

    @rule(kind=KINDS, name=st.sampled_from(NAMES))
    def unsubscribe(self, kind: ResourceType, name: str) -> None:
        views = self.views.get((kind, name))
        if views:
            view = views.pop(0)
            self.session.unsubscribe(kind, name, view)
            self.departed.append((view, len(view.told)))
            if not views:
                del self.views[kind, name]
                if not self.open or kind not in self.requested:
                    self.good.pop((kind, name))

    @rule(kind=KINDS, name=st.sampled_from(NAMES))
    def leave_and_return_in_one_turn(self, kind: ResourceType, name: str) -> None:
        while (kind, name) in self.views:
            self.unsubscribe(kind, name)
        self.subscribe(kind, name)

    @precondition(lambda self: not self.open)
    @rule()
    def connect(self) -> None:
        self.session.opened(self.now)
        self.open = True
        self.node_sent = False

    @precondition(lambda self: self.open)
    @rule()
    def disconnect(self) -> None:
        self.session.closed(self.now, StreamError("gone"))
        self.open = False
        self.requested.clear()
        self.owed.clear()
        self.nonce = {FULL: "", PART: ""}
        for key in list(self.good):
            if key not in self.views:
                del self.good[key]

    @precondition(lambda self: self.open)
    @rule(
        kind=KINDS,
        contents=st.dictionaries(st.sampled_from((*NAMES, "stranger")), CONTENTS),
        twice=st.booleans(),
        nameless=st.booleans(),
    )
    def respond(self, kind: ResourceType, contents: dict[str, str], twice: bool, nameless: bool) -> None:
        self.number += 1
        nonce, version = f"n{self.number}", f"v{self.number}"
        items = list(contents.items())
        repeated = items[0][0] if twice and items else None
        if repeated:
            items.append(items[0])
        raw = [f"{name}={content}".encode() for name, content in items]
        if nameless:
            raw.append(b"=nothing")
        message = DiscoveryResponse(
            kind.type_url, version, nonce, tuple(RawResource(kind.type_url, item) for item in raw)
        )
        self.session.received(message, self.now)
        if kind not in self.requested:
            return
        bad = {name for name, content in contents.items() if content == "bad"} | ({repeated} - {None})
        self.owed[nonce] = bool(bad or nameless)
        self.nonce[kind] = nonce
        if not self.owed[nonce]:
            self.version[kind] = version
        for (owner, name), held in list(self.good.items()):
            if owner is not kind or (kind, name) not in self.views:
                continue
            if name in contents and name not in bad:
                self.good[kind, name] = Toy(name, contents[name])
            elif self.drop and held and (name in bad or (kind.full_state and not nameless)):
                self.good[kind, name] = None
        self.flush()

    @precondition(lambda self: self.open)
    @rule()
    def respond_of_an_unknown_type(self) -> None:
        self.session.received(DiscoveryResponse("type/OTHER", "9", "other"), self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 15.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.session.expire(self.now)

    @rule()
    def flush(self) -> None:
        while (news := self.session.next_notification()) is not None:
            news.deliver()
        requests = self.session.requests()
        assert self.open or not requests
        for request in requests:
            self.check_request(request)
        self.session.sent(self.now)
        assert not self.owed, "a response was not answered"
        if self.open:
            for kind in (FULL, PART):
                wanted = {name for owner, name in self.views if owner is kind}
                assert set(self.requested.get(kind, ())) == wanted
            for key in list(self.good):
                if key not in self.views:
                    del self.good[key]
        self.check_views()

    # ---- promises

    def check_request(self, request: DiscoveryRequest) -> None:
        kind = next(kind for kind in (FULL, PART) if kind.type_url == request.type_url)
        assert (request.node == NODE) is not self.node_sent
        self.node_sent = True
        assert request.nonce == self.nonce[kind]
        assert len(set(request.names)) == len(request.names)
        if kind not in self.requested:
            assert request.names, "an empty first request is a wildcard"
            assert request.nonce == ""
            complete = all(self.good[kind, name] for name in request.names)
            assert request.version == (self.version[kind] if complete else "")
        else:
            assert request.version == self.version[kind]
            answers = request.nonce in self.owed
            changes = set(request.names) != set(self.requested[kind])
            assert answers or changes, "a request that says nothing"
        if request.nonce in self.owed:
            assert bool(request.error) is self.owed.pop(request.nonce)
        else:
            assert request.error == ""
        self.requested[kind] = request.names

    def check_views(self) -> None:
        for view, told in self.departed:
            assert len(view.told) == told, "a watcher was told something after it had left"
        for key, views in self.views.items():
            for view in views:
                assert view.value == self.good[key], (key, view.told)

    @invariant()
    def cache_holds_the_last_good_version(self) -> None:
        if not hasattr(self, "session"):
            return
        for kind, name in self.views:
            entry = self.session.cache.of(kind)[name]
            assert entry.model == self.good[kind, name]
            assert (entry.error is None) == (entry.state in (ResourceState.ACKED, ResourceState.REQUESTED))
            if entry.state is ResourceState.ACKED:
                assert entry.model is not None
            if entry.state is ResourceState.REQUESTED:
                assert entry.model is None

    @invariant()
    def timers_run_only_on_a_stream_and_not_longer_than_they_may(self) -> None:
        if not hasattr(self, "session"):
            return
        timer = self.session.next_timer()
        if not self.open:
            assert timer is None
        elif timer is not None:
            assert timer <= self.now + RESOURCE_TIMEOUT

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        if not self.open:
            self.connect()
        self.flush()


SessionMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSession = SessionMachine.TestCase
