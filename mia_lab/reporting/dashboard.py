"""The W&B workspace of a project as code: the results of all its runs side by side.

Only the public interface of wandb-workspaces is used.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

Panels = list[Any]
"""Wandb-workspaces has no public name for what a section may hold."""

log = logging.getLogger(__name__)

NAME = "mia_lab"
"""Name of the saved view."""

VERDICT = ("auc/membership", "auc/reconstruction", "excess/membership", "blind/max")
"""The first charts: an attack's AUC counts as far as it exceeds that of the blind baselines."""

PICTURES = (
    "roc",
    "roc-log",
    "histogram",
    "scatter",
    "overfitting",
    "alpha",
    "reliability",
    "grid",
    "grid-2",
)
"""Pictures of numbers that every audit may have."""

PRIVATE_PICTURES = tuple(f"dossiers-{number}" for number in range(1, 6))
"""Pictures of the data, logged with tracking.images=true."""

_CHART = "wandb/line/v0"  # a run's colour, and a dash for each value of `stroke`
_MAX_RUNS = 100
_UNSAVED = "the W&B dashboard was not saved (%s); set tracking.dashboard=false to save none"


def workspace(entity: str, project: str) -> ws.Workspace:
    """The dashboard of a project; nothing is sent anywhere.

    Args:
        entity: user or team that owns the project.
        project: its name.
    """
    columns = [*VERDICT, "blind/verdict", "tpr_at_zero_fp/membership"]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            ws.Section(name="Verdict", panels=_verdict(), is_open=True, pinned=True),
            ws.Section(name="Curves", panels=_curves(), is_open=True),
            ws.Section(name="Settings", panels=_settings(), is_open=True),
            ws.Section(name="Training", panels=_training(), is_open=True),
            ws.Section(name="Pictures", panels=_gallery(), is_open=True),
        ],
        settings=ws.WorkspaceSettings(max_runs=_MAX_RUNS),
        runset_settings=ws.RunsetSettings(pinned_columns=[f"summary:{name}" for name in columns]),
    )


def save(entity: str, project: str) -> str:
    """Save the dashboard as a new view on the W&B server of the login, and return its URL."""
    url: str = workspace(entity, project).save().url  # type: ignore[no-untyped-call]
    return url


def save_once(entity: str, project: str, server: str, folder: Path) -> None:
    """Save the dashboard unless this store has saved it before; a failure is only a warning.

    W&B's public interface cannot list a project's views, and a view that somebody changed or
    deleted must stay as it is: a file for each project records that a view was saved.

    Args:
        entity, project: as for :func:`workspace`.
        server: its URL.
        folder: where the file lies.
    """
    owner = quote(f"{urlsplit(server).netloc}/{entity}/{project}", safe="")
    marker = folder / f"dashboard-{owner}.url"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = marker.open("x", encoding="utf-8")  # of the jobs of a sweep, one comes first
    except OSError as error:
        if not marker.exists():
            log.warning(_UNSAVED, f"{marker}: {error.strerror}")
        return
    try:
        with file:
            file.write(url := save(entity, project))
    except BaseException as error:
        marker.unlink(missing_ok=True)  # the next run tries again
        if not isinstance(error, Exception):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        log.warning(_UNSAVED, reason)
        return
    log.info("W&B dashboard: %s", url)


def _verdict() -> Panels:
    return [
        wr.BarPlot(title=name, metrics=[name], max_runs_to_show=_MAX_RUNS, max_bars_to_show=50)
        for name in VERDICT
    ]


def _curves() -> Panels:
    """Tables of all runs in one chart each; the names are those the tracker logs."""
    return [
        _chart("ROC", "roc_curve_table", x="fpr", y="tpr", stroke="attack"),
        _chart("AUC against alpha", "alpha_curve", x="alpha", y="auc"),
        _chart("Calibration", "calibration", x="predicted", y="observed", stroke="attack"),
    ]


def _chart(title: str, table: str, **fields: str) -> wr.CustomChart:
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": table}},
        chart_name=_CHART,
        chart_fields=fields,
        chart_strings={"title": title},
    )


def _settings() -> Panels:
    """The membership attack against what its difficulty score was told."""
    auc, ridge = wr.SummaryMetric("auc/membership"), wr.Config("difficulty.ridge")
    axes: dict[str, Any] = {
        "victim": wr.Config("victim.name"),
        "layers": wr.Config("layers"),
        "ridge": ridge,
        "alpha": wr.Config("attack.alpha"),
        "AUC": auc,
    }
    return [
        *(
            wr.BarPlot(
                title=f"AUC of the membership error by {name}",
                metrics=["auc/membership"],
                groupby=key,
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
                max_runs_to_show=_MAX_RUNS,
            )
            # The penalty may be a word as well as a number: bars hold both.
            for name, key in (("layers", axes["layers"]), ("penalty", ridge))
        ),
        wr.ScatterPlot(
            title="AUC of the membership error against the penalty", x=ridge, y=auc, log_x=True
        ),
        wr.ParallelCoordinatesPlot(
            title="Settings and AUC",
            columns=[
                wr.ParallelCoordinatesPlotColumn(metric=metric, display_name=name)
                for name, metric in axes.items()
            ],
        ),
    ]


def _training() -> Panels:
    return [
        wr.LinePlot(
            title="Over-fitting: training loss, error of members and of non-members",
            x="epoch",
            y=["train/l1", "overfitting/members", "overfitting/nonmembers"],
        ),
        wr.LinePlot(title="All losses", x="epoch", metric_regex="^train/.*"),
    ]


def _gallery() -> Panels:
    return [
        wr.MediaBrowser(title="Report", media_keys=[f"report/{name}" for name in PICTURES]),
        wr.MediaBrowser(
            title="Images, where they were logged",
            media_keys=["train/samples", *(f"report/{name}" for name in PRIVATE_PICTURES)],
        ),
    ]
