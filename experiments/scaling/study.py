"""How do leak and gain move with image size, members and steps?"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent

PASSES = {"maps": (5, 10, 20, 40), "facades": (2, 4, 8, 16, 32)}
"""Passes over the members after which a victim is audited."""


def _run(data: str, passes: tuple[int, ...], *rest: str) -> str:
    """Audits along the trainings of one line."""
    return " ".join(
        [
            f"+experiment={data}_pix2pix data.source=folder data.n_auxiliary=0",
            f"demo_epochs={passes[-1]} 'victim.keep_epochs=[{','.join(map(str, passes[:-1]))}]'",
            *rest,
            f"victim.epoch={','.join(map(str, passes))}",
        ]
    )


SEEDS = "0"

MAPS = "data.n_nonmembers=200"
ONE = f"{MAPS} data.n_members=100 seed=0"

RUNS = {
    **{
        f"maps_{size}": _run(
            "maps",
            PASSES["maps"],
            f"data.image_size={size} {MAPS} seed={SEEDS} data.n_members=50,100,200",
        )
        for size in (32, 64, 128)
    },
    "facades_64": _run(
        "facades",
        PASSES["facades"],
        f"data.n_nonmembers=150 seed={SEEDS} data.n_members=50,100,150",
    ),
    "batch": _run("maps", PASSES["maps"], ONE, "victim.batch_size=1"),
    "jitter": _run("maps", (10, 20, 40, 80), ONE, "victim.flip=true victim.load_scale=1.1171875"),
    "width": _run("maps", PASSES["maps"], ONE, "victim.width=64 victim.discriminator_width=64"),
}
