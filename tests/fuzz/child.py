"""One target in a process of its own: `python -m tests.fuzz.child NAME SECONDS FOLDER`.

By Atheris, which is guided by the coverage of proxy/; where it has no wheel, by the mutator alone.
What is found lies in FOLDER/crashes/NAME/, the working corpus in FOLDER/corpus/NAME/.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random, SystemRandom
from time import monotonic
from typing import Any, Final

from tests.fuzz.crashes import FOUND, folder_of, keep
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import Target, load

SIZE_MAX: Final = 4096
"""Bytes of an input."""
_OURS: Final = 0.7
"""The share of mutations that are ours and not libFuzzer's."""


def main() -> None:
    """Run the target until the time is over or something is found."""
    name, seconds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    corpus, crashes = folder / "corpus" / name, folder_of(folder, name)
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    atheris = engine()
    if atheris is None:
        plain(load(name), name, seconds, folder)
        return
    with atheris.instrument_imports(include=["proxy"]):
        target = load(name)
        pool = list(target.seeds())
    _write_seeds(corpus, pool)
    mutate = Mutator(pool, target.WORDS, head=target.HEAD_BYTES)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={SIZE_MAX}",
        f"-artifact_prefix={crashes}/",
        "-timeout=60",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-error_exitcode={FOUND}",
        "-reload=0",
        str(corpus),
    ]
    atheris.Setup(
        [sys.argv[0], *options],
        _checked(target.check),
        custom_mutator=_mutator(atheris, mutate),
    )
    atheris.Fuzz()


def engine() -> Any:
    """Return Atheris, or None where it is not installed."""
    try:
        return import_module("atheris")
    except ImportError:
        return None


def _checked(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def one(data: bytes) -> None:
        check(bytes(data))

    return one


def _mutator(atheris: Any, mutate: Mutator) -> Callable[[bytes, int, int], bytes]:
    def one(data: bytes, size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < _OURS:
            return mutate(bytes(data), size, random)
        changed: bytes = atheris.Mutate(data, size)
        return changed

    return one


def _write_seeds(corpus: Path, pool: list[bytes]) -> None:
    for data in pool:
        (corpus / hashlib.sha256(data).hexdigest()[:40]).write_bytes(data)


def plain(target: Target, name: str, seconds: float, folder: Path) -> None:
    """Run `target` without coverage for so long; keep what fails and exit."""
    pool = list(target.seeds())
    mutate, random = Mutator(pool, target.WORDS, head=target.HEAD_BYTES), SystemRandom()
    end, done = monotonic() + seconds, 0
    while monotonic() < end:
        data = pool[done] if done < len(pool) else mutate(random.choice(pool), SIZE_MAX, random)
        done += 1
        try:
            target.check(data)
        except Exception:  # noqa: BLE001 - whatever it is, it was found
            traceback.print_exc()
            keep(folder, name, data)
            sys.exit(FOUND)
    print(f"stat::number_of_executed_units: {done}", file=sys.stderr)


if __name__ == "__main__":
    main()
