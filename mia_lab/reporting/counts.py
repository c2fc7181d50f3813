"""How many members and non-members an audit has: images, and the groups that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from mia_lab.evaluation.clusters import cluster_codes
from mia_lab.types import Split


@dataclass(frozen=True)
class Counts:
    """Numbers of members and of non-members.

    Attributes:
        images: of both kinds.
        groups: of both kinds; an image without a group counts as one. None if no images share one.
    """

    images: tuple[int, int]
    groups: tuple[int, int] | None

    @classmethod
    def of(cls, split: Split) -> Self:
        """The candidates of a split."""
        ids = split.candidates()
        truth, codes = split.is_member(ids), cluster_codes(split.groups(ids))
        images = int(np.count_nonzero(truth)), int(np.count_nonzero(~truth))
        if codes is None:
            return cls(images, None)
        return cls(images, (len(np.unique(codes[truth])), len(np.unique(codes[~truth]))))

    @property
    def members(self) -> str:
        """``100 members``, or ``100 members in 17 groups``."""
        return self._kind("members", 0)

    @property
    def nonmembers(self) -> str:
        """``50 non-members``, or ``50 non-members in 9 groups``."""
        return self._kind("non-members", 1)

    def _kind(self, name: str, place: int) -> str:
        in_groups = f" in {self.groups[place]} groups" if self.groups else ""
        return f"{self.images[place]} {name}{in_groups}"

    def __str__(self) -> str:
        """``100 + 50 images``, or ``100 + 50 images in 17 + 9 groups``."""
        text = f"{self.images[0]} + {self.images[1]} images"
        return f"{text} in {self.groups[0]} + {self.groups[1]} groups" if self.groups else text
