"""Sidecar mode: which listener, which filter chain, which routes, of which words of the control plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyrpc_xds.errors import ResourceInvalid, ResourceNotFound
from pyrpc_xds.model.cluster import Cluster
from pyrpc_xds.model.filter_chain import (
    FilterChain,
    HttpConnectionManager,
    NetworkFilter,
    ProxyListener,
    TcpProxy,
    ThriftProxy,
)
from pyrpc_xds.model.name_table import NAME, NameTable
from pyrpc_xds.model.route import (
    ClusterRoute,
    PathMatch,
    PathMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from pyrpc_xds.model.snapshot import MeshSnapshot
from pyrpc_xds.routing.snapshot import cluster_names
from pyrpc_xds.routing.table import choose_virtual_host
from pyrpc_xds.xds.sidecar import GRACE, Place, SidecarManager, spellings
from pyrpc_xds.xds.sidecar_types import NDS
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS, ResourceType
from tests.unit.xds.test_dependency import FakeDriver, endpoints

HOST = "greeter.default.svc.cluster.local"
WHOLE = f"outbound|9090||{HOST}"


def to(*clusters: str, path: PathMatcher | None = None) -> Route:
    match = RouteMatch(path or PathMatcher(PathMatch.PREFIX, ""))
    return Route(match, ClusterRoute(tuple(WeightedCluster(name) for name in clusters)), "+".join(clusters))


def tcp(*clusters: str) -> TcpProxy:
    return TcpProxy(tuple(WeightedCluster(name) for name in clusters))


def thrift(*routes: Route) -> ThriftProxy:
    return ThriftProxy(RouteConfiguration("thrift_proxy", (VirtualHost("thrift_proxy", ("*",), routes),)))


def rds(name: str = "9090") -> HttpConnectionManager:
    return HttpConnectionManager(name)


def listener(
    name: str, *filters: NetworkFilter | FilterChain, default: NetworkFilter | None = None
) -> ProxyListener:
    chains = tuple(entry if isinstance(entry, FilterChain) else FilterChain(entry) for entry in filters)
    return ProxyListener(name, chains, FilterChain(default) if default else None)


def hosts(*named: tuple[str, tuple[str, ...], str], name: str = "9090") -> RouteConfiguration:
    return RouteConfiguration(
        name, tuple(VirtualHost(host, domains, (to(cluster),)) for host, domains, cluster in named)
    )


def absent(kind: str, name: str) -> ResourceNotFound:
    return ResourceNotFound(kind, name, "not there")


class Driver(FakeDriver):
    """Knows every listener at once, as a session does that asks for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: dict[str, ProxyListener] | None = None

    def subscribe(self, kind: ResourceType, name: str, watcher: Any) -> None:
        super().subscribe(kind, name, watcher)
        if kind is LDS and ("LDS", name) not in self.known:
            self.tell_listener(name)

    def tell_listener(self, name: str) -> None:
        if self.whole is not None:
            self.say(LDS, name, self.whole.get(name) or ResourceNotFound("LDS", name, "not there"))


class World:
    """A manager, what it published, and the clock that it may ask for."""

    def __init__(self, authority: str = f"{HOST}:9090", *, thrift: bool = True) -> None:
        self.driver = Driver()
        self.snapshots: list[MeshSnapshot] = []
        self.failures: list[str] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.manager = SidecarManager(
            self.driver,
            authority,
            Place("default", "cluster.local"),
            thrift=thrift,
            choose=lambda config, name: (
                (c.domain, c.host) if (c := choose_virtual_host(config, name)) else None
            ),
            later=lambda delay, call: self.timers.append((delay, call)),
            clusters_of=lambda config: cluster_names(config, authority),
            publish=self.snapshots.append,
            fail=self.failures.append,
        )
        self.manager.settle()

    def say(self, kind: ResourceType, name: str, word: Any) -> None:
        self.driver.say(kind, name, word)
        self.manager.settle()

    def table(self, **addresses: tuple[str, ...]) -> None:
        table = {f"{name}.default.svc.cluster.local": ips for name, ips in addresses.items()}
        self.say(NDS, NAME, NameTable(table))

    def listeners(self, *there: ProxyListener) -> None:
        """These are all the listeners there are."""
        self.driver.whole = {entry.name: entry for entry in there}
        for kind, name in sorted(self.driver.watched):
            if kind == "LDS":
                self.driver.tell_listener(name)
        self.manager.settle()

    def clusters(self, *names: str) -> None:
        for name in names or (WHOLE,):
            self.say(CDS, name, Cluster(name, name))
            self.say(EDS, name, endpoints(name, "127.0.0.1:1"))

    @property
    def last(self) -> MeshSnapshot:
        return self.snapshots[-1]

    @property
    def routes(self) -> list[str]:
        (host,) = self.last.route_config.virtual_hosts
        return [route.name for route in host.routes]


# ---- names


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("greeter", ("greeter.shop.svc.cluster.local", "greeter")),
        ("greeter.team", ("greeter.team.svc.cluster.local", "greeter.team")),
        ("greeter.team.svc", ("greeter.team.svc.cluster.local", "greeter.team.svc")),
        ("greeter.team.svc.cluster.local", ("greeter.team.svc.cluster.local",)),
        ("Greeter.", ("greeter.shop.svc.cluster.local", "greeter")),
        ("api.example.com", ("api.example.com",)),
        ("10.0.0.1", ("10.0.0.1",)),
        ("fd00::1", ("fd00::1",)),
    ],
)
def test_short_host_names_are_completed(host: str, meant: tuple[str, ...]) -> None:
    assert spellings(host, "shop", "cluster.local") == meant


@pytest.mark.parametrize(
    ("node_id", "metadata", "place"),
    [
        ("sidecar~1.1.1.1~p.a~a.svc.cluster.local", None, Place("a", "cluster.local")),
        ("sidecar~1.1.1.1~p.a~a.svc.cluster.local", "b", Place("b", "cluster.local")),
        ("sidecar~1.1.1.1~p.a~a.svc.corp.example", "", Place("a", "corp.example")),
        ("anything", None, Place("default", "cluster.local")),
    ],
)
def test_place_comes_from_the_node(node_id: str, metadata: str | None, place: Place) -> None:
    assert Place.of_node(node_id, metadata) == place


# ---- from the host to the listener


def test_listener_of_the_address_is_taken_before_the_shared_one() -> None:
    world = World()
    world.table(greeter=("10.0.0.1",))
    world.listeners(listener("10.0.0.1_9090", tcp(WHOLE)), listener("0.0.0.0_9090", rds()))
    world.clusters()
    assert world.last.listener.name == "10.0.0.1_9090"
    assert world.routes == ["tcp_proxy"]
    assert ("LDS", "0.0.0.0_9090") not in world.driver.watched


def test_nothing_is_asked_of_lds_before_the_addresses_are_known() -> None:
    assert World().driver.watched == {("NDS", NAME)}


def test_an_ip_address_as_host_needs_no_name_table() -> None:
    world = World("[fd00::0:1]:9090")
    assert world.driver.watched == {("LDS", "fd00::1_9090")}


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_shared_listener_serves_a_host_without_a_listener_of_its_own(wildcard: str) -> None:
    world = World()
    world.table(greeter=("10.0.0.1",))
    world.listeners(listener(f"{wildcard}_9090", rds()))
    world.say(RDS, "9090", hosts((f"{HOST}:9090", (HOST, "greeter"), WHOLE), ("other", ("other",), "c2")))
    world.clusters()
    assert world.routes == [WHOLE]
    assert world.last.route_config.virtual_hosts[0].domains == (f"{HOST}:9090", HOST, "greeter")


def test_second_address_is_tried_where_the_first_has_no_listener() -> None:
    world = World()
    world.table(greeter=("10.0.0.1", "10.0.0.2"))
    world.listeners(listener("10.0.0.2_9090", tcp(WHOLE)))
    world.clusters()
    assert world.last.listener.name == "10.0.0.2_9090"


def test_listener_of_higher_rank_takes_over_when_it_comes() -> None:
    world = World()
    world.table(greeter=("10.0.0.1", "10.0.0.2"))
    world.listeners(listener("10.0.0.2_9090", tcp(WHOLE)))
    world.clusters()
    world.listeners(listener("10.0.0.1_9090", tcp(WHOLE)), listener("10.0.0.2_9090", tcp(WHOLE)))
    assert world.last.listener.name == "10.0.0.1_9090"


def test_host_that_the_name_table_has_not_is_served_by_domain() -> None:
    world = World("api.example.com:9090")
    world.table()
    world.listeners(listener("0.0.0.0_9090", rds()))
    world.say(RDS, "9090", hosts(("api", ("api.example.com",), "c")))
    world.clusters("c")
    assert world.routes == ["c"]


def test_host_without_addresses_may_have_a_listener_of_its_own_name() -> None:
    world = World("greeter:9090")
    world.say(NDS, NAME, ResourceNotFound("NDS", NAME, "not there"))
    world.listeners(listener(f"{HOST}:9090", tcp("c")), listener("0.0.0.0_9090", rds()))
    world.clusters("c")
    assert world.last.listener.name == f"{HOST}:9090"


def test_missing_name_table_is_no_obstacle_to_a_host_served_by_domain() -> None:
    world = World("api.example.com:9090")
    world.say(NDS, NAME, absent("NDS", NAME))
    world.listeners(listener("0.0.0.0_9090", rds()))
    world.say(RDS, "9090", hosts(("api", ("api.example.com",), "c")))
    world.clusters("c")
    assert world.routes == ["c"]


def test_shared_tcp_listener_is_taken_only_where_its_cluster_is_the_hosts() -> None:
    for host, found in (("api.example.com", True), ("other.example.com", False)):
        world = World(f"{host}:9090")
        world.table()
        world.listeners(listener("0.0.0.0_9090", tcp("outbound|9090||api.example.com")))
        world.clusters("outbound|9090||api.example.com")
        assert bool(world.snapshots) is found
        assert bool(world.failures) is not found


def test_unknown_host_fails_with_what_was_tried() -> None:
    world = World("nosuch:9090")
    world.table(greeter=("10.0.0.1",))
    world.listeners()
    assert "no host nosuch.default.svc.cluster.local or nosuch" in world.failures[-1]
    assert "there is no listener 0.0.0.0_9090" in world.failures[-1]


def test_refused_listener_is_the_reason_of_the_failure() -> None:
    world = World()
    world.table(greeter=("10.0.0.1",))
    world.listeners()
    world.say(LDS, "10.0.0.1_9090", ResourceInvalid("LDS", "10.0.0.1_9090", "filters is empty"))
    assert "filters is empty" in world.failures[-1]


# ---- listeners that go


def gone() -> World:
    world = World()
    world.table(greeter=("10.0.0.1",))
    world.listeners(listener("10.0.0.1_9090", tcp(WHOLE)))
    world.clusters()
    world.listeners()
    return world


def test_lost_listener_keeps_its_routes_for_a_moment_and_then_fails() -> None:
    world = gone()
    assert world.failures == []
    ((delay, call),) = world.timers
    assert delay == GRACE
    call()
    world.manager.settle()
    assert "there is no listener 10.0.0.1_9090" in world.failures[-1]


def test_lost_listener_whose_new_name_comes_in_time_never_fails() -> None:
    world = gone()
    world.table(greeter=("10.0.0.2",))
    world.listeners(listener("10.0.0.2_9090", tcp(WHOLE)))
    for _, call in world.timers:
        call()
    world.manager.settle()
    assert world.failures == []
    assert world.last.listener.name == "10.0.0.2_9090"


def test_endpoints_change_while_a_lost_listener_is_waited_for() -> None:
    world = gone()
    world.say(EDS, WHOLE, endpoints(WHOLE, "127.0.0.1:2"))
    assert [e.address for e in world.last.clusters[WHOLE].assignment.endpoints] == ["127.0.0.1:2"]  # type: ignore[union-attr]


# ---- from the listener to the routes


def shown(
    *filters: NetworkFilter | FilterChain, thrift: bool = True, default: NetworkFilter | None = None
) -> World:
    world = World(thrift=thrift)
    world.table(greeter=("10.0.0.1",))
    world.listeners(listener("10.0.0.1_9090", *filters, default=default))
    world.say(RDS, "9090", hosts(("http", (HOST,), "http")))
    world.clusters("http", "tcp", "v1", "v2")
    return world


def test_thrift_routes_come_before_the_http_ones() -> None:
    world = shown(FilterChain(rds(), http_only=True), default=thrift(to("v1"), to("v2")))
    assert world.routes == ["v1", "v2", "http"]
    assert world.last.route_config.virtual_hosts[0].name == "thrift_proxy and http"


def test_thrift_proxy_is_not_for_other_protocols() -> None:
    assert shown(FilterChain(rds(), http_only=True), thrift=False, default=thrift(to("v1"))).routes == [
        "http"
    ]
    world = shown(thrift(to("v1")), thrift=False)
    assert not world.snapshots
    assert "has no filter that calls" in world.failures[-1]


def test_http_comes_before_tcp_on_a_port_whose_protocol_is_sniffed() -> None:
    assert shown(FilterChain(rds(), http_only=True), default=tcp("tcp")).routes == ["http"]


def test_default_chain_is_not_reached_past_a_chain_for_everything() -> None:
    assert shown(tcp("tcp"), default=thrift(to("v1"))).routes == ["tcp_proxy"]


def test_weights_of_a_tcp_route_stay() -> None:
    weighted = TcpProxy((WeightedCluster("v1", 30), WeightedCluster("v2", 70)))
    (host,) = shown(weighted).last.route_config.virtual_hosts
    assert host.routes[0].action == ClusterRoute(weighted.clusters)


@pytest.mark.parametrize(
    ("address", "cluster"), [("10.1.2.3", "v1"), ("10.1.9.9", "v2"), ("10.9.9.9", "tcp")]
)
def test_longest_prefix_that_holds_the_address_decides(address: str, cluster: str) -> None:
    world = World(f"{address}:9090")
    world.listeners(
        listener(
            "0.0.0.0_9090",
            FilterChain(tcp("v2"), ("10.1.0.0/16",)),
            FilterChain(tcp("v1"), ("10.1.2.0/24", "10.7.0.0/16")),
            FilterChain(tcp("tcp"), ("10.0.0.0/8", "fd00::/8")),
        )
    )
    world.clusters("v1", "v2", "tcp")
    (host,) = world.last.route_config.virtual_hosts
    assert host.routes[0].action == ClusterRoute((WeightedCluster(cluster),))


def test_virtual_hosts_for_what_is_nobodys_are_not_taken() -> None:
    world = World()
    world.table(greeter=("10.0.0.1",))
    world.listeners(listener("0.0.0.0_9090", rds()))
    world.say(RDS, "9090", hosts(("other", ("other",), "c"), ("allow_any", ("*",), "PassthroughCluster")))
    assert [host.name for host in world.last.route_config.virtual_hosts] == ["other"]
    assert world.last.clusters == {}


def test_domain_of_the_address_is_better_than_a_star() -> None:
    world = World()
    world.table(greeter=("10.0.0.1",))
    world.listeners(listener("0.0.0.0_9090", rds()))
    world.say(RDS, "9090", hosts(("all", ("*",), "c1"), ("address", ("10.0.0.1",), "c2")))
    world.clusters("c1", "c2")
    assert world.routes == ["c2"]


def test_inline_routes_need_no_rds() -> None:
    config = hosts(("inline", (HOST,), "v1"))
    world = shown(HttpConnectionManager(route_config=config))
    assert world.routes == ["v1"]
    assert ("RDS", "9090") not in world.driver.watched


def test_missing_routes_are_the_reason_of_the_failure() -> None:
    world = World()
    world.table(greeter=("10.0.0.1",))
    world.listeners(listener("0.0.0.0_9090", rds()))
    world.say(RDS, "9090", absent("RDS", "9090"))
    assert "RDS" in world.failures[-1]


def test_refused_virtual_host_of_another_service_is_no_concern_of_ours() -> None:
    world = World()
    world.table(greeter=("10.0.0.1",))
    world.listeners(listener("0.0.0.0_9090", rds()))
    bad = VirtualHost("other", ("other",), refused="bad regex")
    world.say(RDS, "9090", RouteConfiguration("9090", (bad, *hosts(("greeter", (HOST,), "c")).virtual_hosts)))
    world.clusters("c")
    assert world.routes == ["c"]


def test_refused_virtual_host_fails_with_its_reason_unless_there_was_a_good_one() -> None:
    bad = RouteConfiguration("9090", (VirtualHost("greeter", (HOST,), refused="bad regex"),))
    world = World()
    world.table(greeter=("10.0.0.1",))
    world.listeners(listener("0.0.0.0_9090", rds()))
    world.say(RDS, "9090", bad)
    assert world.failures == ["virtual host 'greeter' is refused: bad regex"]
    world.say(RDS, "9090", hosts(("greeter", (HOST,), "c")))
    world.clusters("c")
    world.say(RDS, "9090", bad)
    assert world.routes == ["c"]
    assert "bad regex; its last good version is used" in world.last.route_config.notes[-1]
    assert len(world.failures) == 1


def test_same_words_again_publish_nothing() -> None:
    world = shown(tcp("tcp"))
    count = len(world.snapshots)
    world.table(greeter=("10.0.0.1",), other=("10.0.0.9",))
    world.say(LDS, "10.0.0.1_9090", world.driver.known["LDS", "10.0.0.1_9090"])
    assert len(world.snapshots) == count


def test_close_unsubscribes_everything() -> None:
    world = shown(FilterChain(rds(), http_only=True), default=thrift(to("v1")))
    world.manager.close()
    assert world.driver.watched == set()
