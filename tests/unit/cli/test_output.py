"""What commands print where no terminal is, and what they say of a port that is taken."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from pyrpc_xds.cli import demo

LONG = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rules-with-a-name-that-is-longer-than-most}
spec: {hosts: [a.example], http: [{route: [{destination: {host: nowhere.in-a-namespace-with-a-long-name.svc}}]}]}
"""


def test_the_control_planes_log_has_a_line_for_each_message_where_no_terminal_is(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(LONG)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pyrpc_xds.cli",
            "control-plane",
            "--config",
            str(tmp_path),
            "--listen",
            "127.0.0.1:0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    served = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert served.startswith(f"serving {tmp_path} as xDS on 127.0.0.1:") and "ISTIOD_ADDR=" in served
    (warning,) = [line for line in log.splitlines() if "nowhere.in-a-namespace" in line]
    assert "WARNING mesh.yaml, line 2 (VirtualService default/rules-with-a-name" in warning
    assert warning.endswith("is no Service or ServiceEntry: calls routed there fail")


@pytest.mark.parametrize(("listen", "said"), [("127.0.0.1:8000", True), ("127.0.0.1:0", False)])
def test_the_page_of_a_demo_says_where_its_port_is_taken(
    listen: str, said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def page(*_: object) -> Iterator[str]:
        yield "http://127.0.0.1:4321/"

    def ended(*_: object) -> None:
        raise demo.Terminated

    monkeypatch.setattr(demo, "Bell", lambda: SimpleNamespace(wait=ended))
    mesh = SimpleNamespace(address="", apply=None, document=Path())
    demo.serve(cast(ModuleType, SimpleNamespace(serve=page)), cast(demo.Mesh, mesh), listen, False)
    out = capsys.readouterr().out
    assert ("127.0.0.1:8000 is taken" in out) is said
    assert "open http://127.0.0.1:4321/" in out
