"""Dubbo Java 3.3.4 as a test peer: built once into a cache outside the tree (tests/interop/dubbo-java).

Its servers listen on every interface: start them in a :class:`.netns.Namespace` only. ``skip_reason()`` says
why it cannot be built here.
"""

from __future__ import annotations

import functools
from pathlib import Path

from .built import ROOT, PeerProcess, PeerUnavailable, built, run, tool

SOURCE = ROOT / "tests" / "interop" / "dubbo-java"
PROTO = ROOT / "idl" / "greeter.proto"
BUILD_SECONDS = 600.0  # with nothing in Maven's repository; measured half a minute
# Of a small program that is started often: no second compiler, little memory.
_JAVA_OPTIONS = (
    *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-Xshare:auto"),
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    # With nothing but loopback every other line of its log is a trace of this one's.
    "-Dorg.slf4j.simpleLogger.log.org.apache.dubbo.common.utils.NetUtils=error",
)


@functools.cache
def build() -> Path:
    """The folder with ``classes`` and ``lib``, built if this version of it is not in the cache yet.

    :raises PeerUnavailable: it cannot be built here.
    """
    tool("java", "Dubbo Java's peer")
    return built("dubbo-java", SOURCE, [PROTO], _build) / "target"


def _build(folder: Path) -> None:
    maven = tool("mvn", "Dubbo Java's peer")
    run([maven, "--batch-mode", "--quiet", f"-Didl={PROTO.parent}", "compile"], folder, BUILD_SECONDS)


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
    return _java("server", version, *variants)


def client() -> PeerProcess:
    """A running client; answers :class:`.calls.Call` with :class:`.calls.Outcome`."""
    return _java("client")


def _java(*arguments: str) -> PeerProcess:
    folder = build()
    path = f"{folder / 'classes'}:{folder / 'lib'}/*"
    command = [tool("java", "Dubbo Java's peer"), *_JAVA_OPTIONS, "-cp", path, "peer.Main", *arguments]
    # Dubbo keeps files in the home folder.
    return PeerProcess(command, folder=folder)
