"""dubbo-go v3.3.0 as a test peer: built once into a cache outside the tree (tests/interop/dubbo-go).

Its servers listen on every interface: start them in a :class:`.netns.Namespace` only. ``skip_reason()`` says
why it cannot be built here.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from .built import ROOT, PeerProcess, PeerUnavailable, built, run, tool

SOURCE = ROOT / "tests" / "interop" / "dubbo-go"
PROTO = ROOT / "idl" / "greeter.proto"
BUILD_SECONDS = 1200.0  # with nothing in Go's caches; measured 2 minutes for downloads and 2 for compiling
_PACKAGE = "pyrpc-xds/tests/interop/dubbo-go"
# -p=1: tests of other peers may be building as well.
_ENVIRONMENT = {"GOFLAGS": "-buildvcs=false -mod=readonly -p=1", "GOTOOLCHAIN": "local", "GOWORK": "off"}


@functools.cache
def build() -> Path:
    """The program, built if this version of it is not in the cache yet.

    :raises PeerUnavailable: it cannot be built here.
    """
    return built("dubbo-go", SOURCE, [PROTO], _build) / "dubbo-go-peer"


def _build(folder: Path) -> None:
    go = tool("go", "dubbo-go's peer")
    generator = folder / "protoc-gen-go"
    package = "google.golang.org/protobuf/cmd/protoc-gen-go"
    run([go, "build", "-o", str(generator), package], folder, BUILD_SECONDS, _ENVIRONMENT)
    protoc = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}", PROTO.name),
        *(f"--plugin={generator}", "--go_out=.", f"--go_opt=module={_PACKAGE}"),
        f"--go_opt=M{PROTO.name}={_PACKAGE}/greeter;greeter",
    ]
    run(protoc, folder, 60.0)
    run([go, "build", "-ldflags=-s -w", "-o", "dubbo-go-peer", "."], folder, BUILD_SECONDS, _ENVIRONMENT)


@functools.cache
def skip_reason() -> str | None:
    """Why it cannot run here, or None if it can. Builds it on first use."""
    try:
        build()
    except PeerUnavailable as reason:
        return str(reason)
    return None


def server(version: str, variants: tuple[str, ...] = ()) -> PeerProcess:
    """A running server; the first value that it says is ``{"address": ...}``.

    :param variants: ``GROUP/VERSION`` of Dubbo services that it has beside the one with neither.
    """
    return PeerProcess(
        [str(build()), "server", "-version", version, *(f"-variant={each}" for each in variants)]
    )


def client() -> PeerProcess:
    """A running client; answers :class:`.calls.Call` with :class:`.calls.Outcome`."""
    return PeerProcess([str(build()), "client"])


def configured_server(version: str, yaml: Path, port: int) -> PeerProcess:
    """As :func:`server`, configured by a file of Dubbo's YAML.

    :param port: the one that the file says.
    """
    return PeerProcess([str(build()), "server", "-version", version, "-yaml", str(yaml), "-port", str(port)])
