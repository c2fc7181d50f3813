"""The page of an audit: the numbers of the result, nothing loaded, everything escaped."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from audits import bounded, changed, make_adjustment, make_audit, make_overfitting
from mia_lab.evaluation import gate
from mia_lab.evaluation.results import (
    AnswersCurve,
    AuditReport,
    AuditResult,
    Gate,
    Outcome,
    Verdict,
)
from mia_lab.reporting.audit.figures import draw, grid_pictures
from mia_lab.reporting.audit.words import details, headline
from mia_lab.reporting.canvas import Picture
from mia_lab.reporting.frames import score_frame
from mia_lab.reporting.html import render, write_html
from mia_lab.reporting.numbers import interval, p_text, rate_interval
from mia_lab.types import ScoreTable


class Page(HTMLParser):
    """Collects the text, the tables and whatever a browser would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.tables: list[list[list[str]]] = []
        self.values: list[list[list[str | None]]] = []
        self.text = ""
        self._hidden = False
        self._cell: list[str] | None = None
        self.feed(html)
        self.text = " ".join(self.text.split())
        self.tables = [[[" ".join(c.split()) for c in row] for row in t] for t in self.tables]

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        found = dict(attrs)
        self.loads += [v for k, v in attrs if k in {"src", "href", "srcset", "data"} and v]
        self.ids |= {found["id"]} if "id" in found else set()
        self._hidden = tag in {"style", "script"}
        if tag == "img":
            self.images.append(found)
        elif tag == "table":
            self.tables.append([])
            self.values.append([])
        elif tag == "tr":
            self.tables[-1].append([])
            self.values[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self.values[-1][-1].append(found.get("data-value"))
            self._cell = self.tables[-1][-1]

    def handle_endtag(self, tag):
        if tag in {"td", "th"}:
            self._cell = None
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.text += data
            if self._cell is not None:
                self._cell[-1] += data

    def table(self, first: str, nth: int = 0) -> list[list[str]]:
        """The rows of a table below its header, by the text of its first header cell."""
        return [t[1:] for t in self.tables if t[0][0] == first][nth]


def cell(p_value: float) -> str:
    return p_text(p_value).removeprefix("p ").removeprefix("= ")


@pytest.fixture(scope="module")
def page(audit: AuditReport, pictures: tuple[Picture, ...]) -> Page:
    return Page(render(audit, pictures))


def test_the_answer_comes_first(
    audit: AuditReport, result: AuditResult, page: Page, tmp_path: Path
) -> None:
    path = write_html(audit, (), tmp_path)
    assert path == tmp_path / "report.html"
    for sentence in (headline(result), details(audit)):
        assert sentence in page.text
        assert page.text.index(sentence) < page.text.index("AUC [95 %]")
    best = max(result.evaluations, key=lambda e: e.auc)
    assert f"AUC of the {best.name} attack" in page.text
    assert "40 + 40" in page.text


@pytest.mark.parametrize("verdict", Verdict)
def test_the_verdict_on_the_split_is_said_in_words(
    audit: AuditReport, result: AuditResult, verdict: Verdict
) -> None:
    blind = dataclasses.replace(result.blind, verdict=verdict)
    html = render(changed(audit, blind=blind), ())
    assert html.count(f'<span class="badge {verdict}">Split: {verdict}</span>') == 2


@pytest.mark.parametrize("failed", [True, False])
def test_the_gate_is_reported(audit: AuditReport, failed: bool) -> None:
    outcome = Outcome("auc/membership > 0.6", 0.7 if failed else 0.5, failed)
    found = Gate(outcome.condition, failed, (outcome,))
    text = Page(render(changed(audit, gate=found), ())).text
    assert ("Gate failed" if failed else "Gate passed") in text
    assert gate.sentence(found) in text
    assert "Gate " not in Page(render(audit, ())).text


def test_attacks_table_holds_the_evaluations(result: AuditResult, page: Page) -> None:
    rows = page.table("Attack")
    excess = {c.first: c for c in result.excess}
    assert len(rows) == len(result.evaluations) == 2
    for row, e in zip(rows, result.evaluations, strict=True):
        low, high = e.auc_bootstrap_ci95
        gain = excess[e.name]
        assert row == [
            e.name,
            "",
            interval(e.auc, e.auc_ci95),
            cell(e.p_value),
            f"[{low:.3f}, {high:.3f}]",
            interval(gain.difference, gain.ci95, "+"),
        ]


def test_rates_come_with_the_images_behind_them(
    audit: AuditReport, result: AuditResult, page: Page
) -> None:
    rows = page.table("Attack", 1)
    evaluations = (*result.evaluations, *result.blind.baselines)
    assert len(rows) == 3 * len(evaluations) == 12
    for number, e in enumerate(evaluations):
        name = e.name + " (blind)" * (e in result.blind.baselines)
        found, score = e.tpr_at_fpr["0.1"], _score(result, e.name)
        truth = audit.split.is_member(result.scores[0].id.tolist())
        called = score >= np.sort(score)[-found.true_positives - found.false_positives]
        mistakes, hits = np.count_nonzero(called & ~truth), np.count_nonzero(called & truth)
        above = np.count_nonzero(score[truth] > score[~truth].max())
        assert rows[3 * number : 3 * number + 3] == [
            [name, "1 %", "", "", "not resolvable with 40 non-members"],
            [
                *(name, "10 %", f"{2.5 * mistakes:.3g} % ({mistakes} of 40)", f"{hits} of 40"),
                rate_interval(found, 40),
            ],
            [
                *(name, "above all non-members", "none (0 of 40)", f"{above} of 40"),
                rate_interval(e.tpr_at_zero_fp, 40),
            ],
        ]


def _score(result: AuditResult, name: str) -> np.ndarray:
    return next(t.score for t in (*result.scores, *result.blind.scores) if t.attack == name)


def test_comparisons_carry_one_test(result: AuditResult, page: Page) -> None:
    rows = page.table("First minus second")
    compared = (*result.comparisons, *result.excess)
    assert len(rows) == len(compared) == 3
    for row, c in zip(rows, compared, strict=True):
        blind = " (blind)" if c in result.excess else ""
        assert row == [
            f"{c.first} minus {c.second}{blind}",
            interval(c.difference, c.ci95, "+"),
            cell(c.p_value),
        ]


def test_decisions_name_where_their_threshold_came_from(result: AuditResult, page: Page) -> None:
    rows = {row[0]: row[1:] for row in page.table("Attack, requested FPR")}
    assert "20 auxiliaries" in page.text
    for name, practice in result.decisions.items():
        assert rows[f"{name}, 1 %"] == ["too few auxiliaries: 20, at least 99 are needed"]
        point = practice.fixed_threshold["0.1"]
        assert rows[f"{name}, 10 %"] == [
            f"{-point.threshold:.4g}",
            *(
                rate_interval(r, 0)
                for r in (point.tpr, point.fpr, *point.precision_at_prior.values())
            ),
        ]
    hindsight = page.table("Attack", 2)
    for row, (name, practice) in zip(hindsight, result.decisions.items(), strict=True):
        best = practice.hindsight
        assert row == [
            name,
            f"{-best.threshold:.4g}",
            f"{100 * best.tpr:.1f} %",
            f"{100 * best.fpr:.1f} %",
            f"{best.accuracy:.3f}",
        ]
    assert "best threshold in hindsight This threshold is chosen with the true labels" in page.text


def test_nobody_called_and_no_auxiliaries_are_said(audit: AuditReport, result: AuditResult) -> None:
    def text_with(**fields) -> str:
        decisions = {k: dataclasses.replace(v, **fields) for k, v in result.decisions.items()}
        return Page(render(changed(audit, decisions=decisions), ())).text

    assert (
        "(data.n_auxiliary; in Python, the argument auxiliaries): at least 99 for 1 % FPR, "
        "9 for 10 % FPR." in text_with(fixed_threshold={})
    )
    point = result.decisions["membership"].fixed_threshold["0.1"]
    nobody = dataclasses.replace(point, precision_at_prior=dict.fromkeys(point.precision_at_prior))
    assert text_with(fixed_threshold={"0.1": nobody}).count("none called a member") == 4


def test_calibration_and_the_privacy_bound(
    audit: AuditReport, result: AuditResult, page: Page
) -> None:
    rows = page.table("Attack", 3)
    for row, (name, practice) in zip(rows, result.decisions.items(), strict=False):
        found = practice.calibration
        assert row == [name, f"{found.brier:.3f}", f"{found.log_loss:.3f}"]
    assert rows[-1] == ["0.5 for every image", "0.250", f"{np.log(2):.3f}"]
    assert "there is no valid bound: a fixed number of members was drawn" in page.text
    assert page.text.count("there is no valid bound") == 1
    decisions = {
        name: dataclasses.replace(quality, calibration=None)
        for name, quality in bounded(result, 1.2345, 0.0).items()
    }
    text = Page(render(changed(audit, decisions=decisions), ())).text
    for sentence in (
        "reconstruction and membership: with 95 % confidence, the hypothesis that the training is "
        "(epsilon, delta)-differentially private is rejected for any epsilon below 1.234 at delta "
        "1e-05; 40 of 50 guesses are correct.",
        "the hypothesis that the training is Gaussian differentially private with the mu that "
        "belongs to epsilon and delta is not rejected for any epsilon at delta 1e-05",
    ):
        assert text.count(sentence) == 1
    assert text.count("the number of guesses was fixed beforehand.") == 2
    assert text.count("too few images to fit a sigmoid") == 2


def test_blind_baselines_and_duplicates(
    audit: AuditReport, result: AuditResult, page: Page
) -> None:
    blind = result.blind
    rows = page.table("Blind baseline")
    assert len(rows) == len(blind.baselines) == 2
    for row, e in zip(rows, blind.baselines, strict=True):
        assert row[0].startswith(e.name)
        assert (", the best" in row[0]) == (e.name == blind.best)
        assert row[2:] == [
            cell(blind.adjusted_p[e.name]),
            interval(e.auc, e.auc_ci95),
        ]
    assert f"{p_text(blind.p_value)}, from {blind.permutations} permutations" in page.text
    assert f"upper bound of their AUCs is {blind.upper95:.3f}" in page.text
    assert page.table("Image")[0] == ["facade-0000", "facade-0001", "3"]
    none = changed(audit, near_duplicates=())
    assert "No two images with different roles look alike." in Page(render(none, ())).text


def test_parts_of_the_data(audit: AuditReport) -> None:
    small = make_audit(n=20, groups=True)
    found = small.result
    page = Page(render(small, ()))
    rows = {
        (by, row[0]): row[1:]
        for nth, by in enumerate(("difficulty", "group"))
        for row in page.table("Part", nth)
    }
    assert len(rows) == 4 + 7
    for s in found.slices:
        row = rows[s.by, s.name]
        assert row[0] == f"{s.n_members} + {s.n_nonmembers}"
        column = 1 + 2 * [e.name for e in found.evaluations].index(s.attack)
        wanted = (
            "no members or no non-members" if s.auc is None else interval(s.auc.value, s.auc.ci95)
        )
        assert row[column] == wanted
    undivided = Page(render(changed(audit, slices=()), ()))
    assert "too few images to divide" in undivided.text


def test_alpha_curve_in_numbers(result: AuditResult, page: Page) -> None:
    curve = result.alpha_curve
    rows = {row[0]: row[1] for row in page.table("Weight of the difficulty")}
    at = curve.alpha.tolist().index(result.alpha)
    shown = next(v for k, v in rows.items() if k.startswith("0.5, as configured"))
    assert shown == interval(curve.auc[at], (curve.low[at], curve.high[at]))
    assert rows["0, the reconstruction error alone"].startswith(f"{curve.auc[0]:.3f} [")
    assert any("the best in hindsight" in words for words in rows)


def test_further_answers_in_numbers(audit: AuditReport) -> None:
    auc, low, high = np.array([[0.6, 0.7], [0.5, 0.6], [0.7, 0.8]])
    several = changed(
        audit, answers=(AnswersCurve("least error", np.arange(1, 3), auc, low, high),)
    )
    html = render(several, draw(several))
    assert 'alt="AUC against the number of answers to each image, up to 2' in html
    rows = dict(row[:2] for row in Page(html).table("Of all answers"))
    assert rows["least error"] == interval(0.7, (0.6, 0.8))
    assert "Further answers" not in render(audit, ())


def test_images_are_listed_most_exposed_first(
    audit: AuditReport, result: AuditResult, page: Page
) -> None:
    columns = score_frame(audit)
    order = np.argsort(-result.scores[-1].score, kind="stable")
    table = next(i for i, t in enumerate(page.tables) if t[0][0] == "Rank")
    head, *rows = page.tables[table]
    assert head == [
        "Rank", "Image", "Truth", "Reconstruction error", "Difficulty", "Membership error",
        "P(member), reconstruction", "P(member), membership",
    ]  # fmt: skip
    assert len(rows) == 80
    numbers = [k for k in columns if k not in {"id", "is_member"}]
    for rank, (row, i) in enumerate(zip(rows, order, strict=True)):
        truth = "member" if columns["is_member"][i] else "non-member"
        assert row[:3] == [str(rank + 1), columns["id"][i], truth]
        exact = [float(v) for v in page.values[table][rank + 1][3:]]
        assert exact == [columns[k][i] for k in numbers]
        shown = [float(text) for text in row[3:]]
        np.testing.assert_allclose(shown, exact, atol=6e-4)


def test_many_images_fit_a_page_and_point_to_the_table() -> None:
    found = make_audit(n=1000, size=64)
    html = render(found, draw(found))
    assert len(html.encode()) < 15e6
    page = Page(html)
    assert len(page.table("Rank")) == 200
    assert "The 200 of 2000 candidates with the lowest membership error." in page.text
    assert "scores.csv" in page.text


def test_unknown_numbers_and_further_attacks_have_a_place(
    audit: AuditReport, result: AuditResult
) -> None:
    last = result.scores[-1]
    extra = ScoreTable("shadow", "victim", last.id, -np.arange(80.0) * 1e-6)
    odd = changed(
        audit,
        difficulty=np.full(80, np.nan),
        scores=(result.scores[0], extra),
        alpha_curve=None,
        excess=(),
        comparisons=(),
    )
    page = Page(render(odd, ()))
    assert "not measured" in page.text
    assert "Paired comparisons" not in page.text
    row = page.table("Rank")[1]
    assert row[1:3] == ["facade-0001", "non-member"]
    assert "unknown" in row
    assert "0.0000010" in row  # as many decimals as its column needs


def test_the_record_the_configuration_and_the_command(audit: AuditReport, page: Page) -> None:
    assert ["victim", "61.2"] in page.table("Stage")
    assert "Total: 61.8 s." in page.text
    assert [list(item) for item in audit.record.items()] in page.tables
    html = render(changed(audit, command="a 'b c'", config="x:\n  y: <1>\n"), ())
    assert "<pre>a &#39;b c&#39;</pre>" in html
    assert "<pre>x:\n  y: &lt;1&gt;\n</pre>" in html
    assert "The command" not in Page(render(changed(audit, command=""), ())).text


def test_page_loads_nothing_and_runs_its_own_script_alone(
    audit: AuditReport, pictures: tuple[Picture, ...]
) -> None:
    html = render(audit, pictures)
    page = Page(html)
    inside = {load[1:] for load in page.loads if load.startswith("#")}
    assert inside <= page.ids
    assert all(load.startswith(("data:", "#")) for load in page.loads)
    assert not re.search(r"@import|url\(|https?://", html)
    assert [bool(image["alt"]) for image in page.images] == [True] * len(pictures)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none';")
    assert f"script-src &#39;sha256-{digest}&#39;" in policy


def test_pictures_of_the_data_can_be_left_out(
    audit: AuditReport, pictures: tuple[Picture, ...]
) -> None:
    bare = changed(audit, dossiers=())
    without = draw(bare)
    html = render(bare, without)
    page = Page(html)
    assert "Images are left out of this report" in page.text
    assert not any(p.private for p in without)
    shown = {image["src"] for image in page.images}
    assert shown == {"data:image/png;base64," + base64.b64encode(p.png).decode() for p in without}
    private = [p for p in pictures if p.private]
    assert private
    assert not any(base64.b64encode(p.png).decode() in html for p in private)
    assert "left out" not in Page(render(audit, ())).text


def test_page_escapes_what_it_is_given() -> None:
    evil = "<script>x</script>"
    ids = tuple(f"<b>{i}</b>\"'&" for i in range(24))
    made = make_audit(ids=ids)
    result = made.result
    odd = changed(
        made,
        name=evil,
        near_duplicates=(("<b>a", "b&c", 2),),
        record={"k<i>": '"><img src=https://x>'},
        command=evil,
        config="</pre>" + evil,
        gate=None,
        slices=tuple(dataclasses.replace(s, by="group", name=evil) for s in result.slices[:2]),
    )
    html = render(odd, draw(odd))
    assert html.count("<script>") == 1
    assert not {"b", "i"} & Page(html).tags
    assert "https://x" not in "".join(Page(html).loads)
    assert "&lt;b&gt;a" in html
    assert "b&amp;c" in html


def test_the_course_of_the_training(audit, pictures) -> None:
    html = render(audit, pictures)
    page = Page(html)
    assert (
        "After epoch 8 the mean reconstruction error is 0.042 [0.032, 0.052] for 32 members and "
        "0.140 [0.120, 0.160] for 30 non-members." in page.text
    )
    assert "Only the last epoch" not in page.text
    assert '<a href="#training">' in html
    alone = changed(audit, overfitting=make_overfitting((8,)))
    assert "Only the last epoch is measured" in render(alone, draw(alone))
    foreign = render(changed(audit, overfitting=None), ())
    assert "#training" not in foreign
    assert "Training" not in Page(foreign).text


def test_grid_is_listed_and_the_best_is_named_for_what_it_is(audit, grid) -> None:
    with_grid = changed(audit, grid=grid)
    page = Page(render(with_grid, grid_pictures(grid)))
    rows = page.table("layers")
    assert len(rows) == len(grid)
    shown = {tuple(row[:3]): row[3] for row in rows}
    for point in grid:
        key = (point.layers, point.ridge, f"{point.alpha:g}")
        assert shown[key].startswith(interval(point.auc, point.auc_ci95))
    assert rows[0][-1].endswith("best, chosen in hindsight")
    assert rows[1][-1].endswith("configured")
    assert "All settings" not in Page(render(audit, ())).text


def test_the_page_shows_adjusted_beside_unadjusted(audit: AuditReport) -> None:
    html = render(changed(audit, adjustment=make_adjustment()), ())
    page = Page(html)
    ((header, *rows),) = [t for t in page.tables if "Unadjusted AUC [95 %]" in t[0]]
    assert [head for head in header if "AUC" in head] == [
        "Unadjusted AUC [95 %]",
        "Adjusted AUC [95 %]",
        "Matched AUC [95 %]",
    ]
    e = audit.result.evaluations[1]
    (row,) = [row for row in rows if row[0] == e.name]
    assert row[1].startswith(f"{e.auc:.3f} [")
    assert row[2] == "0.710 [0.600, 0.800]"
    assert row[4] == "0.700 [0.580, 0.790]"
    assert "Adjusted for what these baselines see" in page.text
    assert "33 matched pairs (effective size 31, 4 of the members left out)" in page.text
    assert "blind baselines find no difference (the best, jpeg, has AUC 0.560" in page.text
    assert "Differences that these baselines do not see remain." in page.text
    assert "Adjusted for what" not in render(audit, ())


def test_a_difference_that_remains_is_said(audit: AuditReport) -> None:
    page = Page(render(changed(audit, adjustment=make_adjustment(p_value=0.01)), ()))
    assert "still tell them apart (the best, jpeg, has AUC 0.560, p = 0.01" in page.text
    assert "cannot be believed either" in page.text
