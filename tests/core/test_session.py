from __future__ import annotations

from typing import Any

import pytest

from proxy.config.model import JwtOptions, PrincipalPaths, SessionConfig
from proxy.core.cookies import AUTO
from proxy.core.head import RequestHead
from proxy.core.identity import IdentityHeaders
from proxy.core.mint import mint, seal
from proxy.core.session import Credential, SessionRule
from proxy.errors import BadRequest, SessionAmbiguous, SessionExpired, SessionInvalid

NOW = 1_800_000_000.0
SECRET = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
NAME = "authjs.session-token"
ENTROPY = bytes(range(32))


def config(**settings: Any) -> SessionConfig:
    return SessionConfig(**{"secret": SECRET, "allow_weak_secret": True, **settings})


def rule(**settings: Any) -> SessionRule:
    return SessionRule.compile("web", config(**settings))


def head(*fields: tuple[str, str]) -> RequestHead:
    lines = tuple((name.encode(), value.encode()) for name, value in fields)
    return RequestHead("GET", "/", 1, lines, "127.0.0.1")


def find(session: SessionRule, *fields: tuple[str, str], secure: bool = False) -> Any:
    return session.find(head(*fields), secure)


BEARER = rule(bearer=True)
COOKIE_ONLY = rule()


def test_the_cookie_is_found() -> None:
    found = find(COOKIE_ONLY, ("Cookie", f"a=1; {NAME}=T"))
    assert found == Credential("web", "cookie", NAME, "T")


def test_two_cookie_lines_are_one() -> None:
    found = find(
        COOKIE_ONLY, ("Cookie", "a=1"), ("Cookie", f"{NAME}.0=A"), ("cookie", f"{NAME}.1=B")
    )
    assert found == Credential("web", "cookie", NAME, "AB")


def test_auto_looks_for_all_names_and_heeds_https() -> None:
    assert COOKIE_ONLY.cookie_names == AUTO
    assert find(COOKIE_ONLY, ("Cookie", f"{NAME}=T"), secure=True) is None
    found = find(COOKIE_ONLY, ("Cookie", f"{NAME}=T; __Secure-{NAME}=U"), secure=True)
    assert found == Credential("web", "cookie", f"__Secure-{NAME}", "U")


def test_a_cookie_of_ones_own_name() -> None:
    session = rule(cookie="sid")
    assert session.cookie_names == ("sid",)
    assert find(session, ("Cookie", f"{NAME}=T")) is None
    assert find(session, ("Cookie", f"{NAME}=T; sid=U"), secure=True).token == "U"


@pytest.mark.parametrize(
    "value",
    ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c ", "Bearer \ta.b.c", "Bearer a%2Eb.c"],
)
def test_a_bearer_is_found_where_it_is_allowed(value: str) -> None:
    assert find(COOKIE_ONLY, ("Authorization", value)) is None
    found = find(BEARER, ("Authorization", value))
    assert found == Credential("web", "bearer", "", "a.b.c")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer \t", "Basic YTpi", "Bearera.b.c", "a.b.c", "Token x"]
)
def test_another_authorization_is_no_bearer(value: str) -> None:
    assert find(BEARER, ("Authorization", value)) is None


@pytest.mark.parametrize(
    "value",
    [
        "Bearer a b",
        "Bearer a, Bearer b",
        'Bearer "a"',
        "Bearer %E0%A4%A",
        "Bearer a%00",
        "Bearer %C3%A9",
        "Bearer é",
        "Bearer =",
        "Bearer a=b",
        "Bearer a%20b",
    ],
)
def test_a_bearer_that_is_no_token_is_invalid(value: str) -> None:
    with pytest.raises(SessionInvalid):
        find(BEARER, ("Authorization", value))


def test_the_cookie_decides_before_the_bearer() -> None:
    found = find(BEARER, ("Authorization", "Bearer B"), ("Cookie", f"{NAME}=C"))
    assert found == Credential("web", "cookie", NAME, "C")


def test_a_bad_cookie_is_not_made_good_by_a_bearer() -> None:
    with pytest.raises(SessionAmbiguous):
        find(BEARER, ("Authorization", "Bearer B"), ("Cookie", f"{NAME}=C; {NAME}=D"))


def test_two_authorizations_are_a_bad_request_where_bearers_count() -> None:
    two = [("Authorization", "Bearer A"), ("Authorization", "Bearer B")]
    assert find(COOKIE_ONLY, *two) is None
    with pytest.raises(BadRequest):
        find(BEARER, *two)


def token(name: str = NAME, /, **claims: Any) -> str:
    return mint({"sub": "u-1", **claims}, name, NOW, secret=SECRET, entropy=ENTROPY)


def credential(text: str, source: Any = "cookie", name: str = NAME) -> Credential:
    return Credential("web", source, name, text)


def test_verifying_gives_the_session() -> None:
    session = COOKIE_ONLY.verify(credential(token(roles=["admin"])), NOW)
    assert (session.principal.id, session.principal.roles) == ("u-1", ("admin",))
    assert (session.kind, session.expires) == ("authjs-v5", NOW + 30 * 86400)


def test_a_session_makes_its_header_lines_once() -> None:
    session = COOKIE_ONLY.verify(credential(token(name="Ada")), NOW)
    headers, others = IdentityHeaders({"X-User-Id": "id"}), IdentityHeaders({"X-Name": "name"})
    lines = session.identity_lines(headers)
    assert lines == b"X-User-Id: u-1\r\n"
    assert session.identity_lines(others) == b"X-Name: Ada\r\n"
    assert session.identity_lines(headers) is lines


def test_a_bearer_is_verified_under_every_name() -> None:
    text = token("__Secure-next-auth.session-token")
    session = BEARER.verify(credential(text, "bearer", ""), NOW)
    assert session.principal.id == "u-1"


@pytest.mark.parametrize(
    "claims",
    [{"sub": {"a": 1}}, {"sub": True}, {"sub": ""}, {"sub": None}, {"sub": "\ud800"}],
    ids=str,
)
def test_claims_that_name_nobody_are_no_session(claims: dict[str, Any]) -> None:
    with pytest.raises(SessionInvalid, match="no id"):
        COOKIE_ONLY.verify(credential(token(**claims)), NOW)


def test_the_state_of_a_sign_in_is_no_session() -> None:
    """NextAuth v4 once encrypted it with the session's own key (CVE-2023-48309)."""
    state = seal(
        b'{"state":"x","exp":1800000900}',
        "next-auth.session-token",
        secret=SECRET,
        entropy=ENTROPY,
        generation="v4",
    )
    with pytest.raises(SessionInvalid, match="no id"):
        COOKIE_ONLY.verify(credential(state, name="next-auth.session-token"), NOW)


def test_the_settings_reach_the_verifier_and_the_reader() -> None:
    session = rule(
        secret=["another-secret-of-some-length-123", SECRET],
        max_age="1h",
        principal=PrincipalPaths(id=("user.id",)),
        jwt=JwtOptions(algorithms=("HS256",)),
    )
    good = credential(token(user={"id": 9}))
    assert session.verify(good, NOW).principal.id == "9"
    assert session.verify(good, NOW).expires == NOW + 3600
    with pytest.raises(SessionExpired):
        session.verify(good, NOW + 3616)
    raw = mint({"user": {"id": 8}}, NAME, NOW, secret=SECRET, entropy=ENTROPY, generation="hs256")
    assert session.verify(credential(raw), NOW).kind == "custom-jws"


def test_what_cannot_be_compiled_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="neither a JWK nor PEM"):
        rule(jwt={"signing_key": "nonsense"})


def test_reprs_hide_tokens_and_secrets() -> None:
    assert repr(credential("eyJ")) == f"Credential(session='web', source='cookie', name='{NAME}')"
    assert repr(rule(cookie="sid")) == (
        "SessionRule(name='web', cookie_names=('sid',), bearer=False)"
    )
    session = COOKIE_ONLY.verify(credential(token(email="ada@example.com")), NOW)
    assert "ada" not in repr(session)
    assert "u-1" not in repr(session)
