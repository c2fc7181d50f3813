"""The tables of the studies are those of their CSV files."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit

from support import composed

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


STUDIES = sorted(file.parent.name for file in EXPERIMENTS.glob("*/study.py"))


@pytest.fixture(scope="module")
def run() -> Iterator[ModuleType]:
    """The runner; its folder is where it and the studies import from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        yield importlib.import_module("run")


@pytest.mark.slow  # `make studies-check` does the same
@pytest.mark.parametrize("name", STUDIES)
def test_tables_and_figures_are_what_the_files_say(run: ModuleType, name: str) -> None:
    assert run.rebuild(EXPERIMENTS / name, check=True) == []


@pytest.mark.parametrize(
    "file",
    [pytest.param(f, id=f"{f.parent.name}-{f.stem}") for f in sorted(EXPERIMENTS.glob("*/*.csv"))],
)
def test_rows_name_their_origin(run: ModuleType, file: Path) -> None:
    found = run.read(file)
    assert found
    for row in found:
        assert re.fullmatch("[0-9a-f]{40}", row["commit"])
        assert row["device"]
        if "key" in row:
            assert len(row["key"]) == 64
            assert f"seed={row['seed']}" in row["overrides"].split()
        else:
            assert "torch" in row["versions"]


def test_coverage_is_what_the_intervals_promise(run: ModuleType) -> None:
    found = run.read(EXPERIMENTS / "intervals/coverage.csv")
    assert len(found) == 4 * 3 + 4 * 4 + 6 * 5
    for row in found:
        known = "clustered" in row["interval"] or not row["clusters"]
        if known and row["interval"] != "AUC, bootstrap":
            assert 0.93 <= float(row["coverage"]) <= 0.99, row


def test_adjusted_intervals_hold_the_truth_where_the_baselines_see_the_difference(
    run: ModuleType,
) -> None:
    found = run.read(EXPERIMENTS / "intervals/adjusted.csv")
    assert len(found) == 7 * 3
    for row in found:
        coverage, alarms = float(row["coverage"]), float(row["alarms"])
        if row["interval"] == "unadjusted":
            assert (coverage < 0.93) == (row["slope"] != "0.0"), row
        elif row["cell"].startswith("c"):
            assert coverage < 0.4, row  # what the baselines do not see is not adjusted for
        else:
            assert coverage >= 0.93, row
        assert alarms <= stats.binom.ppf(0.99, 500, 0.05) / 500, row


def test_claims_of_epsilon_are_as_rarely_wrong_as_promised(run: ModuleType) -> None:
    found = run.read(EXPERIMENTS / "intervals/epsilon.csv")
    assert len(found) == 5 * 2 * 3 * 2
    for row in found:
        wrong, draws = int(row["above"]), int(row["draws"])
        assert stats.binomtest(wrong, draws, 0.05, "greater").pvalue >= 0.01, row
    tight = [int(row["above"]) for row in found if row["mechanism"].startswith("randomised")]
    assert max(tight) > 30


def test_the_gate_is_right_about_real_and_planted_differences(run: ModuleType) -> None:
    real = run.read(EXPERIMENTS / "blind/real.csv")
    assert len(real) == 6
    for row in real:
        assert (row["verdict"] == "confounded") == row["case"].endswith("official"), row
    planted = run.load(EXPERIMENTS / "blind").planted()
    for nothing in ("nothing", "nothing, 12 + 12", "nothing, groups of 4"):
        assert sum(planted[nothing]) == 400
        assert planted[nothing][0] <= stats.binom.ppf(0.99, 400, 0.05)
    for strong in ("JPEG 75 against 95", "difficulty 1 SD"):
        assert planted[strong] == [10, 0, 0]
    assert planted["brightness 20 %"] == [9, 1, 0]


def test_a_study_is_rebuilt_and_checked(run: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "table1"
    shutil.copytree(EXPERIMENTS / "table1", folder)
    assert run.rebuild(folder, check=True) == []
    file = folder / "maps_pix2pix.csv"
    lines = run.read(file)
    run.write(file, [row | {"auc": "0.75"} for row in lines])
    assert run.rebuild(folder, check=True) == ["table1/README.md", "table1/auc.png"]
    run.rebuild(folder, check=False)
    text = (folder / "README.md").read_text()
    assert "| pix2pix, Maps | 0.750 | 0.750 |" in text  # equal values of all seeds: no interval
    assert run.rebuild(folder, check=True) == []
    run.write(file, lines)
    run.rebuild(folder, check=False)
    for name in ("README.md", "auc.png"):
        assert (folder / name).read_bytes() == (EXPERIMENTS / "table1" / name).read_bytes()
    file.unlink()
    assert run.rebuild(folder, check=True) == ["table1/maps_pix2pix.csv"]


def test_a_study_that_was_not_run_yet_says_so(run: ModuleType, tmp_path: Path) -> None:
    """Protocol: with all its rows, here made from those of table1, or with none."""
    folder = tmp_path / "protocol"
    shutil.copytree(EXPERIMENTS / "protocol", folder)
    study = run.load(folder)
    for name in study.RUNS:
        (folder / f"{name}.csv").unlink(missing_ok=True)
    run.rebuild(folder, check=False)
    assert "Not measured yet." in (folder / "README.md").read_text()
    assert run.rebuild(folder, check=True) == []
    for name in study.RUNS:
        rows = run.read(EXPERIMENTS / "table1" / f"{name}.csv")
        run.write(folder / f"{name}.csv", [row | made_up(row) for row in rows])
    assert run.rebuild(folder, check=False) == ["protocol/README.md"]
    assert run.rebuild(folder, check=True) == []
    lines = (folder / "README.md").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("| Maps, 1 | L_mem |")]
    assert " | 0.700 [0.600, 0.800] | 0.690 [0.600, 0.800] | 41 (33) | 0.580, p = 0.25 | " in line
    (line,) = [line for line in lines if line.startswith("| Facades, 2 | L_rec |")]
    assert line.count("not adjustable") == 2
    (folder / "maps_pix2pix.csv").unlink()
    assert run.rebuild(folder, check=True) == ["protocol/maps_pix2pix.csv"]


def made_up(row: dict[str, str]) -> dict[str, str]:
    """Columns of an adjustment: of Facades there is none."""
    adjusts = "official" in row["overrides"]
    has = adjusts and row["data"] != "facades"
    numbers = {"matched_pairs": "41", "effective_size": "33.2"} if adjusts else {}
    matched = {"max": "0.58", "p_value": "0.25"}
    ends = {"_ci95_low": "0.6", "_ci95_high": "0.8"}
    areas = {"adjusted_auc": "0.7", "matched_auc": "0.69"}
    columns = {f"matched_blind_{key}": value for key, value in matched.items()}
    columns |= {f"{name}{end}": value for name in areas for end, value in ends.items()} | areas
    return (
        {"matched_pairs": "", "effective_size": ""}
        | numbers
        | (columns if has else dict.fromkeys(columns, ""))
    )


def test_the_default_difficulty_is_the_one_that_was_studied(run: ModuleType) -> None:
    config = composed()
    asked = config.difficulty
    layers = ",".join(map(str, asked["layers"]))
    found = (asked["preprocess"], asked["features_from"], layers, f"{asked['ridge']:g}")
    design = run.load(EXPERIMENTS / "difficulty_design")
    assert (*found, f"{config.attack.alpha:g}") == design.DEFAULT
    # With all four blocks, its weight gains more than the printed one on everything tried.
    for file in ("choose-facades", "choose-maps", *(f"confirm-{d}" for d in design.EPOCHS)):
        gains = design.gains(file)
        assert np.mean(gains[design.DEFAULT]) > 1.4 * np.mean(gains[design.FORMER])


def test_a_point_that_was_not_run_is_found(run: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    shutil.copytree(EXPERIMENTS / "seeds", folder)
    file = folder / "results.csv"
    run.write(file, [row for row in run.read(file) if row["seed"] != "3"])
    assert run.rebuild(folder, check=True) == ["seeds/results.csv"]


def test_a_dot_that_moved_is_found(run: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    shutil.copytree(EXPERIMENTS / "seeds", folder)
    file = folder / "demo-scores.csv"
    first, *others = run.read(file)
    moved = first | {"difficulty": float(first["difficulty"]) + 0.02}
    for lines in ([moved, *others], others):
        run.write(file, lines)
        assert run.rebuild(folder, check=True) == ["seeds/scatter.png"]


def test_rows_stay_until_others_replace_them(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [{"key": "0" * 64, "overrides": "seed=0"}]
    run.write(tmp_path / "results.csv", old)
    (tmp_path / "study.py").write_text("")

    def fails(*_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(run, "_audit", fails)
    with pytest.raises(SystemExit, match="no room"):
        run.run(tmp_path, "results", "+experiment=facades_pix2pix seed=0", 1)
    assert run.read(tmp_path / "results.csv") == old


def test_only_measurements_without_rows_are_made(run: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "README.md").write_text("<!-- table -->\n<!-- end -->\n")
    (folder / "study.py").write_text(
        """
from functools import partial
from pathlib import Path

import shared

made = []

def one(seed):
    made.append(seed)
    return [{"part": part, "value": seed + part} for part in (0, 1)]

def measurements():
    for seed in range(3):
        yield {"seed": seed}, partial(one, seed)

MEASURED = {"results": measurements}

def tables():
    rows = shared.read(Path(__file__).with_name("results.csv"))
    return {"table": ", ".join(row["value"] for row in rows)}

def figures():
    return {}
"""
    )
    file = folder / "results.csv"
    assert run.rebuild(folder, check=True) == ["tiny/results.csv"]
    study = run.load(folder)
    run.measure(folder, "results", study.measurements)
    assert study.made == [0, 1, 2]
    found = run.read(file)
    assert len({row["device"] for row in found}) == 1
    assert f"numpy {np.__version__}" in found[0]["versions"]
    assert found[0]["commit"]
    assert run.rebuild(folder, check=False) == ["tiny/README.md"]
    assert run.rebuild(folder, check=True) == []
    # What is not there is measured again, in its place, and until then the check fails.
    run.write(file, [row for row in found if row["seed"] != "1"])
    assert run.rebuild(folder, check=True) == ["tiny/results.csv"]
    with pytest.raises(SystemExit, match=r"rows are missing.*tiny/results\.csv"):
        run.rebuild(folder, check=False)
    run.measure(folder, "results", study.measurements)
    assert study.made == [0, 1, 2, 1]
    assert run.read(file) == found
    # Rows of a measurement that is asked for no more are found, too.
    run.write(file, [*found, found[0] | {"seed": "3"}])
    assert run.rebuild(folder, check=True) == ["tiny/results.csv"]


def test_blocks_and_tables_must_agree(run: ModuleType) -> None:
    text = "<!-- a -->\nold\n<!-- end -->\nbetween\n<!-- b -->\n<!-- end -->"
    new = run.rebuilt(text, {"b": "2", "a": "1"})
    assert new == "<!-- a -->\n1\n<!-- end -->\nbetween\n<!-- b -->\n2\n<!-- end -->"
    unclosed = text.replace("old\n<!-- end -->", "old")
    for broken, tables in ((text, {"a": "1"}), (unclosed, {"a": "1", "b": "2"})):
        with pytest.raises(SystemExit, match="the README has the blocks"):
            run.rebuilt(broken, tables)


@pytest.mark.slow
def test_only_points_without_rows_are_run(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "OUTPUTS", tmp_path / "outputs")
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "study.py").write_text("SCORES = ('results',)")
    small = "+experiment=facades_pix2pix data.image_size=32 data.n_members=6 data.n_nonmembers=5"
    line = f"{small} data.n_auxiliary=2 victim.width=4 victim.discriminator_width=4 demo_epochs=1"
    file = folder / "results.csv"
    run.run(folder, "results", f"{line} seed=0", 1)
    first = run.read(file)
    assert {row["attack"] for row in first} >= {"reconstruction", "membership", "difficulty"}
    assert len(run.read(folder / "results-scores.csv")) == 11
    # What is there stays, to the byte; a setting that is asked for no more loses its rows.
    run.run(folder, "results", f"{line} seed=0,1", 1)
    assert [row for row in run.read(file) if row["seed"] == "0"] == first
    assert [row["seed"] for row in run.read(file)] == ["0"] * len(first) + ["1"] * len(first)
    before = file.read_bytes()
    run.run(folder, "results", f"{line} seed=0,1", 1)
    assert file.read_bytes() == before
    run.run(folder, "results", f"{line} seed=1", 1)
    assert {row["seed"] for row in run.read(file)} == {"1"}
    assert len(run.read(folder / "results-scores.csv")) == 11
    # The same typed otherwise is the same audit, under the new words.
    aucs = [row["auc"] for row in run.read(file)]
    run.run(folder, "results", f"{line} seed=1 attack.alpha=1", 1)
    assert all("attack.alpha=1" in row["overrides"] for row in run.read(file))
    assert [row["auc"] for row in run.read(file)] == aucs
    # Scores that are lost are made again.
    (folder / "results-scores.csv").unlink()
    run.run(folder, "results", f"{line} seed=1", 1)
    assert len(run.read(folder / "results-scores.csv")) == 11
    assert len(run.read(file)) == len(first)


@pytest.fixture(scope="module")
def growth(run: ModuleType) -> ModuleType:
    """The law of the study of size."""
    return importlib.import_module("scaling.growth")


def test_the_law_of_size_is_a_regression_of_aucs(growth: ModuleType) -> None:
    audits = grown(growth, np.random.default_rng(0))
    found = growth.fitted(audits)

    def law(factors: Any, scale: float, first: float, second: float) -> Any:
        return stats.norm.cdf(scale * factors[0] ** first * factors[1] ** second)

    wanted, _ = curve_fit(law, audits.factors.T, audits.auc, (0.5, 1, -0.5))
    assert found.z([1.0, 1.0]) == pytest.approx(wanted[0], rel=1e-4)
    np.testing.assert_allclose(found.coefficients[1:], wanted[1:], rtol=1e-4)
    assert stats.norm.cdf(found.z([2.0, 3.0])) == pytest.approx(law((2.0, 3.0), *wanted))


@pytest.mark.parametrize("common", [0.0, 0.6, 0.9])
def test_intervals_of_the_law_of_size_hold_the_truth(growth: ModuleType, common: float) -> None:
    rng = np.random.default_rng(0)
    held = np.zeros(3)
    for _ in range(300):
        found = growth.fitted(grown(growth, rng, common))
        for place, exponent in enumerate((1.0, -0.5)):
            low, high = found.interval(place)
            held[place] += low <= exponent <= high
        # One more training at an audit that was never made.
        auc = stats.norm.cdf(0.5 * 3 * 4**-0.5 * np.exp(rng.normal(0, 0.15)))
        low, high = found.predicted([3.0, 4.0])
        held[2] += low <= auc <= high
    assert np.all(held >= stats.binom.ppf(0.005, 300, 0.95)), held


def test_the_law_of_size_needs_enough_trainings(growth: ModuleType) -> None:
    audits = grown(growth, np.random.default_rng(0))
    few = audits.training < 2
    with pytest.raises(ValueError, match="2 trainings are too few to estimate 2 quantities"):
        growth.fitted(growth.Audits(*(getattr(audits, name)[few] for name in vars(audits))))


def grown(growth: ModuleType, rng: np.random.Generator, common: float = 0) -> Any:
    """Four audits along each of nine trainings, at three sizes.

    Args:
        growth: the module.
        rng: draws deviations and errors.
        common: correlation of the errors of all audits, which use the same images.
    """
    passes, size = np.tile([0.5, 1, 2, 4], 9), np.repeat([0.5, 1, 2], 12)
    training = np.repeat(np.arange(9), 4)
    deviation = rng.normal(0, 0.15, 9)[training]
    auc = stats.norm.cdf(0.5 * passes * size**-0.5 * np.exp(deviation))
    error = 0.06 * np.sqrt(auc * (1 - auc))
    auc = auc + error * (common**0.5 * rng.normal() + (1 - common) ** 0.5 * rng.normal(size=36))
    factors, images = np.column_stack([passes, size]), np.zeros(36, dtype=int)
    return growth.Audits(np.clip(auc, 0, 1), error, factors, training, images)
