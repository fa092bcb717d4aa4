"""Dubbo's file: where it is found, bad YAML, profiles, dotted keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrpc_xds.dubbo.files import find, read
from pyrpc_xds.errors import ConfigError


def tree(path: Path, text: str, **environ: str) -> dict[str, Any]:
    file = path / "dubbogo.yaml"
    file.write_text(text)
    return read(file, environ)


def error_of(path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        tree(path, text, **environ)
    return str(caught.value)


def test_file_is_the_one_that_the_variable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find({"DUBBO_GO_CONFIG_PATH": "some/where.yaml"}) == Path("some/where.yaml")
    with pytest.raises(
        ConfigError, match=r"neither conf/dubbogo.yaml nor \.\./conf/dubbogo.yaml\. Set DUBBO_GO"
    ):
        find({})
    conf = tmp_path / "conf" / "dubbogo.yaml"
    conf.parent.mkdir()
    conf.touch()
    assert find({}) == Path("conf/dubbogo.yaml")
    (tmp_path / "cmd").mkdir()
    monkeypatch.chdir(tmp_path / "cmd")
    assert find({}) == Path("../conf/dubbogo.yaml")


def test_file_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"gone.yaml: cannot be read: No such file or directory. Check path"
    ):
        read(tmp_path / "gone.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path, {})


@pytest.mark.parametrize("text", ["", "spring: {a: b}", "- 1", "text", "null"])
def test_file_without_dubbo_is_an_error(tmp_path: Path, text: str) -> None:
    assert "dubbogo.yaml: has no key 'dubbo'" in error_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "line"), [("dubbo:\n  a: [", 2), ("dubbo:\n\tx: 1", 2), ("dubbo: {a: 1}}", 1), ("a: 'x", 1)]
)
def test_text_that_is_not_yaml_is_an_error_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    found = error_of(tmp_path, text)
    assert f"dubbogo.yaml, line {line}: this is not YAML: " in found


def test_bytes_that_are_not_text_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "dubbogo.yaml"
    file.write_bytes(b"dubbo: \xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read(file, {})


def test_yaml_nested_without_end_is_an_error(tmp_path: Path) -> None:
    assert "nested too deeply" in error_of(tmp_path, "dubbo: " + "[" * 5_000)


def test_alias_within_its_own_anchor_is_an_error(tmp_path: Path) -> None:
    assert "nested too deeply" in error_of(tmp_path, "dubbo: &a {consumer: *a}")


def test_aliases_that_multiply_are_an_error(tmp_path: Path) -> None:
    lists = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 8)]
    text = "dubbo:\n  a0: &a0 [x, x, x]\n" + "".join(f"  {line}\n" for line in lists)
    assert "its aliases repeat more than 1000000 values" in error_of(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "dubbo: {application: {version: 2026-13-45}}",
        "dubbo: {a: !!int x}",
        "dubbo: {a: !!bool maybe}",
        "dubbo: {a: !!timestamp q}",
        "dubbo: {[a]: b}",
        "dubbo: {? {a: b} : c}",
        "dubbo: !!python/object/apply:os.getcwd []",
    ],
)
def test_value_that_yaml_cannot_make_is_an_error_with_the_file(tmp_path: Path, text: str) -> None:
    found = error_of(tmp_path, text)
    assert "a value is not what it looks like" in found or "this is not YAML" in found


def test_key_that_is_given_twice_is_an_error_and_not_the_last_one(tmp_path: Path) -> None:
    found = error_of(tmp_path, "dubbo:\n  protocols:\n    triple: {port: 1}\n    triple: {port: 2}\n")
    assert "dubbogo.yaml, line 4: this is not YAML: the key 'triple' is given twice" in found


def test_merge_keys_and_anchors_are_yamls_own(tmp_path: Path) -> None:
    found = tree(tmp_path, "dubbo:\n  a: &a {x: 1}\n  b: {<<: *a, y: 2}\n")
    assert found["b"] == {"x": 1, "y": 2}


def test_two_documents_of_dubbos_are_an_error(tmp_path: Path) -> None:
    assert "2 documents have the key 'dubbo'" in error_of(tmp_path, "dubbo: {a: 1}\n---\ndubbo: {a: 2}\n")
    assert tree(tmp_path, "spring: {a: 1}\n---\ndubbo: {a: 2}\n") == {"a": 2}


def test_dotted_keys_are_those_of_properties(tmp_path: Path) -> None:
    found = tree(
        tmp_path, "dubbo.registry.address: xds://istiod:15010\ndubbo:\n  registry: {protocol: xds}\n"
    )
    assert found == {"registry": {"address": "xds://istiod:15010", "protocol": "xds"}}
    assert "dubbo.a.b: is given twice" in error_of(tmp_path, "dubbo.a.b: 1\ndubbo: {a: {b: 2}}\n")


def test_active_profile_goes_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "dubbogo-test.yaml").write_text(
        "dubbo: {protocols: {triple: {port: 1}}, consumer: {check: false}}"
    )
    text = "dubbo: {profiles: {active: '${PROFILE:default}'}, protocols: {triple: {name: tri, port: 2}}}"
    assert tree(tmp_path, text)["protocols"] == {"triple": {"name": "tri", "port": 2}}
    found = tree(tmp_path, text, PROFILE="test")
    assert found["protocols"] == {"triple": {"name": "tri", "port": 1}}
    assert found["consumer"] == {"check": False}


def test_profile_without_a_file_is_an_error(tmp_path: Path) -> None:
    assert "dubbo.profiles.active: names 'prod', and there is no" in error_of(
        tmp_path, "dubbo: {profiles: {active: prod}}"
    )


@pytest.mark.parametrize(
    "name",
    ["../other", "a/../../etc/x", "/etc/x", "tri://", "a\\b", "x" * 300, "\u4e2d" * 100, "a\0", "[a]", " "],
)
def test_profile_that_is_no_part_of_a_files_name_is_an_error_of_its_key(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.yaml").write_text("dubbo: {protocols: {triple: {port: 1}}}")
    text = json.dumps({"dubbo": {"profiles": {"active": name}}})
    assert "dubbogo.yaml: dubbo.profiles.active: " in error_of(tmp_path, text)
