"""Nothing is computed twice: counted in the store's log, every point compared with a run alone."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from support import Command

VICTIMS = ("pix2pix", "pix2pixhd")
LAYERS = ("[1]", "[2]", "[3]", "[1,2,3,4]")
RIDGES = ("1e-2", "0.1", "1", "10", "100", "1000")
ALPHAS = ("0.5", "1")

READ_S = 4.0
"""CPU seconds of a job that finds everything in the store."""


def numbers(folder: Path) -> dict[str, Any]:
    """All that a point has found, without when and where."""
    found = json.loads((folder / "metrics.json").read_text())
    return {k: v for k, v in found.items() if k not in ("timing_s", "command")}


def cpu_s() -> float:
    """CPU seconds of all child processes that have ended, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_cost_s(command: Command) -> float:
    """CPU seconds of a job with a new alpha; of three, since a busy machine only adds to it."""
    found = []
    for alpha in ("0.2", "0.3", "0.4"):
        before = cpu_s()
        ran = command.alone("+experiment=tiny", f"attack.alpha={alpha}", "until=attacks")
        assert ran.code == 0, ran.err
        found.append(cpu_s() - before)
        if found[-1] <= READ_S:
            break
    return min(found)


def swept(command: Command, *grid: str) -> Path:
    done = command.alone("-m", "+experiment=tiny", "hydra/launcher=local", *grid, timeout=3000)
    assert done.code == 0, done.err
    (folder,) = (p for p in (command.folder / "outputs/sweeps").iterdir() if p.name[0] != ".")
    return folder


@pytest.fixture(autouse=True)
def _as_users_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # tracing costs CPU seconds


def test_two_victims_train_once_in_two_processes(command: Command) -> None:
    sweep = swept(command, "victim=pix2pix,pix2pixhd", "attack.alpha=0.5,1")
    count = command.computed
    assert (count["victim"], count["features"], count["pooled"], count["blind"]) == (2, 1, 1, 1)
    alone = command("+experiment=tiny", "victim=pix2pixhd", "attack.alpha=1", "paths.store=other")
    assert alone.code == 0, alone.err
    assert numbers(sweep / "3") == numbers(command.folder / "outputs/latest")
    assert read_cost_s(command) <= READ_S
    assert command.computed == count


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
    started = cpu_s()
    sweep = swept(command, *grid, "hydra.launcher.processes=4")
    sweep_s = cpu_s() - started
    count = command.computed
    print(f"computed: {dict(count)}; {sweep_s:.0f} CPU s")
    assert (count["victim"], count["reconstructions"]) == (2, 2)
    assert (count["features"], count["pooled"], count["difficulty"]) == (1, 1, 24)

    started, single_s = cpu_s(), 0.0
    for victim in VICTIMS:
        ran = command.alone("+experiment=tiny", f"victim={victim}", f"paths.store={victim}")
        assert ran.code == 0, ran.err
    single_s = cpu_s() - started
    read_s = read_cost_s(command)
    print(f"two single runs: {single_s:.1f} CPU s; a job that reads: {read_s:.2f} CPU s")
    assert read_s <= READ_S
    assert sweep_s <= single_s + 96 * READ_S

    for number in range(96):
        point = sweep / str(number)
        overrides = json.loads((point / "point.json").read_text())["overrides"]
        alone = command("+experiment=tiny", *overrides, f"paths.store=alone-{number}")
        assert alone.code == 0, alone.err
        assert numbers(point) == numbers(command.folder / "outputs/latest"), overrides
