"""Reads a source tree and says where it breaks the rules that test_architecture.py lists.

Every check takes a `Tree` and returns its problems as sentences that begin with `file:line`.
Nothing is imported from the tree: it is only parsed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
_CHARACTER_CLASS = re.compile(r"\[(?:\\.|[^\]\\])*\]")
_POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")


@dataclass(frozen=True)
class Import:
    """One imported name, as far as it names a module; `relative` is the number of leading dots."""

    name: str
    line: int
    relative: int


@dataclass(frozen=True)
class Module:
    """A parsed file; `path` is relative to the package, `name` is dotted and begins with it."""

    name: str
    path: str
    source: str
    syntax: ast.Module

    @property
    def unit(self) -> str:
        """The folder or file under the package that holds the module; "" for the package itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""

    def functions(self) -> Iterator[Function]:
        for node in ast.walk(self.syntax):
            if isinstance(node, Function):
                yield node


class Tree:
    """All modules of one package."""

    def __init__(self, package: Path) -> None:
        self.package = package.name
        self.modules: dict[str, Module] = {}
        for file in sorted(package.rglob("*.py")):
            path = file.relative_to(package)
            parts = [package.name, *path.with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            source = file.read_text(encoding="utf-8")
            module = Module(".".join(parts), path.as_posix(), source, ast.parse(source))
            self.modules[module.name] = module

    def imports(self, module: Module) -> Iterator[Import]:
        """Every import in the file, also those inside functions and under TYPE_CHECKING."""
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, 0)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                for alias in node.names:
                    deeper = f"{base}.{alias.name}"
                    name = deeper if deeper in self.modules else base
                    yield Import(name, node.lineno, node.level)

    def own_imports(self, module: Module) -> Iterator[Import]:
        for found in self.imports(module):
            if found.name.split(".")[0] == self.package:
                yield found


def matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def floor_problems(tree: Tree, floors: Mapping[str, int]) -> list[str]:
    """A module imports its own package and lower floors only, not siblings on its floor."""
    problems = []
    for module in tree.modules.values():
        if module.unit not in floors:
            problems.append(f"{module.path}:1: {module.unit!r} has no floor")
            continue
        for found in tree.own_imports(module):
            parts = found.name.split(".")
            unit = parts[1] if len(parts) > 1 else ""
            if unit == module.unit:
                continue
            if unit not in floors or floors[unit] >= floors[module.unit]:
                problems.append(
                    f"{module.path}:{found.line}: floor {floors[module.unit]} imports {found.name}"
                    f" on floor {floors.get(unit, 'unknown')}"
                )
    return problems


def relative_import_problems(tree: Tree) -> list[str]:
    return [
        f"{module.path}:{found.line}: relative import"
        for module in tree.modules.values()
        for found in tree.imports(module)
        if found.relative
    ]


def cycle_problems(tree: Tree) -> list[str]:
    """Each cycle once, as the path that closes it."""
    edges = {
        name: sorted({found.name for found in tree.own_imports(module)} & tree.modules.keys())
        for name, module in tree.modules.items()
    }
    problems: list[str] = []
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            problems.append(" -> ".join([*trail[trail.index(name) :], name]))
            return
        if name in done:
            return
        for target in edges[name]:
            visit(target, [*trail, name])
        done.add(name)

    for name in edges:
        visit(name, [])
    return problems


def purity_problems(
    tree: Tree, pure: Sequence[str], impure: frozenset[str], calls: frozenset[str]
) -> list[str]:
    """Files matching `pure` import nothing of `impure` and call nothing named in `calls`."""
    problems = []
    for module in tree.modules.values():
        if not matches(module.path, pure):
            continue
        problems += [
            f"{module.path}:{found.line}: pure module imports {found.name}"
            for found in tree.imports(module)
            if found.name in impure or found.name.split(".")[0] in impure
        ]
        problems += [
            f"{module.path}:{node.lineno}: pure module calls {_called_name(node)}()"
            for node in ast.walk(module.syntax)
            if isinstance(node, ast.Call) and _called_name(node) in calls
        ]
    return problems


def _called_name(call: ast.Call) -> str:
    if isinstance(call.func, ast.Name):
        return call.func.id
    return f".{call.func.attr}" if isinstance(call.func, ast.Attribute) else ""


def third_party(tree: Tree, module: Module) -> Iterator[tuple[str, int]]:
    """Top-level name and line of every import that is neither ours nor the standard library's."""
    for found in tree.imports(module):
        top = found.name.split(".")[0]
        if (
            top
            and top != tree.package
            and top not in sys.stdlib_module_names
            and not found.relative
        ):
            yield top, found.line


def door_problems(tree: Tree, doors: Mapping[str, Sequence[str]]) -> list[str]:
    """Each dependency enters only where `doors` (import name -> path patterns) lets it."""
    problems = []
    for module in tree.modules.values():
        for top, line in third_party(tree, module):
            if top not in doors:
                problems.append(f"{module.path}:{line}: {top} has no door")
            elif not matches(module.path, doors[top]):
                problems.append(
                    f"{module.path}:{line}: {top} may enter only in {', '.join(doors[top])}"
                )
    return problems


def unused_doors(tree: Tree, doors: Mapping[str, Sequence[str]]) -> list[str]:
    """Dependencies that nothing imports."""
    used = {top for module in tree.modules.values() for top, _ in third_party(tree, module)}
    return sorted(doors.keys() - used)


def idle_doors(tree: Tree, doors: Mapping[str, Sequence[str]]) -> list[str]:
    """Patterns through which the dependency does not come."""
    used = {
        (top, module.path)
        for module in tree.modules.values()
        for top, _ in third_party(tree, module)
    }
    return [
        f"{name}: {pattern}"
        for name, patterns in doors.items()
        for pattern in patterns
        if not any(top == name and fnmatch(path, pattern) for top, path in used)
    ]


def private_attribute_problems(tree: Tree, library: str, allowed: Sequence[str]) -> list[str]:
    """Only `allowed` files touch private attributes of `library`'s objects.

    In a file that imports the library, that is any `x._name` where x is not self or cls; and any
    `self._name` in a class that inherits from it and does not set that name up itself.
    """
    problems = []
    for module in tree.modules.values():
        names = _names_from(module, library)
        if not names or matches(module.path, allowed):
            continue
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.Attribute) and _is_private(node.attr) and not _on_self(node):
                problems.append(f"{module.path}:{node.lineno}: private attribute {node.attr}")
            if isinstance(node, ast.ClassDef) and any(_root(base) in names for base in node.bases):
                problems += _inherited_private(module, node)
    return problems


def _inherited_private(module: Module, node: ast.ClassDef) -> list[str]:
    touched: dict[str, int] = {}
    own = {child.name for child in node.body if isinstance(child, Function)}
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and _is_private(child.attr) and _on_self(child):
            touched.setdefault(child.attr, child.lineno)
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            own.add(child.target.id)
    return [
        f"{module.path}:{line}: private attribute {name} in a class that inherits"
        for name, line in touched.items()
        if name not in own
    ]


def _names_from(module: Module, library: str) -> set[str]:
    """The names that the module's imports of `library` bind."""
    names: set[str] = set()
    for node in ast.walk(module.syntax):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or library
                for alias in node.names
                if alias.name.split(".")[0] == library
            }
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library:
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _on_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def possessive_group_problems(tree: Tree) -> list[str]:
    """Python up to 3.11.4 finds wrong matches where a group is atomic (CPython issue 106052)."""
    return [
        f"{module.path}:{node.lineno}: a possessive group in a pattern"
        for module in tree.modules.values()
        for node in ast.walk(module.syntax)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str | bytes)
        and _POSSESSIVE_GROUP.search(_CHARACTER_CLASS.sub("", _text(node.value)))
    ]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def size_problems(tree: Tree, module_lines: int, function_lines: int) -> list[str]:
    problems = []
    for module in tree.modules.values():
        length = len(module.source.splitlines())
        if length > module_lines:
            problems.append(f"{module.path}:1: {length} lines, the limit is {module_lines}")
        for function in module.functions():
            length = function_length(function)
            if length > function_lines:
                problems.append(
                    f"{module.path}:{function.lineno}: {function.name} has {length} lines,"
                    f" the limit is {function_lines}"
                )
    return problems


def function_length(function: Function) -> int:
    """Lines from `def` to the end, without decorators and docstring."""
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        length -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return length


def annotation_problems(tree: Tree) -> list[str]:
    problems = []
    for module in tree.modules.values():
        for function in module.functions():
            arguments = function.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            starred = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
            bare = [
                argument.arg
                for argument in [*named, *starred]
                if argument.annotation is None and argument.arg not in ("self", "cls")
            ]
            if function.returns is None:
                bare.append("return")
            if bare:
                where = f"{module.path}:{function.lineno}"
                problems.append(f"{where}: {function.name} does not annotate {', '.join(bare)}")
    return problems


def docstring_problems(tree: Tree) -> list[str]:
    return [
        f"{module.path}:1: no docstring that says what the module owns"
        for module in tree.modules.values()
        if module.syntax.body and ast.get_docstring(module.syntax) is None
    ]


def untested_modules(tree: Tree, tests: Path, elsewhere: Mapping[str, str]) -> list[str]:
    """Modules with code and without tests/<path>/test_<name>.py; `elsewhere`: path -> test file."""
    problems = []
    for module in tree.modules.values():
        path = Path(module.path)
        if not any(isinstance(node, Function | ast.ClassDef) for node in ast.walk(module.syntax)):
            continue
        expected = elsewhere.get(module.path, f"{path.with_name('test_' + path.name).as_posix()}")
        if not (tests / expected).is_file():
            problems.append(f"{module.path}:1: no tests/{expected}")
    problems += [
        f"{path}:1: the exception for it is out of date"
        for path in elsewhere
        if path not in {module.path for module in tree.modules.values()}
    ]
    return problems
