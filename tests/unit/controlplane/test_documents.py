"""Bad documents are named, good ones beside them are kept, and nothing bad takes a good one's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrpc_xds.controlplane.documents import config_files, keep_last_good, read_files, read_text
from pyrpc_xds.controlplane.resources import Service, VirtualService
from pyrpc_xds.errors import ConfigError

GOOD = "apiVersion: v1\nkind: Service\nmetadata: {name: good}\nspec: {ports: [{name: http, port: 80}]}\n"


def virtual_service(http: str, name: str = "s") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}}}\nspec: {{hosts: [s], http: [{http}]}}\n"
    )


def destination_rule(spec: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: d}}\nspec: {{host: s, {spec}}}\n"
    )


def service_entry(spec: str) -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec: {{{spec}}}\n"
    )


ROUTE = "route: [{destination: {host: s}}]"
BAD = {
    "not YAML": ("a: [", "a.yaml, line 7: this is not YAML"),
    "a date that is none": (
        "a: 2026-13-45",
        "a.yaml: this is not YAML: a value is not what it looks like: month",
    ),
    "an integer that is none": (
        "a: !!int x",
        "a.yaml: this is not YAML: a value is not what it looks like: invalid",
    ),
    "not a mapping": ("- 1", "a.yaml, line 6: the document is a list"),
    "no kind": ("apiVersion: v1\nmetadata: {name: x}", "a.yaml, line 6: kind is missing"),
    "no name": ("apiVersion: v1\nkind: Service", "line 6: metadata.name is missing"),
    "port is text": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{name: a, port: many}]}",
        "line 6 (Service default/x): spec.ports[0].port is 'many', not a whole number",
    ),
    "port out of range": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 70000}]}",
        "spec.ports[0].port is 70000, which is not within 1 and 65535",
    ),
    "two ports of one name": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 1}, {port: 2}]}",
        "spec.ports[1].name '' is there twice",
    ),
    "label is a number": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {version: 1}}",
        "metadata.labels.version is 1, not a string. Put it in quotes.",
    ),
    "pod address": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nstatus: {podIP: here}",
        "status.podIP is 'here', not an IP address",
    ),
    "unknown field": (
        virtual_service(f"{{{ROUTE}, timout: 1s}}"),
        "spec.http[0].timout is not a field that is known here. Did you mean timeout?",
    ),
    "no action": (virtual_service("{name: x}"), "spec.http[0] has no action. Give exactly one of route"),
    "two actions": (
        virtual_service(f"{{{ROUTE}, redirect: {{uri: /}}}}"),
        "spec.http[0] has route and redirect",
    ),
    "negative weight": (
        virtual_service("{route: [{destination: {host: s}, weight: -3}]}"),
        "spec.http[0].route[0].weight is -3, which is not within 0",
    ),
    "weights of nothing": (
        virtual_service("{route: [{destination: {host: s}}, {destination: {host: t}}]}"),
        "spec.http[0].route has weights that sum up to 0",
    ),
    "regex does not compile": (
        virtual_service(f"{{match: [{{headers: {{user: {{regex: 'a('}}}}}}], {ROUTE}}}"),
        "spec.http[0].match[0].headers.user.regex 'a(' is not a regular expression",
    ),
    "regex that RE2 does not have": (
        virtual_service(f"{{match: [{{uri: {{regex: 'a(?=b)'}}}}], {ROUTE}}}"),
        "spec.http[0].match[0].uri.regex 'a(?=b)'",
    ),
    "two kinds of match": (
        virtual_service(f"{{match: [{{headers: {{user: {{exact: a, prefix: b}}}}}}], {ROUTE}}}"),
        "spec.http[0].match[0].headers.user has exact and prefix",
    ),
    "duration without unit": (
        virtual_service(f"{{{ROUTE}, timeout: '5'}}"),
        "spec.http[0].timeout is '5', not a duration. Write it with its unit",
    ),
    "duration of nothing": (
        virtual_service(f"{{{ROUTE}, timeout: 0s}}"),
        "spec.http[0].timeout is '0s', less",
    ),
    "unknown condition": (
        virtual_service(f"{{{ROUTE}, retries: {{attempts: 1, retryOn: never}}}}"),
        "spec.http[0].retries.retryOn has 'never'",
    ),
    "retries off and set": (
        virtual_service(f"{{{ROUTE}, retries: {{attempts: 0, retryOn: 5xx}}}}"),
        "spec.http[0].retries.attempts is 0, which turns retrying off",
    ),
    "fault without status": (
        virtual_service(f"{{{ROUTE}, fault: {{abort: {{percentage: {{value: 1}}}}}}}}"),
        "spec.http[0].fault.abort does not say which status",
    ),
    "percentage": (
        virtual_service(f"{{{ROUTE}, fault: {{abort: {{httpStatus: 503, percentage: {{value: 101}}}}}}}}"),
        "spec.http[0].fault.abort.percentage.value is 101, which is not within 0 and 100",
    ),
    "grpc status": (
        virtual_service(f"{{{ROUTE}, fault: {{abort: {{grpcStatus: GONE}}}}}}"),
        "spec.http[0].fault.abort.grpcStatus is 'GONE'. It can be OK, CANCELLED",
    ),
    "JWT claim": (
        virtual_service(f"{{match: [{{headers: {{'@request.auth.claims.a': {{exact: b}}}}}}], {ROUTE}}}"),
        "matches a JWT claim, which is not served here",
    ),
    "subset is a number": (
        virtual_service("{route: [{destination: {host: s, subset: 1}}]}"),
        "spec.http[0].route[0].destination.subset is 1, not a string. Put it in quotes.",
    ),
    "no routes at all": (
        virtual_service(f"{{{ROUTE}}}").replace(", http: [", ", gateways: [mesh], x: ["),
        "spec.http is missing",
    ),
    "one host twice": (
        virtual_service(f"{{{ROUTE}}}").replace("hosts: [s]", "hosts: [s, s.default.svc.cluster.local]"),
        "spec.hosts name one host twice",
    ),
    "port of a destination": (
        virtual_service("{route: [{destination: {host: s, port: {number: 0}}}]}"),
        "spec.http[0].route[0].destination.port.number is 0, which is not within 1 and 65535",
    ),
    "one subset twice": (
        destination_rule("subsets: [{name: a}, {name: a}]"),
        "spec.subsets have one name twice",
    ),
    "subset name": (destination_rule("subsets: [{name: a|b}]"), "spec.subsets have the name 'a|b'"),
    "export to nobody": (destination_rule("exportTo: ['~']"), "spec.exportTo has '~'"),
    "subset without name": (
        destination_rule("subsets: [{labels: {a: b}}]"),
        "spec.subsets[0].name is missing",
    ),
    "tls mode": (
        destination_rule("trafficPolicy: {tls: {mode: SOMETIMES}}"),
        "spec.trafficPolicy.tls.mode is 'SOMETIMES'. It can be DISABLE",
    ),
    "service entry without hosts": (service_entry("ports: []"), "spec.hosts is empty"),
    "endpoint that is no address": (
        service_entry(
            "hosts: [a.b], ports: [{number: 1, name: http, protocol: HTTP}], resolution: STATIC, "
            "endpoints: [{address: somewhere}]"
        ),
        "spec.endpoints[0].address is 'somewhere', not an IP address",
    ),
    "endpoint port that the entry lacks": (
        service_entry(
            "hosts: [a.b], ports: [{number: 1, name: http, protocol: HTTP}], resolution: STATIC, "
            "endpoints: [{address: 127.0.0.1, ports: {grpc: 2}}]"
        ),
        "spec.endpoints[0].ports names 'grpc', which is not a port of this entry",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_document_is_named_and_the_good_one_beside_it_kept(text: str, message: str) -> None:
    found = read_text(f"{GOOD}---\n{text}\n", "a.yaml")
    assert [resource.meta.name for resource in found.resources] == ["good"]
    assert len(found.errors) == 1
    assert str(found.errors[0]).startswith("a.yaml")
    assert message in str(found.errors[0])


def test_the_same_object_twice_is_an_error_that_names_both_places() -> None:
    found = read_text(f"{GOOD}---\n{GOOD}", "a.yaml")
    assert len(found.resources) == 1
    assert str(found.errors[0]) == (
        "a.yaml, line 6 (Service default/good): the same object is in "
        "a.yaml, line 1 (Service default/good). That one counts; remove one, or rename it."
    )


@pytest.mark.parametrize(
    ("api_version", "kind", "meant"),
    [
        ("networking.itsio.io/v1", "VirtualService", "networking.istio.io/v1"),
        ("v1", "VirtualService", "networking.istio.io/v1"),
        ("networking.istio.io", "DestinationRule", "networking.istio.io/v1"),
        ("networking.istio.io/v1beta9", "VirtualService", "networking.istio.io/v1"),
        ("networking.istio.io/v2", "Gateway", "networking.istio.io/v1"),
        ("apps/v1", "Service", "v1"),
        ("v2", "Service", "v1"),
        ("v1", "EndpointSlice", "discovery.k8s.io/v1"),
    ],
)
def test_an_api_version_that_the_kind_does_not_have_is_an_error_that_names_the_right_one(
    api_version: str, kind: str, meant: str
) -> None:
    found = read_text(
        f"{GOOD}---\napiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n", "a.yaml"
    )
    assert [resource.meta.name for resource in found.resources] == ["good"]
    assert [str(error) for error in found.errors] == [
        f"a.yaml, line 6 ({kind} default/x): no {kind} has the apiVersion '{api_version}'. Did you mean {meant}?"
    ]
    assert found.failed == {(kind, "default", "x")}


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("serving.knative.dev/v1", "Service"),
        ("appmesh.k8s.aws/v1beta2", "VirtualService"),
        ("apps/v1", "Deployment"),
        ("example.com/v7", "Whatever"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
    ],
)
def test_kinds_of_other_projects_are_no_errors(api_version: str, kind: str) -> None:
    found = read_text(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n")
    assert not found.errors and not found.resources


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_version_of_istios_objects_is_read(version: str) -> None:
    text = virtual_service(f"{{{ROUTE}}}").replace("istio.io/v1\n", f"istio.io/{version}\n")
    assert [resource.meta.kind for resource in read_text(text).resources] == ["VirtualService"]


def test_comments_empty_documents_and_lists_of_objects_are_read() -> None:
    nodes = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: n}}\n"
    text = f"# nothing\n---\n---\n{nodes}---\n{GOOD}"
    assert [resource.meta.kind for resource in read_text(text).resources] == ["Node", "Service"]


def test_what_is_valid_without_effect_is_noted() -> None:
    text = "---\n".join(
        [
            virtual_service(f"{{{ROUTE}}}").replace("http:", "tcp: [{}], http:"),
            destination_rule("trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}"),
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {}\n",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {}\n",
        ]
    )
    found = read_text(text)
    assert not found.errors
    assert found.notes == (
        "line 1 (VirtualService default/s): spec.tcp has no effect on proxyless nodes",
        "line 6 (DestinationRule default/d): "
        "spec.trafficPolicy.outlierDetection has no effect on proxyless nodes",
        "line 11 (AuthorizationPolicy default/p): AuthorizationPolicy is not enforced here: "
        "this control plane has no security policies",
    )


def test_short_hosts_are_completed_in_the_objects_namespace() -> None:
    text = virtual_service(f"{{{ROUTE}}}").replace("{name: s}", "{name: s, namespace: shop}")
    (found,) = read_text(text, domain="example.local").resources
    assert isinstance(found, VirtualService)
    assert found.hosts == ("s.shop.svc.example.local",)
    assert found.http[0].route[0].destination.host == "s.shop.svc.example.local"


def test_durations_are_read_in_go_syntax() -> None:
    (found,) = read_text(virtual_service(f"{{{ROUTE}, timeout: 1m30.5s}}")).resources
    assert isinstance(found, VirtualService)
    assert found.http[0].timeout is not None
    assert found.http[0].timeout.total_seconds() == 90.5


def test_a_bad_version_keeps_the_last_good_one_of_that_object_only() -> None:
    old = read_text(f"{GOOD}---\n{GOOD.replace('good', 'other')}", "a.yaml")
    new = read_text(f"{GOOD.replace('port: 80', 'port: x')}---\n{GOOD.replace('good', 'third')}", "a.yaml")
    kept = keep_last_good(new, old)
    assert sorted(resource.meta.name for resource in kept.resources) == ["good", "third"]
    assert len(kept.errors) == 1
    good = next(resource for resource in kept.resources if resource.meta.name == "good")
    assert isinstance(good, Service)
    assert good.ports[0].port == 80


def test_a_file_that_is_no_yaml_any_more_keeps_what_it_had_and_no_other_file_does(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(GOOD)
    second.write_text(GOOD.replace("good", "other"))
    old = read_files(config_files(tmp_path))
    first.write_text("a: [")
    second.write_text(GOOD.replace("good", "third"))
    kept = keep_last_good(read_files(config_files(tmp_path)), old)
    assert sorted(resource.meta.name for resource in kept.resources) == ["good", "third"]


def test_only_yaml_files_that_are_not_hidden_are_read(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", ".hidden.yaml", "c.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "d.yaml").mkdir()
    assert [path.name for path in config_files(tmp_path)] == ["a.yaml", "b.yml"]


def test_a_file_that_is_not_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    found = read_files(config_files(tmp_path))
    assert str(found.errors[0]).startswith("a.yaml: the file cannot be read: ")


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        config_files(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["[" * 60_000, "- " * 60_000 + "x", "a: {" * 60_000], ids=["[", "-", "{"])
def test_yaml_nested_without_end_is_an_error_and_not_the_end_of_the_process(text: str) -> None:
    (error,) = read_text(text, "a.yaml").errors
    assert str(error) == "a.yaml: this is not YAML: it is nested more than 1000 deep. Correct it."
