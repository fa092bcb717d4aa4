"""Dubbo: stubs and servers by a file of Dubbo's, on direct addresses (no control plane)."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import pyrpc_xds
from examples.greeter import idl
from pyrpc_xds.dubbo import files, interfaces
from pyrpc_xds.dubbo.matching import meant
from pyrpc_xds.errors import ConfigError, PortNotBound, UsageError

MESSAGES, SERVICES = idl.protobuf()
GREETER = "org.apache.dubbo.sample.Greeter"
POD = {"POD_NAME": "pod", "POD_NAMESPACE": "default", "INSTANCE_IP": "127.0.0.1"}


def limit(context: Any) -> str:
    """What the name of every answer says."""
    remaining = context.time_remaining()
    return "none" if remaining is None or remaining > 1_000_000 else "deadline"


class GreeterServerImpl(SERVICES.GreeterServicer):  # type: ignore[misc]
    """Named as in the tutorial; answers after as many milliseconds as the name says."""

    def __init__(self, answer: str = "v1") -> None:
        self.answer = answer

    def SayHello(self, request: Any, context: Any) -> Any:
        if request.name.isdigit():
            time.sleep(int(request.name) / 1000)
        return MESSAGES.User(id=self.answer, name=limit(context))

    def SayHelloServerStream(self, request: Any, context: Any) -> Iterator[Any]:
        yield MESSAGES.User(name=limit(context))


class AioGreeter(SERVICES.GreeterServicer):  # type: ignore[misc]
    async def SayHello(self, request: Any, context: Any) -> Any:
        return MESSAGES.User(id="aio")


def hello(name: str = "x") -> Any:
    return MESSAGES.HelloRequest(name=name)


def dubbo(path: Path, text: str, **environ: str) -> pyrpc_xds.Dubbo:
    file = path / "dubbogo.yaml"
    file.write_text(text)
    return pyrpc_xds.Dubbo.load(file, environ)


def server_yaml(services: str = 'GreeterServerImpl: {interface: ""}', more: str = "") -> str:
    return (
        "dubbo:\n  protocols: {triple: {name: tri, ip: 127.0.0.1, port: 0}}\n"
        f"  provider: {{services: {{{services}}}}}\n{more}"
    )


def client_yaml(reference: str, more: str = "") -> str:
    return f"dubbo:\n  consumer: {{references: {{GreeterClientImpl: {{{reference}}}}}}}\n{more}"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with dubbo(tmp_path, server_yaml()) as made:
        server = made.server(GreeterServerImpl())
        server.start()
        assert server.port
        yield server.port
        server.stop(0).wait(10)


def test_interface_is_read_from_the_generated_classes() -> None:
    assert interfaces.of_stub(SERVICES.GreeterStub) == GREETER
    ((interface, add),) = interfaces.of_implementation(GreeterServerImpl())
    assert (interface, add) == (GREETER, SERVICES.add_GreeterServicer_to_server)


@pytest.mark.parametrize("stub", [object, dict, GreeterServerImpl, lambda channel: None])
def test_class_that_is_no_stub_is_refused(stub: Any) -> None:
    with pytest.raises(UsageError, match="is no stub class as grpcio-tools generates it"):
        interfaces.of_stub(stub)


def test_object_that_implements_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="object inherits from no XServicer class"):
        interfaces.of_implementation(object())


def test_reference_calls_the_address_of_its_url(tmp_path: Path, port: int) -> None:
    with dubbo(tmp_path, client_yaml(f'url: "tri://127.0.0.1:{port}"')) as made:
        assert made.reference(SERVICES.GreeterStub).SayHello(hello()).id == "v1"


async def test_reference_and_server_for_asyncio(tmp_path: Path) -> None:
    with dubbo(tmp_path, server_yaml()) as serving:
        server = serving.aio_server(AioGreeter())
        await server.start()
        text = client_yaml(f'url: "tri://127.0.0.1:{server.port}", timeout: 5s')
        with dubbo(tmp_path, text) as made:
            stub = await made.aio_reference(SERVICES.GreeterStub)
            assert (await stub.SayHello(hello())).id == "aio"
            assert (await stub.SayHello(hello(), timeout=5.0, metadata=(("a", "b"),))).id == "aio"
        await server.stop(0)


def test_timeout_holds_for_unary_calls_that_come_without_one(tmp_path: Path, port: int) -> None:
    text = client_yaml(f'url: "tri://127.0.0.1:{port}", timeout: 100ms')
    with dubbo(tmp_path, text) as made:
        stub = made.reference(SERVICES.GreeterStub)
        for call in (
            stub.SayHello,
            stub.SayHello.with_call,
            lambda name: stub.SayHello.future(name).result(),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call(hello("2000"))
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert stub.SayHello(hello("300"), 10.0).id == "v1"
        assert stub.SayHello(hello("300"), 10.0, (("a", "b"),)).id == "v1"
        assert stub.SayHello.with_call(hello("300"), timeout=10.0)[0].id == "v1"
        assert next(iter(stub.SayHelloServerStream(hello()))).name == "none"


def test_timeout_of_a_method_goes_before_that_of_its_reference(tmp_path: Path, port: int) -> None:
    methods = "methods: [{name: SayHello, timeout: 10s}]"
    with dubbo(tmp_path, client_yaml(f'url: "tri://127.0.0.1:{port}", timeout: 50ms, {methods}')) as made:
        assert made.reference(SERVICES.GreeterStub).SayHello(hello("200")).id == "v1"


def test_call_has_no_deadline_where_no_timeout_is_written(tmp_path: Path, port: int) -> None:
    with dubbo(tmp_path, client_yaml(f'url: "tri://127.0.0.1:{port}"')) as made:
        assert made.reference(SERVICES.GreeterStub).SayHello(hello()).name == "none"


def test_group_and_version_select_the_implementation(tmp_path: Path) -> None:
    services = (
        f"One: {{interface: {GREETER}, version: '1'}}, Two: {{interface: {GREETER}, version: '2', group: g}}"
    )
    with dubbo(tmp_path, server_yaml(services)) as serving:
        server = serving.server(("One", GreeterServerImpl("one")), ("Two", GreeterServerImpl("two")))
        server.start()
        url = f'url: "tri://127.0.0.1:{server.port}"'
        with dubbo(tmp_path, client_yaml(f"{url}, version: '1'")) as made:
            assert made.reference(SERVICES.GreeterStub).SayHello(hello()).id == "one"
        with dubbo(tmp_path, client_yaml(f"{url}, version: '2', group: g")) as made:
            assert made.reference(SERVICES.GreeterStub).SayHello(hello()).id == "two"
        with dubbo(tmp_path, client_yaml(f"{url}, version: '3'")) as made:
            with pytest.raises(grpc.RpcError) as caught:
                made.reference(SERVICES.GreeterStub).SayHello(hello())
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        server.stop(0).wait(10)


def test_size_limit_of_the_protocol_is_the_servers(tmp_path: Path) -> None:
    text = server_yaml().replace("port: 0", "port: 0, max-server-recv-msg-size: 1kib")
    with dubbo(tmp_path, text) as serving:
        server = serving.server(GreeterServerImpl())
        server.start()
        with dubbo(tmp_path, client_yaml(f'url: "tri://127.0.0.1:{server.port}"')) as made:
            stub = made.reference(SERVICES.GreeterStub)
            with pytest.raises(grpc.RpcError) as caught:
                stub.SayHello(hello("x" * 2000))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        server.stop(0).wait(10)


def test_port_that_is_taken_is_an_error(tmp_path: Path, port: int) -> None:
    with (
        dubbo(tmp_path, server_yaml().replace("port: 0", f"port: {port}")) as serving,
        pytest.raises(PortNotBound),
    ):
        serving.server(GreeterServerImpl())


def test_service_without_an_implementation_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with dubbo(tmp_path, server_yaml("GreeterServerImpl: {}, Other: {interface: p.O}")) as serving:
        server = serving.server(GreeterServerImpl())
        server.start()
        server.stop(0).wait(10)
    assert "dubbo.provider.services.Other is not served: nothing that implements it was given" in caplog.text


def test_implementation_without_a_service_is_an_error(tmp_path: Path) -> None:
    with (
        dubbo(tmp_path, server_yaml("Other: {interface: p.O}")) as serving,
        pytest.raises(
            ConfigError, match=r"has nothing for GreeterServerImpl \(org.*\)\. Add it; there is Other"
        ),
    ):
        serving.server(GreeterServerImpl())


def test_implementations_of_one_service_are_an_error(tmp_path: Path) -> None:
    with (
        dubbo(tmp_path, server_yaml()) as serving,
        pytest.raises(ConfigError, match=r"are both org\.apache\.dubbo"),
    ):
        serving.server(GreeterServerImpl(), GreeterServerImpl())
    services = "A: {}, B: {}"
    with (
        dubbo(tmp_path, server_yaml(services)) as serving,
        pytest.raises(ConfigError, match=r"B and dubbo.*A are both"),
    ):
        serving.server(("A", GreeterServerImpl()), ("B", GreeterServerImpl()))


def test_no_implementation_is_an_error(tmp_path: Path) -> None:
    with dubbo(tmp_path, server_yaml()) as serving, pytest.raises(UsageError, match="needs the objects"):
        serving.server()


def test_interface_that_is_not_the_classes_is_an_error(tmp_path: Path) -> None:
    with (
        dubbo(tmp_path, server_yaml("GreeterServerImpl: {interface: p.Other}")) as serving,
        pytest.raises(
            ConfigError, match=r"GreeterServerImpl is p.Other, and GreeterServerImpl is org.*leave it empty"
        ),
    ):
        serving.server(GreeterServerImpl())


@pytest.mark.parametrize("name", ["Greeter", "GreeterStub", "GreeterClientImpl", "GreeterServiceImpl"])
def test_entry_without_an_interface_is_meant_by_a_name_made_of_it(tmp_path: Path, name: str) -> None:
    with dubbo(tmp_path, f"dubbo: {{consumer: {{references: {{{name}: {{}}, Other: {{}}}}}}}}") as made:
        assert meant(made.config.references, "", "GreeterStub", GREETER, "f").name == name


def test_entries_that_are_both_meant_are_an_error_until_one_is_named(tmp_path: Path) -> None:
    entries = f"A: {{interface: {GREETER}}}, B: {{interface: {GREETER}, version: '2'}}"
    with dubbo(tmp_path, f"dubbo: {{consumer: {{references: {{{entries}}}}}}}") as made:
        known = made.config.references
        with pytest.raises(
            ConfigError, match=r"A, B are all org\.apache\.dubbo\.sample\.Greeter\. Say which"
        ):
            meant(known, "", "GreeterStub", GREETER, "f")
        assert meant(known, "B", "GreeterStub", GREETER, "f").version == "2"
        with pytest.raises(ConfigError, match="has nothing for C"):
            meant(known, "C", "GreeterStub", GREETER, "f")


def test_reference_into_the_mesh_without_a_pod_is_an_error_that_names_what_is_missing(tmp_path: Path) -> None:
    registry = '  registries: {xds: {protocol: xds, address: "127.0.0.1:1"}}\n'
    with (
        dubbo(tmp_path, client_yaml("provided_by: app", registry)) as made,
        pytest.raises(ConfigError, match="POD_NAME, POD_NAMESPACE not set"),
    ):
        made.reference(SERVICES.GreeterStub)


def test_registry_of_the_file_is_the_control_plane_and_the_application_the_workload(tmp_path: Path) -> None:
    more = '  registries: {xds: {protocol: xds, address: "istiod.ns:15010"}}\n  application: {name: shop}\n'
    pod = {"POD_NAME": "p", "POD_NAMESPACE": "ns", "POD_IP": "10.0.0.7", "ISTIOD_ADDR": "other:1"}
    with dubbo(tmp_path, client_yaml("provided_by: app", more), **pod) as made:
        bootstrap = made.xds.bootstrap
        assert bootstrap.servers[0].uri == "istiod.ns:15010"
        assert bootstrap.node.id == "sidecar~10.0.0.7~p.ns~ns.svc.cluster.local"
        assert made.xds.workload == "shop"
        assert made.place(made.config.references["GreeterClientImpl"]).target == (
            "xds:///app.ns.svc.cluster.local:80"
        )


def test_environment_names_the_control_plane_where_the_file_has_no_registry(tmp_path: Path) -> None:
    with dubbo(tmp_path, client_yaml("provided_by: app"), **POD, ISTIOD_ADDR="istiod.env:15010") as made:
        assert made.xds.bootstrap.servers[0].uri == "istiod.env:15010"


def test_bootstrap_of_the_environment_goes_before_the_registry_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = '  registries: {xds: {protocol: xds, address: "istiod.ns:15010"}}\n'
    bootstrap = (
        '{"xds_servers": [{"server_uri": "unix:///agent", "channel_creds": [{"type": "insecure"}]}], '
        '"node": {"id": "sidecar~10.0.0.1~p.ns~ns.svc.cluster.local", "metadata": {"NAMESPACE": "ns"}}}'
    )
    with dubbo(tmp_path, client_yaml("provided_by: app", more), GRPC_XDS_BOOTSTRAP_CONFIG=bootstrap) as made:
        assert made.xds.bootstrap.servers[0].uri == "unix:///agent"
        reference = made.config.references["GreeterClientImpl"]
        assert made.place(reference).target == "xds:///app.ns.svc.cluster.local:80"
    assert (
        "dubbo.registries.xds.address (istiod.ns:15010) is not used: GRPC_XDS_BOOTSTRAP_CONFIG is set"
        in caplog.text
    )


def test_what_has_no_effect_is_logged_at_its_level(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    dubbo(tmp_path, client_yaml("retries: 2", "  logger: {level: debug}\n")).close()
    found = {(record.levelname, record.getMessage().split(": ")[1]) for record in caplog.records}
    assert found == {
        ("WARNING", "dubbo.consumer.references.GreeterClientImpl.retries is not applied"),
        ("INFO", "dubbo.logger is not applied"),
    }


def test_closed_dubbo_makes_nothing_more(tmp_path: Path, port: int) -> None:
    made = dubbo(tmp_path, client_yaml(f'url: "tri://127.0.0.1:{port}"'))
    stub = made.reference(SERVICES.GreeterStub)
    made.close()
    made.close()
    with pytest.raises(ValueError, match="closed"):
        stub.SayHello(hello())
    with pytest.raises(UsageError, match="closed"):
        made.reference(SERVICES.GreeterStub)


def test_file_is_found_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "client.yaml"
    file.write_text(client_yaml("provided_by: app"))
    with pyrpc_xds.Dubbo.from_env({**POD, "DUBBO_GO_CONFIG_PATH": str(file)}) as made:
        assert repr(made) == f"<Dubbo {file}, 1 references, 0 services>"


def test_stub_keeps_what_it_needs(tmp_path: Path, port: int) -> None:
    stub = dubbo(tmp_path, client_yaml(f'url: "tri://127.0.0.1:{port}", timeout: 10s')).reference(
        SERVICES.GreeterStub
    )
    gc.collect()
    assert stub.SayHello(hello()).id == "v1"


def test_services_of_several_protocols_are_served_on_each_of_their_ports(tmp_path: Path) -> None:
    text = (
        "dubbo:\n  protocols: {one: {ip: 127.0.0.1, port: 0}, two: {ip: 127.0.0.2, port: 0}}\n"
        "  provider: {services: {GreeterServerImpl: {}, Other: {protocol-ids: [one], version: '2'}}}\n"
    )
    with dubbo(tmp_path, text) as serving:
        with pytest.raises(ConfigError, match=r"Call Dubbo\.server\(\) once for each set"):
            serving.server(GreeterServerImpl(), ("Other", GreeterServerImpl()))
        server = serving.server(GreeterServerImpl())
        server.start()
        with dubbo(tmp_path, client_yaml(f'url: "tri://127.0.0.2:{server.port}"')) as made:
            assert made.reference(SERVICES.GreeterStub).SayHello(hello()).id == "v1"
        server.stop(0).wait(10)


def test_what_the_program_says_goes_before_the_file(tmp_path: Path, port: int) -> None:
    with dubbo(tmp_path, server_yaml().replace("port: 0", f"port: {port}")) as serving:
        server = serving.server(GreeterServerImpl(), address="127.0.0.1:0")
        server.start()
        assert server.port != port
        server.stop(0).wait(10)


def test_without_pyyaml_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    files._yaml.cache_clear()
    with pytest.raises(
        ConfigError, match=r"Dubbo's YAML needs the module 'yaml'.*pip install 'pyrpc-xds\[dubbo\]'"
    ):
        dubbo(tmp_path, client_yaml(""))
