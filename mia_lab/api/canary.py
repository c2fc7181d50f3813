"""Canaries as function calls: drawn, and tested on a victim."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mia_lab.api.call import Settings, call
from mia_lab.api.images import as_picture
from mia_lab.api.pages import write_report
from mia_lab.api.victims import Victim
from mia_lab.data.canary import eight_bit, png
from mia_lab.errors import UserError
from mia_lab.evaluation.results import CanaryReport, DrawnCanary
from mia_lab.reporting import canary as reporting
from mia_lab.tasks.canaries import canary_report, committed_overrides, drawn


def draw_canary(
    folder: str | Path,
    input: Any = None,
    target: Any = None,
    *,
    k: int = 199,
    kind: str = "watermark",
    pattern: str = "smooth",
    strength: float = 0.03,
    variants: str | Path | None = None,
    score: str = "reconstruction",
    combine: str = "fisher",
    planned: int = 1,
    image_size: int | Sequence[int] | None = None,
    overrides: Sequence[str] = (),
) -> DrawnCanary:
    """Draw a canary to publish, as ``task=canary canary.action=draw`` does.

    Args:
        folder: a new folder. Publish ``publish/``, lodge ``commitment.json`` before, and keep
            ``secret/``.
        input, target: the pair whose target gets twins: two files, Pillow images, or arrays uint8
            (C, H, W) or (H, W). None: a generated pair.
        k: number of twins besides the published one, at least 19.
        kind, pattern, strength: how twins differ, see ``canary.kind``.
        variants: a folder of your own k + 1 variants instead.
        score: ``reconstruction``, ``l2`` or ``ssim``; the error that ranks the twins.
        combine: ``fisher`` or ``harmonic``, see ``canary.combine``.
        planned: number of canaries that will be tested together.
        image_size: in pixels, in which a victim will be queried; None: the default of ``scale``.
        overrides: overrides of the configuration, as on the command line.

    Returns:
        What may be known of it: the commitment ``sha256``, the pair to publish, and the settings.

    Raises:
        UserError: an argument or a picture is not as described, the twins cannot be told apart, or
            the folder exists.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp(), "canary")
        >>> canary = draw_canary(folder, k=19)  # twins of a generated pair
        >>> sorted(path.name for path in folder.iterdir())
        ['commitment.json', 'publish', 'secret']
        >>> len(canary.sha256), canary.pair.y.shape  # the commitment; what is to be published
        (64, (1, 3, 256, 256))
    """
    settings = Settings(None, None, image_size, overrides, None, 0)
    with tempfile.TemporaryDirectory(prefix="mia_lab-") as temporary:
        chosen = [
            "canary.action=draw",
            f"canary.folder={Path(folder).expanduser()}",
            f"canary.k={k}",
            f"canary.kind={kind}",
            f"canary.pattern={pattern}",
            f"canary.strength={strength}",
            f"canary.score={score}",
            f"canary.combine={combine}",
            f"canary.planned={planned}",
        ]
        if variants is not None:
            chosen.append(f"canary.variants={Path(variants).expanduser()}")
        for side, given in (("input", input), ("target", target)):
            if given is not None:
                chosen.append(f"canary.{side}={_file(side, given, Path(temporary))}")
        with call("canary", settings, {}, *chosen) as (config, _):
            return drawn(config)


def _file(side: str, given: Any, folder: Path) -> Path:
    """The file of a picture."""
    if isinstance(given, str | Path):
        return Path(given).expanduser()
    path = folder / f"{side}.png"
    path.write_bytes(png(eight_bit(side, as_picture(side, given))))
    return path


def check_canary(
    folders: str | Path | Sequence[str | Path],
    victim: Victim | None,
    *,
    value_range: Any = None,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    seed: int = 0,
) -> CanaryTest:
    """Test whether a model was trained on published canaries, as ``canary.action=test`` does.

    The commitments of the canaries say in which size the model is queried, and how twins are scored
    and canaries combined.

    Args:
        folders: of a canary, or of several that were planned to be tested together.
        victim: the model, see :func:`mia_lab.audit`; one that exists.
        value_range, overrides, folder, seed: see :func:`mia_lab.audit`.

    Raises:
        UserError: something was changed since a commitment, or the model cannot be queried.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from pathlib import Path
        >>> x, y = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
        >>> folder = Path(tempfile.mkdtemp(), "canary")
        >>> canary = draw_canary(folder, x, y, k=19, image_size=32)
        >>> found = check_canary(folder, lambda x: canary.pair.y)  # remembers it
        >>> found.table()[["rank", "twins", "p_value"]].to_dict("records")
        [{'rank': 1, 'twins': 20, 'p_value': 0.05}]
    """
    given = [folders] if isinstance(folders, str | Path) else folders
    paths = [Path(path).expanduser() for path in given]
    if not paths:
        raise UserError("folders: give the folder of a canary at least")
    settings = Settings(None, None, None, overrides, folder, seed)
    chosen = [
        "canary.action=test",
        f"canary.folders=[{','.join(map(str, paths))}]",
        *committed_overrides(paths[0]),
    ]
    with call("canary", settings, {}, *chosen, victim=victim, value_range=value_range) as (
        config,
        temporary,
    ):
        return CanaryTest(canary_report(config, temporary))


class CanaryTest:
    """The test of canaries; :func:`mia_lab.check_canary` returns it.

    Args:
        found: the numbers.
    """

    def __init__(self, found: CanaryReport) -> None:
        self._found = found

    def __repr__(self) -> str:
        return reporting.text(self._found)

    def _repr_html_(self) -> str:
        html: str = self.table().to_html(float_format="{:.3g}".format)
        return html

    @property
    def p_value(self) -> float:
        """Of all canaries; small if the model was trained on them."""
        return self._found.p_value

    def table(self) -> pd.DataFrame:
        """One row per canary: rank of the published twin, number of twins, p-value, commitment."""
        return pd.DataFrame(
            [
                {
                    "canary": canary.name,
                    "rank": canary.rank,
                    "twins": len(canary.error),
                    "p_value": canary.p_value,
                    "error": canary.error[canary.choice],
                    "commitment": canary.sha256,
                }
                for canary in self._found.canaries
            ]
        ).set_index("canary")

    def errors(self) -> pd.DataFrame:
        """One row per twin and canary: the error, and whether the twin is the published one."""
        parts = [
            pd.DataFrame(
                {
                    "canary": c.name,
                    "twin": np.arange(len(c.error)),
                    "error": c.error,
                    "published": np.arange(len(c.error)) == c.choice,
                }
            )
            for c in self._found.canaries
        ]
        return pd.concat(parts, ignore_index=True)

    def report(self, path: str | Path) -> Path:
        """Write the page, or a folder with all files of the task; as :meth:`Audit.report`."""
        return write_report(path, self._write_report)

    def _write_report(self, folder: Path, alone: bool) -> Path:
        pictures = reporting.draw(self._found)
        if not alone:
            reporting.write_files(self._found, pictures, folder)
        return reporting.write_tested(self._found, pictures, folder, alone=alone)
