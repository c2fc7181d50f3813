"""The answers of a victim to the inputs of canaries, and what was committed to about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mia_lab.attacks.twins import twin_errors
from mia_lab.config.schema import Config
from mia_lab.data.canary import Canary, CanaryPairs
from mia_lab.data.reading import decode
from mia_lab.data.transforms import Resizing, in_unit
from mia_lab.errors import UserError
from mia_lab.parameters import width_height
from mia_lab.stages.graph import answers_stage, repeats_of
from mia_lab.stages.images import RunImages, pair_dataset
from mia_lab.stages.reconstructions import ReconstructionsStage
from mia_lab.store import Store
from mia_lab.types import Floats, Role

VALUE_RANGE = (0, 255)
"""Levels of twins and published pictures that mean 0 and 1."""


def committed_settings(config: Config) -> dict[str, Any]:
    """What an owner fixes when drawing a canary, by key: how it will be scored and combined."""
    canary, data, query = config.canary, config.data, config.query
    return {
        "canary.score": canary.score.value,
        "canary.combine": canary.combine.value,
        "canary.planned": canary.planned,
        "data.image_size": list(width_height(data.image_size)),
        "data.resize": data.resize,
        "data.input_encoding": data.input_encoding.value,
        "query.mode": query.mode.value,
        "query.repeats": query.repeats,
        "value_range": list(VALUE_RANGE),
    }


def check_committed(config: Config, canaries: Mapping[str, Canary]) -> None:
    """Refuse a test that differs from what was committed to.

    Raises:
        UserError: a setting differs, a canary is given twice, or there are more than planned.
    """
    used = committed_settings(config)
    known: dict[str, str] = {}
    for name, canary in canaries.items():
        committed = canary.opening.settings
        for key in sorted(used.keys() | committed.keys()):
            if used.get(key) != committed.get(key):
                raise UserError(
                    f"{key}={_typed(used.get(key))}: canary {name} was drawn with "
                    f"{key}={_typed(committed.get(key))}, which its commitment fixes; set that"
                )
        if (other := known.setdefault(canary.sha256, name)) != name:
            raise UserError(f"canary.folders: {other} and {name} are the same canary; give it once")
    planned = config.canary.planned
    if len(canaries) > planned:
        raise UserError(
            f"canary.folders: names {len(canaries)} canaries, each drawn with canary.planned="
            f"{planned}; test {'it alone' if planned == 1 else 'as many'}, or draw canaries with "
            "the number that you will test together"
        )


def _typed(value: object) -> str:
    """A value as the command line takes it."""
    return str(value).replace(" ", "").replace("None", "null")


@dataclass(frozen=True)
class CanaryStages:
    """The queries of a victim that canaries need.

    Attributes:
        canaries: by name.
        pairs: their distinct inputs.
        answers: one stage for each answer to an input, see ``query.repeats``.
        score: the error that ranks twins.
        resizing: of twins.
    """

    canaries: Mapping[str, Canary]
    pairs: CanaryPairs
    answers: Sequence[ReconstructionsStage]
    score: str
    resizing: Resizing

    def read(self, store: Store) -> dict[str, NDArray[np.floating]]:
        """The mean of a victim's answers to each input, (C, H, W) in [0, 1], by the input's id."""
        found = [store.result(stage) for stage in self.answers]
        return {i: _mean([np.asarray(f.images[f.row(i)]) for f in found]) for i in self.ids}

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the distinct inputs."""
        return self.answers[0].images.ids

    def errors(self, answers: Mapping[str, NDArray[np.floating]], canary: Canary) -> Floats:
        """The error of a victim's answers against each twin of a canary: float64 (k + 1,).

        Args:
            answers: see :meth:`read`.
            canary: one of them.
        """
        found = [
            twin_errors(self.score, answers[self.pairs.id_of(canary, i)], [self.twin(canary, i)])
            for i in range(canary.opening.k + 1)
        ]
        return np.concatenate(found)

    def twin(self, canary: Canary, twin: int) -> NDArray[np.float32]:
        """A twin in the size of the answers: (C, H, W) in [0, 1]."""
        resized = self.resizing(decode(canary.twin_file(twin)))
        planes: NDArray[np.float32] = in_unit([resized])[0].numpy()
        return planes


def _mean(answers: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    if len(answers) == 1:
        return answers[0]
    mean: NDArray[np.floating] = np.mean(answers, axis=0, dtype=np.float64)
    return mean


def canary_stages(config: Config, canaries: Mapping[str, Canary]) -> CanaryStages:
    """What is asked of a victim to test some canaries.

    Args:
        config: a validated configuration.
        canaries: by the names that the ids of their inputs begin with.

    Raises:
        UserError: a setting is not the committed one, the canaries differ in their channels, or
            the victim answers repeated queries alike.
    """
    check_committed(config, canaries)
    pairs = CanaryPairs(canaries)
    ids = pairs.ids("train")
    dataset = pair_dataset(config.data, pairs, ids)
    for name, canary in canaries.items():
        found = decode(canary.twin_file(0)).channels
        if found != dataset.out_channels:
            raise UserError(
                f"canary.folders: the targets of {name} have {found} channels, those of "
                f"{ids[0]} have {dataset.out_channels}; test them in two runs"
            )
    rows: dict[str, dict[str, str]] = {i: {"role": Role.CANDIDATE.value} for i in ids}
    first = answers_stage(config, RunImages(dataset, rows, (Role.CANDIDATE,)))
    # One by one: no query more than needed is sent to find out whether answers depend on company.
    alone = replace(first.querying, batch_size=1)
    first = replace(first, determinism=None, querying=alone)
    answers = (first, *repeats_of(config, first))
    return CanaryStages(canaries, pairs, answers, config.canary.score.value, dataset.resizing)
