"""The documentation site: it builds without warnings, needs no network, and has no dead link."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from filelock import FileLock
from markdown_it import MarkdownIt

import mia_lab
from keys import attack_choices, choices, schema_keys, source_choices
from pages import ROOT

pytestmark = pytest.mark.slow  # `make docs` refuses what Sphinx finds

SITE = ROOT / "docs/_build/html"
FRONT = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
GENERATED = {"_build", "project", "studies"}
LOADS = {"audio", "embed", "iframe", "img", "input", "link", "object", "script", "source", "video"}
"""Elements whose address a browser loads."""


@pytest.fixture(scope="module")
def site() -> list[Path]:
    """The pages of the site, built where something changed."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(SITE)]
    SITE.mkdir(parents=True, exist_ok=True)
    with FileLock(SITE.parent / "lock"):
        built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return sorted(SITE.rglob("*.html"))


@cache
def parsed(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(page: Path) -> frozenset[str]:
    """What a link to a page may name: ids of HTML, or headings of Markdown as hosts name them."""
    if page.suffix == ".html":
        return frozenset(str(tag["id"]) for tag in parsed(page).find_all(id=True))
    built = SITE / page.relative_to(ROOT / "docs").with_suffix(".html") if is_page(page) else None
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    headings = [
        tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"
    ]
    slugs = {re.sub(r"[^\w\- ]", "", h.casefold()).replace(" ", "-") for h in headings}
    return frozenset(slugs) | (anchors(built) if built else frozenset())


def is_page(path: Path) -> bool:
    return path.suffix == ".md" and path.is_relative_to(ROOT / "docs")


def problem(page: Path, link: str) -> str:
    """What is wrong with a link; "" if it leads somewhere, or to another site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.exists():
        return f"{page.relative_to(ROOT)}: {link}: does not exist"
    names = anchors(target) if target.suffix in (".html", ".md") else frozenset()
    if parts.fragment and unquote(parts.fragment) not in names:
        return f"{page.relative_to(ROOT)}: {link}: has no such anchor"
    return ""


def test_pages_load_nothing_from_outside(site: list[Path]) -> None:
    outside = re.compile(r"^(?:\w+:)?//")
    for page in site:
        for tag in parsed(page).find_all(LOADS):
            for name in ("src", "href", "data", "srcset", "poster"):
                address = str(tag.get(name, ""))
                assert not outside.match(address), f"{page}: {tag}"
    for sheet in SITE.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", text), sheet
    assert not re.search("mathjax|require.js|polyfill", "".join(map(str, site)), re.IGNORECASE)


def test_links_of_the_site_lead_somewhere(site: list[Path]) -> None:
    found = [
        problem(page, str(tag[name]))
        for page in site
        for name in ("href", "src")
        for tag in parsed(page).find_all(attrs={name: True})
    ]
    assert not [text for text in found if text]
    assert len(found) > 1000


def test_links_of_markdown_lead_somewhere(site: list[Path]) -> None:
    pages = [ROOT / name for name in FRONT]
    pages += [
        p for p in (ROOT / "docs").rglob("*.md") if not GENERATED & {*p.relative_to(ROOT).parts}
    ]
    pages += (ROOT / "experiments").rglob("README.md")
    found = []
    for page in pages:
        tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
        inline = [child for token in tokens for child in token.children or ()]
        for child in inline:
            if address := child.attrGet("href") or child.attrGet("src"):
                found.append(problem(page, str(address)))
    assert not [text for text in found if text]
    assert len(found) > 100


def test_every_key_has_an_entry(site: list[Path]) -> None:
    configuration = anchors(SITE / "reference/configuration.html")
    components = anchors(SITE / "reference/components.html")
    assert {f"confval-{key.name}" for key in schema_keys()} <= configuration
    for group in ("victim", "difficulty", "defense", "backbone"):
        for choice in choices(group):
            assert {f"confval-{key.name}" for key in choice.keys} <= components
    for choice in [*attack_choices(), *source_choices()]:
        assert {f"confval-{key.name}" for key in choice.keys} <= components


def test_every_public_name_has_an_entry(site: list[Path]) -> None:
    assert {f"mia_lab.{name}" for name in mia_lab.__all__} <= anchors(SITE / "reference/api.html")
