"""proxy/upstream/trust.py: what a TLS connection depends on; who trusts whom is in test_pool.py."""

from __future__ import annotations

from pathlib import Path

from proxy.config.model import UpstreamConfig
from proxy.upstream.trust import server_name, tls_context, trust
from tests.support.certificates import Authority


def config(**keys: object) -> UpstreamConfig:
    return UpstreamConfig.model_validate(keys)


def test_the_name_in_the_certificate_is_the_configured_or_the_looked_up_one() -> None:
    listed = config(endpoints=["https://10.0.0.1:1"], tls={"server_name": "api.internal"})
    assert server_name(listed) == "api.internal"
    assert server_name(config(endpoints=["https://a:1"])) is None
    assert server_name(config(dns="https://api.internal:1")) == "api.internal"


def test_a_name_that_is_looked_up_may_be_https() -> None:
    assert tls_context(config(dns="https://api.internal:1")) is not None
    assert tls_context(config(dns="api.internal:1")) is None


def test_trust_changes_with_the_files_and_not_with_their_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    copy = tmp_path / "copy.pem"
    copy.write_bytes(authority.ca.read_bytes())
    one = config(endpoints=["https://a:1"], tls={"ca": str(authority.ca)})
    same = config(endpoints=["https://b:1"], tls={"ca": str(copy)})
    assert trust(one) == trust(same)
    before = trust(same)
    copy.write_bytes(Authority(tmp_path, "other").ca.read_bytes())
    assert trust(same) != before
    assert trust(config(endpoints=["https://a:1"])) != trust(one)
