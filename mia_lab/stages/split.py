"""The split: the role of each image, content hashes, and traces of files and pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mia_lab.data import splits
from mia_lab.data.manifest import COLLECTION, PROMPT
from mia_lab.hardware import in_order
from mia_lab.stages.images import RunImages
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import BlindFeatures, Split

NEAR_DUPLICATES_FILE = "near_duplicates.json"
RESIDUALS_FILE = "label_residuals.json"
DOUBTS_FILE = "doubts.json"
TRACES_FOLDER = "traces"


@dataclass(frozen=True)
class CheckedSplit:
    """A split whose images were all decoded once.

    Attributes:
        split: the roles of all images.
        near_duplicates: pairs of ids in different roles that look alike, with their distance.
        traces: what files and pixels give away without a victim.
        label_residuals: distance of each input's colours from the palette's, in 8-bit levels;
            empty where inputs are not encoded.
        doubts: sentences on pairs that look like another layout.
    """

    split: Split
    near_duplicates: splits.NearDuplicates
    traces: BlindFeatures
    label_residuals: Mapping[str, float]
    doubts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SplitStage(Stage[CheckedSplit]):
    """Decodes every image, hashes it, and refuses duplicates across roles, unless they are kept."""

    name = "split"
    version = 3

    images: RunImages

    def inputs(self) -> Mapping[str, Any]:
        # What was kept may be refused by another run.
        kept = {"duplicates": "keep"} if self.images.keeps_duplicates else {}
        # A prompt is what a victim is given, and a collection what is asked about an image.
        rows = {
            image_id: {
                name: value for name, value in row.items() if name not in (PROMPT, COLLECTION)
            }
            for image_id, row in self.images.rows.items()
        }
        return {"rows": rows, **self.images.dataset.identity(), **kept}

    def compute(self, folder: Path, store: Store) -> None:
        dataset = self.images.dataset
        built = splits.build_split(
            dataset.load,
            self.images.rows,
            dataset.files,
            dataset.read_file,
            keep=self.images.keeps_duplicates,
            apply=in_order,
        )
        save_table(folder, built.split)
        (folder / TRACES_FOLDER).mkdir()
        save_table(folder / TRACES_FOLDER, built.traces)
        (folder / NEAR_DUPLICATES_FILE).write_text(json.dumps(built.near_duplicates))
        (folder / DOUBTS_FILE).write_text(json.dumps(built.doubts))
        (folder / RESIDUALS_FILE).write_text(json.dumps(dataset.residuals))

    def load(self, folder: Path) -> CheckedSplit:
        alike = json.loads((folder / NEAR_DUPLICATES_FILE).read_text())
        return CheckedSplit(
            split=load_table(folder, Split),
            near_duplicates=tuple((a, b, d) for a, b, d in alike),
            traces=load_table(folder / TRACES_FOLDER, BlindFeatures),
            label_residuals=json.loads((folder / RESIDUALS_FILE).read_text()),
            doubts=tuple(json.loads((folder / DOUBTS_FILE).read_text())),
        )
