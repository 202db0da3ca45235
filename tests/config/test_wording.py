"""Mistakes of shape, in words. The files in `golden` show more of them in place."""

from __future__ import annotations

import pytest

from tests.config.helpers import ENV, SECRET, places, problems_of, told, written


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"lisen": "x"}, ["lisen: unknown key 'lisen', did you mean 'listen'?"]),
        ({"zebra": "x"}, ["zebra: unknown key 'zebra'"]),
        ({"origins": "[]"}, ["origins: unknown key 'origins'; it belongs under cors or csrf"]),
        (
            {"routes": "[{path: /x, upstream: api, body: 1MiB}]"},
            ["routes.0.body: unknown key 'body'; it belongs under routes[].limits"],
        ),
        (
            {"routes": "[{path: /x, upstream: api, strip_prefx: /x}]"},
            ["routes.0.strip_prefx: unknown key 'strip_prefx', did you mean 'strip_prefix'?"],
        ),
        ({"routes": "[{path: /x}]"}, ["routes.0: the key 'upstream' is missing here"]),
        (
            {"routes": "[{path: /x, upstrem: api}]"},
            ["routes.0.upstrem: unknown key 'upstrem', did you mean 'upstream'?"],
        ),
        ({"routes": ""}, [": the key 'routes' is missing here"]),
        ({"routes": "[]"}, ["routes: must not be empty"]),
        ({"upstreams": "{}"}, ["upstreams: must not be empty"]),
        ({"upstreams": "[a]"}, ["upstreams: must be a mapping of names to values"]),
        ({"limits": "7"}, ["limits: must be a mapping of keys"]),
        ({"cors": "on"}, ["cors: must be a mapping of keys, or off"]),
        (
            {"routes": "[{path: /x, upstream: api, cors: on}]"},
            ["routes.0.cors: must be a mapping of keys, or off"],
        ),
        (
            {"routes": "[{path: /x, upstream: api, cors: {orgins: []}}]"},
            ["routes.0.cors.orgins: unknown key 'orgins', did you mean 'origins'?"],
        ),
        ({"cors": "{headers: all}"}, ["cors.headers: must be any, or a list of header names"]),
        ({"log": "{access: 1}"}, ["log.access: must be true or false"]),
        ({"health_path": "7"}, ["health_path: must be text; put it in quotes"]),
        ({"health_path": "''"}, ["health_path: must not be empty"]),
        (
            {"routes": "[{path: /x, upstream: api, require: {claims: {a: [[b]]}}}]"},
            [
                "routes.0.require.claims.a.0: "
                "must be text, a number, true or false, or a list of these"
            ],
        ),
        (
            {
                "upstreams": "{'a b': {endpoints: [http://x]}}",
                "routes": "[{path: /x, upstream: a}]",
            },
            ["upstreams.a b: a name is a letter, then letters, digits, - or _, at most 63 in all"],
        ),
        ({"tests": "[{request: GET /, expect: 99}]"}, ["tests.0.expect: must be at least 200"]),
        ({"tests": "[{request: GET /, expect: x}]"}, ["tests.0.expect: must be a mapping of keys"]),
        *(
            (
                {"workers": workers},
                ["workers: must be auto, or a number of processes from 1 to 256"],
            )
            for workers in ("0", "257", "many", "1.5", "true")
        ),
        (
            {"upstreams": "{api: {endpoints: [http://x], balance: fastest}}"},
            ["upstreams.api.balance: must be round_robin, least_requests, hash(user) or hash(ip)"],
        ),
    ],
)
def test_a_mistake_is_told_once_and_in_words(sections: dict[str, str], expected: list[str]) -> None:
    assert told(written(**sections)) == expected


def test_off_is_accepted_where_it_is_all_there_is() -> None:
    text = written(
        rate_limit="off",
        upstreams="{api: {endpoints: [http://x], health: off, eject: off}}",
        routes="[{path: /x, upstream: api, rate_limit: off}]",
    )
    assert problems_of(text) == []


def test_a_broken_value_is_not_told_twice() -> None:
    text = written(limits="{connections: '${NO}', head: '$'}", listen="!!str 127.0.0.1:0")
    assert places(text) == ["", "", ""]
    assert len(problems_of(text)) == 3


def test_no_message_of_pydantic_is_shown() -> None:
    text = written(
        limits="{connections: [1]}",
        sessions="[a]",
        routes="{}",
        upstreams="{api: x}",
        identity="{headers: {X-A: 1}}",
        tests="[{request: 1, expect: {status: x}, as: 7, headers: []}]",
    )
    problems = problems_of(text)
    assert len(problems) >= 8
    for problem in problems:
        assert "Input should" not in problem.message
        assert "is not what belongs here" not in problem.message


def test_a_value_that_came_from_a_variable_is_never_repeated() -> None:
    variable = "'${AUTH_SECRET}'"
    text = written(
        listen=variable,
        admin=variable,
        workers=variable,
        limits=f"{{body: {variable}, head: {variable}, connections: {variable}}}",
        log=f"{{level: {variable}, access: {variable}}}",
        cors=f"{{origins: {variable}, headers: {variable}, max_age: {variable}}}",
        sessions=f"{{web: {{kind: {variable}, jwt: {variable}, bearer: {variable}}}}}",
        upstreams=f"{{api: {{endpoints: [{variable}], host: {variable}}}}}",
        routes=f"[{{path: /x, upstream: api, auth: {variable}, require: {variable}}}]",
        tests=f"[{{request: {variable}, expect: {variable}}}]",
    )
    problems = problems_of(text + f"{variable}: x\n", ENV)
    assert len(problems) >= 15
    assert not any(SECRET in str(problem) for problem in problems)


def test_nor_is_it_in_the_second_round() -> None:
    variable = "'${AUTH_SECRET}'"
    text = written(
        health_path=variable,
        public_origin=variable,
        login_url=variable,
        trusted_proxies=f"[{variable}]",
        trusted_headers=f"[{variable}]",
        cors=f"{{origins: [{variable}], methods: [{variable}]}}",
        csrf=f"{{origins: [{variable}]}}",
        identity=f"{{headers: {{X-A: {variable}}}}}",
        routes=(
            f"[{{path: {variable}, upstream: {variable}, host: 'a/{variable[1:]}, "
            f"methods: [{variable}], sessions: [{variable}], strip_prefix: {variable}}}]"
        ),
        tests=f"[{{request: {variable}, expect: {{route: {variable}, upstream: {variable}}}}}]",
    )
    problems = problems_of(text, ENV)
    assert len(problems) >= 15
    assert not any(SECRET in str(problem) for problem in problems)
