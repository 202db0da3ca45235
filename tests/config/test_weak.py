"""Secrets that could be guessed."""

from __future__ import annotations

import base64
import random
import uuid
from collections.abc import Callable

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
        ("0123456789bdfhjl" * 2, "repeats itself"),
        ("correct-horse-correct-horse-correct-horse-", "repeats itself"),
        ("correct-horse-correct-horse-correct", "repeats itself"),
        ("abcdefghijklmnopqrstuvwxyz0123456789", "sequence"),
        ("12345678901234567890123456789012", "repeats itself"),
        ("00112233445566778899aabbccddeeff", "sequence"),
        ("aaaabbbbccccddddeeeeffffgggghhhh", "sequence"),
        ("9876543210zyxwvutsrqponmlkjihgfedcba", "sequence"),
        ("INp8IvdIyeMcoGAgFGoA61DdBglwwSqnXJZkgz8PSnw", "well-known"),
        ("K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=", "well-known"),
        ("5EBE2294ECD0E0F08EAB7690D2A6EE69", "well-known"),
        ("a-string-secret-at-least-256-bits-long", "placeholder"),
        ("your-256-bit-secret-your-256-bit-secret", "placeholder"),
        ("complex_password_at_least_32_characters_long", "placeholder"),
        ("please-CHANGE-ME-before-going-to-production", "placeholder"),
        ("this-is-my-secret-for-the-demo-application", "placeholder"),
        ("supersecretsupersecretnobodywillguessit", "placeholder"),
        ("your-nextauth-secret-here-min-32-chars", "placeholder"),
        ("YOUR_NEXTAUTH_SECRET_MUST_BE_32_CHARS_LONG", "placeholder"),
        ("generate-a-secure-32-byte-secret", "placeholder"),
        ("generate: openssl rand -base64 32", "placeholder"),
        ("any-value-at-least-32-characters-long-xx", "placeholder"),
        ("random-secret-32-chars-minimum-1234567", "placeholder"),
        ("company_nextauth_secret_key_2026_super_secure", "placeholder"),
        ("dev-secret-change-me-dev-secret-change-me", "placeholder"),
        ("qwertyuiopasdfghjklzxcvbnm1234567890", "placeholder"),
    ],
)
def test_a_secret_that_could_be_guessed_is_weak(secret: str, reason: str) -> None:
    assert reason in str(weakness(secret))
    assert "openssl rand" in str(weakness(secret))


FORMS: dict[str, Callable[[bytes], str]] = {
    "openssl rand -base64 32": lambda data: base64.b64encode(data[:32]).decode(),
    "openssl rand -base64 33": lambda data: base64.b64encode(data).decode(),
    "npx auth secret": lambda data: base64.b64encode(data[:32]).decode(),
    "openssl rand -hex 32": lambda data: data[:32].hex(),
    "openssl rand -hex 16": lambda data: data[:16].hex(),
    "base64url": lambda data: base64.urlsafe_b64encode(data[:32]).decode().rstrip("="),
    "a UUID": lambda data: str(uuid.UUID(bytes=data[:16], version=4)),
    "behind a prefix": lambda data: "prod-secret-" + data[:32].hex(),
}


@pytest.mark.parametrize("form", FORMS)
def test_random_secrets_are_not_weak(form: str) -> None:
    source = random.Random(7)
    for _ in range(2000):
        assert weakness(FORMS[form](source.randbytes(33))) is None


def test_a_passphrase_of_ones_own_is_not_weak() -> None:
    assert weakness("harbour velvet ninety-one lantern cough") is None


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (b"x" * 31, "shorter"),
        (b"\xff" * 31, "shorter"),
        (b"x" * 64, "few different"),
        (bytes(range(64)), "sequence"),
        (b"x9Kq2mVb7Lw4Zt8R" * 2, "repeats itself"),
        (b"your-256-bit-secret-your-256-bit-secret", "placeholder"),
        (b"INp8IvdIyeMcoGAgFGoA61DdBglwwSqnXJZkgz8PSnw", "well-known"),
    ],
)
def test_a_key_that_could_be_guessed_is_weak(key: bytes, reason: str) -> None:
    assert reason in str(weak_key(key))


@pytest.mark.parametrize("length", [32, 64])
def test_random_keys_are_not_weak(length: int) -> None:
    source = random.Random(7)
    for _ in range(2000):
        assert weak_key(source.randbytes(length)) is None
