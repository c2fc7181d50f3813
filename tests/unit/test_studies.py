"""The tables of the studies are those of their CSV files."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

from scipy import stats

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def study(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, EXPERIMENTS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(path: str) -> list[dict[str, str]]:
    with (EXPERIMENTS / path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_coverage_is_what_the_intervals_promise() -> None:
    module = study("intervals/coverage.py")
    assert module.tables(module.read()) in (EXPERIMENTS / "intervals/README.md").read_text()
    for row in module.read():
        known = "clustered" in row["interval"] or not row["clusters"]
        if known and row["interval"] != "AUC, bootstrap":
            assert 0.93 <= float(row["coverage"]) <= 0.99, row


def test_the_gate_is_right_about_real_and_planted_differences() -> None:
    text = (EXPERIMENTS / "blind/README.md").read_text()
    module, real = study("blind/gate.py"), rows("blind/real.csv")
    assert module.table(real) in text
    assert len(real) == 6
    for row in real:
        assert (row["verdict"] == "confounded") == row["case"].endswith("official"), row
    null = [row["verdict"] == "confounded" for row in rows("blind/null.csv")]
    assert len(null) == 200
    assert sum(null) <= stats.binom.ppf(0.975, 200, 0.05)
    assert f"{sum(null)} raise a false alarm" in text
    caught = module.alarms(rows("blind/power.csv"))
    for strong in ("brightness 20 %", "JPEG 75 against 95", "difficulty 1 SD"):
        assert caught[strong] == (10, 10)


def test_attacks_are_as_the_table_says() -> None:
    module = study("attacks/table.py")
    text = (EXPERIMENTS / "attacks/README.md").read_text()
    assert module.table(module.read()) in text
    assert module.difficulties() in text
    found = {(r["attack"], r["epochs"]): float(r["auc"]) for r in module.read()}
    assert found["learned", "20"] > found["membership", "20"] > found["reconstruction", "20"]
    assert found["membership", "80"] > found["reconstruction", "80"] > found["augmented", "80"]


def test_defenses_are_as_the_tables_say() -> None:
    module = study("defenses/table.py")
    assert module.tables() in (EXPERIMENTS / "defenses/README.md").read_text()
    noise = {
        (r["attack"], float(r["defense.sigma"])): float(r["auc"]) for r in module.read("noise.csv")
    }
    assert noise["adaptive", 0.8] - noise["reconstruction", 0.8] > 0.05
