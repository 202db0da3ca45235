"""Secrets that could be guessed."""

from __future__ import annotations

import base64
import random

import pytest

from proxy.config.weak import weak_key, weakness


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "shorter"),
        ("secret", "shorter"),
        ("changeme", "shorter"),
        ("your-secret-here", "shorter"),
        ("x9Kq2mVb7Lw4Zt8RnY3c", "shorter"),
        ("é" * 15, "shorter"),
        ("a" * 64, "few different"),
        ("abcabcabcabcabcabcabcabcabcabcabcabcabcabc", "few different"),
        ("0123456789abcdef" * 2, "repeats itself"),
        ("correct-horse-correct-horse-correct-horse-", "repeats itself"),
        ("INp8IvdIyeMcoGAgFGoA61DdBglwwSqnXJZkgz8PSnw", "well-known"),
        ("a-string-secret-at-least-256-bits-long", "well-known"),
        ("please-CHANGE-ME-before-going-to-production", "well-known"),
        ("this-is-my-secret-for-the-demo-application", "well-known"),
        ("supersecretsupersecretnobodywillguessit", "well-known"),
    ],
)
def test_a_secret_that_could_be_guessed_is_weak(secret: str, reason: str) -> None:
    assert reason in str(weakness(secret))
    assert "openssl rand" in str(weakness(secret))


@pytest.mark.parametrize("form", ["base64", "hex", "hex of 16 bytes", "base64url"])
def test_random_secrets_are_not_weak(form: str) -> None:
    source = random.Random(7)
    for _ in range(500):
        data = source.randbytes(32)
        secret = {
            "base64": base64.b64encode(data).decode(),
            "hex": data.hex(),
            "hex of 16 bytes": data[:16].hex(),
            "base64url": base64.urlsafe_b64encode(data).decode().rstrip("="),
        }[form]
        assert weakness(secret) is None


def test_a_key_is_weak_when_it_is_short_or_plain() -> None:
    assert "shorter" in str(weak_key(b"x" * 31))
    assert "few different" in str(weak_key(b"x" * 64))
    assert weak_key(bytes(range(32))) is None
