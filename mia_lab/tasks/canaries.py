"""Canaries from a configuration: drawn, and tested on a victim."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mia_lab.config import build
from mia_lab.config.choices import CanaryKind
from mia_lab.config.load import plain
from mia_lab.config.schema import Config
from mia_lab.data.canary import Canary, distinct, draw_canary, eight_bit, read_canary
from mia_lab.data.pairs import check_sizes
from mia_lab.data.picture import Picture
from mia_lab.data.pictures import pictures
from mia_lab.data.reading import Reading, decode
from mia_lab.data.transforms import in_unit
from mia_lab.data.twins import Pattern, recoloured, watermark
from mia_lab.errors import UserError
from mia_lab.evaluation.canary import canary_p_value, combined_p_value
from mia_lab.evaluation.results import CanaryReport, CanaryScores, DrawnCanary, Gallery
from mia_lab.progress import progress
from mia_lab.stages.canary import CanaryStages, canary_stages, committed_settings
from mia_lab.stages.victim import TRANSPORT_FILE, ForeignVictim
from mia_lab.store import Store
from mia_lab.store.software import software
from mia_lab.tasks import common, records
from mia_lab.tasks.command import Clock

Pixels = NDArray[np.uint8]
"""(H, W, C)."""

SHOWN = 4
"""Canaries whose pictures the report shows."""


def drawn(config: Config) -> DrawnCanary:
    """Draw a canary into ``canary.folder``.

    Raises:
        UserError: a picture cannot be read, the twins cannot be told apart, or the folder exists.
    """
    clock, settings, folder = Clock(), committed_settings(config), Path(config.canary.folder)
    with clock("drawing"):
        inputs, twins, kind = _twins(config)
        count = config.canary.k + 1
        shown = progress(twins, "drawing twins", "twins", total=count, is_brief=True)
        apart = distinct(shown, config.data.image_size, config.data.resize)
        canary = draw_canary(folder, inputs, apart, kind, settings)
    return DrawnCanary(
        name=config.name,
        folder=folder,
        sha256=canary.sha256,
        date=canary.opening.date,
        kind=kind,
        k=canary.opening.k,
        settings=settings,
        command=_command(canary),
        pair=_published(canary),
        timing_s=clock.seconds,
        record=software(),
    )


Twins = tuple[Iterable[Pixels], Iterable[tuple[str, Pixels]], str]
"""Inputs, twins with their names, and how the twins were made."""


def _twins(config: Config) -> Twins:
    canary = config.canary
    if canary.variants is not None:
        return _variants(config, Path(canary.variants))
    if canary.input is None or canary.target is None:
        source = build.source(config.data)
        pair = source.load(secrets.choice(source.ids("train")))
        x, y = (eight_bit("the generated pair", side) for side in (pair.x, pair.y))
        origin = f"of a generated pair ({config.data.name})"
    else:
        x, y = _read_pair(config, Path(canary.input), Path(canary.target))
        origin = "of a picture of the owner"
    rng = np.random.default_rng(secrets.randbits(256))
    strength = canary.strength
    pattern: Pattern = canary.pattern.value
    if canary.kind is CanaryKind.watermark:
        make = partial(watermark, y, rng, pattern, strength)
        kind = f"watermarks ({pattern}, strength {strength:g}) {origin}"
    else:
        make = partial(recoloured, y, rng, strength)
        kind = f"colours (strength {strength:g}) {origin}"
    return [x], ((f"twin {i}", make()) for i in range(canary.k + 1)), kind


def _variants(config: Config, folder: Path) -> Twins:
    shared = config.canary.input
    targets = pictures(folder if shared is not None else folder / "target")
    count = config.canary.k + 1
    if len(targets) != count:
        raise UserError(
            f"canary.variants={folder}: holds {len(targets)} targets, and canary.k={count - 1} "
            f"takes {count}; set canary.k={len(targets) - 1}, or give others"
        )
    twins = ((str(path), _read(config, path, "target")) for path in targets.values())
    if shared is not None:
        x, _ = _read_pair(config, Path(shared), next(iter(targets.values())))
        return [x], twins, "variants of the owner"
    own = pictures(folder / "input")
    if own.keys() != targets.keys():
        name = min(own.keys() ^ targets.keys())
        raise UserError(f"{folder}: {name} is not in both input/ and target/; each needs a partner")
    inputs = _own_inputs(config, {own[name]: target for name, target in targets.items()})
    return inputs, twins, "variants of the owner, with their inputs"


def _own_inputs(config: Config, targets: Mapping[Path, Path]) -> Iterator[Pixels]:
    """Inputs of one size, by the files of inputs and targets."""
    shape = None
    for path, target in targets.items():
        x, _ = _read_pair(config, path, target)
        shape = shape or x.shape
        if x.shape != shape:
            raise UserError(f"{path}: has another size than the first input; all need one size")
        yield x


def _read_pair(config: Config, x: Path, y: Path) -> tuple[Pixels, Pixels]:
    pair = _read(config, x, "input"), _read(config, y, "target")
    check_sizes(Picture.of(pair[0]), Picture.of(pair[1]), (x, y))
    return pair


def _read(config: Config, path: Path, side: str) -> Pixels:
    data = config.data
    channels = data.input_channels if side == "input" else data.target_channels
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    reading = Reading(None, channels, data.alpha, data.exif, data.page, data.max_megapixels)
    return eight_bit(str(path), decode(path, reading=reading))


def _published(canary: Canary) -> Gallery:
    sides = [in_unit([decode(path).pixels.transpose(2, 0, 1)]).numpy() for path in canary.published]
    none = np.empty((0,), np.float32)
    return Gallery((canary.folder.name,), ("",), sides[0], sides[1], none)


def committed_overrides(folder: Path) -> list[str]:
    """The overrides that set what the canary in a folder was committed to.

    Raises:
        UserError: see :func:`mia_lab.data.canary.read_canary`.
    """
    return _overrides(read_canary(folder))


def _overrides(canary: Canary) -> list[str]:
    """Sections of the configuration have a dot in their keys; the range of levels is fixed."""
    settings = canary.opening.settings
    return [f"{key}={str(v).replace(' ', '')}" for key, v in settings.items() if "." in key]


def _command(canary: Canary) -> str:
    words = ["task=canary", "canary.action=test", f"canary.folders=[{canary.folder}]"]
    return shlex.join(["python", "-m", "mia_lab", *words, *_overrides(canary)])


def read_canaries(folders: Sequence[str]) -> dict[str, Canary]:
    """The canaries in some folders, by the name of the folder, or its path where names are equal.

    Raises:
        UserError: see :func:`mia_lab.data.canary.read_canary`.
    """
    paths = [Path(folder) for folder in folders]
    names = [path.resolve().name for path in paths]
    return {
        str(path) if names.count(name) > 1 else name: read_canary(path)
        for name, path in zip(names, paths, strict=True)
    }


def canary_report(config: Config, folder: Path) -> CanaryReport:
    """Query a victim with the inputs of canaries, and rank their twins.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.

    Raises:
        UserError: something was changed since a commitment, or differs from it; or the victim
            cannot be queried.
    """
    stages = canary_stages(config, read_canaries(config.canary.folders))
    with common.started(config, folder, stages.answers) as store:
        answers = stages.read(store)
        scores = tuple(
            _scored(name, canary, stages.errors(answers, canary))
            for name, canary in stages.canaries.items()
        )
        record = _record(config, stages, store)
        timing = common.timing(store)
    planned, combine = config.canary.planned, config.canary.combine.value
    return CanaryReport(
        name=config.name,
        victim=stages.answers[0].victim.component.name,
        canaries=scores,
        planned=planned,
        combine=combine,
        p_value=combined_p_value([c.p_value for c in scores], combine, planned),
        queries=len(stages.ids) * len(stages.answers),
        settings=committed_settings(config),
        gallery=_gallery(stages, answers, scores),
        timing_s=timing,
        record=record,
    )


def _scored(name: str, canary: Canary, error: NDArray[np.float64]) -> CanaryScores:
    opening = canary.opening
    return CanaryScores(
        name=name,
        sha256=canary.sha256,
        date=opening.date,
        kind=opening.kind,
        choice=opening.choice,
        error=error,
        p_value=canary_p_value(-error, opening.choice),
    )


def _gallery(
    stages: CanaryStages,
    answers: Mapping[str, NDArray[np.floating]],
    scores: Sequence[CanaryScores],
) -> Gallery:
    shown = [*zip(stages.canaries.values(), scores, strict=True)][:SHOWN]
    chosen = [canary.opening.choice for canary, _ in shown]
    ids = [stages.pairs.id_of(canary, canary.opening.choice) for canary, _ in shown]
    dataset = stages.answers[0].images
    x = np.concatenate([next(dataset.subset([i]).batches(1)).x.numpy() for i in ids])
    y = np.stack([stages.twin(c, i) for (c, _), i in zip(shown, chosen, strict=True)])
    return Gallery(
        ids=tuple(found.name for _, found in shown),
        captions=tuple(
            f"published twin, error {found.error[found.choice]:.4f}, rank {found.rank} of "
            f"{len(found.error)}"
            for _, found in shown
        ),
        x=x,
        y=y,
        reconstruction=np.stack([answers[i] for i in ids]).astype(np.float32),
    )


def _record(config: Config, stages: CanaryStages, store: Store) -> dict[str, str]:
    first = stages.answers[0]
    victim = first.victim
    record = {
        "seed": str(config.seed),
        "victim": records.settings_line(victim.component.arguments, victim.component.name),
        "query": records.settings_line(plain(config.query)),
    }
    if (defense := build.defense(config)) is not None:
        record["defense"] = records.settings_line(defense.arguments, defense.name)
    record |= dict(_commitments(stages))
    record |= {f"stage {stage.name}": stage.key for stage in (victim, first)}
    record |= records.software_record(store, stages.answers)
    if isinstance(victim, ForeignVictim):
        record |= json.loads((store.folder(victim) / TRANSPORT_FILE).read_text())
    return record


def _commitments(stages: CanaryStages) -> Iterator[tuple[str, str]]:
    for name, canary in stages.canaries.items():
        yield f"commitment {name}", canary.sha256
