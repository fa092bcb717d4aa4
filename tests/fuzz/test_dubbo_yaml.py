"""Whatever stands in Dubbo's YAML, reading it gives a configuration or a ConfigError that names the file."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrpc_xds.dubbo import files, not_applied, placeholders
from pyrpc_xds.dubbo.config import DubboConfig
from pyrpc_xds.dubbo.mapping import place
from pyrpc_xds.dubbo.sections import sections
from pyrpc_xds.errors import ConfigError

# Every key that any section knows, in the spellings of both Dubbos, and some that none does.
APPLIED = (
    "name group version protocol address port ip host url interface provided_by providedBy mesh-provider-port "
    "provider-namespace timeout request-timeout check methods registry-ids protocol-ids triple "
    "max-server-recv-msg-size max-wait-time-for-service-discovery profiles unknown"
)
KEYS = sorted(
    {
        *APPLIED.split(),
        *(key for table in vars(not_applied).values() if isinstance(table, dict) for key in table),
    }
)
SECTIONS = [
    "registries",
    "registry",
    "protocols",
    "protocol",
    "consumer",
    "provider",
    "references",
    "services",
]
SECTIONS += ["application", "shutdown"]
NAMES = ["xds", "triple", "A", "B", "p.S"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.sampled_from(
        [
            "tri",
            "xds",
            "3s",
            "20000",
            "xds://a:1",
            "tri://a:1/p.S?x",
            "a,b",
            "${A}",
            "${A:b}",
            "[::1]",
            "4mib",
            "true",
            "*",
        ]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(NAMES), st.integers(), st.none(), st.booleans()), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
entries = st.dictionaries(
    st.sampled_from(NAMES), st.dictionaries(st.sampled_from(KEYS), values, max_size=5), max_size=3
)
both = st.one_of(
    values, entries, st.fixed_dictionaries({}, optional={"references": entries, "services": entries})
)
trees = st.dictionaries(st.sampled_from([*SECTIONS, *not_applied.ROOT_NOTES, "unknown"]), both, max_size=6)


def checked(read: Any) -> None:
    try:
        config = read()
    except ConfigError as error:
        assert str(error).startswith("conf/dubbogo.yaml")
        return
    assert isinstance(config, DubboConfig)
    for reference in config.references.values():
        try:
            place(reference, config.source)
        except ConfigError as error:
            assert str(error).startswith(f"conf/dubbogo.yaml: {reference.path}")


@settings(max_examples=400, deadline=None)
@given(trees)
def test_any_tree_is_a_configuration_or_a_config_error(tree: dict[str, Any]) -> None:
    checked(lambda: sections(tree, "conf/dubbogo.yaml"))


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.text("dubo: {}[]!&*-?|>'\"\n#%@`1.,x", max_size=40),
        trees.map(lambda tree: yaml.safe_dump({"dubbo": tree})),
    )
)
def test_any_text_is_dubbos_or_a_config_error(text: str) -> None:
    def read() -> DubboConfig:
        found = files.under_dubbo(files.parse(text, "conf/dubbogo.yaml"), "conf/dubbogo.yaml")
        return sections(
            placeholders.fill_dubbo({"dubbo": found or {}}, {"A": "1"}, "conf/dubbogo.yaml"),
            "conf/dubbogo.yaml",
        )

    checked(read)
