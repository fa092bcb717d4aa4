"""The table of docs/dubbo.md says of every key of dubbo-go 3.3.0 what the code does with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pyrpc_xds.dubbo.sections import sections
from pyrpc_xds.errors import ConfigError

DOCS = Path(__file__).resolve().parents[3] / "docs" / "dubbo.md"
WORDS = ("applied", "not applied", "refused")

# The yaml tags of dubbo-go v3.3.0, config/*_config.go and global/*_config.go.
DUBBO_GO = {
    "dubbo": "application protocols registries config-center metadata-report provider consumer otel metrics tracing "
    "logger shutdown router event-dispatcher-type cache_file custom profiles tls_config",
    "application": "organization name module group version owner environment metadata-type tag metadata-service-port "
    "metadata-service-protocol",
    "registries.R": "protocol timeout group namespace ttl address username password simplified preferred zone weight "
    "params registry-type use-as-meta-report use-as-config-center",
    "protocols.P": "name ip port params max-server-send-msg-size max-server-recv-msg-size",
    "provider": "filter register registry-ids protocol-ids tracing-key services proxy filter_conf config_type "
    "adaptive-service adaptive-service-verbose",
    "provider.services.S": "filter protocol-ids interface registry-ids cluster loadbalance group version methods "
    "warmup retries serialization params token accesslog tps.limiter tps.limit.interval tps.limit.rate "
    "tps.limit.strategy tps.limit.rejected.handler execute.limit execute.limit.rejected.handler auth not_register "
    "param.sign tag tracing-key",
    "consumer": "filter registry-ids protocol request-timeout proxy check adaptive-service references tracing-key "
    "filter-conf max-wait-time-for-service-discovery mesh-enabled",
    "consumer.references.R": "interface check url filter protocol registry-ids cluster loadbalance retries group "
    "version serialization provided_by methods async params generic sticky timeout force.tag tracing-key "
    "mesh-provider-port keep-alive-interval keep-alive-timeout",
    "consumer.references.R.methods[]": "name retries loadbalance weight tps.limit.interval tps.limit.rate "
    "tps.limit.strategy execute.limit execute.limit.rejected.handler sticky timeout",
    "shutdown": "timeout step-timeout consumer-update-wait-time reject-handler internal-signal "
    "offline-request-window-timeout",
}
# Values that the applied keys take; whatever is not applied may be anything.
VALUES: dict[str, Any] = {
    "protocol": "tri",
    "address": "istiod:15010",
    "registry-ids": ["R"],
    "protocol-ids": ["P"],
    "check": False,
    "methods": [],
    "port": 1,
    "mesh-provider-port": 1,
    "url": "tri://a:1",
}
MAPPINGS = {
    "application",
    "protocols",
    "registries",
    "provider",
    "consumer",
    "shutdown",
    "services",
    "references",
}
MAPPINGS |= {"profiles"}


def documented() -> dict[tuple[str, str], str]:
    """What the table says of each section and key."""
    said = {}
    for line in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].strip("`") in DUBBO_GO:
            for word, cell in zip(WORDS, cells[1:], strict=True):
                said |= {(cells[0].strip("`"), key): word for key in re.findall(r"`([^`]+)`", cell)}
    return said


def outcome(section: str, key: str) -> str:
    """What becomes of a key."""
    tree: dict[str, Any] = {
        "registries": {"R": {"protocol": "xds", "address": "istiod:15010"}},
        "protocols": {"P": {"name": "tri"}},
        "provider": {"services": {"S": {}}},
        "consumer": {"references": {"R": {"methods": [{"name": "M"}]}}},
        "application": {},
        "shutdown": {},
    }
    inner: Any = tree
    for part in [] if section == "dubbo" else section.replace("[]", ".0").split("."):
        inner = inner[int(part) if part.isdigit() else part]
    value = VALUES.get(key, {} if key in MAPPINGS else "3s" if "timeout" in key or "wait" in key else "1")
    if section == "registries.R" and key == "protocol":
        value = "xds"
    if section == "protocols.P" and key == "name":
        value = "tri"
    if key not in MAPPINGS or key not in inner:
        inner[key] = value
    try:
        config = sections(tree, "f")
    except ConfigError as error:
        assert "protects" in str(error), error
        return "refused"
    path = ".".join(
        part for part in ("dubbo", "" if section == "dubbo" else section.replace("[]", "[0]"), key) if part
    )
    return "not applied" if path in {each.path for each in config.not_applied} else "applied"


@pytest.mark.parametrize("section", DUBBO_GO)
def test_table_says_of_every_key_what_becomes_of_it(section: str) -> None:
    said = {key: word for (of, key), word in documented().items() if of == section}
    assert said == {key: outcome(section, key) for key in DUBBO_GO[section].split()}
