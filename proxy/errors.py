"""Every way an exchange can end early, as types; the only list of codes that clients may see.

    ProxyError
    ├── Refusal                      our own "no": the request, its sender or its session
    │   ├── BadRequest 400           bad_request
    │   │   ├── BadTarget            bad_target
    │   │   ├── BadHost              bad_host
    │   │   ├── AmbiguousPath        ambiguous_path
    │   │   └── BadCookie            bad_cookie
    │   ├── Unauthorized 401         (never raised itself)
    │   │   ├── SessionMissing       session_missing
    │   │   ├── SessionInvalid       session_invalid
    │   │   ├── SessionExpired       session_expired
    │   │   ├── SessionAmbiguous     session_ambiguous
    │   │   └── SessionRevoked       session_revoked
    │   ├── Forbidden 403            forbidden
    │   │   └── OriginRefused        origin_refused
    │   ├── NoRoute 404              no_route
    │   ├── MethodRefused 405        method_refused
    │   ├── RequestTimeout 408       request_timeout
    │   ├── BodyTooLarge 413         body_too_large
    │   ├── TargetTooLong 414        target_too_long
    │   ├── ExpectationFailed 417    expectation_failed
    │   ├── HeadTooLarge 431         head_too_large
    │   ├── RateLimited 429          rate_limited
    │   ├── MethodUnknown 501        method_unknown
    │   └── CodingUnknown 501        coding_unknown
    └── Failure                      the upstream, the session store or ourselves could not answer
        ├── Internal 500             internal
        ├── UpstreamUnreachable 502  upstream_unreachable
        │   └── ConnectionStale      (the same to the client: a pooled connection had ended)
        ├── UpstreamProtocol 502     upstream_protocol
        │   └── ConnectionCut        (the same to the client: it ended before a byte of the answer)
        ├── SessionStoreDown 503     session_store_down
        ├── LimitStoreDown 503       limit_store_down
        ├── NoEndpoint 503           no_endpoint
        ├── Overloaded 503           overloaded
        ├── Draining 503             draining
        └── UpstreamTimeout 504      upstream_timeout
            ├── AnswerLate           (the same to the client: no byte of the answer in time)
            └── ConnectTimeout       (the same to the client: no connection in time)

`reason` is for the log and for `gatelodge explain`; it never reaches a client, and it never holds a
token, a secret or a claim. What the client reads is `detail`, a constant of the class.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Source = Literal["client", "upstream", "store", "gateway"]


class ProxyError(Exception):
    """An exchange ended early. `status`, `code`, `title` and `detail` are what the client sees."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    detail: ClassVar[str]
    source: ClassVar[Source]
    retry_after: int | None = None
    """Seconds for `Retry-After` (RFC 9110 section 10.2.3), or None for no such header."""
    closes: ClassVar[bool] = False
    """The connection cannot be used again: what follows in it cannot be told apart from a body."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def settle(self) -> None:
        """Forget where it was raised and from what, once it has been caught.

        Frames of the way here hold the connection and pieces of bodies; a connection that keeps its
        error would be a cycle with them, which only the garbage collector ends, much later.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}" if self.reason else self.code


class Refusal(ProxyError):
    """We said no."""

    source: ClassVar[Source] = "client"


class Failure(ProxyError):
    """Somebody behind us could not answer."""

    source: ClassVar[Source] = "upstream"


class BadRequest(Refusal):
    status, code = 400, "bad_request"
    title = "Bad request"
    detail = "The request could not be understood."
    closes = True  # whoever writes one thing wrong may have written the next one too


class BadTarget(BadRequest):
    code = "bad_target"
    title = "Bad request target"
    detail = "The request target holds characters or escapes that a URL must not hold."


class BadHost(BadRequest):
    code = "bad_host"
    title = "Bad Host header"
    detail = "The Host header is missing or is not a host name with an optional port."


class AmbiguousPath(BadRequest):
    code = "ambiguous_path"
    title = "Ambiguous path"
    detail = "The path can be read in more than one way, and the readings are not guarded alike."
    closes = False


class BadCookie(BadRequest):
    code = "bad_cookie"
    title = "Bad Cookie header"
    detail = "The Cookie header is larger than a session can be."
    closes = False


class Unauthorized(Refusal):
    """The request does not carry a usable session; `error` is RFC 6750's code for it, if any."""

    status = 401
    error: ClassVar[str | None] = "invalid_token"


class SessionMissing(Unauthorized):
    code = "session_missing"
    title = "Not signed in"
    detail = "This resource needs a session, and the request carries none."
    error = None


class SessionInvalid(Unauthorized):
    code = "session_invalid"
    title = "Session not valid"
    detail = "The session that the request carries is not valid here."


class SessionExpired(Unauthorized):
    code = "session_expired"
    title = "Session expired"
    detail = "The session that the request carries has expired."


class SessionAmbiguous(Unauthorized):
    code = "session_ambiguous"
    title = "Session ambiguous"
    detail = "The request carries several different sessions."


class SessionRevoked(Unauthorized):
    code = "session_revoked"
    title = "Session revoked"
    detail = "The session that the request carries has been ended."


class Forbidden(Refusal):
    status, code = 403, "forbidden"
    title = "Forbidden"
    detail = "The signed-in user may not do this."


class OriginRefused(Forbidden):
    code = "origin_refused"
    title = "Origin refused"
    detail = "Requests from this origin are not accepted here."


class NoRoute(Refusal):
    status, code = 404, "no_route"
    title = "Not found"
    detail = "Nothing is served at this address."


class MethodRefused(Refusal):
    """`allow` goes into the `Allow` header (RFC 9110 section 15.5.6)."""

    status, code = 405, "method_refused"
    title = "Method not allowed"
    detail = "This resource does not offer this method."

    def __init__(self, reason: str = "", *, allow: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.allow = allow


class RequestTimeout(Refusal):
    status, code = 408, "request_timeout"
    title = "Request timeout"
    detail = "The request did not arrive in time."
    closes = True


class BodyTooLarge(Refusal):
    status, code = 413, "body_too_large"
    title = "Body too large"
    detail = "The request's body is larger than this resource accepts."
    closes = True


class TargetTooLong(Refusal):
    status, code = 414, "target_too_long"
    title = "Request target too long"
    detail = "The request target is longer than this gateway accepts."
    closes = True


class ExpectationFailed(Refusal):
    status, code = 417, "expectation_failed"
    title = "Expectation failed"
    detail = "The only expectation that can be met is 100-continue."
    closes = True


class HeadTooLarge(Refusal):
    status, code = 431, "head_too_large"
    title = "Request head too large"
    detail = "The request's header fields are larger than this gateway accepts."
    closes = True


class RateLimited(Refusal):
    """`policy` and `standing` go into the fields RateLimit-Policy and RateLimit
    (draft-ietf-httpapi-ratelimit-headers-10).
    """

    status, code = 429, "rate_limited"
    title = "Too many requests"
    detail = "Too many requests; try again later."
    retry_after = 1

    def __init__(
        self, reason: str = "", *, retry_after: int = 1, policy: str = "", standing: str = ""
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.policy = policy
        self.standing = standing


class MethodUnknown(Refusal):
    status, code = 501, "method_unknown"
    title = "Method not known"
    detail = "This gateway does not know or never forwards this method."
    closes = True


class CodingUnknown(Refusal):
    status, code = 501, "coding_unknown"
    title = "Transfer coding not known"
    detail = "The only transfer coding that is understood is chunked."
    closes = True


class Internal(Failure):
    status, code = 500, "internal"
    title = "Internal error"
    detail = "The gateway failed; the request id tells its operator where to look."
    source = "gateway"


class UpstreamUnreachable(Failure):
    status, code = 502, "upstream_unreachable"
    title = "Upstream not reachable"
    detail = "The service behind this gateway could not be reached."


class ConnectionGone(UpstreamUnreachable):
    """A pooled connection had ended before the request left: nothing was sent, and nobody is to
    blame.
    """


class ConnectionStale(UpstreamUnreachable):
    """A pooled connection ended before a byte of the answer: the endpoint closed it as we wrote."""


class UpstreamProtocol(Failure):
    status, code = 502, "upstream_protocol"
    title = "Upstream answered badly"
    detail = "The service behind this gateway sent an answer that is not valid HTTP."


class ConnectionCut(UpstreamProtocol):
    """A fresh connection ended behind the request and before a byte of the answer: whether the
    endpoint has acted on it, nobody knows.
    """


class SessionStoreDown(Failure):
    status, code = 503, "session_store_down"
    title = "Sessions cannot be checked"
    detail = "The session cannot be checked at the moment; try again."
    source = "store"
    retry_after = 1


class LimitStoreDown(Failure):
    status, code = 503, "limit_store_down"
    title = "Limits cannot be checked"
    detail = "The limit of requests cannot be checked at the moment; try again."
    source = "store"
    retry_after = 1


class NoEndpoint(Failure):
    status, code = 503, "no_endpoint"
    title = "No endpoint available"
    detail = "No instance of the service behind this gateway is available."
    retry_after = 1


class Overloaded(Failure):
    status, code = 503, "overloaded"
    title = "Overloaded"
    detail = "Too many requests are in flight; try again."
    source = "gateway"
    retry_after = 1


class Draining(Failure):
    status, code = 503, "draining"
    title = "Shutting down"
    detail = "This instance is shutting down; try again."
    source = "gateway"
    retry_after = 1
    closes = True


class UpstreamTimeout(Failure):
    status, code = 504, "upstream_timeout"
    title = "Upstream timed out"
    detail = "The service behind this gateway did not answer in time."


class ConnectTimeout(UpstreamTimeout):
    """No connection to the endpoint came about in time, so it has seen nothing of the request."""


class AnswerLate(UpstreamTimeout):
    """No byte of the answer came in time: whether the endpoint acts on the request, nobody
    knows.
    """
