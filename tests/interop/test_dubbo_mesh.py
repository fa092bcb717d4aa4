"""The tutorial with a mixed fleet behind one VirtualService: Dubbo's own server is v1, ours is v2.

"by YAML": nothing but Dubbo's YAML configures the three programs.
"""

from __future__ import annotations

from typing import Literal

import pytest

from tests.interop.peers import dubbo_go, dubbo_java, fleet, istiod, netns

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

CALLS = 400


@pytest.mark.parametrize("control_plane", ["embedded", "istiod"])
@pytest.mark.parametrize("peer", ["dubbo-go", "dubbo-java", "dubbo-go by YAML"])
def test_mixed_fleet_shows_the_tutorials_distributions(
    peer: Literal["dubbo-go", "dubbo-java", "dubbo-go by YAML"], control_plane: Literal["embedded", "istiod"]
) -> None:
    built = dubbo_java.skip_reason() if peer == "dubbo-java" else dubbo_go.skip_reason()
    reason = netns.skip_reason() or built or (istiod.skip_reason() if control_plane == "istiod" else None)
    if reason:
        pytest.skip(reason)
    namespace = netns.Namespace()
    try:
        blocks = namespace.run(fleet.play, peer, control_plane, CALLS, seconds=300)
    finally:
        namespace.close()
    assert len(blocks) == 5
    assert not [block for block in blocks if not block["passed"]]
