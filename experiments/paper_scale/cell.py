"""One cell of Table 1: its training within a budget, and an audit of what has been trained."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import shlex
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, NoReturn

import hydra
import numpy as np
import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from hydra.errors import HydraException
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import rows
from mia_lab.config.compose import CONF, register_resolvers
from mia_lab.data.dataset import PairDataset, training_loader
from mia_lab.data.encoding import LabelEncoding
from mia_lab.data.splits import Counts, assign_resplit
from mia_lab.errors import UserError, one_line
from mia_lab.hardware import (
    computing_with,
    enough_gpu_memory,
    resolve_precision,
    torch_device,
)
from mia_lab.progress import progress_bar
from mia_lab.seeding import generator
from mia_lab.store.disk import check_room, enough_room, write_file
from mia_lab.store.software import commit, version
from mia_lab.types import PairBatch, Role
from mia_lab.victims.blackbox import TorchBlackBox
from mia_lab.victims.callbacks import TimedCheckpoint
from mia_lab.victims.files import recipe
from mia_lab.victims.query import Questioner, reconstruction_error
from mia_lab.victims.resume import LAST, WholeCheckpoints, intact_checkpoint
from mia_lab.victims.settings import TrainingSettings
from mia_lab.victims.training import CHECKPOINTS, hardware, prepared, quiet_lightning

SCALE = "data.source=folder scale=paper backbone=efficientnet_lite0 scale.perceptual=lite0"
"""No network is needed; OVERRIDES can set the published backbone and perceptual loss again."""

SNAPSHOTS = (1, 2, 5, 10, 20, 50, 100, 150)
"""Epochs after which the victim is audited, besides the last one."""

LEAST = 8
"""Smallest number of candidates of an audit."""

SCORING = 0.1
"""Share of the budget that the audit of a cut training gets, if it can use so much."""

ENDING = 1.0
"""Seconds for the end of the process."""

WRITTEN = 2e8
"""Bytes of a checkpoint that are written in a second, a low estimate."""

CHECKPOINT_S = 600.0
"""Seconds between the checkpoints of a long call, for the case that it is killed."""

LIBRARIES = ("torch", "pytorch-lightning", "timm", "numpy", "pillow")

log = logging.getLogger(__name__)

Z = NormalDist().inv_cdf(0.975)


class Cut(Exception):
    """The training stops because its budget ends."""


def interval(scores: NDArray[np.float64], is_member: NDArray[np.bool_]) -> tuple[float, ...]:
    """AUC, and its 95 % interval as of `mia_lab.evaluation.uncertainty.auc_interval`.

    DeLong's on the logit scale; Newcombe's method 5 where its variance is 0. SciPy is not needed.

    Args:
        scores: (N,), higher = more likely a member; two of each class or more.
        is_member: (N,).
    """
    members, others = scores[is_member], scores[~is_member]
    wins = (members[:, None] > others) + 0.5 * (members[:, None] == others)
    (m, n), area = wins.shape, float(wins.mean())
    variance = wins.mean(1).var(ddof=1) / m + wins.mean(0).var(ddof=1) / n
    if 0 < area < 1 and variance > 0:
        centre, half = math.log(area / (1 - area)), Z * math.sqrt(variance) / (area * (1 - area))
        return area, *(1 / (1 + math.exp(half * side - centre)) for side in (1, -1))
    return area, _newcombe_low(area, m, n), 1 - _newcombe_low(1 - area, m, n)


def _newcombe_low(area: float, m: int, n: int) -> float:
    """The smallest AUC t that differs from `area` by at most z s(t), by bisection."""
    low, high = 0.0, area
    for _ in range(60):
        t = (low + high) / 2
        spread = 1 + ((m + n) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
        is_far = (area - t) ** 2 > Z * Z * t * (1 - t) * spread / (m * n)
        low, high = (t, high) if is_far else (low, t)
    return high


def built(settings: Mapping[str, Any], **more: Any) -> Any:
    """The object that some settings of `conf/` describe."""
    left_out = ("_target_", "name", "shard")
    given = {key: value for key, value in settings.items() if key not in left_out}
    return hydra.utils.get_class(settings["_target_"])(**given | more)


class Candidates:
    """The pairs of a cell and their roles, and what an audit measures of them.

    Args:
        config: the composed configuration.
        folder: where difficulties are kept.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        data, self.seed = config["data"], config["seed"]
        source = built(data["sources"][data["source"]])
        counts = Counts(data["n_members"], data["n_nonmembers"], data["n_auxiliary"])
        roles = assign_resplit(source.ids("train"), counts, self.seed)
        labels = None
        if data["input_encoding"] == "one_hot":
            boundaries = data["instances"] and source.has_instances
            labels = LabelEncoding(data["palette"], boundaries, data["ignore_label"])
        size, mode = data["image_size"], data["resize"]
        self.pairs = PairDataset(source, sorted(roles), size, encoding=labels, resize=mode)
        self.members, self.others = (
            [i for i in self.pairs.ids if roles[i]["role"] == role]
            for role in (Role.MEMBER, Role.NONMEMBER)
        )
        self.accelerator = config["trainer"]["accelerator"]
        device = torch_device(self.accelerator)
        backbone = built(config["backbone"], name=config["backbone"]["name"])
        self.probe = built(config["difficulty"], backbone=backbone, grid=None, device=device)
        self.backbone = backbone.label
        self.alpha, self.mode = config["attack"]["alpha"], config["query"]["mode"]
        self.batch = 2 if device.type == "cpu" else config["query"]["batch_size"]
        self._file = folder / "difficulty.json"
        kept = json.loads(self._file.read_text()) if self._file.is_file() else {}
        self._difficulty: dict[str, float] = kept
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self.members) + len(self.others)

    def in_turn(self) -> Iterator[list[str]]:
        """Batches of members and non-members alternately, in an order that the seed draws."""
        sides = enumerate((self.members, self.others))
        drawn = [generator(self.seed, "audit", str(n)).permutation(side) for n, side in sides]
        order = [str(i) for pair in itertools.zip_longest(*drawn) for i in pair if i is not None]
        return (order[n : n + self.batch] for n in range(0, len(order), self.batch))

    def prepare(self, module: pl.LightningModule) -> None:
        """Score the difficulty of those that each audit begins with, and time the last of them."""
        for ids in itertools.islice(self.in_turn(), math.ceil(LEAST / self.batch)):
            began = time.monotonic()
            batch = self._batch(ids)
        self._questioner(module)(batch)
        self.seconds = (time.monotonic() - began) / len(batch)

    def audit(self, module: pl.LightningModule, end: float, what: str) -> dict[str, Any]:
        """Query a victim with as many candidates as time allows, but at least `LEAST`.

        Args:
            module: the victim, as far as it is trained.
            end: of the time.
            what: is audited.

        Returns:
            Columns of the row: the AUCs with their intervals, and how many were scored.
        """
        ask, errors = self._questioner(module), dict[str, float]()
        with progress_bar(f"scoring {what}", len(self)) as bar:
            for ids in self.in_turn():
                began = time.monotonic()
                if len(errors) >= LEAST and began + len(ids) * self.seconds > end:
                    break
                batch = self._batch(ids)
                found = reconstruction_error(ask(batch), batch.y.numpy())
                errors |= zip(ids, found.tolist(), strict=True)
                self.seconds = (time.monotonic() - began) / len(ids)
                bar.update(len(ids))
        write_file(self._file, json.dumps(self._difficulty))
        error = np.array([*errors.values()])
        difficulty = np.array([self._difficulty[i] for i in errors])
        is_member = np.isin([*errors], self.members)
        columns: dict[str, Any] = {"scored": len(errors)}
        for name, loss in (("rec", error), ("mem", error - self.alpha * difficulty)):
            values = interval(-loss, is_member)
            columns |= zip((f"auc_{name}{e}" for e in ("", "_low", "_high")), values, strict=True)
        return columns

    def _questioner(self, module: pl.LightningModule) -> Questioner:
        return Questioner(TorchBlackBox(module, self.accelerator, self.mode), self.seed)

    def _batch(self, ids: Sequence[str]) -> PairBatch:
        """Some pairs, whose difficulty is known from now on."""
        (batch,) = self.pairs.subset(ids).batches(len(ids))
        if not {*ids} <= {*self._difficulty}:
            table = self.probe.score(self.probe.factors([batch]), self.seed)
            self._difficulty |= zip(ids, table.column(ids).tolist(), strict=True)
        return batch


class Remaining:
    """What is left of an epoch's order of images.

    Args:
        order: of the whole epoch.
        done: gives the number of images that the training has seen of it.
    """

    def __init__(self, order: Any, done: Callable[[], int]) -> None:
        self._order, self._done = order, done

    def __iter__(self) -> Iterator[int]:
        yield from itertools.islice(self._order, self._done(), None)

    def __len__(self) -> int:
        return len(self._order)


@dataclass(eq=False)
class Course(pl.Callback):
    """Audits a victim in the course of its training, and stops the training in time.

    The victim is audited before the first step after a snapshot's epoch. Between two steps, the
    training is cut when just enough time is left to save and to audit it.

    Attributes:
        candidates: what it is audited with.
        file: of the rows.
        columns: what all rows of this training have in common.
        n_batches: steps of an epoch.
        end: of this call, a time of `time.monotonic`.
        scoring_s: for the audit of a cut training.
        save_s: for its checkpoint.
        checkpoint: the file that the next call resumes from.
    """

    candidates: Candidates
    file: Path
    columns: Mapping[str, Any]
    n_batches: int
    end: float
    scoring_s: float
    save_s: float
    checkpoint: Path

    def __post_init__(self) -> None:
        self._seconds = self._began = 0.0
        self._first: int | None = None
        self._bar: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds = state_dict["seconds"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        epoch = trainer.current_epoch
        step = epoch * self.n_batches + batch_idx
        if self._first is None:
            self._first, step_s = step, 0.0
            total = self.columns["epochs"] * self.n_batches
            self._bar = progress_bar("training", total, "steps", initial=step)
            self.candidates.prepare(pl_module)
        else:
            step_s = self._count()
        if batch_idx == 0:
            self._bar.set_description(f"training, epoch {epoch + 1}")
            if epoch in SNAPSHOTS and not self._is_done(epoch):
                self.snapshot(trainer, step)
        needed = max(LEAST * self.candidates.seconds, self.scoring_s)
        needed = min(self._whole_s, needed) + step_s
        if step > self._first and time.monotonic() + needed > self._latest:
            self._cut(trainer, step)
        pl_module.train()
        self._began = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._count()
            self._bar.close()

    def on_exception(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def snapshot(self, trainer: pl.Trainer, step: int) -> None:
        """Audit the victim after a whole epoch: now, or with all the time of the next call.

        Raises:
            Cut: in the next call.
        """
        has_trained = self._first is not None and step > self._first
        if has_trained and time.monotonic() + self._whole_s > self._latest:
            self._cut(trainer, step)
        self._audit(trainer, step, is_cut=False)

    @property
    def _whole_s(self) -> float:
        """Time of an audit with all candidates."""
        return len(self.candidates) * self.candidates.seconds

    @property
    def _latest(self) -> float:
        """When an audit has to end, so that a checkpoint can be written."""
        return self.end - self.save_s

    def _count(self) -> float:
        """Count a step, which took the returned time."""
        seconds = time.monotonic() - self._began
        self._seconds += seconds
        self._bar.update()
        return seconds

    def _cut(self, trainer: pl.Trainer, step: int) -> NoReturn:
        trainer.save_checkpoint(self.checkpoint)
        if not self._is_done(step / self.n_batches):
            self._audit(trainer, step, is_cut=True)
        raise Cut

    def _is_done(self, epoch: float) -> bool:
        return is_done(self.file, self.columns["overrides"], epoch)

    def _audit(self, trainer: pl.Trainer, step: int, *, is_cut: bool) -> None:
        epoch, end = step / self.n_batches, self.end if is_cut else self._latest
        found = self.candidates.audit(trainer.lightning_module, end, f"epoch {epoch:.5g}")
        images = epoch * self.columns["n_members"]
        measured = {
            "epoch": f"{epoch:.5g}",
            "is_cut": is_cut,
            "steps": step,
            "train_seconds": f"{self._seconds:.2f}",
            "images_per_s": f"{images / self._seconds:.4g}",
            **{k: f"{v:.4f}" if isinstance(v, float) else v for k, v in found.items()},
        }
        row = {key: str(value) for key, value in (self.columns | measured).items()}
        kept = [old for old in rows.read(self.file) if not _is_replaced(old, row)]
        rows.write(self.file, [*kept, row])
        log.info(
            "epoch %s: AUC %s of L_rec, %s of L_mem, on %s of %d candidates; trained for %s s",
            *(row[key] for key in ("epoch", "auc_rec", "auc_mem", "scored")),
            len(self.candidates),
            row["train_seconds"],
        )


def is_done(file: Path, overrides: str, epoch: float) -> bool:
    """Whether a training has the row of a snapshot."""
    wanted = {"overrides": overrides, "epoch": f"{epoch:.5g}", "is_cut": "False"}
    return any(wanted.items() <= row.items() for row in rows.read(file))


def _is_replaced(old: rows.Row, new: rows.Row) -> bool:
    """Whether a row is of the same training, and cut or of the same epoch."""
    is_same = old["overrides"] == new["overrides"]
    return is_same and (old["is_cut"] == "True" or old["epoch"] == new["epoch"])


def composed(overrides: str) -> Mapping[str, Any]:
    """The configuration, which the schema of mia_lab does not check: that needs pydantic.

    Raises:
        UserError: Hydra cannot compose it.
    """
    register_resolvers()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("config", shlex.split(overrides))
            found: Any = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{overrides}: {one_line(str(error))}") from error
    return dict(found)


def run(cells: Sequence[str], asked: Mapping[str, str], started: float) -> None:
    """Train and audit the first cell that is not finished.

    Args:
        cells: in the order in which they are run.
        asked: the options of the command.
        started: when the budget began, a time of `time.monotonic`.

    Raises:
        UserError: there is no such device, or data or settings are wrong, or the folder cannot be
            used, or the disk is full, or the GPU has too little memory.
    """
    out = Path(asked["OUT"]).resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / "lock").acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"OUT={out}: another call is at work there; give another folder") from error
    except OSError as error:
        raise UserError(f"OUT={out}: {error.strerror}; give another folder") from error
    with lock, enough_room(out):
        _run(cells, asked, started, out)


def _run(cells: Sequence[str], asked: Mapping[str, str], started: float, out: Path) -> None:
    accelerator = asked["ACCELERATOR"]
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("ACCELERATOR=gpu: no GPU is visible; use auto or cpu")
    precision = resolve_precision(asked["PRECISION"], accelerator)
    scale = f"{SCALE} scale.batch_size={asked['BATCH']} trainer.precision={precision}"
    for name in [asked["CELL"]] if asked["CELL"] else cells:
        overrides = f"+experiment={name} {scale} {asked['OVERRIDES']}".strip()
        config = composed(f"{overrides} trainer.accelerator={accelerator}")
        if not is_done(out / "rows.csv", overrides, config["victim"]["epochs"]):
            break
        log.info("%s: is finished", name)
    else:
        log.info("nothing is left to train")
        return
    folder = out / f"{name}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    candidates, settings = Candidates(config, folder), config["victim"]
    members = candidates.pairs.subset(candidates.members)
    module: pl.LightningModule = built(
        settings, in_channels=members.in_channels, out_channels=members.out_channels
    )
    batch, threads = settings["batch_size"], config["trainer"]["threads"]
    training = TrainingSettings(candidates.accelerator, config["trainer"]["precision"])
    loader = training_loader(members, batch, config["seed"], workers=0)
    columns = {
        "cell": name,
        "epochs": settings["epochs"],
        "batch": batch,
        "precision": training.precision,
        "n_members": len(candidates.members),
        "n_nonmembers": len(candidates.others),
        "backbone": candidates.backbone,
        "perceptual": settings.get("perceptual", ""),
        "seed": config["seed"],
        "overrides": overrides,
        "device": f"{rows.device_model(candidates.accelerator)}, {threads} threads",
        "versions": ", ".join(f"{library} {version(library)}" for library in LIBRARIES),
        "commit": asked["COMMIT"] or commit(":(glob)../experiments/**/*.py"),
    }
    log.info("%s: %d members, batch %d, %s", name, len(members), batch, columns["device"])
    size = 3 * sum(p.nbytes for p in module.parameters())  # Adam keeps two moments of each weight
    check_room(folder, size)
    budget = float(asked["BUDGET_S"])
    course = Course(
        candidates,
        out / "rows.csv",
        columns,
        len(loader),
        end=started + budget - ENDING,
        scoring_s=SCORING * budget,
        save_s=size / WRITTEN,
        checkpoint=folder / CHECKPOINTS / LAST,
    )
    whole = WholeCheckpoints(recipe(module.generator, settings["input_encoding"]))
    with quiet_lightning(), prepared(module, training), computing_with(threads):
        trainer = pl.Trainer(
            max_epochs=settings["epochs"],
            callbacks=[course, TimedCheckpoint(folder / CHECKPOINTS, CHECKPOINT_S)],
            default_root_dir=folder,
            **hardware(training, whole),
        )
        loop = trainer.fit_loop.epoch_loop
        loader.batch_sampler.sampler = Remaining(
            loader.sampler, lambda: loop.batch_progress.current.ready * batch
        )
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended")
        try:
            with enough_gpu_memory("give a smaller BATCH, or PRECISION=bf16-mixed"):
                trainer.fit(module, loader, ckpt_path=intact_checkpoint(folder / CHECKPOINTS))
            course.snapshot(trainer, settings["epochs"] * len(loader))
        except Cut:
            return
    shutil.rmtree(folder)
