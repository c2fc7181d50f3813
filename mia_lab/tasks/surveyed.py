"""The images of ``task=difficulty``."""

from __future__ import annotations

from pathlib import Path

from mia_lab.config.choices import Protocol
from mia_lab.config.schema import Config
from mia_lab.data.dataset import PairDataset
from mia_lab.data.manifest import listed_ids
from mia_lab.data.source import PairSource, all_ids


def surveyed_images(config: Config, source: PairSource) -> PairDataset:
    """All pairs of a source, or those of the manifest, in the order of their ids."""
    ids = tuple(sorted(all_ids(source)))
    if config.data.protocol is Protocol.manifest:
        ids = listed_ids(Path(str(config.data.manifest)), ids)
    # Each pair is read once, so a cache would only take memory.
    return PairDataset(
        source, ids, config.data.image_size, cache_bytes=0, resize=config.data.resize
    )
