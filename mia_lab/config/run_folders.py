"""The folders of finished audits that ``task=compare`` reads."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from mia_lab.errors import UserError, nearest_folder

log = logging.getLogger(__name__)


def check_runs(names: Iterable[str]) -> None:
    """Refuse runs that cannot be compared.

    Args:
        names: ``compare.runs``.

    Raises:
        UserError: there are fewer than two, one is named twice, or one is not finished.
    """
    names = list(names)
    for name in names:
        if left := [str(p) for p in _matches(name) if not _is_finished(p)]:
            log.info("compare.runs=%s: left out, no metrics.json: %s", name, ", ".join(left))
    folders = run_folders(names)
    if len(folders) < 2:
        raise UserError(
            f"compare.runs={names}: name at least two folders of finished audits, "
            "such as [outputs/runs/facades_pix2pix/A,outputs/runs/facades_pix2pix/B]"
        )
    seen: dict[Path, Path] = {}
    for folder in folders:
        check_finished("compare.runs", folder)
        if (twin := seen.setdefault(folder.resolve(), folder)) is not folder:
            also = f", also as {twin}" if str(twin) != str(folder) else ""
            raise UserError(f"compare.runs: names {folder} twice{also}; name each run once")


def run_folders(names: Iterable[str]) -> list[Path]:
    """The folders that ``compare.runs`` names, patterns such as ``outputs/sweeps/X/*`` expanded.

    Of what a pattern matches, folders without metrics are left out.

    Raises:
        UserError: a pattern matches no folder of a finished run.
    """
    found: list[Path] = []
    for name in names:
        if not _is_pattern(name):
            found.append(Path(name).expanduser())
        elif finished := [p for p in _matches(name) if _is_finished(p)]:
            found += finished
        else:
            raise UserError(f"compare.runs={name}: matches no folder with metrics.json")
    return found


def check_finished(key: str, folder: Path) -> None:
    """Refuse a folder that a finished audit has not left.

    Args:
        key: what names it, for errors.
        folder: of a run.

    Raises:
        UserError: a file of an audit is missing.
    """
    if not folder.is_dir():
        raise UserError(
            f"{key}={folder}: no such folder; name folders of finished audits"
            f"{nearest_folder(folder)}"
        )
    for file, other in (("metrics.json", ""), ("scores.csv", "scores.parquet"), ("split.csv", "")):
        if not (folder / file).is_file() and not (other and (folder / other).is_file()):
            raise UserError(
                f"{key}={folder}: holds no {file}, which an audit writes when it is done; "
                "run the audit again, or leave the folder out"
            )


def _is_pattern(name: str) -> bool:
    return bool(set("*?[") & set(name)) and not Path(name).expanduser().exists()


def _matches(name: str) -> list[Path]:
    """Folders that a pattern matches, none for a name."""
    if not _is_pattern(name):
        return []
    path = Path(name).expanduser()
    found = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    return sorted((p for p in found if p.is_dir() and p.name[0] != "."), key=_natural)


def _is_finished(folder: Path) -> bool:
    return (folder / "metrics.json").is_file()


def _natural(path: Path) -> list[str | int]:
    """Sweeps number their jobs: 2 comes before 10."""
    return [int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", str(path))]
