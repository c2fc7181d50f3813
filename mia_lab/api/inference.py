"""Tests of whole collections as a function call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mia_lab.api.call import COLLECTION, Settings, attack_names, call
from mia_lab.api.images import Images
from mia_lab.api.pages import write_report
from mia_lab.api.victims import Victim
from mia_lab.errors import UserError
from mia_lab.evaluation.results import Inference
from mia_lab.reporting import inference as reporting
from mia_lab.stages.graph import run_stages
from mia_lab.tasks import common
from mia_lab.tasks.dataset_inference import checked_collections, inference_report
from mia_lab.types import Role


def dataset_inference(
    victim: Victim | None,
    collections: Mapping[str, Images],
    comparison: Images,
    members: Images | None = None,
    *,
    by: Literal["scores", "features"] = "scores",
    attacks: Sequence[str] | None = None,
    difficulty: str | None = None,
    backbone: str | None = None,
    image_size: int | Sequence[int] | None = None,
    value_range: Any = None,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    seed: int = 0,
) -> Collections:
    """Test whether collections of images were used for the training of a model.

    ``task=dataset_inference`` does the same.

    Args:
        victim: the model, see :func:`mia_lab.audit`.
        collections: the images in question by the name of their collection, at least 10 each.
        comparison: images that the model was certainly not trained on, at least 10. They should be
            like the collections in every other respect.
        members: images that the model was certainly trained on. With them, the share of each
            collection that was used is estimated; without them, it has a lower bound.
        by: the test that the answers rest on: of the scores of one attack, or of the scores of all
            attacks together.
        attacks, difficulty, backbone, image_size, value_range, overrides, folder, seed: see
            :func:`mia_lab.audit`.

    Raises:
        UserError: an argument or an image is not as described, there are too few images, or two
            collections share an image.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.random((2, 60, 3, 32, 32)).astype(np.float32)
        >>> known = {picture.tobytes(): target for picture, target in zip(x[:20], y[:20])}
        >>> def model(batch):  # remembers the first 20 targets
        ...     return np.stack([known.get(a.tobytes(), a) for a in batch.numpy()])
        >>> found = dataset_inference(
        ...     model,
        ...     {"used": (x[:20], y[:20]), "new": (x[20:40], y[20:40])},
        ...     comparison=(x[40:], y[40:]),
        ... )
        >>> found.table()["holm_p"].round(3).to_dict()["used"] < 0.01
        True
        >>> found.answers["new"]
        'not shown'
    """
    settings = Settings(difficulty, backbone, image_size, overrides, folder, seed)
    _check(collections, comparison)
    images: dict[str, tuple[str, Images | None]] = {
        f"{COLLECTION}{name}": (f"collections[{name!r}]", some)
        for name, some in collections.items()
    }
    images[Role.AUXILIARY.value] = ("comparison", comparison)
    images[Role.MEMBER.value] = ("members", members)
    chosen = *attack_names(attacks), f"dataset_inference.by={by}"
    with call(
        "dataset_inference", settings, images, *chosen, victim=victim, value_range=value_range
    ) as (config, temporary):
        stages = run_stages(config)
        with common.started(config, temporary, stages.goals(None)) as store:
            checked_collections(stages, store, temporary)
            return Collections(inference_report(config, stages, store))


def _check(collections: object, comparison: object) -> None:
    """Refuse arguments of which a collection or the comparison would be lost."""
    if not isinstance(collections, Mapping) or not collections:
        raise UserError("collections: give a dictionary of images by the names of collections")
    for name, some in collections.items():
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"collections: {name!r} is no name of a collection; give a text")
        if some is None:
            raise UserError(f"collections[{name!r}]: give its images, not None")
    if comparison is None:
        raise UserError("comparison: give images that the model was certainly not trained on")


class Collections:
    """What was found on collections; :func:`mia_lab.dataset_inference` returns it.

    Args:
        found: the numbers, and the data that the pages show.
    """

    def __init__(self, found: Inference) -> None:
        self._found = found

    def __repr__(self) -> str:
        return reporting.text(self._found)

    def _repr_html_(self) -> str:
        html: str = self.table().to_html(float_format="{:.3g}".format)
        return html

    @property
    def answers(self) -> dict[str, str]:
        """``used``, ``cannot tell`` or ``not shown``, by collection."""
        return {c.name: c.answer.value for c in self._found.result.collections}

    def table(self) -> pd.DataFrame:
        """One row per collection: answer, p-values, blind twin, share. The index is the name."""
        return reporting.collection_frame(self._found).set_index("collection")

    def needed(self) -> pd.DataFrame:
        """How the p-value falls with the number of images: one row per collection and number."""
        return reporting.needed_frame(self._found)

    @property
    def scores(self) -> pd.DataFrame:
        """One row per image: role, collection, each attack's error. The index is its id."""
        return reporting.score_frame(self._found).set_index("id")

    def report(self, path: str | Path) -> Path:
        """Write the page, or a folder with all files of the command; as :meth:`Audit.report`."""
        return write_report(path, self._write_report)

    def _write_report(self, folder: Path, alone: bool) -> Path:
        pictures = reporting.draw(self._found)
        if not alone:
            reporting.write_files(self._found, pictures, folder)
        return reporting.write_html(self._found, pictures, folder, alone=alone)
