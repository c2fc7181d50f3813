"""Several audits side by side, as a function call."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from mia_lab.api.auditing import Audit
from mia_lab.api.pages import write_report
from mia_lab.config.run_folders import check_finished
from mia_lab.errors import UserError
from mia_lab.evaluation.finished import RunComparison
from mia_lab.reporting.comparison import words
from mia_lab.reporting.comparison.figures import draw
from mia_lab.reporting.frames import paired_frame, run_frame
from mia_lab.reporting.html import write_page
from mia_lab.tasks.compare import compared


def compare(audits: Mapping[str, Audit | str | Path]) -> Comparison:
    """Compare audits. Audits that share their candidates are tested in pairs.

    Args:
        audits: two or more audits. The keys are the names that the tables show. The values are
            results of :func:`mia_lab.audit`, or folders of finished runs.

    Raises:
        UserError: a folder holds no finished audit, or there are fewer than two.

    Examples:
        >>> import numpy as np
        >>> from mia_lab import audit
        >>> x, y = np.random.default_rng(0).random((2, 24, 3, 32, 32)).astype(np.float32)
        >>> images = {"members": (x[:12], y[:12]), "nonmembers": (x[12:], y[12:])}
        >>> dark, grey = (audit(lambda b, v=v: 0 * b + v, **images) for v in (0.0, 0.5))
        >>> found = compare({"dark": dark, "grey": grey})
        >>> found.table()[["run", "attack"]].values.tolist()[:2]
        [['dark', 'reconstruction'], ['dark', 'membership']]
    """
    if not isinstance(audits, Mapping):
        raise UserError(f"audits: is a {type(audits).__name__}; give names, {{'name': audit, ...}}")
    if len(audits) < 2:
        raise UserError(f"audits: a comparison takes two at least, not {len(audits)}")
    with tempfile.TemporaryDirectory(prefix="mia_lab-") as temporary:
        folders = {}
        for number, (name, run) in enumerate(audits.items()):
            if isinstance(run, Audit):
                folders[name] = Path(temporary, str(number))
                run.write_run(folders[name])
            else:
                folders[name] = _folder(name, run)
        found = compared("comparison", folders)
    runs = (replace(r, folder="") if isinstance(audits[r.label], Audit) else r for r in found.runs)
    return Comparison(replace(found, runs=tuple(runs)))


def _folder(name: str, given: Any) -> Path:
    if not isinstance(given, str | Path):
        kind = type(given).__name__
        raise UserError(f"audits: {name} is a {kind}; give an audit, or the folder of one")
    folder = Path(given).expanduser()
    check_finished("audits", folder)
    return folder


class Comparison:
    """Audits side by side; :func:`mia_lab.compare` returns them.

    Args:
        found: the numbers.
    """

    def __init__(self, found: RunComparison) -> None:
        self._found = found

    def __repr__(self) -> str:
        return words.text(self._found)

    def _repr_html_(self) -> str:
        sentences = escape(" ".join(words.summary(self._found)))
        html: str = self.table().to_html(float_format="{:.3f}".format, index=False)
        return f"<p>{sentences}</p>{html}"

    def table(self) -> pd.DataFrame:
        """One row per audit and attack."""
        return run_frame(self._found)

    def tests(self) -> pd.DataFrame:
        """One row per pair of audits and attack: difference and p-values, or why none is given."""
        return paired_frame(self._found)

    def report(self, path: str | Path) -> Path:
        """Write the page, or a folder with all files of the task; as :meth:`Audit.report`."""
        return write_report(path, self._write_report)

    def _write_report(self, folder: Path, alone: bool) -> Path:
        pictures = draw(self._found)
        if not alone:
            words.write_files(self._found, pictures, folder)
        return write_page("compare", words.page(self._found, pictures), folder, alone=alone)
