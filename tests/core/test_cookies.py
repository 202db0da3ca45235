from __future__ import annotations

import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.cookies import AUTO, CookieFinder, CookieNames, Found, parse, strip
from proxy.errors import BadCookie, SessionAmbiguous, SessionInvalid

NAME = "authjs.session-token"
SECURE = "__Secure-authjs.session-token"
OLD = "next-auth.session-token"
OLD_SECURE = "__Secure-next-auth.session-token"

ONE = CookieFinder([NAME])
AUTOMATIC = CookieFinder(AUTO)


def find(header: bytes, finder: CookieFinder = ONE, *, secure: bool = False) -> str | None:
    found = finder.find(header, secure=secure)
    return None if found is None else found.token


@pytest.mark.parametrize(
    ("header", "pairs"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"a=1; b=2", [(b"a", b"1"), (b"b", b"2")], id="two"),
        pytest.param(b"\ta = 1 ;b=2", [(b"a", b"1"), (b"b", b"2")], id="space and tab trimmed"),
        pytest.param(b"a=\xa01\x1f", [(b"a", b"\xa01\x1f")], id="nothing else trimmed"),
        pytest.param(b"a=b=c", [(b"a", b"b=c")], id="first equals sign divides"),
        pytest.param(b'a="x; b=y"', [(b"a", b'"x'), (b"b", b'y"')], id="quotes mean nothing"),
        pytest.param(b"a; b=%41", [(b"b", b"%41")], id="no equals sign; no decoding"),
        pytest.param(b"=a=1", [(b"", b"a=1")], id="nameless"),
    ],
)
def test_parse(header: bytes, pairs: list[tuple[bytes, bytes]]) -> None:
    assert parse(header) == pairs


@pytest.mark.parametrize(
    ("header", "token"),
    [
        pytest.param(b"authjs.session-token=T", "T", id="alone"),
        pytest.param(b"a=1;authjs.session-token=T;b=2", "T", id="between others, no spaces"),
        pytest.param(b"a=1; \tauthjs.session-token = T\t ", "T", id="trimmed"),
        pytest.param(b"authjs.session-token=a=b", "a=b", id="equals sign in the value"),
        pytest.param(b'authjs.session-token="T"', '"T"', id="not unquoted"),
        pytest.param(b'authjs.session-token="\\145yJ"', '"\\145yJ"', id="octal escapes stay"),
        pytest.param(b'a="x; authjs.session-token=T; b=y"', "T", id="quotes hide nothing"),
        pytest.param(b"authjs.session-token=a%2Eb%2e", "a.b.", id="escapes decoded once"),
        pytest.param(b"authjs.session-token=%2541", "%41", id="escaped percent sign"),
        pytest.param(b"authjs.session-token=; authjs.session-token=T", "T", id="empty ignored"),
        pytest.param(b"authjs.session-token=T; authjs.session-token=T", "T", id="twice the same"),
        pytest.param(b"authjs.session-token=T; authjs.session-token.0=", "T", id="empty chunk"),
        pytest.param(b"authjs.session-token=T; authjs.session-token-old=x", "T", id="look-alike"),
        pytest.param(b"authjs.session-token.1=B; authjs.session-token.0=A", "AB", id="chunks"),
        pytest.param(b"authjs.session-token.0=A", "A", id="one chunk"),
        pytest.param(b"authjs.session-token.0=%41; authjs.session-token.1=B", "AB", id="escaped"),
    ],
)
def test_the_cookie_is_found(header: bytes, token: str) -> None:
    assert find(header) == token


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"theme=dark", id="others only"),
        pytest.param(b"authjs.session-token=", id="empty value"),
        pytest.param(b"authjs.session-token= \t", id="blank value"),
        pytest.param(b"authjs.session-token", id="no equals sign"),
        pytest.param(b"authjs.session-token; a=1", id="no equals sign, then another"),
        pytest.param(b"authjs.session-tokenx", id="name and a letter, no equals sign"),
        pytest.param(b"AUTHJS.session-token=T", id="names have case"),
        pytest.param(b"=authjs.session-token=T", id="nameless"),
        pytest.param(b"\xef\xbb\xbfauthjs.session-token=T", id="byte order mark"),
        pytest.param(b"\x1fauthjs.session-token=T", id="unit separator"),
        pytest.param(b"\xc2\xa0authjs.session-token=T", id="no-break space"),
        pytest.param(b"\xe2\x80\x80authjs.session-token=T", id="en quad"),
        pytest.param(b"\x0bauthjs.session-token=T", id="vertical tab"),
        pytest.param(b"x-authjs.session-token=T", id="name inside another name"),
        pytest.param(b"a=authjs.session-token=T", id="name inside a value"),
        pytest.param(b"authjs%2Esession-token=T", id="escaped name"),
        pytest.param(b"authjs.session-token.=T", id="suffix: empty"),
        pytest.param(b"authjs.session-token.x=T", id="suffix: letter"),
        pytest.param(b"authjs.session-token.00=T", id="suffix: leading zero"),
        pytest.param(b"authjs.session-token.01=T", id="suffix: leading zero and more"),
        pytest.param(b"authjs.session-token.+0=T", id="suffix: sign"),
        pytest.param(b"authjs.session-token.-1=T", id="suffix: minus"),
        pytest.param(b"authjs.session-token.1e0=T", id="suffix: exponent"),
        pytest.param(b"authjs.session-token.1_0=T", id="suffix: underscore"),
        pytest.param(b"authjs.session-token. 0=T", id="suffix: space"),
        pytest.param(b"authjs.session-token.0.0=T", id="suffix: twice"),
        pytest.param(b"authjs.session-token.\xd9\xa0=T", id="suffix: Arabic digit"),
        pytest.param(b"authjs.session-token.\xb2=T", id="suffix: superscript"),
    ],
)
def test_what_is_not_the_cookie_is_not_found(header: bytes) -> None:
    assert find(header) is None


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"authjs.session-token.1=B", id="first chunk missing"),
        pytest.param(b"authjs.session-token.0=A; authjs.session-token.2=C", id="gap"),
        pytest.param(b"authjs.session-token.0=; authjs.session-token.1=B", id="first one empty"),
        pytest.param(b"authjs.session-token=T; authjs.session-token.0=A", id="whole and chunk"),
        pytest.param(b"authjs.session-token.64=x", id="chunk beyond the cap"),
        pytest.param(
            b"authjs.session-token.98=x; authjs.session-token.99=y", id="chunks beyond the cap"
        ),
        pytest.param(b"authjs.session-token." + b"9" * 5000 + b"=x", id="endless index"),
        pytest.param(b"authjs.session-token=%E0%A4%A", id="escape cut short"),
        pytest.param(b"authjs.session-token=a%", id="escape without digits"),
        pytest.param(b"authjs.session-token=a%zz", id="escape without hex digits"),
        pytest.param(b"authjs.session-token=a%u0041", id="escape of another kind"),
        pytest.param(b"authjs.session-token.0=a%4; authjs.session-token.1=1", id="cut by a chunk"),
        pytest.param(b"authjs.session-token=abc%00def", id="escaped NUL"),
        pytest.param(b"authjs.session-token=abc%0d%0a", id="escaped line end"),
        pytest.param(b"authjs.session-token=%C3%A9", id="escaped UTF-8"),
        pytest.param(b"authjs.session-token=%ED%A0%80", id="escaped surrogate"),
        pytest.param(b"authjs.session-token=caf\xc3\xa9", id="UTF-8"),
        pytest.param(b"authjs.session-token=\xff", id="not UTF-8"),
        pytest.param(b"authjs.session-token=a\x00b", id="NUL"),
        pytest.param(b"authjs.session-token=a\x1fb", id="control character"),
        pytest.param(b"authjs.session-token=a\x7fb", id="delete"),
    ],
)
def test_a_cookie_that_makes_no_token_is_invalid(header: bytes) -> None:
    with pytest.raises(SessionInvalid):
        find(header)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"authjs.session-token=T; authjs.session-token=U", id="whole"),
        pytest.param(b"authjs.session-token=T; a=1; authjs.session-token=t", id="by case"),
        pytest.param(b"authjs.session-token.0=A; authjs.session-token.0=B", id="chunk"),
    ],
)
def test_one_name_with_different_values_is_ambiguous(header: bytes) -> None:
    with pytest.raises(SessionAmbiguous):
        find(header)


def test_64_chunks_are_joined_in_the_order_of_their_numbers() -> None:
    chunks = [b"authjs.session-token.%d=%02d." % (index, index) for index in range(64)]
    header = b"; ".join(reversed(chunks))
    assert find(header) == "".join(f"{index:02d}." for index in range(64))


def test_a_65th_chunk_is_one_too_many() -> None:
    chunks = [b"authjs.session-token.%d=x" % index for index in range(65)]
    with pytest.raises(SessionInvalid, match="more than 64 chunks"):
        find(b"; ".join(chunks))


def test_a_header_longer_than_any_session_is_a_bad_cookie() -> None:
    value = b"x" * (256 * 1024 - len(NAME) - 1)
    assert find(NAME.encode() + b"=" + value) == value.decode()
    with pytest.raises(BadCookie):
        find(NAME.encode() + b"=" + value + b"x")


def test_a_long_header_without_the_cookie_is_nobodys_fault() -> None:
    assert find(b"a=" + b"x" * 300_000) is None


def test_names_show_themselves() -> None:
    assert repr(CookieNames(["sid", "sid"])) == "CookieNames(('sid',))"


def test_found_hides_its_token() -> None:
    assert repr(Found(NAME, "eyJsecret")) == "Found(name='authjs.session-token')"


@pytest.mark.parametrize(
    ("header", "secure", "name"),
    [
        pytest.param(f"{NAME}=T", False, NAME, id="plain over http"),
        pytest.param(f"{NAME}=T", True, None, id="plain over https does not count"),
        pytest.param(f"{OLD}=T", True, None, id="plain old name over https neither"),
        pytest.param(f"{NAME}.0=T", True, None, id="plain chunk over https neither"),
        pytest.param(
            f"{SECURE}=T", False, SECURE, id="secure name behind a proxy that hides https"
        ),
        pytest.param(f"{SECURE}=T", True, SECURE, id="secure"),
        pytest.param(f"{NAME}=X; {SECURE}=T", False, SECURE, id="secure wins over http"),
        pytest.param(f"{NAME}=X; {OLD_SECURE}=T", False, OLD_SECURE, id="any secure wins"),
        pytest.param(f"{NAME}.1=X; {OLD_SECURE}=T", False, OLD_SECURE, id="over bad chunks too"),
        pytest.param(f"{OLD_SECURE}=X; {SECURE}=T", True, SECURE, id="new before old, secure"),
        pytest.param(f"{OLD}=X; {NAME}=T", False, NAME, id="new before old, plain"),
        pytest.param(f"{SECURE}=; {NAME}=T", False, NAME, id="empty is absent"),
        pytest.param(f"{SECURE}-old=X; {NAME}=T", False, NAME, id="look-alike is absent"),
    ],
)
def test_auto_takes_the_first_name_that_counts(header: str, secure: bool, name: str | None) -> None:
    found = AUTOMATIC.find(header.encode(), secure=secure)
    assert found == (None if name is None else Found(name, "T"))


def test_the_first_name_decides_even_when_its_chunks_are_broken() -> None:
    with pytest.raises(SessionInvalid):
        AUTOMATIC.find(f"{SECURE}.1=X; {OLD_SECURE}=T".encode(), secure=True)


def test_duplicates_of_a_name_that_does_not_decide_do_not_matter() -> None:
    header = f"{NAME}=X; {NAME}=Y; {NAME}.99=Z; {SECURE}=T".encode()
    assert AUTOMATIC.find(header, secure=False) == Found(SECURE, "T")


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("name", [NAME, SECURE, "sid", "__Host-sid"])
def test_a_configured_name_is_looked_for_as_it_is(name: str, secure: bool) -> None:
    finder = CookieFinder([name])
    header = f"{NAME}=1; {SECURE}=2; sid=3; __Host-sid=4".encode()
    token = {NAME: "1", SECURE: "2", "sid": "3", "__Host-sid": "4"}[name]
    assert finder.find(header, secure=secure) == Found(name, token)


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a=b", 'a"b', "a,b", "é", "a\r\n", "a(b"])
def test_a_name_that_no_cookie_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a cookie name"):
        CookieNames([name])


def test_every_character_of_a_token_may_be_in_a_name() -> None:
    name = "!#$%&'*+-.^_`|~09azAZ"
    assert CookieFinder([name]).find(f"{name}=T".encode(), secure=True) == Found(name, "T")


@pytest.mark.parametrize(
    ("header", "left"),
    [
        pytest.param(b"authjs.session-token=T", b"", id="alone"),
        pytest.param(b"authjs.session-token=T;", b"", id="alone with a semicolon"),
        pytest.param(b" authjs.session-token=T ; ", b"", id="alone with blanks"),
        pytest.param(b"authjs.session-token=T; a=1", b"a=1", id="first"),
        pytest.param(b"a=1; authjs.session-token=T", b"a=1", id="last"),
        pytest.param(b"a=1;authjs.session-token=T;", b"a=1;", id="last with a semicolon"),
        pytest.param(b"a=1; authjs.session-token=T;b=2", b"a=1;b=2", id="between"),
        pytest.param(
            b'theme=dark;x="a b"; authjs.session-token=T;  y=%41; authjs.csrf-token=abc',
            b'theme=dark;x="a b";  y=%41; authjs.csrf-token=abc',
            id="odd spacing stays",
        ),
        pytest.param(
            b"authjs.session-token.1=B; a=1; authjs.session-token.0=A; authjs.session-token=",
            b"a=1",
            id="chunks and the empty base",
        ),
        pytest.param(
            b"authjs.session-token=T; authjs.session-token=U; a=1", b"a=1", id="duplicates"
        ),
        pytest.param(b"a=1; authjs.session-token.4711=x; b=2", b"a=1; b=2", id="beyond the cap"),
        pytest.param(b"a=1; authjs.session-token = T", b"a=1", id="blank before the equals sign"),
        pytest.param(
            b"authjs.session-token=T; authjs.session-token-old=x; authjs.session-token.x=y",
            b"authjs.session-token-old=x; authjs.session-token.x=y",
            id="look-alikes stay",
        ),
        pytest.param(b'a="x; authjs.session-token=T; b=y"', b'a="x; b=y"', id="in quotes"),
    ],
)
def test_strip_takes_the_session_out(header: bytes, left: bytes) -> None:
    assert strip(header, ONE.names) == left


def test_strip_takes_out_all_names() -> None:
    header = b"; ".join(b"%s=T" % name.encode() for name in AUTO) + b"; a=1; sid.0=x"
    assert strip(header, CookieNames([*AUTO, "sid"])) == b"a=1"


@pytest.mark.parametrize("header", [b"", b"a=1;  b=2", b"a=1; authjs.session-token-old=x; "])
def test_strip_returns_the_same_object_when_there_is_nothing_to_take(header: bytes) -> None:
    assert strip(header, ONE.names) is header


NAMES = [NAME, SECURE, "sid"]
TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=";%"))
OTHERS = st.lists(
    st.sampled_from([b"a=1", b" b=2", b"  c = 3 ", b"\td", b"", b'e="x', b"sid.x=1", b"=f=1"])
)


@given(token=TOKENS.filter(bool), size=st.integers(1, 50), others=OTHERS, seed=st.randoms())
def test_chunks_join_to_the_token_in_any_order_among_any_others(
    token: str, size: int, others: list[bytes], seed: random.Random
) -> None:
    token = token[: size * 64]
    parts = [token[at : at + size] for at in range(0, len(token), size)]
    chunks = [f"{NAME}.{index}={part}".encode() for index, part in enumerate(parts)]
    pairs = [*chunks, *others]
    seed.shuffle(pairs)
    assert find(b";".join(pairs)) == token


HEADERS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(
                    b"%s%s=%s" % (name.encode(), suffix, value)
                    for name in NAMES
                    for suffix in (b"", b".0", b".1", b".70", b".x", b"-old")
                    for value in (b"", b"T", b"U")
                )
            ]
        ),
        st.binary(max_size=12),
    )
).map(b";".join)

REFERENCE = re.compile(
    rb"(?:%s)(?:\.(?:0|[1-9][0-9]*))?" % b"|".join(map(re.escape, map(str.encode, NAMES)))
)


@given(header=HEADERS)
@example(header=b"sid=T;")
@example(header=b";sid=T")
def test_strip_leaves_exactly_the_other_cookies(header: bytes) -> None:
    pairs = header.split(b";")
    kept = [p for p in pairs if not REFERENCE.fullmatch(p.partition(b"=")[0].strip(b" \t"))]
    left = strip(header, CookieNames(NAMES))
    if len(kept) == len(pairs):
        assert left is header
    elif b"".join(kept).strip(b" \t"):
        assert left.lstrip(b" \t") == b";".join(kept).lstrip(b" \t")
    else:
        assert left == b""


@given(header=HEADERS, secure=st.booleans())
def test_find_raises_nothing_but_its_refusals_and_strip_hides_what_it_finds(
    header: bytes, secure: bool
) -> None:
    finder = CookieFinder(NAMES)
    try:
        found = finder.find(header, secure=secure)
    except (SessionInvalid, SessionAmbiguous):
        found = None
    if found is not None:
        assert found.token.isascii()
        assert found.token.isprintable()
    assert finder.find(strip(header, finder.names), secure=secure) is None
