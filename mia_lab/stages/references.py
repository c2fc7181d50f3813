"""What reference victims are trained on; no candidate's role is looked at for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mia_lab.config import build
from mia_lab.config.choices import ReferencePool
from mia_lab.config.schema import Config
from mia_lab.data.splits import halves
from mia_lab.errors import UserError
from mia_lab.seeding import derive_seed, generator
from mia_lab.types import Role, Split, reference

# PyTorch takes seconds to import, and a job that finds everything in the store does without.
if TYPE_CHECKING:
    from mia_lab.data.dataset import PairDataset
    from mia_lab.data.encoding import LabelEncoding
    from mia_lab.data.source import PairSource


class References:
    """The attacker's victims: each is trained on a random half of one pool of images.

    Args:
        config: a validated configuration.
        source: of the victim's images.
        encoding: what the victim is given instead of pictures.
        scored: the images that attacks score.
        auxiliaries: those of them that are known non-members.
        groups: of images that belong together.

    Attributes:
        is_elsewhere: whether the pool has none of the victim's images.
        pool: ids of the images.
    """

    def __init__(
        self,
        config: Config,
        source: PairSource,
        encoding: LabelEncoding | None,
        scored: Sequence[str],
        auxiliaries: Sequence[str],
        groups: Mapping[str, str],
    ) -> None:
        self._config = config
        elsewhere = config.reference.data
        self.is_elsewhere = elsewhere is not None
        self._ours, self._scored = source, scored
        self.source, self._encoding = source, encoding
        self._their_encoding = encoding
        self._groups: Mapping[str, str] = groups
        if elsewhere is None:
            everyone = config.reference.pool is ReferencePool.all
            self.pool = tuple(scored if everyone else auxiliaries)
        else:
            self.source = build.source(elsewhere)
            self._groups = {}
            self._their_encoding = build.encoding(elsewhere, self.source, "reference.data")
            ids = sorted(self.source.ids("train"))
            if len(ids) < (elsewhere.n_auxiliary or 0):
                raise UserError(
                    f"reference.data.n_auxiliary={elsewhere.n_auxiliary}: {elsewhere.name} has "
                    f"{len(ids)} images to train on; give fewer, or null for all"
                )
            drawn = generator(config.seed, "reference pool").permutation(len(ids))
            self.pool = tuple(ids[row] for row in sorted(drawn[: elsewhere.n_auxiliary]))

    @cached_property
    def members(self) -> tuple[tuple[str, ...], ...]:
        """What each is trained on, by the ids and the seed alone."""
        count, seed = self._config.reference.count, self._config.seed
        return halves(self.pool, count, seed, self._groups)

    @property
    def seen(self) -> tuple[tuple[str, ...], ...]:
        """Which of the victim's images each is trained on."""
        return ((),) * len(self.members) if self.is_elsewhere else self.members

    def split(self, images: Split) -> Split:
        """Roles of the victim's images in the training of each; none where the pool has none.

        Args:
            images: all of them.
        """
        place = {image: row for row, image in enumerate(images.id.tolist())}
        pool = [] if self.is_elsewhere else [(image, place[image]) for image in self.pool]
        rows = [row for _, row in pool] * len(self.members)
        inside = [image in half for half in map(set, self.members) for image, _ in pool]
        return Split(
            id=images.id[rows],
            role=np.where(inside, str(Role.MEMBER), str(Role.NONMEMBER)),
            group=images.group[rows],
            model=np.repeat([reference(k) for k in range(len(self.members))], len(pool)),
            content=images.content[rows],
        )

    def settings(self, victim: dict[str, Any], number: int) -> dict[str, Any]:
        """Of one of them: those of the victim, which are given, unless others are configured."""
        given = self._config.reference.victim
        settings = victim if given is None else given
        seed = derive_seed(self._config.seed, "reference", number) % 2**31
        channels = self._encoding.channels if self._encoding else 3
        wanted = {"in_channels": channels, "keep_epochs": [], "epoch": None}
        ours = {key: value for key, value in wanted.items() if key in settings}
        return {**settings, **ours, "seed": seed}

    def pairs(self, number: int, ours: PairDataset) -> PairDataset:
        """What one of them is trained on, in a dataset with the victim's images if it has them."""
        if not self.is_elsewhere:
            return ours.subset(self.members[number])
        from mia_lab.data.dataset import PairDataset

        ids, size = self.members[number], self._config.data.image_size
        return PairDataset(self.source, ids, size, encoding=self._encoding)

    def check(self, victim: dict[str, Any]) -> None:
        """Refuse what cannot be trained, or not by these attacks.

        Args:
            victim: its settings.

        Raises:
            UserError: naming the key and the remedy.
        """
        config, asked = self._config, self._config.reference
        if asked.victim is None and "epochs" not in victim:
            raise UserError(
                f"victim={victim.get('name')}: cannot be trained, and what compares with reference "
                "victims needs some; add +victim@reference.victim=pix2pix, say"
            )
        if len(self.pool) < 2:
            key = "reference.data.n_auxiliary" if self.is_elsewhere else "data.n_auxiliary"
            raise UserError(
                f"reference.pool={asked.pool.value}: reference victims are trained on half of "
                f"{len(self.pool)} images; raise {key}, or leave out the attacks that need "
                "references"
            )
        if asked.data is None:
            return
        if asked.data.image_size != config.data.image_size:
            raise UserError(
                f"reference.data.image_size={asked.data.image_size}: the victim's images have "
                f"{config.data.image_size} pixels, data.image_size; set both alike"
            )
        ours, theirs = (
            None if encoding is None else encoding.identity()
            for encoding in (self._encoding, self._their_encoding)
        )
        if ours != theirs:
            raise UserError(
                "reference.data.input_encoding: reference victims have to read inputs as the "
                "victim's are written, of the same classes and colours; "
                "use data.input_encoding=rgb for both"
            )
        known = {self._ours.fingerprint([image]) for image in self._scored}
        if twin := next((i for i in self.pool if self.source.fingerprint([i]) in known), None):
            raise UserError(
                f"reference.data={asked.data.name}: {twin} is among the images that attacks score, "
                "so a reference might have been trained on it; leave reference.data out to train "
                "on the auxiliaries"
            )
        if build.needs(config).turns:
            raise UserError(
                f"reference.data={asked.data.name}: attack.names={config.attack.names} has one "
                "that attacks the reference victims themselves, which takes images of the victim's "
                "kind; leave out shadow and learned, or reference.data"
            )
