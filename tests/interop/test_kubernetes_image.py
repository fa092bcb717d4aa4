"""The greeter's Dockerfile: read by Docker's own parser, and its steps taken without Docker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from examples.greeter import idl
from tests.interop.peers import image, kubernetes
from tests.interop.peers.kubernetes import command

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

TARGETS = ("dubbo-go-client", "dubbo-go-server")
POD = {"POD_NAME": "dubbo-go-server-v1", "POD_NAMESPACE": "default", "INSTANCE_IP": "127.0.0.1"}


@pytest.fixture(autouse=True)
def built() -> None:
    if reason := kubernetes.skip_reason():
        pytest.skip(reason)


def test_docker_has_nothing_to_say_of_the_dockerfile() -> None:
    assert image.described()["warnings"] == []


def test_what_docker_would_say_is_seen(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text('from python AS Build\nENTRYPOINT ["python"]\nENTRYPOINT ["sh"]\n')
    bad.with_name("Dockerfile.dockerignore").touch()
    done = command("dockerfile", bad, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["warnings"]) >= 2


def test_images_have_neither_the_compiler_nor_the_sources() -> None:
    assert {step["name"] for step in image.stage("build")["steps"]} >= {"RUN"}
    for name in (*TARGETS, "runtime"):
        steps = image.stage(name)["steps"]
        assert not [step for step in steps if step["name"] == "RUN"]
        assert {step["from"] for step in steps if step["name"] == "COPY"} <= {"build"}
    assert all(image.stage(name)["base"] == "runtime" for name in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_image_runs_as_nobody_and_gets_its_signals_itself(target: str) -> None:
    made = image.image(target, Path("/app"))
    assert made.user == "65532:65532"
    entries = [step for step in image.stage(target)["steps"] if step["name"] in {"ENTRYPOINT", "CMD"}]
    assert len(entries) == 2
    # The shell form would make sh process 1, which passes no signal on.
    assert not [step for step in entries if step.get("shell")]


@pytest.mark.parametrize("target", TARGETS)
def test_container_is_started_as_the_manifest_says(target: str) -> None:
    [deployment, *_] = [
        each
        for each in kubernetes.decode((kubernetes.MANIFESTS / f"{target}.yaml").read_text())[0]
        if each["kind"] == "Deployment"
    ]
    pod = deployment["spec"]["template"]["spec"]
    made = image.image(target, Path("/app"))
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == made.user
    [container] = pod["containers"]
    assert "command" not in container
    assert set(made.command) <= set(container["args"])


def test_build_is_given_what_a_wheel_is_made_of_and_nothing_else() -> None:
    top = {name.partition("/")[0] for name in image.described()["context"]}
    assert top == {"README.md", "examples", "ext", "idl", "pyproject.toml", "pyrpc_xds", "setup.py"}
    assert not [name for name in image.described()["context"] if name.endswith((".so", ".pyc"))]


# -- the steps, without Docker -------------------------------------------------------------------------------------


def test_image_holds_the_compiled_package_and_no_checkout(image_app: Path) -> None:
    code = "import pyrpc_xds, pyrpc_xds._matcher as m, pyrpc_xds.examples.greeter.server as s, json, sys; "
    code += "print(json.dumps([pyrpc_xds.__file__, m.__file__, s.__file__, sys.path]))"
    python = image.Image(image_app).python
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], cwd="/", env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    *files, path = json.loads(done.stdout)
    assert all(Path(file).is_relative_to(image_app) for file in files)
    assert files[1].endswith(".so")
    assert str(image.ROOT) not in path


@contextmanager
def running(app: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server, started as Docker would but for paths and user (the pods have both); and its Triple address."""
    made = image.image("dubbo-go-server", app)
    here = {key: value.replace("/app", str(app)) for key, value in made.environment.items()}
    here["PATH"] = here["PATH"].replace("$PATH", os.defpath)
    conf = app / "lib" / "conf.yaml"
    conf.write_text((image.ROOT / "examples/greeter/conf/server.yaml").read_text())
    arguments = [each.replace("/app/conf/dubbogo.yaml", str(conf)) for each in made.command]
    environment = {
        **here,
        **POD,
        "POD_LABELS": "dubbogoAppVersion=v1",
        "LISTEN_IP": "127.0.0.1",
        "LISTEN_PORT": "0",
    }
    with subprocess.Popen(
        [*made.entrypoint, *arguments],
        cwd="/",
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            yield process, json.loads(process.stdout.readline())["triple"]
        finally:
            process.kill()


def test_image_without_docker_answers_and_ends_on_sigterm_with_its_calls_finished(image_app: Path) -> None:
    messages, services = idl.protobuf()
    with running(image_app) as (process, address), grpc.insecure_channel(address) as channel:
        reply = services.GreeterStub(channel).SayHello(messages.HelloRequest(name="Laurence"), timeout=30)
        assert (reply.name, reply.id) == ("Hello Laurence", "v1.0.0")

        def late_request() -> Iterator[bytes]:
            time.sleep(0.5)  # the call has begun
            process.send_signal(signal.SIGTERM)
            time.sleep(1.0)  # new calls are refused by now
            yield messages.HelloRequest(name="late").SerializeToString()

        call = channel.stream_unary("/org.apache.dubbo.sample.Greeter/SayHello")
        assert messages.User.FromString(call(late_request(), timeout=30)).name == "Hello late"
        assert process.wait(30) == 0
