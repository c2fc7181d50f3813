"""An audit as a function call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from mia_lab.api.call import Settings, attack_names, call
from mia_lab.api.images import Images
from mia_lab.api.pages import write_report
from mia_lab.api.victims import Victim
from mia_lab.data.manifest import write_manifest
from mia_lab.data.traces import FILE
from mia_lab.errors import UserError
from mia_lab.evaluation.results import AuditReport, AuditResult
from mia_lab.reporting.audit import words
from mia_lab.reporting.audit.figures import draw
from mia_lab.reporting.canvas import Picture
from mia_lab.reporting.files import write_files
from mia_lab.reporting.frames import audit_frames, full_roc_frame, score_frame
from mia_lab.reporting.html import write_html
from mia_lab.stages.graph import run_stages
from mia_lab.store.disk import write_file
from mia_lab.tasks import common
from mia_lab.tasks.audit_report import audit_report, training_course
from mia_lab.types import Role


def audit(
    victim: Victim | None = None,
    members: Images | None = None,
    nonmembers: Images | None = None,
    auxiliaries: Images | None = None,
    *,
    attacks: Sequence[str] | None = None,
    difficulty: str | None = None,
    backbone: str | None = None,
    image_size: int | Sequence[int] | None = None,
    value_range: Any = None,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    seed: int = 0,
) -> Audit:
    """Measure how well attacks tell a model's training images from others.

    The command ``python -m mia_lab`` with ``data.protocol=manifest`` on the same files gives the
    same numbers. Without ``members`` and ``nonmembers``, the overrides choose the data.

    Args:
        victim: the model. A function or a ``torch.nn.Module`` that maps inputs, float32
            (N, C, H, W) in [0, 1], to answers of the targets' shape; or the path of a file
            (``.pt2``, ``.onnx``, ``.pth``, ``.safetensors``), or of a folder of answers or of a
            pipeline of diffusers; or a URL; or the name of a kind of victim, such as ``"pix2pix"``,
            which is then trained on the members. None: the overrides choose it. A file may be a
            program: load only files that you trust.
        members: images that the model was trained on: (inputs, targets) as arrays or tensors
            (N, C, H, W), in [0, 1] or of type uint8; or a list of pairs, or a
            ``torch.utils.data.Dataset`` of pairs; or a folder, ``"pairs/train"``.
        nonmembers: images that it was not trained on, of the same kind.
        auxiliaries: further images that it was not trained on. They set the thresholds.
        attacks: names of attacks, see the key ``attack.available``; or ``"all"``, which takes
            auxiliaries and reference victims. None: reconstruction and membership, or as the
            overrides choose.
        difficulty: one of the choices of ``difficulty=``. None: ``single_image``.
        backbone: one of the choices of ``backbone=``, or the name of a network of timm.
        image_size: images are resized to this side, or (width, height), in pixels. None: the size
            of the arrays, or the command's default for folders.
        value_range: the values that stand for 0 and 1 in the model's inputs and answers, such as
            (-1, 1).
        overrides: overrides of the configuration, as on the command line:
            ``["data.layout=two_folders"]``.
        folder: the results of all stages are kept in ``folder/store``, so a second call computes
            only new results. The answers of a function or a module are kept there, too, but each
            call computes them again. None: a temporary folder, which is deleted.
        seed: the seed of all random choices.

    Raises:
        UserError: an argument or an image is not as described.

    Examples:
        >>> import numpy as np
        >>> x, y = np.random.default_rng(0).random((2, 40, 3, 32, 32)).astype(np.float32)
        >>> known = {picture.tobytes(): target for picture, target in zip(x[:20], y[:20])}
        >>> def model(batch):  # remembers the first 20 targets
        ...     return np.stack([known.get(a.tobytes(), a) for a in batch.numpy()])
        >>> found = audit(model, members=(x[:20], y[:20]), nonmembers=(x[20:], y[20:]))
        >>> found.table().loc["reconstruction", "auc"]
        np.float64(1.0)
        >>> found.verdict
        'undecidable'
    """
    settings = Settings(difficulty, backbone, image_size, overrides, folder, seed)
    images = {
        Role.MEMBER.value: ("members", members),
        Role.NONMEMBER.value: ("nonmembers", nonmembers),
        Role.AUXILIARY.value: ("auxiliaries", auxiliaries),
    }
    if (members is None) is not (nonmembers is None):
        missing = "members" if members is None else "nonmembers"
        raise UserError(f"{missing}: an audit compares members with non-members; give both")
    chosen = attack_names(attacks)
    with call("audit", settings, images, *chosen, victim=victim, value_range=value_range) as (
        config,
        temporary,
    ):
        stages = run_stages(config)
        goals = stages.goals(None)
        with common.started(config, temporary, goals) as store:
            common.checked_split(stages, store, temporary)
            if course := training_course(stages):
                course.train(store, goals)
            result = store.result(goals[0])
            assert isinstance(result, AuditResult)
            overfitting = course.result(store) if course else None
            report = audit_report(config, stages, store, result, overfitting)
            return Audit(replace(report, command=""))


class Audit:
    """What an audit found; :func:`mia_lab.audit` returns it.

    Args:
        found: the numbers, and the data that the pages show.
    """

    def __init__(self, found: AuditReport) -> None:
        self._found = found

    def __repr__(self) -> str:
        return words.text_table(self._found)

    def _repr_html_(self) -> str:
        header, *rows = words.table_rows(self._found.result)
        html: str = pd.DataFrame(rows, columns=header).to_html(index=False)
        return f"<p>{escape(self.summary)}</p>{html}"

    def table(self) -> pd.DataFrame:
        """One row per attack and blind baseline: AUC, rates and excess. The index is the name."""
        return audit_frames(self._found)["attacks"].set_index("attack")

    @property
    def scores(self) -> pd.DataFrame:
        """One row per candidate: ``is_member``, each attack's error, difficulty, probabilities.

        A low error means "probably a member". The index is the image's id. As every table of an
        audit, it is a new one each time.
        """
        return score_frame(self._found).set_index("id")

    @property
    def verdict(self) -> str:
        """Whether the split is fair: ``sound``, ``confounded`` or ``undecidable``.

        In a confounded split, members and non-members can be told apart without any model, so an
        AUC does not measure membership alone.
        """
        return self._found.result.blind.verdict.value

    @property
    def summary(self) -> str:
        """The verdict in sentences."""
        return words.verdict(self._found)

    @property
    def missing_baselines(self) -> tuple[str, ...]:
        """Blind baselines that cannot run on these images: ``file`` needs files on disk."""
        names = [baseline.name for baseline in self._found.result.blind.baselines]
        return () if FILE in names else (FILE,)

    @property
    def gate_failed(self) -> bool | None:
        """Whether ``fail_if`` holds, if an override gives one; else None."""
        return None if self._found.gate is None else self._found.gate.failed

    @property
    def roc(self) -> pd.DataFrame:
        """All points of all ROC curves: ``attack``, ``fpr``, ``tpr``, ``threshold``.

        An image is called a member if its score, which is minus its error, is at least the
        threshold.
        """
        return full_roc_frame(self._found.result)

    def report(self, path: str | Path) -> Path:
        """Write the report.

        Args:
            path: the path of the page, such as ``report.html``; or of a folder, which gets all
                files that the command writes, so that ``task=compare`` can read it.

        Returns:
            The path of the page.
        """
        return write_report(path, self._write_report)

    def _write_report(self, folder: Path, alone: bool) -> Path:
        if not alone:
            self.write_run(folder, self._pictures)
        return write_html(self._found, self._pictures, folder, alone=alone)

    def write_run(self, folder: Path, pictures: Sequence[Picture] = ()) -> None:
        """Write the files that the command writes into a run's folder, except the page."""
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / "config.yaml", self._found.config)
        write_manifest(folder / "split.csv", self._found.split)
        write_files(self._found, pictures, folder)

    @cached_property
    def _pictures(self) -> tuple[Picture, ...]:
        return draw(self._found)
