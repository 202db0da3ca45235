"""The file of cases and what is made of it: bytes, tokens, configurations."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hostile.cases import Case, fill, load, load_left_out, load_others, parse_case
from tests.hostile.profiles import GATEWAYS, PROFILES, gateway_of, render
from tests.hostile.recipes import PLACES, RECIPES
from tests.hostile.scripts import take_frame
from tests.hostile.tokens import TOKENS, resolver, variants_of
from tests.support.answers import parse_answers

ROOT = Path(__file__).parent.parent.parent
CASES = load()[1]
LEFT_OUT = load_left_out()
EXPECT: dict[str, Any] = {"status": [200], "upstream": "any"}
ENTRY: dict[str, Any] = {
    "id": "XX-01",
    "category": "FR",
    "severity": "low",
    "source": "nowhere",
    "title": "a case",
    "config": "base",
    "raw": "GET / HTTP/1.1\\r\\n\\r\\n",
    "expect": EXPECT,
}


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({**ENTRY, "confg": "base"}, id="key"),
        pytest.param({**ENTRY, "expect": {**EXPECT, "max_sec": 1}}, id="expect-key"),
        pytest.param({**ENTRY, "expect": {**EXPECT, "status": ["close"]}}, id="status"),
        pytest.param({**ENTRY, "expect": {**EXPECT, "upstream": "two"}}, id="upstream"),
        pytest.param({**ENTRY, "steps": [{"wait": 1}]}, id="step"),
        pytest.param({**ENTRY, "category": "XX"}, id="category"),
        pytest.param({**ENTRY, "severity": "grave"}, id="severity"),
    ],
)
def test_case_with_a_word_nobody_looks_at_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        parse_case(broken)


def test_file_of_another_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "attacks.json"
    file.write_text('{"format": 2}')
    with pytest.raises(ValueError, match="format 2"):
        load(file)


def test_every_id_stands_for_one_case() -> None:
    assert len({case.id for case in CASES}) == len(CASES) > 0


def test_what_is_left_out_exists_and_has_a_reason_and_a_test() -> None:
    assert set(LEFT_OUT) <= {case.id for case in CASES}
    assert [case_id for case_id, entry in LEFT_OUT.items() if len(entry.why.split()) < 3] == []
    assert [e.instead for e in LEFT_OUT.values() if not (ROOT / e.instead).is_file()] == []


def test_what_is_accepted_from_others_is_a_refusal_of_a_case_that_is_run() -> None:
    others = load_others()
    assert set(others) <= {case.id for case in CASES} - set(LEFT_OUT)
    assert [status for statuses in others.values() for status in statuses if status < 400] == []


def test_a_case_left_out_without_a_reason_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "left-out.yaml"
    file.write_text("FR-01: {instead: tests/core/test_head.py}")
    with pytest.raises(TypeError, match="why"):
        load_left_out(file)


@pytest.mark.parametrize(
    ("template", "data"),
    [
        pytest.param(r"a\r\n\xff\x00\\n", b"a\r\n\xff\x00\\n", id="escapes"),
        pytest.param(r"{{REPEAT:3:a\r\n}}b", b"a\r\na\r\na\r\nb", id="repeat"),
        pytest.param("{{LEN:PEER}} {{PEER}}", b"9 127.0.0.1", id="length"),
        pytest.param("{{TK22}}", b"." * 7000, id="token"),
    ],
)
def test_template_becomes_bytes(template: str, data: bytes) -> None:
    assert fill(template, resolver()) == data


def test_chunked_body_has_its_size() -> None:
    body = parse_answers(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + fill("{{CHUNKS:1MiB}}", resolver()),
        eof=False,
    ).all[0]
    assert len(body.body) == 1 << 20


def test_unknown_placeholder_is_an_error() -> None:
    with pytest.raises(KeyError):
        fill("{{TK99}}", resolver())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case_of_a_built_profile_can_be_filled_in(case: Case) -> None:
    if case.id in LEFT_OUT:
        return
    for variant in variants_of(case.placeholders):
        for step in case.steps:
            template = getattr(step, "template", "")
            assert b"{{" not in fill(template, resolver(variant))
        expecting = case.expecting(resolver(variant))
        assert "{{" not in "".join(expecting.upstream_asserts + expecting.answer_asserts)


def test_recipes_and_places_are_for_cases_that_exist() -> None:
    ids = {case.id for case in CASES}
    assert set(RECIPES) | set(PLACES) <= ids
    assert set(PLACES.values()) <= set(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_one_gateway_has_the_profile(profile: str) -> None:
    assert [profile in profiles for profiles in GATEWAYS.values()].count(True) == 1
    assert profile in GATEWAYS[gateway_of(profile)]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_gateway_names_its_upstream_and_keeps_the_fence_public(gateway: str) -> None:
    config = yaml.safe_load(render(gateway, "http://127.0.0.1:1"))
    assert config["upstreams"]["api"]["endpoints"] == ["http://127.0.0.1:1"]
    assert config["routes"][0]["path"] in ("/public/**", "/public/*/endpoint")
    assert config["routes"][0]["auth"] == "public"


def test_every_token_is_distinct() -> None:
    tokens = [make() for variants in TOKENS.values() for make in variants.values()]
    assert len(set(tokens)) == len(tokens)


def test_non_canonical_token_decodes_to_the_bytes_of_the_valid_one() -> None:
    user, damaged = resolver()("USER").decode(), resolver()("TK27").decode()
    assert user != damaged
    assert base64.urlsafe_b64decode(user.split(".")[4] + "=") == base64.urlsafe_b64decode(
        damaged.split(".")[4] + "="
    )


@pytest.mark.parametrize("size", [0, 5, 125, 126, 70_000])
def test_masked_frame_is_unmasked(size: int) -> None:
    if size < 126:
        length = bytes([size])
    else:
        length = (
            b"\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x7f" + size.to_bytes(8, "big")
        )
    mask, payload = b"\x01\x02\x03\x04", bytes(size)
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    pending = bytearray(b"\x82" + bytes([length[0] | 128]) + length[1:] + mask + masked)
    assert take_frame(pending[:-1] if size else pending[:5]) is None
    assert take_frame(pending) == b"\x82" + length + payload
    assert pending == b""
