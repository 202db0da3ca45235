"""The peers' files, as far as they can be looked at without starting anything."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.hostile.peers import (
    ALL,
    AUTH_PORT,
    ENVOY_PORT,
    NGINX_PORT,
    PEERS,
    UPSTREAM_PORT,
    copied,
)
from tests.hostile.profiles import PROFILES, UPSTREAM
from tests.hostile.signed import KEY
from tests.support.mint import b64u

FILES = {
    "nginx/nginx.conf": {NGINX_PORT, AUTH_PORT, UPSTREAM_PORT},
    "envoy/envoy.yaml": {ENVOY_PORT, UPSTREAM_PORT},
}


@pytest.mark.parametrize("name", FILES)
def test_every_port_is_replaced_by_a_free_one(name: str, tmp_path: Path) -> None:
    ports = {port: 40_000 + port for port in (NGINX_PORT, AUTH_PORT, ENVOY_PORT, UPSTREAM_PORT)}
    text = copied(PEERS / name, tmp_path, ports).read_text(encoding="utf-8")
    settings = re.sub(r"^ *#.*$", "", text, flags=re.MULTILINE)
    found = {int(port) for port in re.findall(r"(?:127\.0\.0\.1:|port_value: )(\d+)", settings)}
    assert found == {ports[port] for port in FILES[name]}


def test_the_port_of_the_upstream_is_the_suites_own() -> None:
    assert f"127.0.0.1:{UPSTREAM_PORT}" == UPSTREAM


def test_envoy_has_the_suites_key() -> None:
    text = (PEERS / "envoy" / "envoy.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["static_resources"]
    assert f'"k":"{b64u(KEY)}"' in text


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((PEERS / "nginx" / "package-lock.json").read_text(encoding="utf-8"))
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []


@pytest.mark.parametrize("name", ALL)
def test_peers_have_profiles_that_exist(name: str) -> None:
    assert set(ALL[name].profiles) <= set(PROFILES)
    assert "base" in ALL[name].profiles


def test_both_peers_drop_the_same_names() -> None:
    nginx = (PEERS / "nginx" / "headers.conf").read_text(encoding="utf-8")
    envoy = (PEERS / "envoy" / "envoy.yaml").read_text(encoding="utf-8")
    dropped = {name.lower() for name in re.findall(r'proxy_set_header (\S+) "";', nginx)}
    removed = set(re.findall(r"- remove: (\S+)", envoy))
    assert len(dropped) > 40
    # What nginx sets to its own value, Envoy removes before it does.
    own = {"x-real-ip", "x-user-id", "x-user-email", "x-user-name", "x-user-roles"}
    assert removed == dropped | own
