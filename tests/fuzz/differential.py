"""Targets before real servers: `python -m tests.fuzz.differential SECONDS FOLDER`.

Whatever the gateway forwards without an administrator is sent to each server of servers.py, batch
by batch, until the time is over. None of them may serve its guarded handler, and each must do what
its model in tests/support/backends.py says, since the quick tests rely on that.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random, SystemRandom
from time import monotonic
from typing import Final

from tests.fuzz import target as targets
from tests.fuzz.crashes import FOUND, keep
from tests.fuzz.finding import Finding
from tests.fuzz.mutate import Mutator
from tests.fuzz.servers import Server, ServersFailed, ask_all, start_servers
from tests.support.backends import GUARDED, NOTHING, REAL, REFUSED

NAME: Final = "differential"
BATCH: Final = 1500
"""Inputs that are judged at a time; a quarter of them is forwarded."""
_SIZE_MAX: Final = 400
_NOT_SERVED: Final = {NOTHING, REFUSED}


def judge(inputs: list[bytes], servers: list[Server]) -> int:
    """Ask `servers` about what is forwarded of these inputs; return how many targets that was.

    Raises Finding.
    """
    sent: dict[tuple[str, bool], bytes] = {}
    for data in inputs:
        table, target = targets.parts(data)
        for forwarded in targets.forwarded(table, target):
            sent.setdefault((forwarded, table.case_sensitive), data)
    distinct = list(dict.fromkeys(target for target, _ in sent))
    for server, served in asyncio.run(ask_all(servers, distinct)).items():
        handlers = dict(zip(distinct, served, strict=True))
        for (target, _), data in sent.items():
            _check(server, target, data, handlers[target])
    return len(distinct)


def _check(server: str, target: str, data: bytes, handler: str) -> None:
    model = REAL[server]
    table, _ = targets.parts(data)
    if handler == GUARDED and table.allows(model):
        raise Found(f"{server} serves the guarded handler for {targets.describe(data)}", data)
    expected = model.handler(target)
    if handler != expected and not {handler, expected} <= _NOT_SERVED:
        raise Found(f"{server} serves {handler} for {target!r}, its model {expected}", data)


class Found(Finding):
    """A finding and its input."""

    def __init__(self, what: str, data: bytes) -> None:
        super().__init__(what)
        self.data = data


def generated(random: Random, corpus: Path | None = None) -> Iterator[bytes]:
    """Make inputs without end: the seeds first, then what the mutator makes of them and of the
    corpus of the target `target`.
    """
    pool = list(targets.seeds())
    if corpus is not None and corpus.is_dir():
        pool += [file.read_bytes() for file in sorted(corpus.iterdir())]
    mutate = Mutator(pool, targets.WORDS)
    yield from pool
    while True:
        yield mutate(random.choice(pool), _SIZE_MAX, random)


def replay(data: bytes) -> None:
    """Ask all servers about one input. Raises Finding."""
    with tempfile.TemporaryDirectory() as folder, start_servers(Path(folder)) as servers:
        judge([data], servers)


def main() -> None:
    """Run until the time is over or something is found."""
    seconds, folder = float(sys.argv[1]), Path(sys.argv[2])
    inputs = generated(SystemRandom(), folder / "corpus" / "target")
    asked = made = 0
    with tempfile.TemporaryDirectory() as temporary, start_servers(Path(temporary)) as servers:
        names = ", ".join(server.name for server in servers)
        print(f"asking {names}", file=sys.stderr)
        end = monotonic() + seconds
        while not made or monotonic() < end:
            batch = [next(inputs) for _ in range(BATCH)]
            made += len(batch)
            asked += judge(batch, servers)
    print(f"stat::number_of_executed_units: {made}", file=sys.stderr)
    print(f"stat::asked_at_{len(servers)}_servers: {asked}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except ServersFailed as failure:
        sys.exit(str(failure))
    except Found as found:
        print(found, file=sys.stderr)
        keep(Path(sys.argv[2]), NAME, found.data)
        sys.exit(FOUND)
