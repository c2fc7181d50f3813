"""Nothing is computed twice: counted in the store's log, every point compared with a run alone."""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path
from typing import Any

import pytest

from support import Command

VICTIMS = ("pix2pix", "pix2pixhd")
LAYERS = ("[1]", "[2]", "[3]", "[1,2,3,4]")
RIDGES = ("1e-2", "0.1", "1", "10", "100", "1000")
ALPHAS = ("0.5", "1")

POINT_S = 1.5
"""CPU seconds of a point that finds everything but its verdict in the store."""


def numbers(folder: Path) -> dict[str, Any]:
    """All that a point has found, without when and where."""
    found = json.loads((folder / "metrics.json").read_text())
    return {k: v for k, v in found.items() if k not in ("timing_s", "command")}


def cpu_s() -> float:
    """CPU seconds of all child processes that have ended, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def swept(command: Command, *grid: str) -> tuple[Path, float, set[str]]:
    """The folder of a sweep, its CPU seconds, and the worker processes that it started."""
    before = cpu_s()
    folder = command.folder / "outputs/sweeps" / f"sweep-{before}"
    asked = ("-m", "+experiment=tiny", "hydra/launcher=local", f"hydra.sweep.dir={folder}")
    done = command.alone(*asked, *grid, timeout=3000)
    assert done.code == 0, done.err
    return folder, cpu_s() - before, set(re.findall(r"started, process (\d+)", done.err))


@pytest.fixture(autouse=True)
def _as_users_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # tracing costs CPU seconds


@pytest.mark.slow
def test_two_victims_train_once_in_two_processes(command: Command) -> None:
    victims = "victim=pix2pix,pix2pixhd"
    sweep, _, workers = swept(command, victims, "attack.alpha=0.5,1")
    count = command.computed
    assert (count["victim"], count["features"], count["pooled"], count["blind"]) == (2, 1, 1, 1)
    assert len(workers) == 2
    alone = command("+experiment=tiny", "victim=pix2pixhd", "attack.alpha=1", "paths.store=other")
    assert alone.code == 0, alone.err
    assert numbers(sweep / "3") == numbers(command.folder / "outputs/latest")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ninety_six_points(command: Command) -> None:
    grid = [
        f"{key}={','.join(values)}"
        for key, values in (
            ("victim", VICTIMS),
            ("difficulty.layers", LAYERS),
            ("difficulty.ridge", RIDGES),
            ("attack.alpha", ALPHAS),
        )
    ]
    sweep, sweep_s, _ = swept(command, *grid)
    count = command.computed
    print(f"computed: {dict(count)}; {sweep_s:.0f} CPU s")
    assert (count["victim"], count["reconstructions"]) == (2, 2)
    assert (count["features"], count["pooled"], count["difficulty"]) == (1, 1, 24)
    # Ninety-six points that find everything but their verdicts in the store.
    grid[-1] = "attack.alpha=0.25,0.75"
    _, stored_s, workers = swept(command, *grid)
    _, one_s, _ = swept(command, "attack.alpha=0.6,0.7")
    print(f"96 points from the store: {stored_s:.0f} CPU s; two: {one_s:.0f} CPU s")
    assert len(workers) == 2
    assert stored_s - one_s <= 94 * POINT_S

    for number in range(96):
        point = sweep / str(number)
        overrides = json.loads((point / "point.json").read_text())["overrides"]
        alone = command("+experiment=tiny", *overrides, f"paths.store=alone-{number}")
        assert alone.code == 0, alone.err
        assert numbers(point) == numbers(command.folder / "outputs/latest"), overrides
