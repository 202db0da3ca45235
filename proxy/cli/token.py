"""`gatelodge token`: makes session cookies for development, and says what a session cookie is.

Secrets come from the configuration, from files and from variables, never from the command line,
where every user of the machine could read them.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.cli import configfile
from proxy.cli.moment import unix_time
from proxy.cli.output import UsageError, pairs
from proxy.config.problems import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.cli.inspection import Inspection
    from proxy.config.model import SessionConfig

VARIABLES: Final = ("AUTH_SECRET", "NEXTAUTH_SECRET")
GENERATIONS: Final = (
    "v5, v4, v3, v3-encrypted, authcore-0.23, authcore-0.18.1, authcore-0.18.0, hs256, hs384, hs512"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare `mint` and `inspect`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="mint|inspect")
    mint = actions.add_parser("mint", help="make a session cookie", description=_mint.__doc__)
    mint.add_argument("--sub", required=True, metavar="ID", help="the user's id")
    mint.add_argument("--email")
    mint.add_argument("--name")
    mint.add_argument("--role", action="append", metavar="ROLE", help="may be repeated")
    mint.add_argument(
        "--claim",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="another claim; exp, iat and jti replace the usual ones; may be repeated",
    )
    mint.add_argument(
        "--generation", help=f"one of {GENERATIONS} (default: what the session takes)"
    )
    mint.add_argument("--ttl", default="30d", metavar="DURATION", help="lifetime (default: 30d)")
    mint.add_argument("--header", action="store_true", help="print a whole Cookie header")
    _add_common(mint)
    inspect = actions.add_parser(
        "inspect", help="say whether a session is valid", description=_inspect.__doc__
    )
    inspect.add_argument("--cookie-header", metavar="'A=B; C=D'", help="the Cookie header")
    inspect.add_argument("--bearer", metavar="TOKEN", help="a token in Authorization: Bearer")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    _add_common(inspect)


def _add_common(parser: argparse.ArgumentParser) -> None:
    configfile.add_option(parser)
    parser.add_argument("--session", metavar="NAME", help="session of the configuration")
    parser.add_argument(
        "--secret-file",
        action="append",
        default=[],
        metavar="FILE",
        help="file with a secret, instead of a configuration; may be repeated, the current one "
        f"first. Without both, ${VARIABLES[0]} and ${VARIABLES[1]} count",
    )
    parser.add_argument("--cookie-name", metavar="NAME", help="base name of the session cookie")
    parser.add_argument("--at", type=unix_time, metavar="UNIX", help="the time (default: now)")


def run(args: argparse.Namespace) -> int:
    """Run the action; 0 if done or valid, 1 if the session is not valid."""
    now = time.time() if args.at is None else args.at
    return _mint(args, now) if args.action == "mint" else _inspect(args, now)


def _mint(args: argparse.Namespace, now: float) -> int:
    """Print a session token as the frameworks make them, for development and tests."""
    from proxy.config.units import parse_duration
    from proxy.core import mint

    session = next(iter(_sessions(args).values()))
    if not session.secret:
        raise UsageError("the session has no secret to make a token with")
    generation = args.generation or _generation(session)
    cookie_name = _cookie_name(args, session) or mint.default_cookie(generation)
    try:
        token = mint.mint(
            _claims(args),
            cookie_name,
            now,
            secret=session.secret[0].get_secret_value(),
            entropy=secrets.token_bytes(mint.ENTROPY_BYTES),
            generation=generation,
            ttl=parse_duration(args.ttl),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not args.header:
        print(token)
        return 0
    cookies = mint.cookies(cookie_name, token, generation)
    print("Cookie: " + "; ".join(f"{name}={value}" for name, value in cookies))
    return 0


def _claims(args: argparse.Namespace) -> dict[str, Any]:
    claims: dict[str, Any] = {"sub": args.sub}
    given = {"email": args.email, "name": args.name, "roles": args.role}
    claims |= {name: value for name, value in given.items() if value is not None}
    for claim in args.claim:
        name, equals, text = claim.partition("=")
        try:
            claims[name] = json.loads(text, parse_constant=_refuse)
        except ValueError:
            equals = ""
        if not (name and equals):
            raise UsageError(f"--claim takes NAME=JSON, and a text in double quotes: {claim!r}")
    return claims


def _refuse(word: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not have (RFC 8259 section 6)."""
    raise ValueError(word)


def _generation(session: SessionConfig) -> str:
    """Return a generation that the session takes."""
    options = session.jwt
    if options is None:
        return "v5"
    if options.signing_key or options.verification_key or options.encryption_key:
        raise UsageError("the session has keys of its own under jwt; choose a --generation")
    if options.encryption:
        return "v3-encrypted"
    return options.algorithms[0].lower() if options.algorithms else "v5"


def _cookie_name(args: argparse.Namespace, session: SessionConfig) -> str | None:
    """Return the cookie that is meant, or None if it is the generation's own."""
    if args.cookie_name is None:
        return None if session.cookie == "auto" else session.cookie
    name: str = args.cookie_name
    if session.cookie not in ("auto", name):
        raise UsageError(f"the session's cookie is {session.cookie}")
    return name


def _inspect(args: argparse.Namespace, now: float) -> int:
    """Say what session a request with these cookies has, and whether it is valid."""
    from proxy.cli.inspection import inspect
    from proxy.cli.request import bare_cookies
    from proxy.core.session import SessionRule

    if args.cookie_header is None and args.bearer is None:
        raise UsageError("name what to inspect: --cookie-header or --bearer")
    cookies = None if args.cookie_header is None else bare_cookies(args.cookie_header)
    sessions = _sessions(args)
    try:
        rules = [SessionRule.compile(name, session) for name, session in sessions.items()]
    except ValueError as error:
        raise UsageError(str(error)) from None
    found = inspect(rules, cookies, args.bearer, now)
    if args.json:
        # Claims may hold numbers and texts that orjson does not write; json writes all.
        print(json.dumps(found.report(), indent=2))
    else:
        print(_prose(found))
    return 1 if found.verified is None else 0


def _prose(found: Inspection) -> str:
    report = found.report()
    lines = [("valid", "yes" if report["valid"] else "no")]
    if found.credential is not None:
        lines.append(("found", f"{found.credential.source} {found.credential.name}".rstrip()))
        lines.append(("session", found.credential.session))
    lines += [(name, report[name]) for name in ("code", "kind", "reason") if report[name]]
    for name in ("principal", "claims"):
        if report[name]:
            lines.append((name, json.dumps(report[name], indent=2)))
    return pairs(lines, indent="")


def _sessions(args: argparse.Namespace) -> Mapping[str, SessionConfig]:
    """Return the sessions that are meant, in the order in which they are looked for."""
    if args.secret_file and args.config:
        raise UsageError("secrets come from --config or from --secret-file, not from both")
    path = None if args.secret_file else configfile.find(args.config)
    if path is None:
        return {"default": _session_without_file(args)}
    if args.action == "inspect" and args.cookie_name is not None:
        raise UsageError(f"the cookie's name is in {path}; --cookie-name is for use without a file")
    sessions = configfile.load(args).config.sessions
    if not sessions:
        raise UsageError(f"{path} has no sessions")
    if args.session is None:
        return sessions
    if args.session not in sessions:
        guess = did_you_mean(args.session, sessions)
        raise UsageError(f"{path} has no session '{args.session}'{guess}")
    return {args.session: sessions[args.session]}


def _session_without_file(args: argparse.Namespace) -> SessionConfig:
    from proxy.config.model import SessionConfig

    if args.session is not None:
        raise UsageError("--session names a session of a configuration, and there is none")
    found = [_read(path) for path in args.secret_file]
    found += [os.environ[name] for name in VARIABLES if os.environ.get(name)]
    if not found:
        raise UsageError(f"no secret: set {VARIABLES[0]}, or name a --secret-file or --config")
    given = {"secret": found, "cookie": args.cookie_name or "auto", "bearer": True}
    try:
        return SessionConfig.model_validate(given)
    except ValueError:
        raise UsageError(f"{args.cookie_name!r} is no cookie name") from None


def _read(path: str) -> str:
    """Return the secret in a file, read as the configuration's files are."""
    from proxy.config.load import read_secret

    try:
        text = read_secret(Path(path))
    except ValueError as error:
        raise UsageError(str(error).replace("this file", path, 1)) from None
    if not text:
        raise UsageError(f"{path} is empty")
    return text
