"""The architecture as tables, checked against proxy/; each check also on a tree that breaks it."""

from __future__ import annotations

import re
import statistics
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import architecture as check

ROOT = Path(__file__).parent.parent

FLOORS = {
    "__main__": 12,  # python -m proxy
    "cli": 11,
    "demo": 10,
    "supervisor": 9,
    "worker": 8,
    "admin": 7,
    "gateway": 6,
    "session": 5,
    "limits": 5,
    "upstream": 5,
    "telemetry": 4,
    "core": 3,
    "config": 2,
    "errors": 1,
    "": 0,  # proxy/__init__.py: the version
}

PURE = ["core/*.py", "config/model*.py", "config/units.py", "errors.py"]
IMPURE = frozenset(
    {
        "asyncio",
        "aiohttp",
        "concurrent",
        "getpass",
        "glob",
        "http.client",
        "http.server",
        "httptools",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "platform",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "socketserver",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib.request",
        "uuid",
        "uvloop",
        "warnings",
    }
)
IMPURE_CALLS = frozenset({"open", "print", "input", ".now", ".utcnow", ".today"})

# Import name -> the files that may know it. Where a list is long, what is passed on is plain data.
DOORS = {
    "aiohttp": [
        "gateway/inbox.py",
        "gateway/listener.py",
        "gateway/unparsed.py",
        "gateway/body.py",
        "worker/process.py",
        "admin/answers.py",
        "admin/app.py",
        "demo/*.py",
    ],
    "asyncpg": ["session/database.py", "session/faults.py", "demo/rows.py"],
    "cachebox": ["session/memory.py"],
    "cryptography": ["core/certificate.py", "core/jwe.py", "core/jws_keys.py", "core/schedules.py"],
    "httptools": ["upstream/response.py"],
    "jwt": ["core/jws.py", "core/jws_keys.py"],
    "orjson": [
        "admin/answers.py",
        "cli/output.py",
        "demo/*.py",
        "gateway/respond.py",
        "telemetry/access.py",
    ],
    "prometheus_client": ["telemetry/metrics.py"],
    "publicsuffixlist": ["config/origins.py"],
    "pydantic": ["config/*.py", "admin/guard.py"],
    "pydantic_core": ["config/*.py"],
    "redis": ["limits/server.py"],
    "uvloop": ["worker/serve.py"],
    "yaml": ["config/load_yaml.py"],
}
# The import names whose distribution is called otherwise.
DISTRIBUTIONS = {
    "jwt": "pyjwt",
    "prometheus_client": "prometheus-client",
    "pydantic_core": "pydantic",
    "yaml": "pyyaml",
}
AIOHTTP_INSIDES = ["gateway/inbox.py", "gateway/listener.py"]

# Modules that another test file covers, and why.
TESTED_ELSEWHERE: dict[str, str] = {
    # Protocols alone, no code: mypy checks that the listener and the gateway are what they say.
    "gateway/downstream.py": "gateway/test_listener.py",
}


@pytest.fixture(scope="module")
def tree() -> check.Tree:
    return check.Tree(ROOT / "proxy")


def test_imports_go_down_the_floors(tree: check.Tree) -> None:
    assert check.floor_problems(tree, FLOORS) == []


def test_imports_are_absolute(tree: check.Tree) -> None:
    assert check.relative_import_problems(tree) == []


def test_imports_have_no_cycle(tree: check.Tree) -> None:
    assert check.cycle_problems(tree) == []


def test_rules_do_no_io(tree: check.Tree) -> None:
    assert check.purity_problems(tree, PURE, IMPURE, IMPURE_CALLS) == []


def test_dependencies_enter_by_their_doors(tree: check.Tree) -> None:
    assert check.door_problems(tree, DOORS) == []


def test_no_door_stands_open_for_nobody(tree: check.Tree) -> None:
    assert check.idle_doors(tree, DOORS) == []


def test_private_attributes_of_aiohttp_are_used_in_one_file(tree: check.Tree) -> None:
    assert check.private_attribute_problems(tree, "aiohttp", AIOHTTP_INSIDES) == []


def test_no_pattern_has_a_possessive_group(tree: check.Tree) -> None:
    assert check.possessive_group_problems(tree) == []


def test_modules_and_functions_are_short(tree: check.Tree) -> None:
    assert check.size_problems(tree, module_lines=400, function_lines=40) == []


def test_most_functions_are_shorter_still(tree: check.Tree) -> None:
    lengths = [
        check.function_length(function)
        for module in tree.modules.values()
        for function in module.functions()
    ]
    assert statistics.quantiles(lengths, n=10)[-1] <= 35


def test_everything_is_annotated(tree: check.Tree) -> None:
    assert check.annotation_problems(tree) == []


def test_modules_say_what_they_own(tree: check.Tree) -> None:
    assert check.docstring_problems(tree) == []


def test_every_module_has_its_test_file(tree: check.Tree) -> None:
    assert check.untested_modules(tree, ROOT / "tests", TESTED_ELSEWHERE) == []


def test_the_package_itself_imports_nothing(tree: check.Tree) -> None:
    assert list(tree.imports(tree.modules["proxy"])) == []


def test_dependencies_are_those_that_are_imported(tree: check.Tree) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["redis"]]
    declared = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in needed}
    unused = check.unused_doors(tree, DOORS)
    imported = {DISTRIBUTIONS.get(name, name) for name in DOORS if name not in unused}
    assert imported == declared


# Each check must be able to fail. A tree that keeps every rule, and one change that breaks one.

GOOD = {
    "__init__.py": '"""Package."""\n',
    "errors.py": '"""Errors."""\n',
    "core/__init__.py": '"""Core."""\n',
    "core/rules.py": '"""Rules."""\nfrom proxy import errors\nfrom proxy.core import more\n',
    "core/more.py": '"""More."""\n\ndef more(x: int) -> int:\n    """Doc."""\n    return x\n',
    "session/__init__.py": '"""Session."""\n',
    "upstream/__init__.py": '"""Upstream."""\n',
    "gateway/__init__.py": '"""Gateway."""\n',
    "gateway/listener.py": '"""Listener."""\nimport aiohttp\n\naiohttp.web._inside\n',
}
SMALL_PURE = ["core/*.py"]


def problems(root: Path, changes: dict[str, str]) -> dict[str, list[str]]:
    """Write the good tree with `changes`, run every check, return those that found something."""
    for path, source in (GOOD | changes).items():
        file = root / "proxy" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
    tests = root / "tests"
    (tests / "core").mkdir(parents=True)
    (tests / "core" / "test_more.py").touch()
    tree = check.Tree(root / "proxy")
    checks: dict[str, Callable[[], list[str]]] = {
        "floors": lambda: check.floor_problems(tree, FLOORS),
        "relative": lambda: check.relative_import_problems(tree),
        "cycles": lambda: check.cycle_problems(tree),
        "purity": lambda: check.purity_problems(tree, SMALL_PURE, IMPURE, IMPURE_CALLS),
        "doors": lambda: check.door_problems(tree, DOORS),
        "private": lambda: check.private_attribute_problems(tree, "aiohttp", AIOHTTP_INSIDES),
        "possessive": lambda: check.possessive_group_problems(tree),
        "sizes": lambda: check.size_problems(tree, module_lines=30, function_lines=10),
        "annotations": lambda: check.annotation_problems(tree),
        "docstrings": lambda: check.docstring_problems(tree),
        "tests": lambda: check.untested_modules(tree, tests, {}),
    }
    return {name: found for name, run in checks.items() if (found := run())}


def test_a_tree_that_keeps_the_rules_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, {}) == {}


DOC = '"""Doc."""\n'

BREACHES = {
    "upwards": ("floors", "core/rules.py", "from proxy.gateway import listener\n"),
    "upwards, inside a function": (
        "floors",
        "core/more.py",
        "def more() -> None:\n    import proxy.gateway.listener\n",
    ),
    "to a sibling": ("floors", "session/__init__.py", "import proxy.upstream\n"),
    "from a new folder": ("floors", "lodge/__init__.py", ""),
    "of a folder without a floor": ("floors", "errors.py", "from proxy.lodge import x\n"),
    "relative import": ("relative", "core/rules.py", "from . import more\n"),
    "cycle in a package": ("cycles", "core/more.py", "from proxy.core import rules\n"),
    "module that imports itself": ("cycles", "core/more.py", "import proxy.core.more\n"),
    "clock": ("purity", "core/rules.py", "import time\n"),
    "submodule of an impure package": ("purity", "core/rules.py", "import asyncio.events\n"),
    "http client": ("purity", "core/rules.py", "from http.client import HTTPConnection\n"),
    "clock through datetime": (
        "purity",
        "core/rules.py",
        "import datetime\ndatetime.datetime.now()\n",
    ),
    "file": ("purity", "core/rules.py", "open('x')\n"),
    "dependency by another door": ("doors", "upstream/__init__.py", "import aiohttp.web\n"),
    "dependency without a door": ("doors", "gateway/listener.py", "import requests\n"),
    "private attribute of another object": (
        "private",
        "demo/app.py",
        "from aiohttp import web\nweb.Request._read\n",
    ),
    "private attribute that is inherited": (
        "private",
        "demo/app.py",
        "from aiohttp import web\nclass App(web.Application):\n    x = lambda self: self._state\n",
    ),
    "possessive group": ("possessive", "core/rules.py", "x = r'(?:a|b)*+'\n"),
    "atomic group": ("possessive", "core/rules.py", "x = rb'(?>a)'\n"),
    "long module": ("sizes", "core/rules.py", "\n" * 30),
    "long function": ("sizes", "core/more.py", "def more() -> None:\n" + "    pass\n" * 10),
    "argument without a type": ("annotations", "core/more.py", "def more(x) -> None: ...\n"),
    "starred argument without a type": (
        "annotations",
        "core/more.py",
        "def more(*x) -> None: ...\n",
    ),
    "no return type": ("annotations", "core/more.py", "def more(): ...\n"),
    "no test file": ("tests", "core/rules.py", "def rule() -> None: ...\n"),
}


@pytest.mark.parametrize(("name", "path", "source"), BREACHES.values(), ids=BREACHES)
def test_a_breach_is_found(tmp_path: Path, name: str, path: str, source: str) -> None:
    found = problems(tmp_path, {path: DOC + source})
    assert name in found
    assert any(path in problem or _dotted(path) in problem for problem in found[name])


def _dotted(path: str) -> str:
    return "proxy." + path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_a_module_without_a_docstring_is_found(tmp_path: Path) -> None:
    assert problems(tmp_path, {"core/rules.py": "x = 1\n"}) == {
        "docstrings": ["core/rules.py:1: no docstring that says what the module owns"]
    }


def test_a_long_docstring_does_not_make_a_function_long(tmp_path: Path) -> None:
    source = DOC + 'def more() -> None:\n    """Says\n' + "    much\n" * 12 + '    """\n'
    assert problems(tmp_path, {"core/more.py": source}) == {}


def test_a_private_attribute_of_our_own_class_is_no_problem(tmp_path: Path) -> None:
    source = DOC + "import aiohttp\n\nclass Own:\n    x = lambda self: self._state\n"
    assert "private" not in problems(tmp_path, {"demo/__init__.py": DOC, "demo/x.py": source})


def test_an_exception_for_a_module_that_is_gone_is_found(tmp_path: Path) -> None:
    problems(tmp_path, {})
    tree = check.Tree(tmp_path / "proxy")
    found = check.untested_modules(tree, tmp_path / "tests", {"core/gone.py": "core/test_more.py"})
    assert found == ["core/gone.py:1: the exception for it is out of date"]


def test_a_dependency_that_nothing_imports_is_found(tmp_path: Path) -> None:
    problems(tmp_path, {})
    tree = check.Tree(tmp_path / "proxy")
    assert check.unused_doors(tree, {"aiohttp": [], "yaml": []}) == ["yaml"]


def test_a_door_that_nobody_uses_is_found(tmp_path: Path) -> None:
    problems(tmp_path, {})
    tree = check.Tree(tmp_path / "proxy")
    doors = {"aiohttp": ["gateway/*.py", "session/*.py"]}
    assert check.idle_doors(tree, doors) == ["aiohttp: session/*.py"]
