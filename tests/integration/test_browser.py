"""The report in a real browser: readable on a screen and on a phone, sortable, loading nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mia_lab.sweeps.point import State
from support import Command
from sweeps import add

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WIDTHS = (1280, 390)


@dataclass
class Opened:
    """A page, and what it did that it should not."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> str:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser on PATH: none of {', '.join(NAMES)}")
    return path


@pytest.fixture(scope="module")
def browser(chromium: str, report: Path) -> Iterator[Any]:
    """Opened after the run, as its event loop then belongs to this process."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one real run; asks for the browser first, so that nothing is run in vain."""
    command = Command(tmp_path_factory.mktemp("audit"))
    ran = command("+experiment=tiny", "report.images=true", "difficulty.grid.ridge=[0.1,10]")
    assert ran.code == 0, ran.err
    return ran.folder / "outputs" / "latest" / "report.html"


def visit(browser: Any, report: Path, width: int, **options: Any) -> Opened:
    page = browser.new_page(viewport={"width": width, "height": 800}, **options)
    found = Opened(page)
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(report.as_uri())
    return found


@pytest.fixture(scope="module", params=WIDTHS)
def opened(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    found = visit(browser, report, request.param)
    yield found
    found.page.close()


def test_nothing_is_loaded_and_nothing_fails(opened: Opened, report: Path) -> None:
    assert opened.complaints == []
    assert {url for url in opened.requests if not url.startswith("data:")} == {report.as_uri()}
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert opened.page.evaluate(broken) == 0
    assert opened.page.evaluate("document.images.length") > 8


def test_nothing_is_wider_than_the_window(opened: Opened) -> None:
    widths = "[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
    content, window = opened.page.evaluate(widths)
    assert content <= window
    # Text that sticks out, but for what scrolls by itself and headers for screen readers alone.
    sticking = opened.page.evaluate(
        """() => [...document.querySelectorAll("p, h1, h2, h3, td, th, dd, dt, pre, figcaption")]
        .filter(e => !e.closest(".scroll, .attacks:not(.sortable) thead"))
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
        .map(e => e.textContent)"""
    )
    assert sticking == []


def test_contents_lead_somewhere(opened: Opened) -> None:
    links = opened.page.locator("nav.contents a")
    assert links.count() > 5
    for i in range(links.count()):
        target = links.nth(i).get_attribute("href")
        assert opened.page.locator(str(target)).count() == 1


def column(table: Any, index: int) -> list[float]:
    cells = table.locator(f"tbody tr td:nth-child({index})")
    values: list[str] = cells.evaluate_all("cells => cells.map(c => c.dataset.value)")
    return [float(value) for value in values]


def test_tables_sort_by_numbers_and_by_words(opened: Opened) -> None:
    table = opened.page.locator("table.scores")
    head, button = (table.locator(f"th:has-text('Difficulty'){part}") for part in ("", " button"))
    index = 5
    before = column(table, index)
    assert before != sorted(before)
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(table, index) == sorted(before)
    button.press("Enter")  # the keyboard does as well
    assert head.get_attribute("aria-sort") == "descending"
    assert column(table, index) == sorted(before, reverse=True)
    table.locator("th:has-text('Truth') button").click()
    assert head.get_attribute("aria-sort") is None
    truth = table.locator("tbody tr td:nth-child(3)").all_text_contents()
    assert truth == ["member"] * 6 + ["non-member"] * 5
    table.locator("th:has-text('Rank') button").click()
    assert column(table, index) == before


def test_the_highest_comes_first_where_it_is_looked_for(opened: Opened) -> None:
    table = opened.page.locator("table.sortable:has(th:has-text('Blind baseline'))")
    table.locator("th:has-text('AUC') button").click()
    areas = column(table, 3)
    assert areas == sorted(areas, reverse=True)
    assert len(areas) > 1


def test_the_page_is_complete_without_its_script(browser: Any, report: Path) -> None:
    found = visit(browser, report, 390, java_script_enabled=False)
    text = found.page.inner_text("body")
    assert "Members" in text
    assert found.page.locator("table.scores tbody tr").count() == 11
    assert found.page.locator("th button").count() == 0
    assert found.complaints == []
    found.page.close()


def test_the_page_of_a_sweep_fits_and_sorts(browser: Any, tmp_path: Path) -> None:
    points = product(("pix2pix", "pix2pixhd"), ((1,), (1, 2, 3, 4)), range(2))
    for number, (victim, layers, seed) in enumerate(points):
        add(tmp_path / "s", number, 0.6 + number / 50, victim=victim, layers=layers, seed=seed)
    add(tmp_path / "s", 8, state=State.FAILED, reason="C:/" + "long/" * 60)
    ran = Command(tmp_path).alone("task=collect", "collect.dir=s", "tracking.mode=disabled")
    assert ran.code == 0, ran.err
    for width in WIDTHS:
        found = visit(browser, tmp_path / "s" / "report.html", width)
        content, window = found.page.evaluate(
            "[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
        )
        assert content <= window
        assert found.complaints == []
        heads = found.page.locator("table:has-text('Over blind')").get_by_role("button")
        heads.filter(has_text="Point").click()
        cells = "[...document.querySelectorAll('td[data-label=Point]')].map(c => c.innerText)"
        assert found.page.evaluate(cells) == [str(number) for number in range(8)]
        found.page.close()


def test_print_shows_what_the_screen_folds_away(browser: Any, report: Path) -> None:
    found = visit(browser, report, 1280)
    page = found.page
    folded = page.locator("details pre")
    assert not folded.is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert folded.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not folded.is_visible()
    page.emulate_media(media="print")
    cut = "[...document.querySelectorAll('.tall')].filter(e => e.scrollHeight > e.clientHeight + 1)"
    assert page.evaluate(f"{cut}.length") == 0
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
