"""As much of a Kubernetes API server as helm's ``lookup`` asks: the objects that it is given, to be read."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_APPS = {"groupVersion": "apps/v1", "version": "v1"}


def _resources(group: str, **kinds: str) -> dict[str, Any]:
    resources = [
        {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]}
        for plural, kind in kinds.items()
    ]
    return {"kind": "APIResourceList", "groupVersion": group, "resources": resources}


_ALWAYS: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.1"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": _resources("v1", services="Service", configmaps="ConfigMap"),
    "/apis": {
        "kind": "APIGroupList",
        "groups": [{"name": "apps", "versions": [_APPS], "preferredVersion": _APPS}],
    },
    "/apis/apps/v1": _resources("apps/v1", deployments="Deployment"),
}


@contextmanager
def api_server(*services: dict[str, Any]) -> Iterator[str]:
    """The URL, on loopback, of one with these Services; it runs as long as the block."""
    found = {f"/api/v1/namespaces/default/services/{each['metadata']['name']}": each for each in services}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = {**_ALWAYS, **found}.get(self.path.partition("?")[0])
            status = 200 if answer else 404
            missing = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": "NotFound",
                "code": 404,
            }
            text = json.dumps(answer or missing).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
