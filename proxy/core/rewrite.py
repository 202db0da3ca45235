"""How a route changes the path on its way upstream: `strip_prefix` and `rewrite`."""

from __future__ import annotations

from proxy.core.pattern import Pattern
from proxy.core.target import Target, check_path


class Rewrite:
    """Makes a path of the upstream: fills the wildcards of `result`, in order, from `source`'s.

    Make one with `strip` or `replace`.
    """

    __slots__ = ("_prefix", "_result", "_source")

    def __init__(self, source: Pattern, result: Pattern, prefix: str | None) -> None:
        self._source = source
        self._result = result
        self._prefix = prefix

    @classmethod
    def strip(cls, path: str, prefix: str) -> Rewrite:
        """Cut `prefix` off paths that match `path`. Raises ValueError if it begins otherwise."""
        source = Pattern.parse(path)
        stripped = Pattern.parse(prefix)
        cut = stripped.segments
        if stripped.open or "" in cut or None in cut or source.segments[: len(cut)] != cut:
            raise ValueError("strip_prefix is whole literal segments with which path begins")
        return cls(source, Pattern(source.segments[len(cut) :], source.open), prefix)

    @classmethod
    def replace(cls, path: str, rewrite: str) -> Rewrite:
        """Turn paths that match `path` into `rewrite`. ValueError if their wildcards differ."""
        source, result = Pattern.parse(path), Pattern.parse(rewrite)
        if (source.segments.count(None), source.open) != (result.segments.count(None), result.open):
            raise ValueError("rewrite has the same wildcards as path, in their order")
        return cls(source, result, None)

    @property
    def result(self) -> Pattern:
        """What the paths match that come out."""
        return self._result

    def apply(self, target: Target) -> tuple[str, str | None]:
        """Return the request target for the upstream, with its query, and the X-Forwarded-Prefix.

        `target` has matched the route's path. What comes out is checked like what came in: raises
        BadTarget and AmbiguousPath (a path such as `/svc//host` would otherwise become the name of
        a host).
        """
        segments = target.path.split("/")[1:]
        fixed = len(self._source.segments)
        # The pattern matched these very bytes, so that the path is as long and has its literals.
        pairs = zip(segments, self._source.segments, strict=False)
        wild = iter([segment for segment, part in pairs if part is None])
        parts = [next(wild) if part is None else part for part in self._result.segments]
        path = "".join(f"/{part}" for part in [*parts, *segments[fixed:]]) or "/"
        check_path(path)
        return path if target.query is None else f"{path}?{target.query}", self._prefix
