"""The wheel carries the configuration and runs from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support import Command

ROOT = Path(__file__).parents[2]


def test_installed_wheel_runs_from_an_empty_folder(command: Command, tmp_path: Path) -> None:
    wheel, site = tmp_path / "wheel", tmp_path / "site"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheel)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-compile",
        "--target",
        str(site),
    ]
    subprocess.run([*install, *map(str, wheel.glob("*.whl"))], check=True, capture_output=True)
    command.folder = tmp_path / "empty"
    command.folder.mkdir()
    command.environment["PYTHONPATH"] = str(site)
    where = subprocess.run(
        [sys.executable, "-c", "import mia_lab; print(mia_lab.__file__)"],
        cwd=command.folder,
        env={**os.environ, **command.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip() == str(site / "mia_lab" / "__init__.py")
    assert (site / "mia_lab" / "conf" / "config.yaml").exists()
    ran = command.alone("+experiment=tiny", "report.pictures=true")
    assert ran.metrics["n_members"] == 6
    assert (command.folder / "outputs" / "latest" / "report.html").exists()
