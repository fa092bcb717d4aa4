"""From a reference to its target, and which key said so."""

from __future__ import annotations

import pytest

from pyrpc_xds.dubbo.config import Reference
from pyrpc_xds.dubbo.mapping import place
from pyrpc_xds.errors import ConfigError

GREETER = "org.apache.dubbo.sample.Greeter"


def reference(**keys: object) -> Reference:
    return Reference("R", "dubbo.consumer.references.R", **{"interface": GREETER, **keys})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "target", "by", "in_mesh"),
    [
        ({"url": "xds:///a.ns.svc:20000", "provided_by": "b"}, "xds:///a.ns.svc:20000", "url", True),
        ({"url": "tri://127.0.0.1:20000"}, "127.0.0.1:20000", "url", False),
        ({"url": f"tri://server:20000/{GREETER}"}, "server:20000", "url", False),
        ({"url": "direct:///10.0.0.1:1"}, "direct:///10.0.0.1:1", "url", False),
        ({"url": "server:20000"}, "server:20000", "url", False),
        (
            {"provided_by": "app", "port": 20000},
            "xds:///app.shop.svc.cluster.local:20000",
            "provided_by",
            True,
        ),
        ({"provided_by": "app"}, "xds:///app.shop.svc.cluster.local:80", "provided_by", True),
        (
            {"provided_by": "app:81", "namespace": "ns"},
            "xds:///app.ns.svc.cluster.local:81",
            "provided_by",
            True,
        ),
        (
            {"provided_by": "app.ns.svc.cluster.local"},
            "xds:///app.ns.svc.cluster.local:80",
            "provided_by",
            True,
        ),
        ({}, "xds:///org.apache.dubbo.sample.greeter:80", "interface", True),
        ({"port": 20000}, "xds:///org.apache.dubbo.sample.greeter:20000", "interface", True),
    ],
)
def test_place_is_by_the_first_key_that_is_there(
    keys: dict[str, object], target: str, by: str, in_mesh: bool
) -> None:
    found = place(reference(**keys), "f.yaml", "shop")
    assert (found.target, found.by, found.in_mesh) == (target, by, in_mesh)


def test_cluster_domain_is_of_the_cluster() -> None:
    assert (
        place(reference(provided_by="app"), "f", "ns", "mesh.example").target
        == "xds:///app.ns.svc.mesh.example:80"
    )


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"url": "tri://a:1;tri://b:1"}, "R.url: has several addresses. A reference has one"),
        ({"url": "dubbo://a:20880"}, "R.url: is of protocol 'dubbo', which is not spoken here"),
        ({"url": "tri://a:1?version=2"}, "R.url: has parameters, which are not read. Write it without"),
        ({"url": "tri://a:1/p.Other"}, "R.url: names p.Other, and interface org"),
        ({"url": "tri://a"}, "R.url: target 'a': 'a' has no port"),
        ({"url": "xds://a:1"}, "did you mean xds:///a:1?"),
        ({"provided_by": "a,b"}, "R.provided_by: names several services: a,b"),
        ({"provided_by": "a:http"}, "R.provided_by: is 'a:http'. Write a service, or service:port"),
        ({"provided_by": "a/b"}, "R.provided_by: target"),
        ({"interface": ""}, "R: has no interface. Say where it is: provided_by"),
    ],
)
def test_key_that_says_no_place_is_an_error(keys: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place(reference(**keys), "conf/dubbogo.yaml")
    assert str(caught.value).startswith("conf/dubbogo.yaml: dubbo.consumer.references.R")
    assert text in str(caught.value)


@pytest.mark.parametrize("scheme", ["", "xds:///", "xds://", "tri://", "direct:///"])
@pytest.mark.parametrize(
    "address", ["joe:s3cret@a:1", "joe@a:1/p?token=s3cret", "a:1?token=s3cret", "a:1&token=s3cret", "s3cret@"]
)
def test_error_of_a_url_quotes_no_credentials(scheme: str, address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place(reference(url=scheme + address), "conf/dubbogo.yaml")
    assert str(caught.value).startswith("conf/dubbogo.yaml: dubbo.consumer.references.R.url: has ")
    assert "s3cret" not in str(caught.value)
    assert "joe" not in str(caught.value)
    assert caught.value.__cause__ is None
