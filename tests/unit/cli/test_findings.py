"""``pyrpc-xds check`` on slips that leave a service without endpoints or a rule without effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrpc_xds.cli.findings import check_folder
from pyrpc_xds.controlplane.findings import Finding

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: greeter, namespace: default}}
spec: {{selector: {{app: {app}}}, ports: [{{name: grpc, port: 80, targetPort: {port}}}]}}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: greeter-v1}
spec:
  template:
    metadata: {labels: {app: greeter, version: v1}}
    spec: {containers: [{name: c, ports: [{name: grpc-port, containerPort: 80}]}]}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: default, labels: {app: greeter, version: v1}}
spec: {containers: [{name: c, ports: [{name: grpc-port, containerPort: 80}]}]}
status: {podIP: 10.0.0.1}
"""


def rule(*routes: str) -> str:
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: default}\n"
        "spec:\n  hosts: [greeter]\n  http:\n"
    )
    return text + "\n".join(f"  - {route}" for route in routes)


def findings(folder: Path, *documents: str) -> list[Finding]:
    """The warnings of a file that these documents make, but those that follow from what is not there."""
    (folder / "mesh.yaml").write_text("\n---\n".join(document.strip() for document in documents))
    found = check_folder(folder).findings
    return [each for each in found if each.level != "note" and "no usable endpoints" not in each.what]


@pytest.mark.parametrize("workload", [DEPLOYMENT, POD])
def test_a_selector_that_selects_no_workload_names_the_nearest(tmp_path: Path, workload: str) -> None:
    other = workload.replace("app: greeter", "app: other").replace("name: one", "name: two")
    (found,) = findings(tmp_path, workload, other, SERVICE.format(app="greter", port=80))
    name = "Deployment default/greeter-v1" if workload is DEPLOYMENT else "Pod default/one"
    assert found.where.startswith("mesh.yaml, line ") and found.where.endswith("(Service default/greeter)")
    line = int(found.where.split(", line ")[1].split()[0])
    assert (tmp_path / "mesh.yaml").read_text().splitlines()[line - 1 + 1] == "kind: Service"
    assert found.what.startswith(
        "spec.selector app=greter selects none of the 2 workloads beside it "
        f"(the nearest, {name}, has app=greeter): correct"
    )


@pytest.mark.parametrize(
    ("port", "says"),
    [("grcp-port", "did you mean grpc-port?"), ("zzz", "there is grpc-port")],
)
def test_the_name_of_a_target_port_that_no_container_has_is_found(
    tmp_path: Path, port: str, says: str
) -> None:
    (found,) = findings(tmp_path, DEPLOYMENT, SERVICE.format(app="greeter", port=port))
    assert found.what == (
        f"spec.ports[0].targetPort '{port}' is the name of no container port of Deployment default/greeter-v1: {says}"
    )


@pytest.mark.parametrize(
    "documents",
    [
        (DEPLOYMENT, SERVICE.format(app="greeter", port="grpc-port")),
        (POD, SERVICE.format(app="greeter", port=8080)),
        (SERVICE.format(app="greeter", port="grpc-port"),),  # its pods are described elsewhere
        (DEPLOYMENT.replace("greeter-v1", "x, namespace: other"), SERVICE.format(app="typo", port=80)),
        (
            DEPLOYMENT,
            SERVICE.format(app="typo", port=80),
            "apiVersion: v1\nkind: Endpoints\nmetadata: {name: greeter, namespace: default}\n"
            "subsets: [{addresses: [{ip: 10.0.0.9}], ports: [{name: grpc, port: 80}]}]",
        ),
    ],
)
def test_what_is_in_order_or_described_elsewhere_is_no_finding(
    tmp_path: Path, documents: tuple[str, ...]
) -> None:
    assert findings(tmp_path, *documents) == []


def test_weights_that_do_not_sum_up_to_100_are_shown_as_shares(tmp_path: Path) -> None:
    subsets = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: default}\n"
        "spec: {host: greeter, subsets: [{name: v1, labels: {version: v1}}]}"
    )
    route = (
        "route: [{{destination: {{host: greeter, subset: v1}}, weight: {}}}, "
        "{{destination: {{host: greeter}}, weight: 10}}]"
    )
    documents = (POD, SERVICE.format(app="greeter", port=80), subsets)
    (found,) = findings(tmp_path, *documents, rule(route.format(40)))
    assert found.level == "warning"
    assert found.what.endswith(
        "the weights sum up to 50, not to 100; they count as shares: "
        "greeter.default.svc.cluster.local v1 80%, greeter.default.svc.cluster.local 20%"
    )
    assert findings(tmp_path, *documents, rule(route.format(90))) == []


@pytest.mark.parametrize(
    ("first", "all_calls"),
    [
        ("{route: [{destination: {host: greeter}}]}", True),
        ("{match: [{uri: {prefix: /}}], route: [{destination: {host: greeter}}]}", True),
        ("{match: [{headers: {a: {exact: b}}}, {name: any}], route: [{destination: {host: greeter}}]}", True),
        ("{match: [{uri: {prefix: /a}}], route: [{destination: {host: greeter}}]}", False),
        (
            "{match: [{uri: {prefix: /}, headers: {a: {exact: b}}}], route: [{destination: {host: greeter}}]}",
            False,
        ),
        ("{match: [{uri: {prefix: /}, port: 80}], route: [{destination: {host: greeter}}]}", False),
    ],
)
def test_routes_after_one_that_matches_every_call_are_never_reached(
    tmp_path: Path, first: str, all_calls: bool
) -> None:
    last = "{route: [{destination: {host: greeter}}]}"
    found = findings(tmp_path, POD, SERVICE.format(app="greeter", port=80), rule(first, last))
    assert [each.what for each in found] == (
        ["spec.http[0] matches every call: the 1 after it never do; put it last, or give it a condition"]
        if all_calls
        else []
    )


DESTINATION_RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d, namespace: default}
spec: {host: greeter, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
"""


def test_pods_that_a_deployment_will_make_are_endpoints(tmp_path: Path) -> None:
    v2 = DEPLOYMENT.replace("v1}", "v2}").replace("greeter-v1", "greeter-v2")
    routed = rule("route: [{destination: {host: greeter, subset: v2}}]")
    service = SERVICE.format(app="greeter", port="grpc-port")
    (tmp_path / "mesh.yaml").write_text("\n---\n".join([service, DEPLOYMENT, v2, DESTINATION_RULE, routed]))
    report = check_folder(tmp_path)
    assert not report.findings
    [target] = report.targets
    assert target.clusters == (("outbound|80|v2|greeter.default.svc.cluster.local", 1),)


@pytest.mark.parametrize(
    ("old", "new"), [("\nspec:", "\nspec:\n  replicas: 0"), ("kind: Deployment", "kind: PodTemplate")]
)
def test_workload_that_makes_no_pods_is_no_endpoint(tmp_path: Path, old: str, new: str) -> None:
    changed = DEPLOYMENT.replace(old, new)
    assert changed != DEPLOYMENT
    (tmp_path / "mesh.yaml").write_text("\n---\n".join([SERVICE.format(app="greeter", port="80"), changed]))
    [target] = check_folder(tmp_path).targets
    assert [count for _, count in target.clusters] == [0]


def test_subset_that_no_deployment_has_is_found(tmp_path: Path) -> None:
    service = SERVICE.format(app="greeter", port="grpc-port")
    (found,) = findings(tmp_path, service, DEPLOYMENT, DESTINATION_RULE)
    assert found.what.startswith("subset v2 has no endpoints: none has version=v2 (there is version=v1)")


def test_pods_that_are_there_are_not_counted_twice(tmp_path: Path) -> None:
    service = SERVICE.format(app="greeter", port="grpc-port")
    (tmp_path / "mesh.yaml").write_text("\n---\n".join([service, DEPLOYMENT, POD]))
    [target] = check_folder(tmp_path).targets
    assert [count for _, count in target.clusters] == [1]


SUBSETS = (
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: default}\n"
    "spec: {host: greeter, subsets: [{name: v1, labels: {version: v1}}]}"
)
TO_V1 = rule("route: [{destination: {host: greeter, subset: v1}}]")


@pytest.mark.parametrize(
    "documents",
    [
        (POD, SERVICE.format(app="greeter", port=80), SUBSETS.replace("labels: {", "labels: [{"), TO_V1),
        (POD, SERVICE.format(app="greeter", port=80), SUBSETS.replace("host:", "hots:"), TO_V1),
        (
            POD,
            SERVICE.format(app="greeter", port="x y", name=1).replace("port: 80", "port: x"),
            SUBSETS,
            TO_V1,
        ),
        (POD.replace("podIP: 10", "podIP: x"), SERVICE.format(app="greeter", port=80), SUBSETS, TO_V1),
        (POD, SERVICE.format(app="greeter", port=80).replace("v1", "v2"), SUBSETS, TO_V1),
    ],
    ids=["not YAML", "DestinationRule", "Service", "Pod", "apiVersion"],
)
def test_what_follows_from_a_bad_document_is_no_finding_of_its_own(
    tmp_path: Path, documents: tuple[str, ...]
) -> None:
    (tmp_path / "mesh.yaml").write_text("\n---\n".join(document.strip() for document in documents))
    (found,) = (each for each in check_folder(tmp_path).findings if each.level != "note")
    assert found.level == "error"


@pytest.mark.parametrize("resolution", ["DNS", "NONE"])
def test_a_host_that_nobody_looks_up_is_found_with_what_to_write_instead(
    tmp_path: Path, resolution: str
) -> None:
    entry = (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec: {hosts: [a.example], "
        f"ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: {resolution}}}"
    )
    (tmp_path / "mesh.yaml").write_text(entry)
    (found,) = check_folder(tmp_path).findings
    assert (found.level, found.where) == ("warning", "mesh.yaml, line 1 (ServiceEntry default/e)")
    assert found.what.startswith(f"spec.resolution is {resolution}, and")
    assert "calls to a.example find no endpoints; write STATIC with spec.endpoints" in found.what
