"""Whether a secret could be guessed. Whoever knows it can be anybody."""

from __future__ import annotations

from typing import Final

MIN_BYTES: Final = 32
# Of 32 random hexadecimal digits, fewer than 8 are different once in 28 million times.
_MIN_DISTINCT: Final = 8

_ADVICE: Final = "make a new one, for example with: openssl rand -base64 32"

# Secrets that are long enough and printed in documentation, so that scanners try them first.
_WELL_KNOWN: Final = frozenset(
    {
        "INp8IvdIyeMcoGAgFGoA61DdBglwwSqnXJZkgz8PSnw",  # NextAuth v3, options.jwt.secret
        "a-string-secret-at-least-256-bits-long",  # jwt.io
        "your-256-bit-secret-your-256-bit-secret",
        "complex_password_at_least_32_characters_long",  # iron-session
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "abcdefghijklmnopqrstuvwxyz123456",
        "12345678901234567890123456789012",
    }
)
# Parts of what people write when they mean to come back to it.
_PLACEHOLDERS: Final = (
    "change-me",
    "change_me",
    "changeme",
    "changethis",
    "insecure",
    "my-secret",
    "my_secret",
    "mysecret",
    "nextauth-secret",
    "nextauth_secret",
    "auth-secret",
    "auth_secret",
    "placeholder",
    "replace-me",
    "replace_me",
    "replaceme",
    "super-secret",
    "super_secret",
    "supersecret",
    "secret-key",
    "secret_key",
    "your-secret",
    "your_secret",
    "yoursecret",
)


def weakness(secret: str) -> str | None:
    """Say why a secret is weak, in a clause that ends with what to do, or return None."""
    reason = _reason(secret)
    return f"{reason}; {_ADVICE}" if reason else None


def weak_key(key: bytes) -> str | None:
    """Say why a symmetric key is weak, or return None."""
    if len(key) < MIN_BYTES:
        return f"it is shorter than {MIN_BYTES} bytes"
    return None if len(set(key)) >= _MIN_DISTINCT else "it has few different bytes"


def _reason(secret: str) -> str | None:
    folded = secret.lower()
    if len(secret.encode(errors="surrogatepass")) < MIN_BYTES:
        return f"it is shorter than {MIN_BYTES} bytes"
    if len(set(secret)) < _MIN_DISTINCT:
        return "it has few different characters"
    if secret in _WELL_KNOWN or any(part in folded for part in _PLACEHOLDERS):
        return "it is a well-known example"
    # A text is made of repetitions exactly if it is found inside itself twice over.
    if (secret + secret).find(secret, 1) < len(secret):
        return "it repeats itself"
    return None
