"""Run studies and rebuild what they show: `python experiments/run.py [--check] [STUDY ...]`.

A study is a folder with a `study.py`:

    RUNS: name of a CSV file -> what follows `python -m mia_lab -m` on a command line
    SCORES: names of the CSV files of `RUNS` beside which the scores of all images are kept
    MEASURED: name of a CSV file -> its measurements, for what is no audit
    tables() -> name of a block of the study's README -> Markdown, from the CSV files
    figures() -> name of a PNG -> matplotlib figure, from the CSV files

The first three may be left out. Each point of a sweep is an audit of its own. Its rows are written
as soon as it ends, under the key of all that its numbers depend on; a point whose key has rows is
not run again. Nor is a measurement: delete its rows to have it made again. With `--check` nothing
is run: tables and figures must come out of the CSV files as they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

import shared
from mia_lab.config.compose import composed
from mia_lab.errors import UserError
from mia_lab.progress import progress
from mia_lab.reporting.canvas import png
from mia_lab.reporting.frames import attack_rows
from mia_lab.reporting.sweep.settings import SETTINGS
from mia_lab.stages.graph import run_stages
from mia_lab.store.software import commit
from mia_lab.tasks.collect import gather
from rows import Row, device_model, device_name, read, write

HERE = Path(__file__).resolve().parent
OUTPUTS = HERE.parent / "outputs"
ALWAYS = ("trainer.threads=1", "tracking.mode=disabled", "report.pictures=false")
"""Said of every point: its numbers do not hang on how many cores there are."""

DPI = 150

LIBRARIES = (
    *("torch", "pytorch-lightning", "timm", "numpy", "scipy", "scikit-learn"),
    *("scikit-image", "pillow"),
)


@dataclass(frozen=True)
class Point:
    """One audit of a study.

    Attributes:
        overrides: what is typed for it.
        key: of its verdict, and so of everything that its numbers depend on.
        device: on which it would run.
    """

    overrides: tuple[str, ...]
    key: str
    device: str


def expanded(line: str) -> list[tuple[str, ...]]:
    """What is typed for each point of a sweep, in the order of the grid."""
    parsed = OverridesParser.create().parse_overrides(shlex.split(line))
    axes = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in parsed
    ]
    return [*itertools.product(*axes)]


def _point(overrides: tuple[str, ...]) -> Point:
    config = composed(*overrides, *ALWAYS, f"paths.outputs={OUTPUTS}")
    (verdict,) = run_stages(config).goals(config.until)
    return Point(overrides, verdict.key, device_name(config.trainer.accelerator))


def run(study: Path, name: str, line: str, jobs: int) -> None:
    """Run the points of one CSV file that have no rows in it yet.

    Raises:
        SystemExit: some failed; the others' rows are there.
    """
    points = [_point(overrides) for overrides in expanded(line)]
    order = {point.key: place for place, point in enumerate(points)}
    typed_for = {point.key: " ".join(point.overrides) for point in points}
    files = {suffix: study / f"{name}{suffix}.csv" for suffix in ("", "-grid", "-scores")}
    tables = {suffix: read(file) for suffix, file in files.items()}
    keeps = name in getattr(load(study), "SCORES", ())
    known = {row["key"] for row in tables[""]}
    if keeps:
        known &= {row["key"] for row in tables["-scores"]}
    wanted = [point for point in points if point.key not in known]
    print(f"{study.name}/{name}: {len(points) - len(wanted)} of {len(points)} points are there")
    failed: list[str] = []
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(_audit, point, study.name, keeps): point for point in wanted}
        for done, future in enumerate(as_completed(running), 1):
            if (error := future.exception()) is not None:
                failed.append(str(error))
                continue
            key = running[future].key
            for suffix, rows in future.result().items():
                if rows:
                    others = [row for row in tables[suffix] if row["key"] != key]
                    tables[suffix] = sorted(
                        others + rows, key=lambda row: order.get(row["key"], -1)
                    )
                    write(files[suffix], tables[suffix])
            print(f"{study.name}/{name}: {done} of {len(wanted)}: {typed_for[key]}", flush=True)
    if failed:
        raise SystemExit("\n\n".join(failed))
    for suffix, rows in tables.items():
        # The others are of settings that are asked for no more; the same may be typed otherwise.
        asked = [r | {"overrides": typed_for[r["key"]]} for r in rows if r["key"] in order]
        if asked != rows:
            write(files[suffix], asked)


def _audit(point: Point, study: str, keeps_scores: bool) -> dict[str, list[Row]]:
    """Run one audit: a row a setting of its grid, a row an image if wanted, a row an attack.

    The last are written last: with them a point counts as done.
    """
    folder = OUTPUTS / "studies" / study / point.key[:12] / "0"
    command = [sys.executable, "-m", "mia_lab", *point.overrides, *ALWAYS]
    ran = subprocess.run(
        [*command, f"paths.outputs={OUTPUTS}", f"hydra.run.dir={folder}"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise RuntimeError(f"{shlex.join(command)}\n{ran.stderr[-2000:]}")
    (found,) = (audit for audit in gather(folder.parent).points if audit.metrics)
    origin = {
        "key": point.key,
        "commit": found.metrics.record["commit"],
        "device": point.device,
        "overrides": " ".join(point.overrides),
        **{name: _text(found.settings.get(key)) for name, key in SETTINGS.items()},
    }
    attacks = [
        {k: v for k, v in row.items() if not k.startswith("seconds")}
        for row in attack_rows(found.metrics)
    ]
    grid = json.loads((folder / "metrics.json").read_text())["grid"] or ()
    return {
        "-grid": [{**origin, **setting} for setting in grid],
        "-scores": [{**origin, **r} for r in read(folder / "scores.csv")] if keeps_scores else [],
        "": [{**origin, **row} for row in attacks],
    }


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def measure(study: Path, name: str, measurements: shared.Measurements) -> None:
    """Make the measurements of one CSV file that have no rows in it yet."""
    every = [*measurements()]
    if not every:  # a machine that cannot make them
        return
    file = study / f"{name}.csv"
    tables = by_measurement(read(file), every)
    wanted = [place for place, rows in enumerate(tables) if not rows]
    print(f"{study.name}/{name}: {len(every) - len(wanted)} of {len(every)} measurements are there")
    for place in progress(wanted, "measuring", "measurements", is_brief=True):
        what, work = every[place]
        made, threads = [*work()], torch.get_num_threads()
        origin = {
            "device": f"{device_model(what.get('accelerator', 'cpu'))}, {threads} threads",
            "versions": ", ".join(f"{library} {version(library)}" for library in LIBRARIES),
            "commit": commit(":(glob)../experiments/**/*.py"),
        }
        tables[place] = [{**what, **row, **origin} for row in made]
        write(file, [*itertools.chain(*tables)])


def by_measurement(rows: Sequence[Row], every: Sequence[shared.Measurement]) -> list[list[Row]]:
    """The rows of each measurement; those of none are left out."""
    return [
        [row for row in rows if all(row.get(key) == str(value) for key, value in what.items())]
        for what, _ in every
    ]


def load(study: Path) -> ModuleType:
    """The module of a study."""
    spec = importlib.util.spec_from_file_location(f"study_{study.name}", study / "study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rebuilt(text: str, tables: Mapping[str, str]) -> str:
    """A README with its blocks replaced.

    Raises:
        SystemExit: its blocks are others than the tables.
    """
    block = re.compile(r"(<!-- (\S+) -->\n)(?:(?!<!--).)*(<!-- end -->)", re.DOTALL)
    found = [match[2] for match in block.finditer(text)]
    if sorted(found) != sorted(tables):
        raise SystemExit(f"the README has the blocks {found}, the study {[*tables]}")
    return block.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", text)


def rebuild(study: Path, *, check: bool) -> list[str]:
    """Write tables and figures from the CSV files, or name what is not as they say."""
    module, readme = load(study), study / "README.md"
    runs = getattr(module, "RUNS", {})
    if not any((study / f"{name}.csv").is_file() for name in runs):
        runs = {}  # none was run yet, and the tables say nothing of them
    wrong = [
        f"{study.name}/{name}.csv"
        for name, line in runs.items()
        if {row["overrides"] for row in read(study / f"{name}.csv")}
        != {" ".join(overrides) for overrides in expanded(line)}
    ]
    for name, measurements in getattr(module, "MEASURED", {}).items():
        rows, every = read(study / f"{name}.csv"), [*measurements()]
        tables = by_measurement(rows, every)
        if rows and every and (not all(tables) or rows != [*itertools.chain(*tables)]):
            wrong.append(f"{study.name}/{name}.csv")
    if not wrong:
        try:
            blocks, figures = module.tables(), module.figures()
        except FileNotFoundError as error:
            wrong.append(f"{study.name}/{Path(error.filename).name}")
    if wrong and not check:
        raise SystemExit(f"rows are missing, or are of other settings: {', '.join(wrong)}")
    if wrong:
        return wrong
    text = readme.read_text()
    new = rebuilt(text, blocks)
    if new != text:
        wrong.append(f"{study.name}/README.md")
        if not check:
            readme.write_text(new)
    for name, figure in figures.items():
        file, drawn = study / f"{name}.png", png(figure, DPI)
        if not (file.is_file() and _alike(file.read_bytes(), drawn)):
            wrong.append(f"{study.name}/{name}.png")
            if not check:
                file.write_bytes(drawn)
    return wrong


def _alike(first: bytes, second: bytes) -> bool:
    """Whether two pictures are the same but for rounding."""
    a, b = (
        np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), int) for file in (first, second)
    )
    if a.shape != b.shape:
        return False
    difference = np.abs(a - b).max(axis=2)
    return bool(difference.mean() < 0.05 and (difference > 32).mean() < 1e-4)


def _bring_up_to_date(study: Path, jobs: int) -> None:
    module = load(study)
    try:
        for name, line in getattr(module, "RUNS", {}).items():
            run(study, name, line, jobs)
        for name, measurements in getattr(module, "MEASURED", {}).items():
            measure(study, name, measurements)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


def main() -> None:
    known = sorted(file.parent.name for file in HERE.glob("*/study.py"))
    parser = argparse.ArgumentParser(description="Run studies, and rebuild what they show.")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(known))
    parser.add_argument("--check", action="store_true", help="run nothing, change nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="audits at a time")
    asked = parser.parse_args()
    for name in asked.studies:
        if name not in known:
            parser.error(f"{name}: no such study; choose from {', '.join(known)}")
    wrong: list[str] = []
    for name in asked.studies or known:
        study = HERE / name
        if not asked.check:
            _bring_up_to_date(study, asked.jobs)
        wrong += rebuild(study, check=asked.check)
    csvs = [name for name in wrong if name.endswith(".csv")]
    if asked.check and csvs:
        print(f"rows are missing, or are of other settings: {', '.join(csvs)}", file=sys.stderr)
    if asked.check and wrong:
        stale = sorted({name.partition("/")[0] for name in wrong})
        others = ", ".join(name for name in wrong if name not in csvs) or "see above"
        raise SystemExit(
            f'not what the CSV files say: {others}; run make studies STUDIES="{" ".join(stale)}"'
        )
    if not asked.check:
        print(f"written anew: {', '.join(wrong)}" if wrong else "tables and figures are up to date")


if __name__ == "__main__":
    main()
