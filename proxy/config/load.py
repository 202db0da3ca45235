"""From a file to a configuration, or to all that is wrong with it at once.

Two rounds: first the shape (is this a duration?), then, if that is right everywhere, the meaning
(does every route name an upstream that exists?). What is found in a round is reported together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config.check_files import files_of
from proxy.config.checks import check
from proxy.config.document import Document
from proxy.config.load_yaml import MAX_BYTES
from proxy.config.model import Config
from proxy.config.problems import ConfigError, Problem, Report
from proxy.config.wording import describe

# Another file was meant, if not a device without an end. Keys and chains of them are far smaller.
_SECRET_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True)
class Loaded:
    """A configuration that is right, the file that it came from, and the files that it names."""

    config: Config
    document: Document
    named: tuple[Path, ...] = ()


def load(path: Path, env: Mapping[str, str]) -> Loaded:
    """Read a file; raise ConfigError with every problem. Paths in it are relative to its folder."""
    return _load(_text(path), str(path), env, path.parent)


def loads(text: str, name: str, env: Mapping[str, str]) -> Loaded:
    """Read a text as `load` reads a file; paths in it are relative to the current folder."""
    return _load(text, name, env, Path())


def _load(text: str, name: str, env: Mapping[str, str], folder: Path) -> Loaded:
    document = Document(name, text, env)
    secrets: list[Path] = []
    config = _shape(document, folder, secrets)
    report = Report(document, document.problems)
    if config is not None and not report.problems:
        check(config, report)
    others = [] if config is None else [path for _, path in files_of(config)]
    named = tuple(dict.fromkeys([*secrets, *others]))
    if config is None or report.problems:
        raise ConfigError(report.problems, named)
    return Loaded(config, document, named)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "not readable"
        raise ConfigError([Problem(str(path), 0, 0, f"cannot be read: {reason}")]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(errors="replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"the byte 0x{data[error.start]:02X} is not UTF-8; save the file as UTF-8"
        raise ConfigError([Problem(str(path), line, column, message)]) from None


def _shape(document: Document, folder: Path, secrets: list[Path]) -> Config | None:
    """Return the model, or None after adding to the document's problems. The files of its secrets
    are added to `secrets`.
    """
    if document.values is None:
        return None

    def read(name: str) -> str:
        secrets.append(folder / name)
        return read_secret(folder / name)

    context = {"folder": folder, "read": read}
    config, errors = _validate(document.values, context)
    places = {document.nearest(error["loc"]) for error in errors}
    changed = [loc for loc in places if document.reread(loc)]
    if changed:
        config, errors = _validate(document.values, context)
    document.problems += describe(errors, document)
    return config


def _validate(values: Any, context: dict[str, Any]) -> tuple[Config | None, list[ErrorDetails]]:
    try:
        return Config.model_validate(values, context=context), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_input=False)


def read_secret(path: Path) -> str:
    """Return the secret in a file, without one newline at its end, which may be none.

    ValueError says in a clause about "this file" why not, without a word of what is in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_SECRET_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ValueError(f"this file cannot be read: {reason}") from None
    if len(data) > _SECRET_BYTES_MAX:
        raise ValueError("this file is larger than 64KiB, so it is no secret")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("this file is not UTF-8") from None
    if text.endswith("\n"):
        text = text[:-2] if text.endswith("\r\n") else text[:-1]
    return text
