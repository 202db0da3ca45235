"""The minted tokens: their keys are those of the frameworks, their parts fit together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import OctKey

from tests.support import mint

SECRET = "secret"


# Tokens that next-auth 4.24.15 and 5.0.0-beta.32 made under this secret.
FRAMEWORK_SECRET = "b1fa9f7a5c0e4d2f8e6b3a1d7c9f5e2a4b6d8c0e1f3a5b7d9c1e3f5a7b9d1c3e"
V4_TOKEN = (
    "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..D38XHsmx8XUPXG_e.vRVnhfwxSsrtjRTmAu-gypXoat8a7C14hSw"
    "CWGV_wx0Jd-1a3L2V-3PZZ-gwEHwEOeAbPX64SQPretQysCFuN3SVbfSrUkj3ZafHhes0dxuwY7-rqBrVQuRY12X9rJFW3"
    "FMT2TMIjZ0vox14THCmMX3hmw1hacLT9M7Ui__eddcHlLP5_8xKcXQLS12_2lCo9Mp11fMhrY7x_NR3HJo9pjBmWZaPxpEk"
    "cejgwCKUEKsRqkflPhhls_sXLr29kDI-z8KyVIbWOeU.u4uljx9CZnYdZEH3WNPchw"
)
V5_TOKEN = (
    "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwia2lkIjoiRlotT0U2VXFWQkdmcmRoTkMxX1gwYjBOSHR2eEV"
    "CWmZfOVRhc3UyVGF0UEFKY29jak1INTZyMjZFc0c4RThKemJYWHBVM2syMG1hY2JSbzhkazh0MXcifQ..9jmloTSraADxfb"
    "nr1LsleQ.yVWTxWP-yrJWsdXNi-DdX_gTl_MDQt4iAcaMQITj3bOOsSsKJ22HPkjgpDfIhQy2MAXkOWp6Pq2Spi3AWLwPFc"
    "bVU3rnpDF7NQEj7rUxAlbz8VX7A7ov-RSVX6u9tIfj.e-GzssOo0fyECkTgJ9cZEMaVP_9dipwDygeuoJCGfrY"
)


def opened(token: str, key: bytes) -> tuple[dict[str, Any], bytes]:
    result = jwe.decrypt_compact(
        token, OctKey.import_key(key), algorithms=["dir", "A256CBC-HS512", "A256GCM"]
    )
    assert result.plaintext is not None
    return dict(result.protected), result.plaintext


def test_v4_key_opens_what_the_framework_made() -> None:
    assert b'"email":"ada@example.com"' in opened(V4_TOKEN, mint.v4_key(FRAMEWORK_SECRET))[1]


def test_v5_key_and_kid_are_those_of_the_framework() -> None:
    key = mint.v5_key(FRAMEWORK_SECRET, mint.V5_SECURE_COOKIE)
    header, payload = opened(V5_TOKEN, key)
    assert header["kid"] == mint.thumbprint(key)
    assert b'"exp":1802592000' in payload


@pytest.mark.parametrize("length", [32, 64])
def test_sealed_token_is_opened_by_a_library(length: int) -> None:
    key = mint.v5_key(SECRET, length=length)
    header = {"alg": "dir", "enc": "A256GCM" if length == 32 else "A256CBC-HS512"}
    assert opened(mint.seal(header, {"sub": "u-1"}, key), key) == (header, b'{"sub":"u-1"}')


@pytest.mark.parametrize(
    ("token", "key"),
    [
        pytest.param(mint.v5({"a": 1}, SECRET), mint.v5_key(SECRET), id="v5"),
        pytest.param(mint.v4({"a": 1}, SECRET), mint.v4_key(SECRET), id="v4"),
    ],
)
def test_minted_token_holds_its_payload(token: str, key: bytes) -> None:
    assert json.loads(opened(token, key)[1]) == {"a": 1}


def test_keys_of_other_secrets_names_and_generations_differ() -> None:
    keys = {
        mint.v5_key(SECRET),
        mint.v5_key("other"),
        mint.v5_key(SECRET, mint.V5_SECURE_COOKIE),
        mint.v5_key(SECRET, length=32),
        mint.v4_key(SECRET),
        mint.v4_key(SECRET, salt="next-auth.state"),
    }
    assert len(keys) == 6


def test_chunks_are_numbered_and_whole() -> None:
    token = "t" * (2 * mint.CHUNK + 1)
    pairs = [pair.partition("=") for pair in mint.chunk_cookies(token)]
    assert [name for name, _, _ in pairs] == [f"{mint.V5_COOKIE}.{i}" for i in range(3)]
    assert "".join(value for _, _, value in pairs) == token
