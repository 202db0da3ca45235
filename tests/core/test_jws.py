from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as oracle
from joserfc.jwk import OctKey

from proxy.core.jws import ALGORITHMS, JwsKeys, open_signed, sign
from proxy.errors import SessionInvalid

SECRET = b"s" * 64
KEYS = JwsKeys({"HS512": [SECRET], "HS256": [SECRET]})
PAYLOAD = b'{"sub":"u-1"}'
TOKEN = sign(PAYLOAD, "HS512", SECRET)

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def with_header(header: bytes) -> str:
    """Return a token with any header, whose signature is good under HS512."""
    message = f"{b64u(header)}.{b64u(PAYLOAD)}"
    return f"{message}.{b64u(ALGORITHMS['HS512'].sign(message.encode(), SECRET))}"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@given(payload=st.binary(max_size=100), key=st.binary(min_size=64, max_size=80))
def test_the_oracle_and_we_agree(algorithm: str, payload: bytes, key: bytes) -> None:
    jwk = OctKey.import_key(key)
    made = oracle.serialize_compact({"alg": algorithm}, payload, jwk, algorithms=[algorithm])
    assert open_signed(made, JwsKeys({algorithm: [key]})) == payload
    ours = sign(payload, algorithm, key)
    assert oracle.deserialize_compact(ours, jwk, algorithms=[algorithm]).payload == payload


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", RSA), ("PS512", RSA), ("ES256", P256), ("EdDSA", EDWARDS)],
    ids=["RS256", "PS512", "ES256", "EdDSA"],
)
def test_a_key_pair(algorithm: str, key: Any) -> None:
    token = sign(PAYLOAD, algorithm, key)
    keys = JwsKeys({algorithm: [key.public_key()]})
    assert open_signed(token, keys) == PAYLOAD
    with pytest.raises(SessionInvalid, match="signature"):
        open_signed(
            sign(b"{}", algorithm, key).rpartition(".")[0] + "." + token.split(".")[2], keys
        )


def test_each_key_is_tried() -> None:
    assert open_signed(TOKEN, JwsKeys({"HS512": [b"other", SECRET]})) == PAYLOAD


@pytest.mark.parametrize(
    "keys", [JwsKeys({"HS512": [b"other"]}), JwsKeys({"HS512": []})], ids=["another", "none"]
)
def test_another_key_does_not_open(keys: JwsKeys) -> None:
    with pytest.raises(SessionInvalid, match="signature"):
        open_signed(TOKEN, keys)


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "none"])
def test_an_algorithm_that_is_not_configured_does_not_count(algorithm: str) -> None:
    with pytest.raises(SessionInvalid, match="alg"):
        open_signed(TOKEN, JwsKeys({algorithm: [SECRET]}))


@given(st.data())
def test_changing_any_byte_is_noticed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TOKEN) - 1))
    changed = data.draw(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
    if changed == TOKEN[at]:
        return
    with pytest.raises(SessionInvalid):
        open_signed(TOKEN[:at] + changed + TOKEN[at + 1 :], KEYS)


HEADERS = {
    "alg: none": b'{"alg":"none"}',
    "alg: None": b'{"alg":"None"}',
    "alg: by case": b'{"alg":"hs512"}',
    "alg: missing": b"{}",
    "alg: null": b'{"alg":null}',
    "alg: list": b'{"alg":["HS512"]}',
    "alg: twice": b'{"alg":"HS512","alg":"HS512"}',
    "crit": b'{"alg":"HS512","crit":["exp"],"exp":1}',
    "crit: empty": b'{"alg":"HS512","crit":[]}',
    "b64: false": b'{"alg":"HS512","b64":false}',
    "b64: true": b'{"alg":"HS512","b64":true}',
    "key in the header": b'{"alg":"HS512","jwk":{"kty":"oct","k":"AAAA"}}',
    "address of a key": b'{"alg":"HS512","jku":"https://evil.example"}',
    "certificate": b'{"alg":"HS512","x5c":["AAAA"]}',
    "address of a certificate": b'{"alg":"HS512","x5u":"https://evil.example"}',
    "zip": b'{"alg":"HS512","zip":"DEF"}',
    "list": b'["HS512"]',
    "null": b"null",
    "empty": b"",
    "not JSON": b"HS512",
    "not UTF-8": b'{"alg":"HS512","typ":"\xff"}',
    "too long": json.dumps({"alg": "HS512", "kid": "x" * 4096}).encode(),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_asks_for_more_is_refused(header: bytes) -> None:
    with pytest.raises(SessionInvalid):
        open_signed(with_header(header), KEYS)


def test_a_header_may_name_its_type_and_key() -> None:
    header = b'{"typ":"JWT","kid":"1","alg":"HS512","x5t":"thumb","own":{"a":1}}'
    assert open_signed(with_header(header), KEYS) == PAYLOAD


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("..", id="dots"),
        pytest.param(TOKEN.rpartition(".")[0], id="two parts"),
        pytest.param(TOKEN + ".", id="four parts"),
        pytest.param("." * 7000, id="dots only"),
        pytest.param(TOKEN.rpartition(".")[0] + ".", id="signature missing"),
        pytest.param(TOKEN + "=", id="signature padded"),
        pytest.param(TOKEN + "\n", id="line end"),
        pytest.param(TOKEN.replace(".", ".=", 1), id="payload padded"),
        pytest.param(TOKEN.replace(".", ".é", 1), id="payload not ASCII"),
        pytest.param("é" + TOKEN, id="header not ASCII"),
    ],
)
def test_another_shape_is_refused(token: str) -> None:
    with pytest.raises(SessionInvalid):
        open_signed(token, KEYS)


def test_a_signature_in_another_spelling_is_refused() -> None:
    """64 bytes leave 4 bits of the last character that encode nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelt = TOKEN[:-1] + alphabet[alphabet.index(TOKEN[-1]) + 1]
    decoded = [base64.urlsafe_b64decode(t.rpartition(".")[2] + "==") for t in (TOKEN, respelt)]
    assert decoded[0] == decoded[1]
    with pytest.raises(SessionInvalid):
        open_signed(respelt, KEYS)


def test_none_is_no_algorithm() -> None:
    assert "none" not in ALGORITHMS


def test_repr_hides_keys() -> None:
    assert repr(KEYS) == "JwsKeys()"
