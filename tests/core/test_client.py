from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.client import Client, TrustedProxies
from proxy.core.head import RequestHead
from proxy.errors import BadHost, BadRequest

FOR, PROTO, FORWARDED = "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"
HOST, PORT = "X-Forwarded-Host", "X-Forwarded-Port"
ALL = (FOR, PROTO, HOST, PORT, FORWARDED)


def proxies(networks: Iterable[str] = ("10.0.0.0/8",), headers: Iterable[str] = (FOR, PROTO)) -> (
    TrustedProxies
):  # fmt: skip
    return TrustedProxies(networks, headers)


def head(*fields: tuple[str, str], peer: str = "10.0.0.3", tls: bool = False) -> RequestHead:
    raw = tuple((name.encode(), value.encode("latin-1")) for name, value in fields)
    return RequestHead("GET", "/x", 1, raw, peer, tls)


def address(*fields: tuple[str, str], headers: Iterable[str] = (FOR, PROTO)) -> str:
    return proxies(headers=headers).client(head(*fields)).address


def sent(
    rules: TrustedProxies, request: RequestHead, host: bytes = b"api.example.test"
) -> dict[str, str]:
    """The forwarding lines for the upstream; each must be whole and none may come twice."""
    lines = rules.forwarding_lines(request, rules.client(request), host)
    assert lines.endswith(b"\r\n")
    pairs = [line.split(": ", 1) for line in lines.decode("latin-1").split("\r\n")[:-1]]
    assert len({pair[0] for pair in pairs}) == len(pairs)
    return {pair[0]: pair[1] for pair in pairs}


SPOOFED = [(FOR, "1.2.3.4"), (PROTO, "https"), (HOST, "evil.test"), (PORT, "443"),
           (FORWARDED, "for=1.2.3.4;host=evil.test;proto=https")]  # fmt: skip


@pytest.mark.parametrize("rules", [proxies(), proxies(headers=ALL), proxies([], ALL)])
def test_a_stranger_is_believed_nothing(rules: TrustedProxies) -> None:
    """TP-01, TP-02, TP-03, TP-06."""
    request = head(*SPOOFED, peer="192.0.2.9")
    client = rules.client(request)
    assert client == Client("192.0.2.9", "http", False)
    assert rules.warns(request, client)
    lines = sent(rules, request)
    assert lines[FOR] == "192.0.2.9"
    assert (lines[PROTO], lines[HOST], lines[PORT]) == ("http", "api.example.test", "80")
    assert lines.get(FORWARDED) in (None, "for=192.0.2.9;host=api.example.test;proto=http")


def test_a_stranger_may_send_headers_twice() -> None:
    request = head((PROTO, "http"), (PROTO, "https"), peer="192.0.2.9")
    assert proxies().client(request) == Client("192.0.2.9", "http", False)


def test_our_own_tls_is_https() -> None:
    rules = proxies()
    assert rules.client(head(peer="192.0.2.9", tls=True)).scheme == "https"
    assert rules.client(head(peer="192.0.2.9", tls=False)).scheme == "http"
    assert rules.client(head(tls=True)).scheme == "https"
    assert rules.client(head((PROTO, "http"), tls=True)).scheme == "http"
    assert sent(rules, head(peer="192.0.2.9", tls=True))[PORT] == "443"


def test_a_trusted_proxy_tells_who_the_client_is() -> None:
    request = head((FOR, "203.0.113.9"), (PROTO, "https"))
    assert proxies().client(request) == Client("203.0.113.9", "https", True)
    assert not proxies().warns(request, proxies().client(request))
    assert sent(proxies(), request) == {
        FOR: "203.0.113.9, 10.0.0.3",
        PROTO: "https",
        HOST: "api.example.test",
        PORT: "443",
    }


CHAINS: dict[str, tuple[str, str]] = {
    "one": ("203.0.113.9", "203.0.113.9"),
    "right-most that is not trusted": ("10.0.0.5, 203.0.113.9", "203.0.113.9"),
    "through trusted hops": ("1.2.3.4, 203.0.113.9, 10.1.1.1,10.2.2.2", "203.0.113.9"),
    "all trusted": ("10.0.0.7, 10.0.0.8", "10.0.0.7"),
    "TP-11 mapped": ("::ffff:10.0.0.5", "10.0.0.5"),
    "mapped hop": ("203.0.113.9, ::ffff:10.0.0.5", "203.0.113.9"),
    "port": ("203.0.113.9:4711", "203.0.113.9"),
    "IPv6": ("2001:DB8::9, 10.0.0.8", "2001:db8::9"),
    "IPv6 in brackets": ("[2001:db8::9]:80", "2001:db8::9"),
    "garbage": ("garbage", "10.0.0.3"),
    "garbage right of it": ("203.0.113.9, unknown", "10.0.0.3"),
    "garbage between": ("203.0.113.9, ?, 10.0.0.8", "10.0.0.8"),
    "garbage left of it": ("<script>, 203.0.113.9", "203.0.113.9"),
    "empty entry": ("203.0.113.9,", "10.0.0.3"),
    "empty": ("", "10.0.0.3"),
    "high byte": ("\xff", "10.0.0.3"),
}


@pytest.mark.parametrize(("value", "expected"), CHAINS.values(), ids=CHAINS)
def test_the_chain_is_read_from_the_right(value: str, expected: str) -> None:
    assert address((FOR, value)) == expected


def test_several_lines_are_one_chain() -> None:
    """TP-10."""
    assert address((FOR, "10.0.0.5"), (FOR, "203.0.113.9")) == "203.0.113.9"
    assert address((FOR, "203.0.113.9"), (FOR, "10.0.0.5")) == "203.0.113.9"


def test_a_chain_is_read_as_far_as_chains_are_long() -> None:
    """And costs no more: what is further left does not count."""
    hops = [f"10.9.9.{number}" for number in range(200)]
    assert address((FOR, ", ".join(["203.0.113.9", *hops]))) == "10.9.9.168"


def test_a_header_that_is_not_listed_is_not_believed() -> None:
    rules = proxies(headers=[PROTO])
    request = head((FOR, "203.0.113.9"), (PROTO, "https"), (HOST, "evil.test"), (HOST, "b"))
    assert rules.client(request) == Client("10.0.0.3", "https", True)
    assert sent(rules, request)[FOR] == "10.0.0.3"
    assert sent(rules, request)[HOST] == "api.example.test"


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("http", "http"), ("https", "https"), ("HTTPS", "https"), ("ws", "http"), ("wss", "https")],
)
def test_a_forwarded_scheme_is_http_or_https(value: str, scheme: str) -> None:
    assert proxies().client(head((PROTO, value))).scheme == scheme
    assert sent(proxies(), head((PROTO, value)))[PROTO] == scheme


@pytest.mark.parametrize("value", ["ftp", "https, http", "https,", "javascript", "\xff", "https;"])
def test_any_other_scheme_is_refused(value: str) -> None:
    with pytest.raises(BadRequest):
        proxies().client(head((PROTO, value)))


@pytest.mark.parametrize("name", [PROTO, HOST, PORT])
def test_a_single_header_that_comes_twice_is_refused(name: str) -> None:
    """TP-12."""
    with pytest.raises(BadRequest):
        proxies(headers=ALL).client(head((name, "http"), (name, "https")))


def test_a_prefix_that_comes_twice_is_refused_whatever_is_believed() -> None:
    """It is passed on from every trusted proxy, so it is judged before anything is connected to."""
    twice = ("X-Forwarded-Prefix", "/a"), ("X-Forwarded-Prefix", "/b")
    with pytest.raises(BadRequest):
        proxies(headers=[PROTO]).client(head(*twice))
    assert not proxies().client(head(*twice, peer="192.0.2.9")).trusted


def test_a_client_whom_only_the_load_balancer_knows_is_believed_nothing() -> None:
    """PROXY protocol, UNKNOWN: no list of networks names him, not even `unix`."""
    rules = proxies(["0.0.0.0/0", "::/0", "unix"], ALL)
    request = head(*SPOOFED, peer="unknown")
    assert rules.client(request) == Client("unknown", "http", False)
    assert not rules.trusts("unknown")
    lines = sent(rules, request)
    assert FOR not in lines
    assert lines[FORWARDED] == "for=unknown;host=api.example.test;proto=http"


def test_who_is_a_trusted_proxy() -> None:
    rules = proxies(["10.0.0.0/8", "fe80::/10"])
    trusted = ["10.0.0.3", "::ffff:10.0.0.3", "fe80::1%eth0"]
    assert [rules.trusts(peer) for peer in trusted] == [True] * 3
    assert [rules.trusts(peer) for peer in ("11.0.0.3", "unix", "unknown", "")] == [False] * 4
    assert proxies(["unix"]).trusts("unix")


def test_host_and_port_are_passed_on_when_they_are_believed() -> None:
    rules = proxies(headers=ALL)
    lines = sent(rules, head((PROTO, "https"), (HOST, "Public.example.test"), (PORT, "8443")))
    assert (lines[HOST], lines[PORT]) == ("Public.example.test", "8443")
    assert sent(rules, head((HOST, "public.example.test:81")))[PORT] == "81"
    assert sent(rules, head((HOST, ""), (PORT, "")), b"h:82")[PORT] == "82"


@pytest.mark.parametrize("value", ["evil.test,for=1", "a b", "a, b", "u@h", "h:0", "\xff"])
def test_a_believed_host_must_be_one(value: str) -> None:
    with pytest.raises(BadHost):
        proxies(headers=ALL).client(head((HOST, value)))


@pytest.mark.parametrize("value", ["0", "65536", "x", "80, 81", "-1", "+80", "\xb2", "9" * 5000])
def test_a_believed_port_must_be_one(value: str) -> None:
    with pytest.raises(BadRequest):
        proxies(headers=ALL).client(head((PORT, value)))


FORWARDEDS: dict[str, tuple[str, Client]] = {
    "address and scheme": ("for=203.0.113.9;proto=https", Client("203.0.113.9", "https", True)),
    "scheme of the client's hop": (
        "for=1.2.3.4;proto=http, for=203.0.113.9;proto=https, for=10.0.0.8;proto=http",
        Client("203.0.113.9", "https", True),
    ),
    "no scheme": ("for=203.0.113.9", Client("203.0.113.9", "http", True)),
    "IPv6": ('for="[2001:db8::9]:1"', Client("2001:db8::9", "http", True)),
    "hidden": ("for=_hidden;proto=https", Client("10.0.0.3", "https", True)),
    "no address": ("proto=https", Client("10.0.0.3", "https", True)),
    "TP-08 commas in quotes": ('for="1.1.1.1, for=10.0.0.5"', Client("10.0.0.3", "http", True)),
    "empty": ("", Client("10.0.0.3", "http", True)),
    "no element": (",", Client("10.0.0.3", "http", True)),
}


@pytest.mark.parametrize(("value", "client"), FORWARDEDS.values(), ids=FORWARDEDS)
def test_forwarded_is_believed_where_it_is_listed(value: str, client: Client) -> None:
    assert proxies(headers=[FORWARDED]).client(head((FORWARDED, value))) == client
    assert address((FORWARDED, value)) == "10.0.0.3"


@pytest.mark.parametrize(
    "value", ['for="1.1.1.1, for=10.0.0.5', "for=a b", "for=1.1.1.1;proto=ftp", "for=a;for=b"]
)
def test_forwarded_that_cannot_be_read_is_refused(value: str) -> None:
    """TP-09."""
    with pytest.raises(BadRequest):
        proxies(headers=[FORWARDED]).client(head((FORWARDED, value)))


def test_forwarded_is_continued_where_it_is_listed() -> None:
    rules = proxies(headers=[FORWARDED])
    ours = 'for=10.0.0.3;host="h:1";proto=http'
    assert sent(rules, head(), b"h:1")[FORWARDED] == ours
    request = head((FORWARDED, "for=203.0.113.9;proto=https"))
    assert sent(rules, request, b"h:1") == {
        FOR: "203.0.113.9, 10.0.0.3",
        PROTO: "https",
        HOST: "h:1",
        PORT: "1",
        FORWARDED: f"for=203.0.113.9;proto=https, {ours}",
    }
    assert FORWARDED not in sent(proxies(), request)


CONTRADICTIONS = {
    "address": [(FOR, "203.0.113.9"), (FORWARDED, "for=203.0.113.8")],
    "scheme": [(PROTO, "http"), (FORWARDED, "for=203.0.113.9;proto=https")],
}


@pytest.mark.parametrize("fields", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_headers_that_contradict_each_other_are_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(BadRequest):
        proxies(headers=ALL).client(head(*fields))


def test_headers_that_agree_are_believed() -> None:
    fields = [(FOR, "203.0.113.9"), (PROTO, "https"), (FORWARDED, "for=203.0.113.9;proto=https")]
    assert proxies(headers=ALL).client(head(*fields)) == Client("203.0.113.9", "https", True)


def test_a_mapped_peer_is_an_ipv4_peer() -> None:
    rules = proxies()
    request = head((FOR, "203.0.113.9"), peer="::ffff:10.0.0.3")
    assert rules.client(request) == Client("203.0.113.9", "http", True)
    assert sent(rules, request)[FOR] == "203.0.113.9, 10.0.0.3"
    assert proxies(["::ffff:10.0.0.0/104"]).client(request).trusted
    assert not proxies(["::ffff:11.0.0.0/104"]).client(request).trusted


def test_ipv6_networks_and_zones() -> None:
    rules = proxies(["fe80::/10", "2001:db8::1"])
    assert rules.client(head(peer="fe80::1%eth0")) == Client("fe80::1", "http", True)
    assert rules.client(head(peer="2001:db8::1")).trusted
    assert not rules.client(head(peer="2001:db8::2")).trusted
    assert not rules.client(head(peer="10.0.0.1")).trusted


def test_a_unix_socket_is_trusted_only_by_name() -> None:
    request = head((FOR, "203.0.113.9"), peer="unix")
    assert proxies(["0.0.0.0/0", "::/0"]).client(request) == Client("unix", "http", False)
    assert proxies(["unix"]).client(request) == Client("203.0.113.9", "http", True)
    assert not proxies(["unix"]).client(head()).trusted
    assert sent(proxies(["unix"]), request)[FOR] == "203.0.113.9"
    assert FOR not in sent(proxies(["unix"]), head(peer="unix"))
    assert FOR not in sent(proxies(), request)


def test_a_peer_with_an_odd_name_is_a_stranger() -> None:
    rules = proxies(["0.0.0.0/0", "::/0"])
    assert rules.client(head(peer="somewhere")) == Client("somewhere", "http", False)


@pytest.mark.parametrize("network", ["10.0.0.1/8", "localhost", "10.0.0.0/33", "", "Unix", "*"])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        proxies([network])


def test_only_forwarding_headers_can_be_trusted() -> None:
    proxies(headers=["x-forwarded-for", "FORWARDED"])
    with pytest.raises(ValueError, match="can be trusted: X-Forwarded-For"):
        proxies(headers=["X-Real-IP"])


@pytest.mark.parametrize("name", ALL)
def test_a_stranger_who_sends_forwarding_headers_is_noticed(name: str) -> None:
    stranger = head((name, "x"), peer="192.0.2.9")
    assert proxies().warns(stranger, proxies().client(stranger))
    plain = head(("X-Other", "x"), peer="192.0.2.9")
    assert not proxies().warns(plain, proxies().client(plain))


def test_many_clients_do_not_fill_the_memory() -> None:
    rules = proxies()
    for number in range(5_000):
        name = f"203.0.{number // 250}.{number % 250}"
        assert rules.client(head(peer=name)).address == name
    assert rules.client(head(peer="203.0.0.0")).address == "203.0.0.0"
    assert len(rules._clients) <= 4096
    assert len(rules._peers) <= 4096
    held = len(rules._clients)
    long = ", ".join(["1.2.3.4"] * 1000)
    for _ in range(2):
        assert rules.client(head((FOR, long))).address == "1.2.3.4"
    assert len(rules._clients) == held


def test_what_is_shown_is_no_address() -> None:
    assert repr(proxies(["10.0.0.0/8", "unix"])) == "<TrustedProxies 2 networks>"


pieces = st.lists(
    st.sampled_from(
        ["10.0.0.1", "203.0.113.9", "::1", ",", " ", '"', "for=", ";", "proto=https", "x"]
    )
).map("".join)


@given(pieces, pieces, st.sampled_from(["10.0.0.3", "192.0.2.9", "unix"]))
def test_forwarding_lines_are_whole_whatever_came(chain: str, forwarded: str, peer: str) -> None:
    rules = proxies(["10.0.0.0/8", "unix"], ALL)
    request = head((FOR, chain), (FORWARDED, forwarded), peer=peer)
    with suppress(BadRequest):
        lines = sent(rules, request)
        if peer == "192.0.2.9":
            assert lines[FOR] == peer
        else:
            assert lines.get(FOR, "").startswith(chain)
