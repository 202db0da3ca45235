"""The steps of a request in words, for a terminal."""

from __future__ import annotations

from textwrap import fill
from typing import Any, Final

from proxy.cli.output import pairs

Step = dict[str, Any]

_WIDTH: Final = 88
_LONG: Final = 3650 * 86400.0
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def prose(steps: Step, now: float) -> str:
    """Return the whole story; `now` is the Unix time at which it plays."""
    request, outcome = steps["request"], steps["outcome"]
    blocks = [f"{request['method']} {request['target']}"]
    if "client" in steps:
        blocks.append(pairs(_items(steps, now)))
    blocks.append(_ending(outcome, steps.get("upstream")))
    if steps.get("head"):
        blocks.append("\n".join(f"  {line}" for line in steps["head"]))
    blocks += [_wrapped(f"Note: {note}") for note in steps.get("notes", ())]
    return printable("\n\n".join(blocks))


def printable(text: str) -> str:
    """Return the text with control characters escaped: a user's own name may hold some.

    A terminal would obey them (ECMA-48), and users choose their names.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text
    )


def _items(steps: Step, now: float) -> list[tuple[str, str]]:
    request = steps["request"]
    items = [
        ("host", request["host"] or "cannot be read"),
        ("path", _path(request)),
        ("client", _client(steps["client"])),
        ("route", _route(steps["route"])),
        ("cors", _cors(steps["cors"])),
    ]
    if steps["session"] is not None:
        items.append(("session", _session(steps["session"], now)))
        ignored = _ignored(steps["cookies_ignored"])
        items += [("ignored", ignored)] if ignored else []
    if steps["principal"] is not None:
        items.append(("user", _principal(steps["principal"])))
    if steps["policy"] is not None:
        items.append(("policy", _policy(steps["policy"])))
        if steps["rate_limits"]:
            limits = [_limit(limit, steps) for limit in steps["rate_limits"]]
            items.append(("limits", "\n".join(limits)))
        upstream = steps["upstream"]
        items.append(("upstream", _upstream(upstream)))
    return items


def _upstream(upstream: Step) -> str:
    endpoints = [f"each address of {upstream['dns']}"] if upstream["dns"] else upstream["endpoints"]
    text = f"{upstream['name']}: {', '.join(endpoints)}"
    if upstream["preferred"]:
        return f"{text}\n{upstream['balance']}: {upstream['preferred']}, while it has room"
    return f"{text}\n{upstream['balance']}" if endpoints[1:] or upstream["dns"] else text


def _path(request: Step) -> str:
    path, folded = request["path"], request["folded"]
    if path is None:
        return "cannot be read"
    return str(path) if folded == path else f"{path}\nmay be read as {folded}"


def _client(client: Step) -> str:
    trusted = "through a trusted proxy" if client["trusted_proxy"] else "directly"
    return f"{client['address']}, {client['scheme']}, {trusted}"


def _route(route: Step | None) -> str:
    if route is None:
        return "none"
    methods = "any method" if route["methods"] is None else ", ".join(route["methods"])
    host = "any host" if route["host"] is None else route["host"]
    return f"{route['path']} ({host}, {methods}): the most specific that matches"


def _cors(cors: Step) -> str:
    if not cors["enabled"]:
        return "off: the upstream answers for itself"
    if cors["origin"] is None:
        return "no Origin: no page of another origin asks"
    kind = "preflight from" if cors["preflight"] else "from"
    if cors["listed"]:
        return f"{kind} {cors['origin']}, which is listed: its page may read the answer"
    return f"{kind} {cors['origin']}, which is not listed: its page cannot read the answer"


def _session(session: Step, now: float) -> str:
    state: str = session["state"]
    if "session" not in session:
        return f"{state}: {session['reason']}" if "reason" in session else state
    place = "bearer token" if session["source"] == "bearer" else f"cookie {session['cookie']}"
    text = f"{session['session']}, {place}"
    if state == "valid":
        return f"{text}\nvalid: {session['kind']}, {_expiry(session['expires'], now)}"
    return f"{text}\n{state}: {session['reason']}" if "reason" in session else f"{text}\n{state}"


def _expiry(expires: float | None, now: float) -> str:
    if expires is None:
        return "without an end"
    if expires - now > _LONG:
        return "ends in more than ten years"
    left = int(expires - now)
    if left <= 0:
        return "expired, but within the tolerance"
    parts = []
    for unit, seconds in _UNITS:
        count, left = divmod(left, seconds)
        parts += [f"{count}{unit}"] if count else []
    return f"ends in {' '.join(parts[:2])}"


def _ignored(cookies: list[Step]) -> str:
    by_reason: dict[str, list[str]] = {}
    for cookie in cookies:
        by_reason.setdefault(cookie["reason"], []).append(cookie["name"])
    return "\n".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())


def _principal(principal: Step) -> str:
    named = [f"{field} {principal[field]}" for field in ("email", "name") if principal[field]]
    roles = [f"roles {', '.join(principal['roles'])}"] if principal["roles"] else []
    return "; ".join([f"id {principal['id']}", *named, *roles])


def _policy(policy: Step) -> str:
    verdicts = {True: ": met", False: ": not met", None: ""}
    return f"{demands(policy['auth'], policy['require'])}{verdicts[policy['met']]}"


def _limit(limit: Step, steps: Step) -> str:
    where = "of this route" if limit["scope"] else "of all routes"
    together = ", shared" if limit["shared"] else ""
    counted = {
        "user": "this user",
        "ip": f"the address {steps['client']['address']}",
        "route": "everybody on this route",
    }[limit["counted_by"]]
    return f"{rate_of(limit)} (burst {limit['burst']}{together}), {where}: counted for {counted}"


def rate_of(limit: Step) -> str:
    """Return a limit in a few words, such as `100/m by ip`."""
    return f"{limit['rate']} by {limit['by']}"


def demands(auth: str, require: Step) -> str:
    """Return what a route asks of the user, in one line."""
    parts = [auth]
    if "roles" in require:
        parts.append(f"role {' or '.join(require['roles'])}")
    for path, values in require.get("claims", {}).items():
        parts.append(f"{path} = {' or '.join(map(str, values))}")
    if "email_domains" in require:
        parts.append(f"e-mail at {' or '.join(require['email_domains'])}")
    return ", ".join(parts)


def _ending(outcome: Step, upstream: Step | None) -> str:
    verdict = outcome["verdict"]
    if verdict == "forwarded" and upstream is not None:
        kind = "forwarded, as a WebSocket," if outcome["websocket"] else "forwarded"
        return f"{kind} to {upstream['name']}, with this head:"
    if verdict == "answered":
        by = " (health_path, before any routing)" if "by" in outcome else ""
        lines = [f"  {line}" for line in outcome["headers"]]
        return "\n".join([f"answered by the gateway: {outcome['status']}{by}", *lines])
    items = [("reason", outcome["reason"]), ("advice", _wrapped(outcome["advice"]))]
    return f"refused: {outcome['status']} {outcome['code']}\n{pairs(items)}"


def _wrapped(text: str) -> str:
    return fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
