"""Scores of images whose membership is unknown, as a function call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mia_lab.api.call import Settings, attack_names, call
from mia_lab.api.images import Images
from mia_lab.api.pages import write_report
from mia_lab.api.victims import Victim
from mia_lab.errors import UserError
from mia_lab.evaluation.results import Scoring
from mia_lab.reporting import scores as reporting
from mia_lab.reporting.frames import candidate_frame
from mia_lab.reporting.html import write_scores_html
from mia_lab.tasks import common
from mia_lab.tasks.score_report import score_report, scoring_stages
from mia_lab.types import Role


def score(
    victim: Victim | None,
    candidates: Images | None,
    auxiliaries: Images | None = None,
    *,
    fpr: float = 0.05,
    attacks: Sequence[str] | None = None,
    difficulty: str | None = None,
    backbone: str | None = None,
    image_size: int | Sequence[int] | None = None,
    value_range: Any = None,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    seed: int = 0,
) -> Scores:
    """Score images whose membership is unknown, as ``task=score`` does.

    Args:
        victim: the model, see :func:`mia_lab.audit`.
        candidates: the images whose membership is unknown.
        auxiliaries: images that the model was certainly not trained on. They set the threshold.
            Without them, the result has scores and ranks, but no decisions.
        fpr: false positive rate of the decisions, in (0, 1); 0.05 needs 19 auxiliaries or more.
        attacks, difficulty, backbone, image_size, value_range, overrides, folder, seed: see
            :func:`mia_lab.audit`.

    Raises:
        UserError: an argument or an image is not as described, or there are too few auxiliaries.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.random((2, 32, 3, 32, 32)).astype(np.float32)
        >>> known = {picture.tobytes(): target for picture, target in zip(x[:4], y[:4])}
        >>> def model(batch):  # remembers the first 4 targets
        ...     return np.stack([known.get(a.tobytes(), a) for a in batch.numpy()])
        >>> found = score(model, candidates=(x[:8], y[:8]), auxiliaries=(x[8:], y[8:]))
        >>> found.table()["membership_decision"].value_counts().to_dict()
        {'member': 4, 'not shown to be a member': 4}
    """
    settings = Settings(difficulty, backbone, image_size, overrides, folder, seed)
    images = {
        Role.CANDIDATE.value: ("candidates", candidates),
        Role.AUXILIARY.value: ("auxiliaries", auxiliaries),
    }
    if candidates is None and (auxiliaries is not None or not overrides):
        raise UserError("candidates: give the images in question")
    chosen = *attack_names(attacks), f"score.fpr={fpr}"
    with call("score", settings, images, *chosen, victim=victim, value_range=value_range) as (
        config,
        temporary,
    ):
        stages, decisions = scoring_stages(config)
        with common.started(config, temporary, [decisions]) as store:
            common.checked_split(stages, store, temporary)
            return Scores(score_report(config, stages, store, store.result(decisions)))


class Scores:
    """Scores of candidates; :func:`mia_lab.score` returns them.

    Args:
        found: the numbers, and the data that the pages show.
    """

    def __init__(self, found: Scoring) -> None:
        self._found = found

    def __repr__(self) -> str:
        return reporting.text(self._found)

    def _repr_html_(self) -> str:
        html: str = self.table().to_html(float_format="{:.3f}".format)
        return html

    def table(self) -> pd.DataFrame:
        """One row per candidate, the most likely member first. The index is the image's id.

        The columns are each attack's error, the difficulty, and each attack's rank. With
        auxiliaries, each attack also has a p-value and a decision.
        """
        table = candidate_frame(self._found)
        return table[table["role"] == Role.CANDIDATE.value].drop(columns="role").set_index("id")

    def report(self, path: str | Path) -> Path:
        """Write the page, or a folder with all files of ``task=score``; as :meth:`Audit.report`."""
        return write_report(path, self._write_report)

    def _write_report(self, folder: Path, alone: bool) -> Path:
        pictures = reporting.draw(self._found)
        if not alone:
            reporting.write_files(self._found, pictures, folder)
        return write_scores_html(self._found, pictures, folder, alone=alone)
