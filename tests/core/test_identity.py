from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import PrincipalPaths
from proxy.core.identity import (
    ID_CHARS_MAX,
    VALUE_BYTES_MAX,
    IdentityHeaders,
    Principal,
    PrincipalReader,
    Verified,
    encode_value,
    fold_name,
)

READER = PrincipalReader(PrincipalPaths())
HEADERS = IdentityHeaders(
    {"X-User-Id": "id", "X-User-Email": "email", "X-User-Name": "name", "X-User-Roles": "roles"}
)


def read(**claims: Any) -> Principal:
    principal = READER.read(claims)
    assert principal is not None
    return principal


@pytest.mark.parametrize(
    ("claims", "identity"),
    [
        pytest.param({"sub": "u-1"}, "u-1", id="sub"),
        pytest.param({"id": "u-1"}, "u-1", id="id"),
        pytest.param({"sub": None, "id": 7}, "7", id="null is absent"),
        pytest.param({"sub": "a", "id": "b"}, "a", id="first path wins"),
        pytest.param({"sub": 0}, "0", id="zero"),
        pytest.param({"sub": -3}, "-3", id="negative"),
        pytest.param({"sub": 7.0}, "7", id="whole float"),
        pytest.param({"sub": 1e15}, "1000000000000000", id="exponent"),
        pytest.param({"sub": " u "}, " u ", id="nothing is trimmed"),
        pytest.param({"sub": "山田"}, "山田", id="unicode"),
    ],
)
def test_the_id(claims: dict[str, Any], identity: str) -> None:
    assert read(**claims).id == identity


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="no claims"),
        pytest.param({"email": "a@example.com", "name": "A"}, id="no id"),
        pytest.param({"sub": None}, id="null"),
        pytest.param({"sub": ""}, id="empty"),
        pytest.param({"sub": "", "id": "x"}, id="empty does not fall through"),
        pytest.param({"sub": True}, id="boolean"),
        pytest.param({"sub": False, "id": "x"}, id="boolean does not fall through"),
        pytest.param({"sub": {"a": 1}}, id="object"),
        pytest.param({"sub": {"a": 1}, "id": "x"}, id="object does not fall through"),
        pytest.param({"sub": ["u-1"]}, id="list"),
        pytest.param({"sub": 1.5}, id="fraction"),
        pytest.param({"sub": "\ud800x"}, id="lone surrogate"),
    ],
)
def test_claims_that_name_nobody_are_no_principal(claims: dict[str, Any]) -> None:
    assert READER.read(claims) is None


@pytest.mark.parametrize("letter", ["a", "%", "é", "\U0001f600"])
def test_an_id_is_no_longer_than_a_header_can_hold(letter: str) -> None:
    longest = letter * ID_CHARS_MAX
    assert read(sub=longest).id == longest
    assert HEADERS.lines(read(sub=longest)).startswith(b"X-User-Id: ")
    assert READER.read({"sub": longest + letter}) is None
    assert READER.read({"sub": longest + letter, "id": "x"}) is None


@pytest.mark.parametrize(
    ("value", "longer"),
    [
        ("n" * VALUE_BYTES_MAX, "n"),
        ("é" * (VALUE_BYTES_MAX // 6), "é"),
        (["r" * 799] * 10, "r"),
    ],
    ids=["a text", "encoded", "a list"],
)
def test_a_value_longer_than_backends_take_is_not_sent(value: Any, longer: str) -> None:
    assert encode_value(value) is not None
    more = [*value[:-1], value[-1] + longer * 2] if isinstance(value, list) else value + longer
    assert encode_value(more) is None
    assert encode_value("x" * 1_000_000) is None


def test_email_and_name_are_texts() -> None:
    principal = read(sub="1", email="a@example.com", name="Ada")
    assert (principal.email, principal.name) == ("a@example.com", "Ada")


@pytest.mark.parametrize("value", [None, "", 7, True, ["a@example.com"], {"a": 1}, "\udfff"])
def test_an_email_or_name_of_another_type_is_absent(value: Any) -> None:
    principal = read(sub="1", email=value, name=value)
    assert (principal.email, principal.name) == (None, None)


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        pytest.param({"roles": ["admin", "user"]}, ("admin", "user"), id="list"),
        pytest.param({"roles": "admin"}, ("admin",), id="one text"),
        pytest.param({"roles": "admin,user"}, ("admin,user",), id="one text with a comma"),
        pytest.param({"role": "admin"}, ("admin",), id="second path"),
        pytest.param({"roles": None, "role": "admin"}, ("admin",), id="null is absent"),
        pytest.param({"roles": [], "role": "admin"}, (), id="an empty list is present"),
        pytest.param({"roles": [1, 2.0, "a"]}, ("1", "2", "a"), id="numbers"),
        pytest.param({"roles": ["", "a"]}, ("a",), id="empty texts are no roles"),
        pytest.param({"roles": ""}, (), id="empty text"),
        pytest.param({"roles": ["a", True]}, (), id="a boolean spoils the list"),
        pytest.param({"roles": ["a", None]}, (), id="null spoils the list"),
        pytest.param({"roles": ["a", {"name": "b"}]}, (), id="an object spoils the list"),
        pytest.param({"roles": ["a", ["b"]]}, (), id="a list spoils the list"),
        pytest.param({"roles": ["a", "\ud800"]}, (), id="a surrogate spoils the list"),
        pytest.param({"roles": {"admin": True}}, (), id="object"),
        pytest.param({"roles": True}, (), id="boolean"),
        pytest.param({"roles": 7}, (), id="number"),
    ],
)
def test_the_roles(claims: dict[str, Any], roles: tuple[str, ...]) -> None:
    assert read(sub="1", **claims).roles == roles


def test_paths_reach_into_objects() -> None:
    reader = PrincipalReader(
        PrincipalPaths(id=("user.uid",), email=("user.mail",), name=("n",), roles=("org.roles",))
    )
    claims = {"user": {"uid": 9, "mail": "m@example.com"}, "n": "N", "org": {"roles": ["r"]}}
    assert reader.read(claims) == Principal("9", "m@example.com", "N", ("r",), claims)


def test_the_claims_stay_with_the_principal() -> None:
    assert read(sub="1", extra={"a": 1}).claims == {"sub": "1", "extra": {"a": 1}}


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        pytest.param("u-1", b"u-1", id="plain"),
        pytest.param("Ada Lovelace, Lady", b"Ada Lovelace, Lady", id="inner space and comma"),
        pytest.param(" a ", b"%20a%20", id="outer spaces"),
        pytest.param("  ", b"%20%20", id="spaces only"),
        pytest.param("a \n", b"a %0A", id="space before an encoded byte is inner"),
        pytest.param("100%", b"100%25", id="percent sign"),
        pytest.param("%41", b"%2541", id="escape"),
        pytest.param("Zoë", b"Zo%C3%AB", id="two bytes"),
        pytest.param("🦄", b"%F0%9F%A6%84", id="four bytes"),
        pytest.param("a\r\nX-User-Id: 2", b"a%0D%0AX-User-Id: 2", id="line end"),
        pytest.param("a\tb\x00\x7f", b"a%09b%00%7F", id="control characters"),
        pytest.param("\u2028", b"%E2%80%A8", id="line separator"),
        pytest.param('"<>\\^`{|}~', b'"<>\\^`{|}~', id="visible ASCII"),
        pytest.param(7, b"7", id="integer"),
        pytest.param(7.0, b"7", id="whole float"),
        pytest.param(1.5, b"1.5", id="float"),
        pytest.param(-3, b"-3", id="negative"),
        pytest.param(["a", "b c", 3], b"a,b c,3", id="list"),
        pytest.param(["a,b", "c%"], b"a%2Cb,c%25", id="comma inside an element"),
        pytest.param([" a", "b "], b"%20a,b%20", id="outer spaces of elements"),
        pytest.param(["a", "", "b"], b"a,,b", id="empty element"),
        pytest.param(("a", "b"), b"a,b", id="tuple"),
    ],
)
def test_a_value_is_encoded(value: Any, sent: bytes) -> None:
    assert encode_value(value) == sent


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        [],
        [""],
        True,
        False,
        {"a": 1},
        [True],
        ["a", None],
        [["a"]],
        "\ud800x",
        ["\ud800"],
        float("inf"),
        float("nan"),
        [1, float("-inf")],
    ],
    ids=repr,
)
def test_a_value_of_another_type_is_not_sent(value: Any) -> None:
    assert encode_value(value) is None


VISIBLE = frozenset(range(0x20, 0x7F))


@given(st.text(min_size=1))
def test_decoding_a_header_gives_the_text_back(text: str) -> None:
    sent = encode_value(text)
    assert sent is not None
    assert VISIBLE.issuperset(sent)
    assert sent.strip() == sent
    assert unquote_to_bytes(sent) == text.encode()


@given(st.lists(st.text(), min_size=1).filter(any))
def test_splitting_and_decoding_a_header_gives_the_list_back(elements: list[str]) -> None:
    sent = encode_value(elements)
    assert sent is not None
    assert VISIBLE.issuperset(sent)
    assert [unquote_to_bytes(part).decode() for part in sent.split(b",")] == elements


def test_headers_of_a_principal() -> None:
    principal = read(sub="u-1", email="a@example.com", name="Zoë Z", roles=["admin", "a,b"])
    assert HEADERS.lines(principal) == (
        b"X-User-Id: u-1\r\n"
        b"X-User-Email: a@example.com\r\n"
        b"X-User-Name: Zo%C3%AB Z\r\n"
        b"X-User-Roles: admin,a%2Cb\r\n"
    )


def test_what_the_principal_does_not_have_makes_no_header() -> None:
    assert HEADERS.lines(read(sub=1)) == b"X-User-Id: 1\r\n"


def test_claims_can_be_sent() -> None:
    headers = IdentityHeaders({"X-User-Org": "claims.org.id", "X-Tags": "claims.tags"})
    principal = read(sub="1", org={"id": 7}, tags=["a", "b"])
    assert headers.lines(principal) == b"X-User-Org: 7\r\nX-Tags: a,b\r\n"
    assert headers.lines(read(sub="1", org={"id": {"x": 1}}, tags=True)) == b""


@pytest.mark.parametrize("source", ["", "sub", "claims", "claims.", "Id", "user.id"])
def test_another_source_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="is none of id, email, name, roles"):
        IdentityHeaders({"X-User-Id": source})


def test_names_are_folded() -> None:
    assert HEADERS.names == {b"xuserid", b"xuseremail", b"xusername", b"xuserroles"}


@pytest.mark.parametrize(
    "name", [b"X-User-Id", b"x_user_id", b"X.USER.ID", b"X-User-Id\xa0", b"x--user--id"]
)
def test_a_name_folds_to_its_letters_and_digits(name: bytes) -> None:
    assert fold_name(name) == b"xuserid"


def test_reprs_show_nothing_personal() -> None:
    principal = read(sub="u-1", email="ada@example.com", name="Ada", roles=["admin"])
    verified = Verified(principal.claims, "authjs-v5", 1.0)
    assert repr(principal) == "Principal()"
    assert repr(verified) == "Verified(kind='authjs-v5', expires=1.0)"
    assert repr(HEADERS) == "<IdentityHeaders 4 names>"
