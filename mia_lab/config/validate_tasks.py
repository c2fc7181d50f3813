"""What each task but the audit needs to be told."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from mia_lab.config.checks import at_least, is_trained_by_us
from mia_lab.config.choices import Protocol, QueryMode, StoreAction, Task
from mia_lab.config.schema import Config
from mia_lab.errors import UserError

log = logging.getLogger(__name__)


def _check_export(config: Config) -> None:
    if config.query.mode is QueryMode.train:
        raise UserError(
            "query.mode=train: exported programs answer in evaluation mode; use query.mode=eval"
        )
    if config.until is not None:
        raise UserError(
            f"until={config.until.value} stops an audit, and task=export is none; leave it out"
        )


def _check_score(config: Config) -> None:
    if config.data.protocol is not Protocol.manifest:
        raise UserError(
            f"data.protocol={config.data.protocol.value}: task=score needs to know whom to score; "
            "give data.protocol=manifest and data.manifest=FILE.csv with a column id"
        )
    if is_trained_by_us(config.victim):
        raise UserError(
            f"victim={config.victim.get('name')} is trained by us, on members we know; task=score "
            "asks about a victim that exists, such as victim=pretrained victim.checkpoint=FILE"
        )
    if not 0 < config.score.fpr < 1:
        raise UserError(f"score.fpr={config.score.fpr}: must lie between 0 and 1, such as 0.05")
    if config.until is not None:
        raise UserError(
            f"until={config.until.value} stops an audit, and task=score is none; leave it out"
        )
    if any(config.difficulty.get("grid", {}).values()):
        raise UserError(
            "difficulty.grid compares settings by what an audit knows, and task=score knows no "
            "roles; leave it out"
        )


def _check_store(config: Config) -> None:
    task = config.store
    for key in ("older_than_days", "max_gb"):
        if (value := getattr(task, key)) is not None:
            at_least(0, (f"store.{key}", value))
    pruning = task.action is StoreAction.prune
    if not pruning and (task.dry_run or task.max_gb is not None):
        raise UserError(
            f"store.action={task.action.value}: store.max_gb and store.dry_run are for pruning; "
            "use store.action=prune, or leave them out"
        )
    if pruning and (task.stage, task.state, task.older_than_days, task.max_gb) == (None,) * 4:
        raise UserError(
            "store.action=prune: say what, store.stage=victim, store.state=damaged, "
            "store.max_gb=50 or store.older_than_days=30 (0 for everything)"
        )


def _check_compare(config: Config) -> None:
    if config.until is not None:
        raise UserError(
            f"until={config.until.value} stops an audit, and task=compare is none; leave it out"
        )
    for name in config.compare.runs:
        if left := [str(p) for p in _matches(name) if not _is_finished(p)]:
            log.info("compare.runs=%s: left out, no metrics.json: %s", name, ", ".join(left))
    folders = run_folders(config.compare.runs)
    if len(folders) < 2:
        raise UserError(
            f"compare.runs={config.compare.runs}: name at least two folders of finished audits, "
            "such as [outputs/runs/facades_pix2pix/A,outputs/runs/facades_pix2pix/B]"
        )
    seen: dict[Path, Path] = {}
    for folder in folders:
        _check_finished(folder)
        if (twin := seen.setdefault(folder.resolve(), folder)) is not folder:
            also = f", also as {twin}" if str(twin) != str(folder) else ""
            raise UserError(f"compare.runs: names {folder} twice{also}; name each run once")


def _check_finished(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"compare.runs={folder}: no such folder; name folders of finished audits")
    for file, other in (("metrics.json", ""), ("scores.csv", "scores.parquet"), ("split.csv", "")):
        if not (folder / file).is_file() and not (other and (folder / other).is_file()):
            raise UserError(
                f"compare.runs={folder}: holds no {file}, which task=audit writes when it is done; "
                "run the audit again, or leave the folder out"
            )


def _check_collect(config: Config) -> None:
    if config.until is not None:
        raise UserError(
            f"until={config.until.value} stops an audit, and task=collect is none; leave it out"
        )
    if not config.collect.dir:
        raise UserError(
            "collect.dir: which sweep? Give its folder, collect.dir=outputs/sweeps/NAME"
        )
    sweep = Path(config.collect.dir).expanduser()
    if not sweep.is_dir():
        raise UserError(f"collect.dir={sweep}: no such folder; give that of a sweep")
    if not any(p.is_dir() and p.name.isdecimal() for p in sweep.iterdir()):
        raise UserError(
            f"collect.dir={sweep}: holds no points of a sweep, which are folders named 0, 1, ...; "
            "give the folder that -m has made below outputs/sweeps"
        )


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


CHECKS: dict[Task, Callable[[Config], None]] = {
    Task.score: _check_score,
    Task.export: _check_export,
    Task.compare: _check_compare,
    Task.collect: _check_collect,
    Task.store: _check_store,
}
"""Raise a :class:`UserError` where a configuration does not say what its task needs."""
