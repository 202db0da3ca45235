"""`make fuzz`: every target in turn, within one budget of time.

make fuzz MINUTES=30
make fuzz ARGS="--only head --only response"
make fuzz ARGS="--replay .fuzz/crashes/head/crash-..."
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

from tests.fuzz import targets
from tests.fuzz.child import engine
from tests.fuzz.crashes import FOUND

FOLDER: Final = Path(".fuzz")
PROPERTIES: Final = "properties"
DIFFERENTIAL: Final = "differential"
NAMES: Final = (PROPERTIES, *targets.NAMES, DIFFERENTIAL)
_TAIL: Final = 40
"""Lines of a log that are shown when something was found."""
_PROGRESS: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)")
_STATS: Final = re.compile(r"^stat::(\w+): +(\d+)$", re.MULTILINE)
_PASSED: Final = re.compile(r"(\d+) passed")


def main() -> int:
    """Run what the arguments ask for; return the exit code."""
    arguments = _arguments()
    if arguments.replay is not None:
        return replay(arguments.replay, arguments.only)
    names = arguments.only or list(NAMES)
    seconds = max(1, int(arguments.minutes * 60 / len(names)))
    print(f"{len(names)} targets of {seconds} s each; the working corpus is in {FOLDER}/")
    _print_engine()
    failed = [name for name in names if not run(name, seconds)]
    print(f"to be looked at: {', '.join(failed)}" if failed else "found nothing")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all targets together")
    parser.add_argument("--only", action="append", choices=NAMES, help="this target; repeatable")
    parser.add_argument("--replay", type=Path, help="judge this one input and show what is wrong")
    return parser.parse_args()


def _print_engine() -> None:
    if engine() is not None:
        print("Atheris guides the targets by the coverage of proxy/")
        return
    version = ".".join(map(str, sys.version_info[:2]))
    print(
        f"NOTE: Atheris has no wheel for Python {version} on {sys.platform}: the targets run with "
        "our own mutations, unguided. Wheels are for CPython 3.11 to 3.14 on Linux, x86-64"
    )


def run(name: str, seconds: int) -> bool:
    """Run one target, show what came of it, and return whether nothing was found."""
    log = FOLDER / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    started = monotonic()
    print(f"{name:<13}", end="", flush=True)
    with log.open("wb") as output:
        code, told = _RUNNERS.get(name, _run_child)(name, seconds, output.fileno())
    text = log.read_text(encoding="utf-8", errors="backslashreplace")
    if code:
        found = code == FOUND or (name == PROPERTIES and code == 1)  # pytest: tests have failed
        print(f"{'FOUND something' if found else 'COULD NOT RUN'} (exit code {code}); {log}:")
        print("\n".join(line[:2000] for line in text.splitlines()[-_TAIL:]))
        _print_replay(name, text)
        return False
    print(f"{monotonic() - started:5.0f} s  {told(text)}")
    print("".join(f"{line}\n" for line in text.splitlines() if line.startswith("NOTE: ")), end="")
    return True


def _print_replay(name: str, text: str) -> None:
    files = re.findall(r"Test unit written to (\S+)", text)
    if files:
        print(f'once more: make fuzz ARGS="--only {name} --replay {files[-1]}"')


Told = tuple[int, Callable[[str], str]]
"""An exit code, and what makes a line of the log's text."""


def _run_child(name: str, seconds: int, output: int) -> Told:
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(seconds), str(FOLDER)]
    return _code(command, output), _summary


def _run_differential(_name: str, seconds: int, output: int) -> Told:
    command = [sys.executable, "-m", "tests.fuzz.differential", str(seconds), str(FOLDER)]
    return _code(command, output), _summary


def _run_properties(_name: str, seconds: int, output: int) -> Told:
    """Run the property tests, with new examples in each round, until the time is over."""
    command = [sys.executable, "-m", "pytest", "--ignore=tests/e2e", "-q", "-x", "-m", "hypothesis"]
    end, rounds = monotonic() + seconds, 0
    while True:
        rounds += 1
        code = _code([*command, "--hypothesis-profile=fuzz"], output)
        if code or monotonic() >= end:
            break

    def told(text: str) -> str:
        passed = _PASSED.findall(text)
        return f"{passed[-1] if passed else 0} property tests, {rounds} rounds"

    return code, told


_RUNNERS: Final[dict[str, Callable[[str, int, int], Told]]] = {
    PROPERTIES: _run_properties,
    DIFFERENTIAL: _run_differential,
}


def _code(command: list[str], output: int) -> int:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
    )
    return done.returncode


def _summary(text: str) -> str:
    stats = dict(_STATS.findall(text))
    told = [f"{int(stats.get('number_of_executed_units', 0)):,} executions"]
    told += [f"{int(n):,} {k.replace('_', ' ')}" for k, n in stats.items() if k.startswith("asked")]
    progress = _PROGRESS.findall(text)
    if progress:
        edges, features, inputs, size = progress[-1]
        told.append(f"{edges} edges, {features} features, corpus of {inputs} inputs ({size})")
    return ", ".join(told)


def replay(file: Path, only: list[str] | None) -> int:
    """Judge one input in this process; return the exit code."""
    name = only[0] if only else file.resolve().parent.name
    data = file.read_bytes()
    if name == DIFFERENTIAL:
        from tests.fuzz import differential

        check, described = differential.replay, targets.load("target").describe(data)
    elif name in targets.NAMES:
        target = targets.load(name)
        check, described = target.check, target.describe(data)
    else:
        print(f"which target is {file} for? say so with --only", file=sys.stderr)
        return 2
    print(f"{name}: {described}")
    try:
        check(data)
    except Exception:  # noqa: BLE001 - to be shown, whatever it is
        traceback.print_exc()
        return 1
    print("nothing is wrong with it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
