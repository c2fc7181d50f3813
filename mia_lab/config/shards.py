"""Parts of the images that jobs of their own score: ``difficulty.shard``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mia_lab.config.messages import shown
from mia_lab.errors import UserError

KEY = "difficulty.shard"

_FORM = re.compile(r"(all|[0-9]{1,9})/([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Shard:
    """One of several parts of the images, or all of them.

    Attributes:
        part: number of the part, from 1; None: all parts, joined.
        count: number of parts.
    """

    part: int | None
    count: int

    @classmethod
    def of(cls, value: Any) -> Shard:
        """What a value of the key names, such as ``3/16`` or ``all/16``.

        Raises:
            UserError: the value has another form, or there is no such part.
        """
        match = _FORM.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise UserError(
                f"{KEY}={shown(value)}: must be PART/PARTS, such as 3/16 for the third of sixteen "
                "parts, or all/16 for all of them"
            )
        part, count = None if match[1] == "all" else int(match[1]), int(match[2])
        if part is not None and not 1 <= part <= count:
            raise UserError(f"{KEY}={value}: must be one of 1/{count} to {count}/{count}")
        return cls(part, count)

    def __str__(self) -> str:
        return f"{'all' if self.part is None else self.part}/{self.count}"

    def divided(self, ids: Sequence[str], batch_size: int) -> list[Sequence[str]]:
        """The ids of each part: consecutive whole batches, whose numbers differ by at most one.

        The last digits of a feature depend on the batch that its image is computed in. Parts of
        whole batches have the batches of all images, and therefore the same scores, bit for bit.

        Args:
            ids: of all images, in their order.
            batch_size: images that are computed at once.

        Raises:
            UserError: there are fewer batches than parts.
        """
        batches = -(-len(ids) // batch_size)
        if batches < self.count:
            raise UserError(
                f"{KEY}={self}: a part takes one batch at least, and there are {len(ids)} images, "
                f"{batches} batches of {batch_size}; use {batches} parts at most"
            )
        ends = [part * batches // self.count * batch_size for part in range(self.count + 1)]
        return [ids[start:end] for start, end in pairwise(ends)]
