from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe as oracle
from joserfc.jwk import OctKey

from proxy.core.jwe import CBC, GCM, KEY_BYTES, ContentKey, parse
from proxy.errors import SessionInvalid

ENCS = [GCM, CBC]
IV_BYTES = {GCM: 12, CBC: 16}
RAW = {GCM: bytes(range(32)), CBC: bytes(range(64))}
KEYS = {enc: ContentKey(enc, raw) for enc, raw in RAW.items()}
TOKENS = {enc: KEYS[enc].seal(b'{"sub":"u-1"}', b"i" * IV_BYTES[enc]) for enc in ENCS}

ciphers = pytest.mark.parametrize("enc", ENCS)


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(enc: str, index: int, change: Callable[[str], str]) -> str:
    """Return a good token with one part changed."""
    parts = TOKENS[enc].split(".")
    parts[index] = change(parts[index])
    return ".".join(parts)


def with_header(cipher: str, /, **members: Any) -> str:
    """Return a token that is good but for its header, and authentic."""
    return KEYS[cipher].seal(b"{}", b"i" * IV_BYTES[cipher], **members)


def with_raw_header(enc: str, header: bytes) -> str:
    return part(enc, 0, lambda _: b64u(header))


@ciphers
@given(data=st.data())
@settings(max_examples=50)
def test_what_we_seal_the_oracle_opens(enc: str, data: st.DataObject) -> None:
    raw = data.draw(st.binary(min_size=KEY_BYTES[enc], max_size=KEY_BYTES[enc]))
    iv = data.draw(st.binary(min_size=IV_BYTES[enc], max_size=IV_BYTES[enc]))
    plaintext = data.draw(st.binary(max_size=100))
    token = ContentKey(enc, raw).seal(plaintext, iv, kid="k", typ="JWT")
    opened = oracle.decrypt_compact(token, OctKey.import_key(raw), algorithms=["dir", enc])
    assert opened.plaintext == plaintext
    assert opened.headers() == {"alg": "dir", "enc": enc, "kid": "k", "typ": "JWT"}


@ciphers
@given(data=st.data())
@settings(max_examples=50)
def test_what_the_oracle_seals_we_open(enc: str, data: st.DataObject) -> None:
    raw = data.draw(st.binary(min_size=KEY_BYTES[enc], max_size=KEY_BYTES[enc]))
    plaintext = data.draw(st.binary(max_size=100))
    header = {"alg": "dir", "enc": enc, "cty": "JWT"}
    token = oracle.encrypt_compact(
        header, plaintext, OctKey.import_key(raw), algorithms=["dir", enc]
    )
    sealed = parse(token)
    assert ContentKey(enc, raw).open(sealed) == plaintext
    assert (sealed.enc, sealed.kid, sealed.zipped) == (enc, None, False)


@ciphers
@given(data=st.data())
def test_changing_any_byte_is_noticed(enc: str, data: st.DataObject) -> None:
    token = TOKENS[enc]
    at = data.draw(st.integers(0, len(token) - 1))
    changed = data.draw(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
    if changed == token[at]:
        return
    try:
        sealed = parse(token[:at] + changed + token[at + 1 :])
    except SessionInvalid:
        return
    assert KEYS[enc].open(sealed) is None


@ciphers
@given(data=st.data())
def test_leaving_out_any_byte_is_noticed(enc: str, data: st.DataObject) -> None:
    token = TOKENS[enc]
    at = data.draw(st.integers(0, len(token) - 1))
    try:
        sealed = parse(token[:at] + token[at + 1 :])
    except SessionInvalid:
        return
    assert KEYS[enc].open(sealed) is None


@ciphers
def test_another_key_does_not_open(enc: str) -> None:
    assert ContentKey(enc, bytes(KEY_BYTES[enc])).open(parse(TOKENS[enc])) is None


def test_a_key_of_the_other_cipher_does_not_open() -> None:
    assert KEYS[GCM].open(parse(TOKENS[CBC])) is None
    assert KEYS[CBC].open(parse(TOKENS[GCM])) is None


BROKEN = {
    "alg: another": with_header(GCM, alg="A256KW"),
    "alg: password": with_header(GCM, alg="PBES2-HS512+A256KW", p2c=2**31 - 1, p2s="AA"),
    "alg: none": with_header(GCM, alg="none"),
    "alg: by case": with_header(GCM, alg="DIR"),
    "alg: number": with_header(GCM, alg=1),
    "alg: list": with_header(GCM, alg=["dir"]),
    "alg: missing": with_raw_header(GCM, b'{"enc":"A256GCM"}'),
    "enc: another": with_header(GCM, enc="A128CBC-HS256"),
    "enc: A128GCM": with_header(GCM, enc="A128GCM"),
    "enc: null": with_header(GCM, enc=None),
    "enc: object": with_header(GCM, enc={}),
    "enc: missing": with_raw_header(GCM, b'{"alg":"dir"}'),
    "zip": with_header(GCM, zip="DEF"),
    "crit": with_header(GCM, crit=["x"], x=1),
    "crit: empty": with_header(GCM, crit=[]),
    "key in the header": with_header(GCM, jwk={"kty": "oct", "k": "AAAA"}),
    "address of a key in the header": with_header(GCM, jku="https://evil.example"),
    "p2c": with_header(GCM, p2c=1),
    "exp in the header": with_header(GCM, exp=1),
    "kid: number": with_header(GCM, kid=1),
    "kid: null": with_header(GCM, kid=None),
    "kid: object": with_header(GCM, kid={"a": 1}),
    "typ: list": with_header(GCM, typ=["JWT"]),
    "header: list": with_raw_header(GCM, b"[]"),
    "header: null": with_raw_header(GCM, b"null"),
    "header: string": with_raw_header(GCM, b'"dir"'),
    "header: number": with_raw_header(GCM, b"1"),
    "header: empty": part(GCM, 0, lambda _: ""),
    "header: not JSON": with_raw_header(GCM, b"dir"),
    "header: not UTF-8": with_raw_header(GCM, b'{"alg":"dir","enc":"\xff"}'),
    "header: member twice": with_raw_header(GCM, b'{"alg":"dir","alg":"dir","enc":"A256GCM"}'),
    "header: too long": with_header(GCM, kid="x" * 1000),
    "header: padded": part(GCM, 0, lambda header: header + "=="),
    "encrypted key": part(GCM, 1, lambda _: "AAAA"),
    "iv: of the other cipher": part(GCM, 2, lambda _: b64u(bytes(16))),
    "iv: empty": part(GCM, 2, lambda _: ""),
    "iv: padded": part(GCM, 2, lambda iv: iv + "="),
    "iv: not base64url": part(GCM, 2, lambda _: "+/+/+/+/+/+/+/+/"),
    "CBC iv: of the other cipher": part(CBC, 2, lambda _: b64u(bytes(12))),
    "ciphertext: padded": part(CBC, 3, lambda text: text + "=="),
    "ciphertext: white space": part(CBC, 3, lambda text: text + "\n"),
    "ciphertext: five characters": part(CBC, 3, lambda _: "AAAAA"),
    "tag: short": part(GCM, 4, lambda _: b64u(bytes(12))),
    "tag: empty": part(GCM, 4, lambda _: ""),
    "tag: long": part(GCM, 4, lambda _: b64u(bytes(17))),
    "CBC tag: whole HMAC": part(CBC, 4, lambda _: b64u(bytes(64))),
    "CBC tag: short": part(CBC, 4, lambda _: b64u(bytes(16))),
    "four parts": TOKENS[GCM].rpartition(".")[0],
    "six parts": TOKENS[GCM] + ".",
    "dots only": "." * 7000,
    "four dots": "....",
    "not ASCII": part(GCM, 3, lambda _: "é"),
    "surrogate": part(GCM, 3, lambda _: "\ud800"),
}


@pytest.mark.parametrize("token", BROKEN.values(), ids=BROKEN.keys())
def test_another_shape_is_refused_before_a_key_is_touched(token: str) -> None:
    with pytest.raises(SessionInvalid):
        parse(token)


@ciphers
def test_a_tag_in_another_spelling_is_refused(enc: str) -> None:
    """16 and 32 bytes leave 4 and 2 bits of the last character that encode nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(TOKENS[enc][-1])
    same = base64.urlsafe_b64decode(TOKENS[enc].rpartition(".")[2] + "==")
    respelt = TOKENS[enc][:-1] + alphabet[last + 1]
    assert base64.urlsafe_b64decode(respelt.rpartition(".")[2] + "==") == same
    with pytest.raises(SessionInvalid):
        parse(respelt)


def test_zip_is_for_those_who_allow_it() -> None:
    token = with_header(GCM, zip="DEF")
    assert parse(token, allow_zip=True).zipped
    assert not parse(TOKENS[GCM], allow_zip=True).zipped


@pytest.mark.parametrize("value", ["GZIP", "", "def", 1, None, ["DEF"]])
def test_only_one_compression_can_be_allowed(value: Any) -> None:
    with pytest.raises(SessionInvalid):
        parse(with_header(GCM, zip=value), allow_zip=True)


def test_a_kid_is_handed_on() -> None:
    assert parse(with_header(CBC, kid="key-1")).kid == "key-1"


@pytest.mark.parametrize(
    "ciphertext",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x" * 15, id="not whole blocks"),
        pytest.param(b"x" * 32, id="badly padded"),
    ],
)
def test_an_authentic_cbc_token_with_a_bad_ciphertext_does_not_open(ciphertext: bytes) -> None:
    protected = TOKENS[CBC].split(".")[0]
    iv = b"i" * 16
    signed = protected.encode() + iv + ciphertext + (8 * len(protected)).to_bytes(8, "big")
    tag = hmac.digest(RAW[CBC][:32], signed, "sha512")[:32]
    token = f"{protected}..{b64u(iv)}.{b64u(ciphertext)}.{b64u(tag)}"
    assert KEYS[CBC].open(parse(token)) is None


@ciphers
@pytest.mark.parametrize("length", [0, 16, 31, 33, 63, 65])
def test_a_key_of_another_length_is_refused(enc: str, length: int) -> None:
    with pytest.raises(ValueError, match="needs a key of"):
        ContentKey(enc, bytes(length))


@ciphers
@pytest.mark.parametrize("length", [0, 11, 13, 17])
def test_an_iv_of_another_length_is_refused(enc: str, length: int) -> None:
    with pytest.raises(ValueError, match="needs an iv of"):
        KEYS[enc].seal(b"{}", bytes(length))


@ciphers
def test_reprs_hide_keys_and_contents(enc: str) -> None:
    assert repr(KEYS[enc]) == f"<ContentKey {enc}>"
    assert repr(parse(TOKENS[enc])) == f"Sealed(enc='{enc}', kid=None, zipped=False)"


def test_the_header_is_compact_json() -> None:
    header = base64.urlsafe_b64decode(TOKENS[GCM].split(".")[0] + "==")
    assert header == json.dumps({"alg": "dir", "enc": GCM}, separators=(",", ":")).encode()
