"""The documents tell what is there: links lead somewhere, every error code is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy import errors
from proxy.config.load import loads
from tests.hostile.cases import load, load_left_out

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/*.md"),
        *ROOT.glob("deploy/*/*.md"),
    ]
)


def codes_of(base: type[errors.ProxyError]) -> set[tuple[str, str]]:
    """Status and code of `base` and of every error below it, as far as they are ever raised."""
    found = {(str(base.status), base.code)} if hasattr(base, "code") else set()
    return found.union(*(codes_of(below) for below in base.__subclasses__()))


def test_the_runbook_explains_every_error_code() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{3}) \| `([a-z_]+)` \|", text, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == codes_of(errors.ProxyError)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (document.parent / target).exists()] == []


def anchors(document: Path) -> set[str]:
    """Return the fragments that lead to the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_to_headings_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", document.read_text(encoding="utf-8"))
    local = [(path, fragment) for path, fragment in links if "://" not in path]
    pages = [(document.parent / path if path else document, fragment) for path, fragment in local]
    assert [link for link in pages if link[1] not in anchors(link[0])] == []


def test_the_configuration_of_the_readme_loads() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (config,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    secret = {"AUTH_SECRET": "nCDKFVEfzVvTVLpZh1sUQnVXvVvOwpm5"}
    assert loads(config, "README.md", secret).config.upstreams.keys() == {"api"}


def test_every_test_that_the_threats_name_exists() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[^`]+)`", text)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def cases_of(text: str) -> list[str]:
    """Return the ids of the attack cases that a text names: PA-08, or DS-02..05 for all between."""
    known = [case.id for case in load()[1]]
    found: list[str] = []
    for category, first, last in re.findall(r"\b([A-Z]{2})-(\d\d)(?:\.\.(\d\d))?", text):
        ends = (f"{category}-{first}", f"{category}-{last or first}")
        assert set(ends) <= set(known), f"{ends}: no such cases"
        found += [case for case in known if case[:2] == category and ends[0] <= case <= ends[1]]
    return found


def test_every_attack_case_has_its_line_among_the_threats() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = text.partition("## Every attack case")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if re.match(r"\| [A-Z]{2}-", line)]
    named = [case for row in rows for case in cases_of(row[0])]
    assert sorted(named) == sorted(case.id for case in load()[1])
    assert [row[0] for row in rows if "`tests/" not in row[3]] == []
    left_out = {case for row in rows if row[2].strip() == "left out" for case in cases_of(row[0])}
    assert left_out == set(load_left_out())


def test_every_attack_case_that_the_threats_name_exists() -> None:
    for document in ("security.md", "conformance.md"):
        assert cases_of((ROOT / "docs" / document).read_text(encoding="utf-8"))


def test_every_threat_names_a_test_or_an_attack_case() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    threats = text.partition("## Threats")[2].partition("## The same suite against others")[0]
    rows = [line for line in threats.splitlines() if re.match(r"\| (?!threat|cases|---)", line)]
    assert len(rows) > 80
    shown = r"`tests/[^`]+`|\b[A-Z]{2}-\d\d"
    assert [row for row in rows if not re.search(shown, row.split("|")[-2])] == []
