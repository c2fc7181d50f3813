"""A metric is one function and one entry: every rendering has it without further code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from audits import make_audit
from mia_lab.errors import UserError
from mia_lab.evaluation import gate, metrics
from mia_lab.evaluation.finished import FinishedRun, RunComparison, SweepPoint
from mia_lab.evaluation.metrics_file import OtherSchemaError, json_schema, read_metrics
from mia_lab.evaluation.results import AuditReport, AuditResult, Estimate
from mia_lab.evaluation.stored import load_result, save_result
from mia_lab.evaluation.summary import summary, summary_names
from mia_lab.reporting.audit.words import text_table
from mia_lab.reporting.files import write_files
from mia_lab.reporting.frames import audit_frames, run_frame, sweep_frame
from mia_lab.reporting.html import write_html

COMMITTED = Path(metrics.__file__).parents[1] / "reporting" / "metrics.schema.json"


def hardest(scored: metrics.Scored, rng) -> float:
    """Largest score, negative for non-members."""
    best = int(np.argmax(scored.scores))
    return float(scored.scores[best] * (1 if scored.is_member[best] else -1))


def gap(scored: metrics.Scored, rng) -> Estimate:
    """Difference of the means."""
    scores, is_member = scored.scores, scored.is_member
    found = float(scores[is_member].mean() - scores[~is_member].mean())
    return Estimate(found, (found - 1, found + 1))


@pytest.fixture
def widened(monkeypatch: pytest.MonkeyPatch) -> AuditReport:
    """An audit with two further metrics."""
    more = metrics.Metric("hardest", hardest), metrics.Metric("gap", gap, heading="mean gap")
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, *more))
    return make_audit()


def test_a_new_metric_is_in_every_rendering(widened: AuditReport, tmp_path: Path) -> None:
    result = widened.result
    e = result.evaluations[1]
    truth = widened.split.is_member(result.scores[1].id.tolist())
    scored = metrics.Scored(result.scores[1].score, truth)
    area = gap(scored, None)
    write_files(widened, (), tmp_path)
    content = json.loads((tmp_path / "metrics.json").read_text())
    attack = content["attacks"][e.name]
    assert attack["hardest"] == hardest(scored, None)
    assert (attack["gap"], attack["gap_ci95"]) == (area.value, list(area.ci95))
    assert "gap" in content["blind"]["baselines"]["statistics"]

    Draft202012Validator(json_schema()).validate(content)
    properties = json_schema()["$defs"]["AttackMetrics"]["properties"]
    assert properties["gap"]["description"] == "Difference of the means."
    with pytest.raises(AssertionError):
        assert json_schema() == json.loads(COMMITTED.read_text())

    found = read_metrics(tmp_path / "metrics.json")
    assert found.attacks[e.name].metrics["gap"] == area
    columns = {"hardest", "gap", "gap_ci95_low", "gap_ci95_high"}
    point = SweepPoint(0, "done", "", (), str(tmp_path), {}, found)
    run = FinishedRun("a", str(tmp_path), found, widened.split, result.scores)
    compared = RunComparison("x", (run,), "", (), {}, {}, "")
    tables = (sweep_frame([point], {}), run_frame(compared), audit_frames(widened)["attacks"])
    for table in tables:
        assert columns <= set(table.columns)
        (row,) = table[table["attack"] == e.name].to_dict("records")
        assert (row["gap"], row["gap_ci95_high"]) == (area.value, area.ci95[1])

    numbers = summary(result)
    assert numbers[f"hardest/{e.name}"] == attack["hardest"]
    assert numbers[f"gap_ci95_low/{e.name}"] == area.ci95[0]
    names = summary_names([e.name], bounded=False, files=False)
    gate.check(f"gap/{e.name} > 0.5", names)
    assert gate.decide(f"gap_ci95_low/{e.name} < 0", numbers).failed is (area.ci95[0] < 0)

    header = text_table(widened).splitlines()[1]
    assert "mean gap" in header
    assert "hardest" in header
    assert f"{area.value:.3f} [{area.ci95[0]:.3f}," in text_table(widened)

    page = write_html(widened, (), tmp_path).read_text()
    for section in ('id="attacks"', 'id="split"'):
        header = page.partition(f"<h2 {section}")[2].partition("</thead>")[0]
        assert ">mean gap</th>" in header
        assert ">hardest</th>" in header
    assert f'{area.value:.3f} <small class="ci">[{area.ci95[0]:.3f},' in page

    save_result(tmp_path, result)
    assert load_result(tmp_path, AuditResult).evaluations[1].metrics == e.metrics


def test_files_of_another_list_of_metrics_stay_readable(audit, widened, tmp_path: Path) -> None:
    """``metrics.json`` from before a metric was added: its columns are empty."""
    write_files(audit, (), tmp_path)
    found = read_metrics(tmp_path / "metrics.json")
    table = sweep_frame([SweepPoint(0, "done", "", (), "", {}, found)], {})
    assert table["gap"].isna().all()
    assert table["auc"].notna().all()


def test_the_committed_schema_is_the_generated_one() -> None:
    """After a change: python -m mia_lab.evaluation.metrics_file > (the committed file)."""
    assert json.loads(COMMITTED.read_text()) == json_schema()


def test_the_file_of_an_audit_is_as_the_schema_says(audit: AuditReport, tmp_path: Path) -> None:
    write_files(audit, (), tmp_path)
    content = json.loads((tmp_path / "metrics.json").read_text())
    validator = Draft202012Validator(json_schema())
    validator.validate(content)
    for broken in (
        {**content, "more": 1},
        {key: value for key, value in content.items() if key != "blind"},
        {**content, "n_members": 0},
        {**content, "near_duplicates": -1},
        {**content, "attacks": {}},
    ):
        assert list(validator.iter_errors(broken))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:-9], "damaged"),
        (lambda text: text.replace('"auc": 0', '"auc": "x'), "damaged"),
        (lambda text: text.replace('"auc_ci95"', '"auc_ci"'), "no AUC with its interval"),
        (lambda text: text.replace('"n_members": 40', '"n_members": "many"'), "n_members: "),
        (
            lambda text: text.replace('"correct"', '"corrdct"'),
            r"epsilon\.approximate_dp\.corrdct: ",
        ),
        (lambda text: text.replace('"tpr_at_fpr"', '"tpr_at_fqr"'), "no true positive rates"),
        (lambda text: text.replace('"tpr_at_fpr": {', '"tpr_at_fpr": 1, "x": {'), "another form"),
        (lambda text: text.replace('"alpha": [', '"alpha": [null, '), "alpha: .*holds None"),
        (lambda text: text.replace('"alpha": [', '"alpha": [true, '), "alpha: .*holds True"),
        (lambda text: text.replace('"low": [', '"low": {}, "x": ['), "low: .*is no list"),
        (lambda text: text.replace('"auc": 0', '"auc": 1e999, "x": 0'), "1e999 is not finite"),
        (lambda text: text.replace('"auc": 0', '"auc": NaN, "x": 0'), "NaN is not finite"),
    ],
)
def test_damaged_files_are_named(audit, tmp_path: Path, change, words: str) -> None:
    path = tmp_path / "metrics.json"
    write_files(audit, (), tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=rf"metrics\.json: .*{words}") as caught:
        read_metrics(path)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, OtherSchemaError)


def test_files_of_other_tasks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"schema": "mia_lab comparison 1"}')
    with pytest.raises(OtherSchemaError, match="has the schema 'mia_lab comparison 1'"):
        read_metrics(path)
