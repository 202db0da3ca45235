from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc.jwk import OctKey
from joserfc.jwk import thumbprint as oracle

from proxy.core.schedules import (
    CORE_0_18_1,
    CORE_LE_0_18_0,
    SCHEDULES,
    V4,
    V5,
    Schedule,
    derive,
    fits,
    hkdf,
    thumbprint,
    v3_signing_key,
)

SECRET = "pässword"
NAME = "__Secure-authjs.session-token"


def expected(salt: str, info: str, length: int) -> bytes:
    return HKDF(SHA256(), length, salt.encode(), info.encode()).derive(SECRET.encode("utf-8"))


@pytest.mark.parametrize(
    ("schedule", "salt", "info", "length"),
    [
        pytest.param(V4, "", "NextAuth.js Generated Encryption Key", 32, id="v4"),
        pytest.param(CORE_LE_0_18_0, "", "Auth.js Generated Encryption Key", 32, id="0.18.0"),
        pytest.param(
            CORE_0_18_1, NAME, f"Auth.js Generated Encryption Key ({NAME})", 32, id="0.18.1"
        ),
        pytest.param(V5, NAME, f"Auth.js Generated Encryption Key ({NAME})", 64, id="v5"),
    ],
)
def test_a_schedule(schedule: Schedule, salt: str, info: str, length: int) -> None:
    assert derive(SECRET, schedule, NAME) == expected(salt, info, length)


def test_the_signing_key_of_v3() -> None:
    assert v3_signing_key(SECRET) == expected("", "NextAuth.js Generated Signing Key", 64)


def test_hkdf_is_that_of_rfc_5869() -> None:
    """Appendix A.3: no salt, no info; the secret there is bytes that are also text."""
    key = hkdf("\x0b" * 22, "", "", 42)
    assert key.hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


@pytest.mark.parametrize(
    ("name", "salt_free"),
    [
        ("next-auth.session-token", True),
        ("__Secure-next-auth.session-token", True),
        ("sid", True),
        ("authjs.session-token", False),
        ("__Secure-authjs.session-token", False),
        ("__Host-authjs.session-token", False),
        ("authjs.session-token.2", True),
    ],
)
def test_which_schedules_fit_a_cookie(name: str, salt_free: bool) -> None:
    fitting = {schedule for schedule in SCHEDULES if fits(schedule, name)}
    assert fitting == ({*SCHEDULES} if salt_free else {CORE_0_18_1, V5})


def test_a_thumbprint_is_the_jwk_thumbprint_with_sha_512() -> None:
    key = bytes(range(64))
    jwk = OctKey.import_key(key).as_dict(private=True)
    assert thumbprint(key) == oracle({"k": jwk["k"], "kty": "oct"}, "sha512")
    assert len(thumbprint(key)) == 86
