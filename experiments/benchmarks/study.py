"""How fast is the difficulty engine, how much does it take, and how fast is training?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

import shared
from benchmarks import audit, difficulty, streaming, training

HERE = Path(__file__).parent

MEASURED = {
    "difficulty": difficulty.measurements,
    "streaming": streaming.measurements,
    "audit": audit.measurements,
    "training": training.on_cpu,
    "training-gpu": training.on_gpu,
}

ENGINES = ("ours, ridge 1", "ours, ridge 0, official")


def _difficulties() -> dict[tuple[str, str], float]:
    """By what was measured and its unit."""
    found = shared.read(HERE / "difficulty.csv")
    return {(row["what"], row["unit"]): float(row["value"]) for row in found}


def tables() -> dict[str, str]:
    return {
        "image": _image(),
        "grid": _grid(),
        "float32": _float32(),
        "streaming": _streaming(),
        "audit": _audit(),
        "audit-memory": _audit_memory(),
        "training": _training(),
        "difficulty-origin": shared.origin(shared.read(HERE / "difficulty.csv")),
        "streaming-origin": shared.origin(shared.read(HERE / "streaming.csv")),
        "audit-origin": shared.origin(shared.read(HERE / "audit.csv")),
        "training-origin": shared.origin(_trainings()),
    }


def _image() -> str:
    """Each part's seconds, and how many times faster ours is."""
    found = _difficulties()
    seconds = "s, median over images"
    names = {"backbone": "backbone", "resizing": "resizing / compact factors", "fit": "fit, error"}
    lines = []
    for part, name in names.items():
        ours = "factors" if part == "resizing" else part
        values = [found[f"released: {part}", seconds]]
        values += [found[f"{engine}: {ours}", seconds] for engine in ENGINES]
        lines.append([name, *(f"{value:.3g} s" for value in values)])
    for part in ("end to end", "probe, from feature maps", "fit alone"):
        ratios = [found[f"{engine}: {part}", "times faster"] for engine in ENGINES]
        lines.append([f"{part}: faster by", "", *(f"{ratio:.3g} x" for ratio in ratios)])
    backbone = found[f"{ENGINES[1]}: backbone", seconds]
    theirs, *ours = (
        backbone + sum(found[f"{who}: {part}", seconds] for part in (columns, "fit"))
        for who, columns in (("released", "resizing"), *((engine, "factors") for engine in ENGINES))
    )
    lines.append(
        [
            f"end to end, the backbone at {backbone:.3g} s everywhere: faster by",
            *("", *(f"{theirs / mine:.3g} x" for mine in ours)),
        ]
    )
    same = found["largest difference of scores, ridge 0", "score"]
    lines.append(
        ["score: differs from the released one's by", "", "(another problem)", f"{same:.1g}"]
    )
    heads = ["per image, median", "released", "ours, ridge 1 (default)"]
    return shared.markdown([*heads, "ours, ridge 0, official: the same problem"], lines)


def _grid() -> str:
    found = _difficulties()
    (unit,) = {unit for what, unit in found if what == "grid: scikit-learn"}
    ours, theirs = found["grid: ours", unit], found["grid: scikit-learn", unit]
    passes = found["grid: ours in backbone passes", "passes"]
    line = [f"{ours:.3g} s", f"{passes:.2g}", f"{theirs:.3g} s", f"{theirs / ours:.0f} x"]
    heads = ["ours", "in backbone passes", "refitting with scikit-learn", "faster by"]
    return f"{unit.removeprefix('s, ')}:\n\n{shared.markdown(heads, [line])}"


def _float32() -> str:
    """The largest change of a score, or how many images were refused."""
    found: dict[tuple[str, str], list[str]] = {}
    for (what, unit), value in _difficulties().items():
        if what.startswith("float32"):
            _, backbone, ridge = what.split(", ")
            refused = unit.startswith("images refused")
            cell = f"{value:g} images refused" if refused else f"{value:.1g}"
            found.setdefault((ridge.removeprefix("ridge "), backbone), []).append(cell)
    ridges, backbones = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    lines = [[ridge, *(", ".join(found[ridge, name]) for name in backbones)] for ridge in ridges]
    return shared.markdown(["ridge", *backbones], lines)


def _streaming() -> str:
    units = {
        "peak_gb": "GB",
        "features_on_disk_gb": "GB",
        "images_per_s_first_thousand": "/s",
        "images_per_s_last_thousand": "/s",
        "seconds": "s",
    }
    lines = [
        [
            row["images"],
            f"{float(row['keep_gb']):g} GB",
            *(f"{row[key]} {unit}" if row[key] else "-" for key, unit in units.items()),
        ]
        for row in shared.read(HERE / "streaming.csv")
    ]
    heads = ["images", "budget (`keep_gb`)", "peak memory", "features on disk"]
    return shared.markdown([*heads, "first thousand", "last thousand", "in all"], lines)


def _audits(case: audit.Case) -> dict[str, shared.Row]:
    """Rows of one case, by what they measure."""
    wanted = {key: str(value) for key, value in asdict(case).items()}
    return {row["what"]: row for row in shared.rows(HERE / "audit.csv", **wanted)}


def _audit() -> str:
    """Seconds of the limit's parts and of the audit's stages, and both as shares of the limit."""
    found = _audits(audit.LIMITED)
    limit = {what: row for what, row in found.items() if what.startswith("limit: ")}
    sums = {key: sum(float(row[key]) for row in limit.values()) for key in ("seconds", "cpu_s")}
    whole = found[audit.WHOLE]
    stages = [row for what, row in found.items() if what.startswith("audit: ") and row != whole]
    rest = float(whole["seconds"]) - sum(float(row["seconds"]) for row in stages)
    lines = [
        *(
            [w, f"{float(r['seconds']):.1f} s", f"{float(r['cpu_s']):.1f} s"]
            for w, r in limit.items()
        ),
        ["**limit**", f"**{sums['seconds']:.1f} s**", f"**{sums['cpu_s']:.1f} s**"],
        *([row["what"], f"{float(row['seconds']):.1f} s", ""] for row in stages),
        ["audit: start, report and page", f"{rest:.1f} s", ""],
        [f"**{audit.WHOLE}**", *(f"**{float(whole[key]):.1f} s**" for key in sums)],
        ["**audit / limit**", *(f"**{float(whole[key]) / sums[key]:.2f}**" for key in sums)],
    ]
    return shared.markdown(["", "time", "CPU time"], lines)


def _audit_memory() -> str:
    lines = []
    for case in (audit.LIMITED, *audit.GROWING):
        whole = _audits(case)[audit.WHOLE]
        each = float(whole["seconds"]) / case.pairs
        cells = [str(case.pairs), str(case.width), f"{whole['peak_gb']} GB", f"{each:.3f} s"]
        lines.append(cells)
    return shared.markdown(["pairs", "width of the U-Net", "peak memory", "time a pair"], lines)


def _trainings() -> list[shared.Row]:
    """Those on a CPU, and those on GPUs where there were any."""
    gpu = HERE / "training-gpu.csv"
    return shared.read(HERE / "training.csv") + (shared.read(gpu) if gpu.is_file() else [])


def _trained(row: shared.Row) -> str:
    name = "{device}; {image_size} px, width {width}, batch {batch_size}".format_map(row)
    return name + (", compiled" if row["compile"] == "True" else "")


def _training() -> str:
    lines = []
    for name, rows in shared.grouped(_trainings(), _trained).items():
        found = {row["what"]: float(row["value"]) for row in rows}
        for rival in training.RIVALS:
            line = [name, rival, f"{found[rival]:.3g}"]
            if rival == training.OURS:
                line.append("")
            else:
                ratio, low, high = (
                    found[f"{training.OURS} / {rival}{end}"]
                    for end in ("", ", lowest", ", highest")
                )
                line.append(f"{ratio:.2f} ({low:.2f} to {high:.2f})")
            lines.append([*line, f"{found[f'{rival}: l1']:.3f}"])
    heads = ["trained", "by", "images/s", "ours / it: median (all) of the turns", "L1, last epoch"]
    return shared.markdown(heads, lines)


def figures() -> dict[str, Figure]:
    return {}
