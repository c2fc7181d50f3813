from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

from mia_lab.reporting import draw, write_html
from mia_lab.reporting.html import render


class Page(HTMLParser):
    """Collects the text and whatever a browser would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.loads += [v for k, v in attrs if k in {"src", "href", "srcset", "data"} and v]
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.text += data


def test_page_holds_the_numbers(result, tmp_path):
    path = write_html(result, draw(result), tmp_path)
    assert path == tmp_path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    for e in (*result.evaluations, *result.blind):
        assert f"{e.auc:.3f} [{e.auc_ci95[0]:.3f}, {e.auc_ci95[1]:.3f}]" in page.text
    assert page.text.count("not resolvable") == 3
    assert f"{100 * result.evaluations[1].tpr_at_fpr['0.1']:.1f} %" in page.text
    assert f"{result.comparisons[0].difference:+.3f}" in page.text
    assert "Members can be told from non-members: membership attack" in page.text
    assert "61.2" in page.text


def test_page_loads_nothing(result):
    html = render(result, draw(result))
    page = Page(html)
    assert page.loads
    assert all(load.startswith("data:") for load in page.loads)
    assert "script" not in page.tags
    assert not re.search(r"@import|url\(|https?://", html)
    assert [bool(image["alt"]) for image in page.images] == [True] * 3


def test_page_escapes_what_it_is_given(result):
    odd = dataclasses.replace(
        result,
        name="<script>x</script>",
        near_duplicates=(("<b>a", "b&c", 2),),
        record={"k<i>": '"><img src=https://x>'},
    )
    html = render(odd, ())
    assert not {"script", "b", "i", "img"} & Page(html).tags
    assert "&lt;b&gt;a" in html
    assert "b&amp;c" in html


def test_page_without_duplicates_or_comparisons(result):
    plain = dataclasses.replace(result, near_duplicates=(), comparisons=(), blind=())
    text = Page(render(plain, ())).text
    assert "None found" in text
    assert "Paired comparison" not in text


def test_grid_is_listed_and_the_best_is_named_for_what_it_is(result, grid, tmp_path):
    with_grid = dataclasses.replace(result, grid=grid)
    page = Page(render(with_grid, draw(with_grid)))
    for point in grid:
        assert f"{point.auc:.3f} [" in page.text
    assert page.text.count("best, chosen in hindsight") == 1
    assert "backbone" not in page.text.split("AUC [95 % interval]")[-2][-80:]
    assert "Grid" not in Page(render(result, ())).text
