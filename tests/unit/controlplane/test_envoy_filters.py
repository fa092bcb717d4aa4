"""EnvoyFilters: which clusters a patch meets, in which order patches count, what is refused, and what is noted."""

from __future__ import annotations

import pytest

from pyrpc_xds.controlplane.clusters import build_cluster
from pyrpc_xds.controlplane.documents import Documents, read_text
from pyrpc_xds.controlplane.findings import rule_findings
from pyrpc_xds.controlplane.names import NodeView
from pyrpc_xds.controlplane.registry import Mesh
from pyrpc_xds.controlplane.wire import encoded
from pyrpc_xds.model.thrift_form import ThriftForm
from pyrpc_xds.xds.decode.cluster import decode_cluster

HOST = "greeter.default.svc.cluster.local"
WORLD = """
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec: {ports: [{name: http-a, port: 80}, {name: http-b, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {ports: [{name: http-a, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: greeter}
spec: {host: greeter, subsets: [{name: v1, labels: {version: v1}}]}
"""
CLUSTERS = {
    "base": f"outbound|80||{HOST}",
    "v1": f"outbound|80|v1|{HOST}",
    "b": f"outbound|81||{HOST}",
    "other": "outbound|80||other.default.svc.cluster.local",
}
OPTIONS = (
    '{envoy.filters.network.thrift_proxy: {"@type": type.googleapis.com/envoy.extensions.filters.network.'
    "thrift_proxy.v3.ThriftProtocolOptions, transport: FRAMED, protocol: COMPACT}}"
)


def metadata(framing: str) -> str:
    return f"metadata: {{filter_metadata: {{pyrpc_xds.thrift: {{framing: {framing}}}}}}}"


def patch(
    value: str = metadata("ttheader"), match: str = "", operation: str = "MERGE", to: str = "CLUSTER"
) -> str:
    matched = f"match: {{{match}}}, " if match else ""
    return f"{{applyTo: {to}, {matched}patch: {{operation: {operation}, value: {{{value}}}}}}}"


def envoy_filter(*patches: str, meta: str = "name: f", spec: str = "") -> str:
    return (
        "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\n"
        f"metadata: {{{meta}}}\nspec: {{{spec}configPatches: [{', '.join(patches)}]}}\n"
    )


def read(*filters: str) -> Documents:
    return read_text(WORLD + "".join(filters))


def learned(*filters: str, namespace: str = "default", **labels: str) -> dict[str, ThriftForm]:
    """By short name, what the client learns of the clusters of which something is said."""
    documents = read(*filters)
    assert not documents.errors and not documents.notes
    node = NodeView(namespace, f"{namespace}.svc.cluster.local", tuple(labels.items()))
    found = {}
    for short, name in CLUSTERS.items():
        cluster = build_cluster(Mesh(documents.resources), node, name)
        assert cluster is not None
        found[short] = decode_cluster(encoded(cluster)).thrift_form
    return {short: form for short, form in found.items() if form != ThriftForm()}


TTHEADER = ThriftForm("ttheader")


@pytest.mark.parametrize(
    ("match", "met"),
    [
        ("", CLUSTERS),
        ("context: ANY", CLUSTERS),
        ("context: SIDECAR_OUTBOUND", CLUSTERS),
        ("context: SIDECAR_INBOUND", ()),
        ("context: GATEWAY", ()),
        ("cluster: {}", CLUSTERS),
        (f"cluster: {{service: {HOST}}}", ("base", "v1", "b")),
        ("cluster: {service: greeter}", ()),
        ("cluster: {subset: v1}", ("v1",)),
        ("cluster: {portNumber: 81}", ("b",)),
        (f"cluster: {{service: {HOST}, portNumber: 80}}", ("base", "v1")),
        (f"cluster: {{name: 'outbound|80||{HOST}'}}", ("base",)),
        (f"cluster: {{name: 'outbound|80||{HOST}', service: nowhere}}", ("base",)),
        ("cluster: {name: nowhere}", ()),
    ],
)
def test_clusters_that_a_patch_meets(match: str, met: tuple[str, ...]) -> None:
    assert learned(envoy_filter(patch(match=match))) == dict.fromkeys(met, TTHEADER)


def test_both_spellings_of_protobufs_json_are_read() -> None:
    spelt = metadata("ttheader").replace("filter_metadata", "filterMetadata")
    for value, form in (
        (spelt, TTHEADER),
        (f"typed_extension_protocol_options: {OPTIONS}", ThriftForm("framed", "compact")),
        (f"typedExtensionProtocolOptions: {OPTIONS}", ThriftForm("framed", "compact")),
        (f"typedExtensionProtocolOptions: {OPTIONS}, {spelt}", ThriftForm("ttheader", "compact")),
    ):
        assert learned(envoy_filter(patch(value)))["base"] == form


def test_later_patch_replaces_the_entry_of_the_same_key() -> None:
    protocol = (
        "metadata: {filter_metadata: {pyrpc_xds.thrift: {protocol: compact}, other: {a: [1, {b: null}]}}}"
    )
    assert learned(envoy_filter(patch(), patch(protocol)))["base"] == ThriftForm("", "compact")
    assert learned(envoy_filter(patch(protocol), patch()))["base"] == TTHEADER


def test_filters_count_by_priority_then_root_namespace_then_age_then_name() -> None:
    def ordered(*named: tuple[str, str, str]) -> str:
        filters = [
            envoy_filter(patch(metadata(framing)), meta=meta, spec=spec) for framing, meta, spec in named
        ]
        return learned(*filters)["base"].framing

    # The one that counts last is left over.
    assert ordered(("framed", "name: b", ""), ("buffered", "name: a", "")) == "framed"
    young, old = (
        "name: a, creationTimestamp: '2026-02-01T00:00:00Z'",
        ("name: b, creationTimestamp: '2026-01-01T00:00:00Z'"),
    )
    assert ordered(("framed", young, ""), ("buffered", old, "")) == "framed"
    assert (
        ordered(("framed", "name: a", ""), ("buffered", "name: z, namespace: istio-system", "")) == "framed"
    )
    assert ordered(("framed", "name: a", "priority: 1, "), ("buffered", "name: b", "")) == "framed"
    assert ordered(("framed", "name: b", "priority: -1, "), ("buffered", "name: a", "")) == "buffered"


def test_filter_is_for_nodes_of_its_namespace_and_for_all_where_that_is_the_root() -> None:
    own = envoy_filter(patch())
    assert learned(own) and not learned(own, namespace="elsewhere")
    root = envoy_filter(patch(), meta="name: f, namespace: istio-system")
    assert learned(root) and learned(root, namespace="elsewhere")


def test_workload_selector_looks_at_the_labels_of_the_node() -> None:
    selecting = envoy_filter(patch(), spec="workloadSelector: {labels: {app: shop}}, ")
    assert learned(selecting, app="shop", version="v1")
    assert not learned(selecting, app="other") and not learned(selecting)


@pytest.mark.parametrize(
    ("one", "note"),
    [
        (patch(to="NETWORK_FILTER"), "applyTo NETWORK_FILTER is not served here"),
        (patch(operation="REMOVE"), "operation REMOVE of a cluster is not served here"),
        (patch(match="proxy: {proxyVersion: '1.*'}"), "a patch with match.proxy is not served here"),
        (
            patch("connect_timeout: 1s"),
            "spec.configPatches[0].patch.value.connect_timeout is not served here",
        ),
        (
            patch("typed_extension_protocol_options: {http: {}}"),
            "typed_extension_protocol_options.http is not served here",
        ),
        (
            patch("transport_socket: {name: tls}, " + metadata("ttheader")),
            "a patch of transport_socket is not served here",
        ),
    ],
)
def test_what_is_not_served_is_noted_and_does_nothing(one: str, note: str) -> None:
    documents = read(envoy_filter(one))
    assert not documents.errors
    (found,) = documents.notes
    assert note in found and "(EnvoyFilter default/f)" in found
    (rule,) = [each for each in documents.resources if each.meta.kind == "EnvoyFilter"]
    assert not rule.patches  # type: ignore[union-attr]
    assert not list(rule_findings(documents, Mesh(documents.resources)))


def test_filter_for_a_gateway_is_noted_and_does_nothing() -> None:
    documents = read(envoy_filter(patch(), spec="targetRefs: [{kind: Gateway, name: g}], "))
    assert "spec.targetRefs is for gateways" in documents.notes[0]
    assert Mesh(documents.resources).envoy_filters[0].patches == ()


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (patch(to="CLUSTERS"), "spec.configPatches[0].applyTo is 'CLUSTERS'"),
        (patch(operation="MERG"), "patch.operation is 'MERG'"),
        (patch(match="context: OUTBOUND"), "match.context is 'OUTBOUND'"),
        (patch(match="listener: {}"), "match.listener is not a field that is known here"),
        (patch(match="cluster: {port: 80}"), "match.cluster.port is not a field"),
        (patch(""), "patch.value is missing"),
        (patch("metadata: {filters: {}}"), "patch.value.metadata.filters is not a field"),
        (patch("metadata: {filter_metadata: {a: b}}"), "metadata.filter_metadata.a is 'b', not a mapping"),
        (patch("metadata: {filter_metadata: [a]}"), "metadata.filter_metadata is ['a'], not a mapping"),
        (
            patch("metadata: {filter_metadata: {1: {}}}"),
            "metadata.filter_metadata has the key 1, not a string",
        ),
        (patch("typed_extension_protocol_options: {1: x}"), "protocol_options.1 is a string, not a mapping"),
        (
            patch("metadata: {filter_metadata: {a: {b: 2026-01-01}}}"),
            "metadata.filter_metadata.a.b is datetime.date(2026, 1, 1), which JSON does not have",
        ),
        (
            patch(f"typed_extension_protocol_options: {OPTIONS}".replace("FRAMED", "TTHEADER")),
            "transport is 'TTHEADER'",
        ),
        (
            patch(f"typed_extension_protocol_options: {OPTIONS}".replace("ThriftProtocolOptions", "Thrift")),
            "thrift_proxy.@type is",
        ),
    ],
)
def test_what_is_no_envoy_filter_is_refused_naming_the_field(one: str, text: str) -> None:
    (error,) = read(envoy_filter(one)).errors
    assert text in str(error) and "EnvoyFilter default/f" in str(error)


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ("service: greeter", "no Service or ServiceEntry has the host greeter, which is written out in full"),
        (f"service: {HOST}, subset: v9", f"{HOST} has no subset 'v9'"),
        (f"service: {HOST}, portNumber: 9", f"{HOST} has no port 9"),
        ("name: nowhere", "nowhere is no name of an outbound cluster"),
        ("name: outbound|80|v9|" + HOST, f"{HOST} has no subset 'v9'"),
    ],
)
def test_patch_that_meets_no_cluster_is_a_finding(match: str, text: str) -> None:
    documents = read(envoy_filter(patch(match=f"cluster: {{{match}}}")))
    found = list(rule_findings(documents, Mesh(documents.resources)))
    assert [each.level for each in found] == ["note", "warning"]
    assert found[1].what.startswith(f"a patch meets no cluster: {text}")


def test_filter_that_is_served_says_whom_istiod_would_tell() -> None:
    documents = read(envoy_filter(patch(match=f"cluster: {{service: {HOST}, subset: v1}}")))
    (found,) = rule_findings(documents, Mesh(documents.resources))
    assert found.level == "note" and "XDS_MODE=sidecar" in found.what
