"""The node: the name of its workload."""

from __future__ import annotations

from typing import Any

import pytest

from pyrpc_xds.bootstrap import Node


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"WORKLOAD_NAME": "w", "LABELS": {"app": "a"}}, "w"),
        (
            {"LABELS": {"app": "a", "app.kubernetes.io/name": "n", "service.istio.io/canonical-name": "c"}},
            "c",
        ),
        ({"LABELS": {"app": "a", "app.kubernetes.io/name": "n"}}, "n"),
        ({"LABELS": {"app": "a"}}, "a"),
        ({"LABELS": {}}, "reviews-v1-5f"),
        ({"LABELS": "not an object"}, "reviews-v1-5f"),
    ],
)
def test_workload_is_named_by_metadata_then_labels_then_the_pod(metadata: dict[str, Any], name: str) -> None:
    assert Node("sidecar~10.0.0.1~reviews-v1-5f.ns~ns.svc.cluster.local", metadata=metadata).workload == name


def test_workload_of_a_node_that_says_nothing_has_no_name() -> None:
    assert Node("anything").workload == ""
