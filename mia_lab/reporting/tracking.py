"""Weights & Biases, behind one context manager that always closes its run."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import wandb
from numpy.typing import NDArray
from PIL import Image

from mia_lab.errors import UserError
from mia_lab.evaluation.finished import Sweep
from mia_lab.evaluation.results import AuditReport, Inference, Scoring, Survey
from mia_lab.evaluation.summary import summary
from mia_lab.reporting import dashboard, inference
from mia_lab.reporting.canvas import Picture
from mia_lab.reporting.frames import (
    audit_frames,
    candidate_frame,
    difficulty_frame,
    records,
    roc_frame,
)
from mia_lab.reporting.scores import scores_summary
from mia_lab.reporting.sweep.words import sweep_frames, sweep_summary
from mia_lab.store.disk import full_disk

Mode = Literal["offline", "online", "disabled"]

_LOGIN_TIMEOUT_S = 15.0
_LONGEST_TAG = 64  # longer ones make W&B refuse the run


class Tracker:
    """One W&B run: training curves first, the verdict at the end.

    Use it as a context manager: the run is finished on leaving, and marked as failed if an
    exception passes. In mode ``disabled`` every method does nothing.

    Args:
        mode: ``offline`` writes below ``directory``; ``online`` also sends it to the server.
        directory: an existing folder for everything W&B writes (run, media, cache).
        run_id: the run's id; online, the same id replaces the earlier run.
        project: W&B project.
        group: what belongs together, e.g. a sweep.
        job_type: the kind of job, e.g. ``audit``.
        name: display name.
        config: the resolved configuration, nested, of plain types.
        tags: words to find the run by; no secrets.
        dashboards: a folder that records which projects have a dashboard: after the first online
            audit of a project, :mod:`mia_lab.reporting.dashboard` saves one. None: never.
        log_images: whether pictures of the data are logged, offline or online: members are private
            images, and ``wandb sync`` sends what an offline run holds. Plots of numbers are always
            logged.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        directory: Path,
        run_id: str,
        project: str,
        group: str,
        job_type: str,
        name: str,
        config: Mapping[str, Any],
        tags: Sequence[str] = (),
        dashboards: Path | None = None,
        log_images: bool = False,
    ) -> None:
        self.mode = mode
        self.wants_images = log_images and mode != "disabled"
        self._directory = directory.absolute()
        self._identity: dict[str, Any] = {
            "id": run_id,
            "project": project,
            "group": group,
            "job_type": job_type,
            "name": name,
            "tags": [tag[:_LONGEST_TAG] for tag in dict.fromkeys(tags) if tag],
        }
        self._config = dict(config)
        self._dashboards = dashboards if mode == "online" else None
        self._has_result = False
        self._run: Any = None
        self._borrowed: list[str] = []

    def __enter__(self) -> Self:
        """Start the run.

        Raises:
            UserError: W&B could not start, e.g. online without being logged in.
        """
        if self.mode == "disabled":
            return self
        self._set_environment()
        try:
            self._run = self._start()
        except Exception as error:  # whatever it is, the audit can do without W&B
            self._restore_environment()
            if full := full_disk(error, self._directory):
                raise full from error
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"tracking.mode={self.mode}: W&B did not start ({reason}); {self._remedy(reason)}"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is None:
            return
        run, self._run = self._run, None
        try:
            run.finish(exit_code=0 if kind is None else 1)
            if kind is None and self._has_result and self._dashboards is not None:
                server = run.settings.base_url
                dashboard.save_once(run.entity, run.project, server, self._dashboards)
        finally:
            self._restore_environment()

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log ``train/<key>`` for each metric, plotted against the epoch."""
        if self._run is not None:
            self._run.log({"epoch": epoch, **{f"train/{k}": float(v) for k, v in metrics.items()}})

    def log_images(
        self, key: str, images: NDArray[Any], captions: Sequence[str], epoch: int
    ) -> None:
        """Log a panel of images, if images are wanted at all (``wants_images``).

        Args:
            key: name of the panel; those below ``train/`` are shown against the epoch.
            images: (N, C, H, W), C 1 or 3: uint8, or floats in [0, 1].
            captions: N texts.
            epoch: the epoch they belong to.
        """
        if self._run is None or not self.wants_images:
            return
        panel = [
            wandb.Image(_pil(image), caption=caption)
            for image, caption in zip(images, captions, strict=True)
        ]
        self._run.log({"epoch": epoch, key: panel})

    def log_result(self, audit: AuditReport, pictures: Iterable[Picture]) -> None:
        """Log the numbers, curves, tables and pictures of an audit.

        Args:
            audit: the audit.
            pictures: from :func:`mia_lab.reporting.audit.figures.draw`.
        """
        if self._run is None:
            return
        for mean in audit.overfitting.means if audit.overfitting else ():
            errors = {"members": mean.members.value, "nonmembers": mean.nonmembers.value}
            numbers = {f"overfitting/{kind}": error for kind, error in errors.items()}
            self._run.log({"epoch": mean.epoch, **numbers})
        tables = {name: _table(table) for name, table in audit_frames(audit).items()}
        curves = _table(roc_frame(audit.result))
        tables["roc_curve"] = wandb.plot.line(curves, "fpr", "tpr", stroke="attack", title="ROC")
        timing = {f"timing/{part}": seconds for part, seconds in audit.timing_s.items()}
        self._log(tables, pictures, summary(audit.result) | timing)
        directions = {
            f"direction/{e.name}": "wrong" if e.is_reversed else "right"
            for e in audit.result.evaluations
            if e.is_reversed or e.is_separating
        }
        self._run.summary.update({"blind/verdict": audit.result.blind.verdict.value, **directions})
        self._has_result = True

    def log_survey(self, survey: Survey, pictures: Iterable[Picture]) -> None:
        """Log the scores and pictures of a survey of difficulty.

        Args:
            survey: the result.
            pictures: from :func:`mia_lab.reporting.survey.draw`.
        """
        if self._run is None:
            return
        tables = {"scores": _table(difficulty_frame(survey.difficulty))}
        self._log(tables, pictures, survey_summary(survey))

    def log_scoring(self, found: Scoring, pictures: Iterable[Picture]) -> None:
        """Log the scores, decisions and pictures of candidates.

        Args:
            found: the result.
            pictures: from :func:`mia_lab.reporting.scores.draw`.
        """
        if self._run is None:
            return
        tables = {"scores": _table(candidate_frame(found))}
        self._log(tables, pictures, scores_summary(found))

    def log_inference(self, found: Inference, pictures: Iterable[Picture]) -> None:
        """Log the tests and pictures of collections.

        Args:
            found: the result.
            pictures: from :func:`mia_lab.reporting.inference.draw`.
        """
        if self._run is None:
            return
        tables = {
            "scores": _table(inference.score_frame(found)),
            "collections": _table(inference.collection_frame(found)),
            "needed": _table(inference.needed_frame(found)),
        }
        self._log(tables, pictures, inference.numbers(found))
        answers = {f"answer/{c.name}": c.answer.value for c in found.result.collections}
        self._run.summary.update(answers)

    def log_sweep(self, sweep: Sweep, pictures: Iterable[Picture]) -> None:
        """Log the tables and pictures of a sweep.

        Args:
            sweep: the sweep.
            pictures: from :func:`mia_lab.reporting.sweep.figures.draw`.
        """
        if self._run is None:
            return
        tables = {name: _table(table) for name, table in sweep_frames(sweep).items()}
        self._log(tables, pictures, sweep_summary(sweep))

    def _log(
        self, tables: dict[str, Any], pictures: Iterable[Picture], numbers: Mapping[str, float]
    ) -> None:
        """Log everything in one row of the history, from which W&B makes the summary.

        W&B's sweeps and some charts read the history, not the summary.
        """
        shown = {
            f"report/{p.name}": wandb.Image(Image.open(io.BytesIO(p.png)), caption=p.title)
            for p in pictures
            if self.wants_images or not p.private
        }
        self._run.log({**tables, **shown, **numbers})

    def _remedy(self, reason: str) -> str:
        if self.mode == "offline":
            return "use tracking.mode=disabled"
        if "created and deleted" in reason:  # the id, and with it this audit, is gone for ever
            return "use another tracking.project, or tracking.mode=offline"
        return "use tracking.mode=offline, or log in with `wandb login`"

    def _start(self) -> Any:
        run = wandb.init(
            **self._identity,
            mode=self.mode,
            dir=str(self._directory),
            config=self._config,
            # An independent run even if the process has another one open.
            reinit="create_new",
            # `resume` stays unset. A run that the server has under this id is then written anew,
            # from step 0 and with a summary of its own. "allow" would go on behind the last step,
            # every curve twice, and keep what only the earlier run had in its summary; "never"
            # would fail.
            settings=wandb.Settings(
                console="off",  # capturing it costs time and may hold private paths
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                init_timeout=_LOGIN_TIMEOUT_S,
                login_timeout=_LOGIN_TIMEOUT_S,
            ),
        )
        run.define_metric("epoch", hidden=True)
        run.define_metric("train/*", step_metric="epoch")
        run.define_metric("overfitting/*", step_metric="epoch")
        return run

    def _set_environment(self) -> None:
        """Keep W&B's files below the directory; what the user has set stays."""
        wanted = {
            "WANDB_DATA_DIR": str(self._directory / "wandb" / "data"),
            "WANDB_CACHE_DIR": str(self._directory / "wandb" / "cache"),
            "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "1",  # a killed run loses 1 s, not 15
            "WANDB_SILENT": "true",
        }
        if self.mode == "offline":  # online it holds the address of the user's own server
            wanted["WANDB_CONFIG_DIR"] = str(self._directory / "wandb" / "config")
        self._borrowed = [key for key in wanted if key not in os.environ]
        os.environ.update({key: wanted[key] for key in self._borrowed})

    def _restore_environment(self) -> None:
        """So that the next run of this process gets folders of its own."""
        for key in self._borrowed:
            os.environ.pop(key, None)
        self._borrowed = []


def survey_summary(survey: Survey) -> dict[str, float]:
    """The numbers of the W&B summary of a survey."""
    score = survey.difficulty.mean()[:, 0]
    numbers = {"difficulty/mean": float(score.mean()), "difficulty/sd": float(score.std())}
    if survey.reliability is not None:
        numbers["difficulty/icc_single"] = survey.reliability.icc_single
    return numbers


def _table(table: pd.DataFrame) -> Any:
    rows: list[Iterable[Any]] = [list(row.values()) for row in records(table)]
    return wandb.Table(columns=[*table.columns], data=rows)


def _pil(image: NDArray[Any]) -> Any:
    """(C, H, W) uint8 or float in [0, 1] as a PIL image; wandb would log such floats as black."""
    if image.dtype != np.uint8:
        image = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1))
