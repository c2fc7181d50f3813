"""Training sets of reference models, drawn without looking at the roles of candidates."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mia_lab.config import build
from mia_lab.config.choices import ReferencePool
from mia_lab.config.component import Component
from mia_lab.config.schema import Config
from mia_lab.data.dataset import PairDataset
from mia_lab.data.splits import halves
from mia_lab.errors import UserError
from mia_lab.seeding import derive_seed, generator
from mia_lab.stages.images import RunImages, SourceReader, pair_dataset
from mia_lab.types import Role, Split, reference


@dataclass(frozen=True)
class ReferenceTraining:
    """The training sets of reference models: random halves of one pool of images.

    Attributes:
        pool: the images.
        members: ids of the training set of each model.
        is_elsewhere: whether the pool has none of the victim's images.
    """

    pool: PairDataset
    members: tuple[tuple[str, ...], ...]
    is_elsewhere: bool

    @cached_property
    def seen(self) -> tuple[tuple[str, ...], ...]:
        """Which of the victim's images each model is trained on."""
        return ((),) * len(self.members) if self.is_elsewhere else self.members

    def split(self, images: Split) -> Split:
        """Roles of the victim's images in the training of each model; empty for a pool elsewhere.

        Args:
            images: all images of the victim.
        """
        row_of = {image: row for row, image in enumerate(images.id.tolist())}
        ids = () if self.is_elsewhere else self.pool.ids
        rows = [row_of[image] for image in ids] * len(self.members)
        inside = [image in half for half in map(set, self.members) for image in ids]
        return Split(
            id=images.id[rows],
            role=np.where(inside, str(Role.MEMBER), str(Role.NONMEMBER)),
            group=images.group[rows],
            model=np.repeat([reference(k) for k in range(len(self.members))], len(ids)),
            content=images.content[rows],
        )


def reference_training(
    config: Config, images: RunImages, read: SourceReader = build.source
) -> ReferenceTraining:
    """The training sets that a configuration asks for, drawn by the ids and the seed alone.

    Raises:
        UserError: the pool is too small, or does not fit the victim's images.
    """
    elsewhere = config.reference.data
    if elsewhere is None:
        from_all = config.reference.pool is ReferencePool.all
        scored = images.scored
        pool = scored if from_all else scored.subset(images.auxiliaries)
        groups = images.groups
    else:
        pool, groups = _pool_elsewhere(config, read), {}
    if len(pool) < 2:
        key = "data.n_auxiliary" if elsewhere is None else "reference.data.n_auxiliary"
        raise UserError(
            f"reference.pool={config.reference.pool.value}: reference models are trained on half "
            f"of {len(pool)} images; raise {key}, or leave out the attacks that need references"
        )
    members = halves(pool.ids, config.reference.count, config.seed, groups)
    training = ReferenceTraining(pool, members, elsewhere is not None)
    if training.is_elsewhere:
        _check_elsewhere(config, training, images)
    return training


def reference_component(config: Config, channels: build.Channels, number: int) -> Component:
    """The settings of one reference model: those of the victim, unless others are configured.

    Raises:
        UserError: the model cannot be trained.
    """
    seed = derive_seed(config.seed, "reference", number) % 2**31
    component = build.reference_victim(config, channels)
    settings = {"seed": seed, "keep_epochs": [], "epoch": None}
    return component.replace(**{k: v for k, v in settings.items() if k in component.arguments})


def _pool_elsewhere(config: Config, read: SourceReader) -> PairDataset:
    data = config.reference.data
    assert data is not None
    source = read(data)
    ids = sorted(source.ids("train"))
    if len(ids) < (data.n_auxiliary or 0):
        raise UserError(
            f"reference.data.n_auxiliary={data.n_auxiliary}: {data.name} has {len(ids)} images to "
            "train on; give fewer, or null for all"
        )
    drawn = generator(config.seed, "reference pool").permutation(len(ids))
    chosen = [ids[row] for row in sorted(drawn[: data.n_auxiliary])]
    return pair_dataset(data, source, chosen, "reference.data")


def _check_elsewhere(config: Config, training: ReferenceTraining, images: RunImages) -> None:
    """Refuse images of elsewhere that the reference models cannot be trained on."""
    data, ours, theirs = config.reference.data, images.dataset, training.pool
    assert data is not None
    if data.image_size != ours.image_size:
        raise UserError(
            f"reference.data.image_size={data.image_size}: the victim's images have "
            f"{ours.image_size} pixels, data.image_size; set both alike"
        )
    if data.resize != config.data.resize:
        raise UserError(
            f"reference.data.resize={data.resize}: the victim's images have "
            f"data.resize={config.data.resize}; set both alike"
        )
    encodings = [None if d.encoding is None else d.encoding.identity() for d in (ours, theirs)]
    if encodings[0] != encodings[1]:
        raise UserError(
            "reference.data.input_encoding: reference models have to read inputs as the victim's "
            "are written, of the same classes and colours; use data.input_encoding=rgb for both"
        )
    for name, key, wanted, found in (
        ("inputs", "input_channels", ours.in_channels, theirs.in_channels),
        ("targets", "target_channels", ours.out_channels, theirs.out_channels),
    ):
        if wanted != found:
            raise UserError(
                f"reference.data.{key}: the {name} have {found} channels, and the victim's {name} "
                f"have {wanted}; set it and data.{key} alike, to 1 or 3"
            )
    known = {_stored(ours, image) for image in images.scored.ids}
    if twin := next((i for i in theirs.ids if _stored(theirs, i) in known), None):
        raise UserError(
            f"reference.data={data.name}: {twin} is among the images that attacks score, so a "
            "reference model might have been trained on it; leave reference.data out to train on "
            "the auxiliaries"
        )
    if build.needs(config).turns:
        raise UserError(
            f"reference.data={data.name}: attack.names={list(config.attack.names)} has an attack "
            "that attacks the reference models themselves, which takes images of the victim's "
            "kind; leave out shadow and learned, or reference.data"
        )


def _stored(dataset: PairDataset, image_id: str) -> Hashable:
    """What is stored of a pair, however it is called and read; equal for equal files."""
    if files := dataset.files(image_id):
        return frozenset(hashlib.sha256(dataset.read_file(path)).digest() for path in files)
    return dataset.source.fingerprint([image_id])
