"""What stands in front of the tests of a peer: building it, once, from nothing, and where Dubbo's may run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.peers import dubbo_go, dubbo_java, image, netns
from tests.interop.peers.built import PeerUnavailable

HERE = Path(__file__).parent
BUILD_SECONDS = 1500


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of this folder that sets no time-out of its own may be the one that builds its peer."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS))


@pytest.fixture(scope="session")
def image_app() -> Iterator[Path]:
    """What is /app in the greeter's image, built by the steps of its Dockerfile (:mod:`.peers.image`)."""
    with tempfile.TemporaryDirectory(prefix="pyrpc-xds-image-") as folder:
        Path(folder).chmod(0o755)  # whoever runs the image is somebody else
        try:
            yield image.build(Path(folder))
        except PeerUnavailable as reason:
            pytest.skip(str(reason))


@pytest.fixture(scope="module")
def namespace() -> Iterator[netns.Namespace]:
    """A network namespace of the module's own: Dubbo's peers listen on every interface, whatever they are told."""
    if reason := netns.skip_reason():
        pytest.skip(reason)
    made = netns.Namespace()
    yield made
    made.close()


@pytest.fixture
def go(namespace: netns.Namespace) -> Any:
    """Runs a function where dubbo-go may run, too."""
    if reason := dubbo_go.skip_reason():
        pytest.skip(reason)
    return namespace.run


@pytest.fixture
def java(namespace: netns.Namespace) -> Any:
    """Runs a function where Dubbo Java may run, too."""
    if reason := dubbo_java.skip_reason():
        pytest.skip(reason)
    return namespace.run
