"""Pages for the studies, and links to files of the repository."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "experiments"

LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
"""A link or a figure whose address is a path."""


def write_studies(folder: Path) -> None:
    """A page for each study, and their table: the READMEs of ``experiments/``, links adapted."""
    folder.mkdir(exist_ok=True)
    readmes = {"index": STUDIES / "README.md"}
    readmes |= {path.parent.name: path for path in sorted(STUDIES.glob("*/README.md"))}
    for name, readme in readmes.items():
        text = _absolute(readme.read_text(encoding="utf-8"), readme.parent)
        if name == "index":
            pages = "\n".join(page for page in readmes if page != "index")
            text += f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
        page = folder / f"{name}.md"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
    for page in folder.glob("*.md"):
        if page.stem not in readmes:
            page.unlink()


def _absolute(text: str, folder: Path) -> str:
    """A README's links, as a page of ``docs/studies/`` needs them."""

    def link(match: re.Match[str]) -> str:
        path = (folder / match[2]).resolve()
        return f"{match[1]}../../{path.relative_to(ROOT).as_posix()}{match[3]}"

    return LINK.sub(link, text)


def link_studies(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links to studies of the repository lead to their pages."""
    up = PurePosixPath(*[".."] * docname.count("/"))

    def link(match: re.Match[str]) -> str:
        path = (ROOT / "docs" / docname).parent.joinpath(match[2]).resolve()
        if path.is_dir() and (path / "README.md").exists():
            path /= "README.md"
        if path.name != "README.md" or not path.is_relative_to(STUDIES):
            return match[0]
        name = "index" if path.parent == STUDIES else path.parent.name
        return f"{match[1]}{up / 'studies' / name}.md{match[3]}"

    source[0] = LINK.sub(link, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", lambda app: write_studies(Path(app.srcdir) / "studies"))
    app.connect("source-read", link_studies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
