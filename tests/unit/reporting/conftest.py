from __future__ import annotations

import numpy as np
import pytest

from audits import make_audit, make_grid
from mia_lab.evaluation.agreement import rank_correlation, reliability
from mia_lab.evaluation.results import AuditReport, AuditResult, Extremes, GridPoint, Survey
from mia_lab.reporting.audit.figures import draw
from mia_lab.reporting.canvas import Picture
from tables import difficulty_table


@pytest.fixture(scope="session")
def survey() -> Survey:
    """A survey of 30 images whose settings agree less and less."""
    n, settings, side, repeats = 30, 4, 8, 3
    rng = np.random.default_rng(1)
    true = rng.uniform(0.03, 0.09, (n, 1, 1))
    blur = np.linspace(0.001, 0.02, settings)[:, None]
    score = true + blur * rng.normal(size=(n, settings, repeats))
    names = [("1,2,3,4", "1"), ("1,2,3,4", "100"), ("2", "1"), ("2", "100")]
    table = difficulty_table([f"train/{i}" for i in range(n)], score, names, side)
    order = table.mean()[:, 0].argsort()

    def end(rows: np.ndarray) -> Extremes:
        pictures = rng.random((len(rows), 3, 16, 16)).astype(np.float32)
        ids = tuple(str(i) for i in table.id[rows])
        return Extremes(ids, table.mean()[rows, 0], pictures, pictures, table.map[rows])

    return Survey(
        name="facades_difficulty",
        image_size="64 px",
        difficulty=table,
        correlation=rank_correlation(table.mean()),
        reliability=reliability(table.score[:, 0]),
        easiest=end(order[:4]),
        hardest=end(order[::-1][:4]),
        timing_s={"difficulty": 3.5},
        record={"backbone licence": "Apache-2.0"},
    )


@pytest.fixture(scope="session")
def grid() -> tuple[GridPoint, ...]:
    return make_grid()


@pytest.fixture(scope="session")
def audit() -> AuditReport:
    """Frozen: tests replace its fields in copies."""
    return make_audit()


@pytest.fixture(scope="session")
def result(audit: AuditReport) -> AuditResult:
    return audit.result


@pytest.fixture(scope="session")
def pictures(audit: AuditReport) -> tuple[Picture, ...]:
    """All pictures of the audit; drawing takes seconds."""
    return tuple(draw(audit))


@pytest.fixture(scope="session")
def grouped_audit() -> AuditReport:
    """The same images, in seven groups."""
    return make_audit(groups=True)
