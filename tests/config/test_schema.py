"""The JSON Schema agrees with the loader about what has the right shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from proxy.config.load_yaml import compose
from proxy.config.schema import json_schema
from proxy.config.tree import Tree
from tests.config.helpers import problems_of, written

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
SCHEMA = json_schema()


def values_of(text: str) -> dict[str, Any]:
    """Return the values as an editor sees them: variables are text."""
    return Tree(compose(text.replace("${", "$${")), {}).values


def is_valid(text: str) -> bool:
    return Draft202012Validator(SCHEMA).is_valid(values_of(text))


def test_it_is_a_schema_of_the_current_dialect() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_the_example_is_valid() -> None:
    errors = Draft202012Validator(SCHEMA).iter_errors(values_of(EXAMPLE.read_text("utf-8")))
    assert [error.message for error in errors] == []


RIGHT = [
    {},
    {"listen": "127.0.0.1:0"},
    {"listen": "{address: 127.0.0.1:0, proxy_protocol: true}"},
    {"cors": "off"},
    {"cors": "{origins: ['null'], headers: [X-A], max_age: 0s}"},
    {"limits": "{body: off, head: 1KiB, connections: 7}"},
    {"limits": "{body: '${BODY}', connections: '${N}', header_timeout: '${T:-5s}'}"},
    {"log": "{level: '${LEVEL:-info}', access: '${ACCESS}'}"},
    {"sessions": "{web: {secret: {file: x}}}"},
    {"sessions": "{web: {secret: ['${A}', {file: x}], max_age: 30d, principal: {id: a}}}"},
    {"sessions": "{web: {database: {url: '${URL}', tables: auto, columns: [role]}}}"},
    {
        "sessions": "{web: {database: {url: {file: x}, password: {file: y}, sslmode: verify-ca, "
        "tables: {sessions: {table: s}, users: {table: u, id: i}}, timeouts: {query: 1s}}}}"
    },
    {"upstreams": "{api: {endpoints: ['${API}'], timeouts: {first_byte: off}, health: off}}"},
    {"upstreams": "{api: {endpoints: [{url: http://x, weight: 2}, 'unix:/a'], slow_start: off}}"},
    {"upstreams": "{api: {dns: 'api:80', balance: hash(user), panic: forward}}"},
    {"upstreams": "{api: {dns: {name: 'api:80', interval: 5s}, health: {path: /x, status: 200}}}"},
    {"upstreams": "{api: {endpoints: [http://x], eject: {}, health: {path: /, status: [200]}}}"},
    {"routes": "[{path: /x, upstream: api, cors: off, limits: {body: off}, upgrade: off}]"},
    {"routes": "[{path: /x, upstream: api, require: {claims: {a: [1, true, x], b: y}}}]"},
    {"tests": "[{request: GET /, as: {}, expect: 403}]"},
    {"tests": "[{request: GET /, expect: {status: 403, route: /**}}]"},
]
WRONG = [
    {"lisen": "x"},
    {"routes": ""},
    {"routes": "[]"},
    {"routes": "[{path: /x}]"},
    {"routes": "[{path: /x, upstream: api, requires: {}}]"},
    {"routes": "[{path: /x, upstream: api, auth: pubic}]"},
    {"routes": "[{path: /x, upstream: api, methods: GET}]"},
    {"routes": "[{path: /x, upstream: api, require: {roles: []}}]"},
    {"upstreams": "{}"},
    {"upstreams": "{api: {endpoints: []}}"},
    {"upstreams": "{api: {endpoints: [http://x], health: {interval: 5s}}}"},
    {"upstreams": "{api: {endpoints: [http://x], balance: hash(cookie)}}"},
    {"upstreams": "{api: {endpoints: [ftp://x]}}"},
    {"sessions": "{web: {secret: 7}}"},
    {"sessions": "{web: {secret: {file: x, env: y}}}"},
    {"sessions": "{web: {secret: []}}"},
    {"sessions": "{web: {database: {}}}"},
    {"sessions": "{web: {database: {url: '${URL}', tables: x}}}"},
    {"sessions": "{web: {database: {url: '${URL}', tables: {users: {table: u}}}}}"},
    {"sessions": "{web: {database: {url: '${URL}', sslmode: allow}}}"},
    {"sessions": "{web: {database: {url: '${URL}', prepared: true}}}"},
    {"sessions": "{web: {database: {url: '${URL}', connections: 0}}}"},
    {"sessions": "{web: {database: {url: '${URL}', timeouts: {query: 2}}}}"},
    {"limits": "{body: 10MB}"},
    {"limits": "{head: off}"},
    {"limits": "{connections: 0}"},
    {"limits": "{header_timeout: 10}"},
    {"log": "{access: 'yes'}"},
    {"cors": "on"},
    {"workers": "0"},
    {"workers": "some"},
    {"tests": "[{request: GET /, expect: 'x'}]"},
]


@pytest.mark.parametrize("sections", RIGHT, ids=str)
def test_what_has_the_right_shape_is_valid(sections: dict[str, str]) -> None:
    assert is_valid(written(**sections))


@pytest.mark.parametrize("sections", WRONG, ids=str)
def test_what_has_not_is_invalid_and_refused(sections: dict[str, str]) -> None:
    assert not is_valid(written(**sections))
    assert problems_of(written(**sections)) != []


def test_every_key_is_explained() -> None:
    def explained(schema: dict[str, Any]) -> bool:
        return "description" in schema or "$ref" in schema

    for name, definition in SCHEMA["$defs"].items():
        for option in definition.get("anyOf", [definition]):
            for key, below in option.get("properties", {}).items():
                assert explained(below), (name, key)
    assert [key for key, below in SCHEMA["properties"].items() if not explained(below)] == []


def test_defaults_are_in_the_words_of_the_file() -> None:
    assert SCHEMA["$defs"]["Limits"]["properties"]["head"]["default"] == "64KiB"
    assert SCHEMA["$defs"]["Drain"]["properties"]["delay"]["default"] == "5s"
    assert SCHEMA["$defs"]["SessionConfig"]["properties"]["max_age"]["default"] == "off"
    assert SCHEMA["properties"]["admin"]["default"] == "127.0.0.1:9090"
    assert "default" not in SCHEMA["$defs"]["RouteLimits"]["properties"]["body"]


def test_a_yaml_reader_of_version_1_1_finds_the_example_valid_too() -> None:
    """Some editors read `off` as false; the keys at least must be those of the schema."""
    values = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    assert set(values) <= set(SCHEMA["properties"])
