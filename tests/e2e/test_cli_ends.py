"""How commands end that somebody interrupts, or whose output nobody reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pyrpc_xds.cli.app import app
from tests.e2e.mesh import environment

RULES = Path(__file__).parents[2] / "examples" / "greeter" / "mesh"
ENVIRONMENT = {**os.environ, **environment("127.0.0.1:1")}


def running(*arguments: str, code: str = "") -> subprocess.Popen[str]:
    """A command whose ``code`` says on standard error that it has begun."""
    start = (
        f"import sys\n{code}\nsys.argv[1:] = {list(arguments)!r}\nfrom pyrpc_xds.cli import main\nmain()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


WAITING = """
from pyrpc_xds.routing.router import Router
wait = Router.wait
def told(*args):
    print("begun", file=sys.stderr, flush=True)
    return wait(*args)
Router.wait = told
"""
CHECKING = """
import pyrpc_xds.cli.findings as findings
def told(*args):
    print("begun", file=sys.stderr, flush=True)
    import threading
    threading.Event().wait(60)
findings.check_folder = told
"""
SERVING = """
from pyrpc_xds.waiting import Bell
wait = Bell.wait
def told(*args):
    print("begun", file=sys.stderr, flush=True)
    return wait(*args)
Bell.wait = told
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("route", "xds:///a:1", "/a.B/C", "--timeout", "60"), WAITING),
        (("dump", "xds:///a:1", "--timeout", "60"), WAITING),
        (("check", str(RULES)), CHECKING),
        (("control-plane", "--config", str(RULES), "--listen", "127.0.0.1:0"), SERVING),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_ctrl_c_ends_a_command_with_130_and_without_a_traceback(
    arguments: tuple[str, ...], code: str
) -> None:
    process = running(*arguments, code=code)
    assert process.stderr and process.stdout
    lines = iter(process.stderr.readline, "")
    assert any(line == "begun\n" for line in lines)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.parametrize("arguments", [("check", str(RULES)), ("check", "--json", str(RULES)), ("--help",)])
def test_output_that_nobody_reads_is_no_traceback(arguments: tuple[str, ...]) -> None:
    process = running(*arguments)
    assert process.stdout and process.stderr
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) in (0, 1)
    assert errors == ""


@pytest.mark.parametrize(
    ("target", "hint"),
    [("greeter:9090", True), ("direct:///127.0.0.1:9090", False)],
)
def test_route_asks_whether_a_target_without_a_scheme_was_meant_for_the_mesh(target: str, hint: bool) -> None:
    for options in ((), ("--json",)):
        done = CliRunner().invoke(app, ["route", target, "/a.B/C", *options], env=ENVIRONMENT)
        assert done.exit_code == 0
        assert ("did you mean xds:///greeter:9090?" in done.output) is hint
