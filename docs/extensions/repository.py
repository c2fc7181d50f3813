"""Pages of the site that are Markdown files elsewhere in the repository, and links to them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
"""A link or a figure whose address is a path."""


def sources() -> dict[Path, Path]:
    """The page of each file: the READMEs of studies, and the files about the project."""
    found = {ROOT / "experiments/README.md": DOCS / "studies/index.md"}
    for readme in sorted(ROOT.glob("experiments/*/README.md")):
        found[readme] = DOCS / f"studies/{readme.parent.name}.md"
    for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"):
        found[ROOT / f"{name}.md"] = DOCS / f"project/{name.casefold()}.md"
    return found


def write_pages() -> None:
    """Write the page of each file, with its links adapted; delete pages of files that are gone."""
    pages = sources()
    for source, page in pages.items():
        text = source.read_text(encoding="utf-8")
        text = LINK.sub(lambda m, s=source, p=page: _moved(m, s.parent, p.parent), text)
        if page.name == "index.md":
            names = "\n".join(
                p.stem for p in pages.values() if p.parent == page.parent and p != page
            )
            text += f"\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
        page.parent.mkdir(exist_ok=True)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
    for folder in {page.parent for page in pages.values()}:
        for page in set(folder.glob("*.md")) - set(pages.values()):
            page.unlink()


def link_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links of a page to files that have a page lead there."""
    folder = (DOCS / docname).parent
    source[0] = LINK.sub(lambda match: _moved(match, folder, folder), source[0])


def _moved(match: re.Match[str], before: Path, after: Path) -> str:
    """A link of a file in one folder as a file in another needs it."""
    target = (before / match[2]).resolve()
    if target.is_dir() and (target / "README.md").exists():
        target /= "README.md"
    if target == ROOT / "README.md":
        target = DOCS / "index.md"
    target = sources().get(target, target)
    return f"{match[1]}{os.path.relpath(target, after)}{match[3]}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", lambda app: write_pages())
    app.connect("source-read", link_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
