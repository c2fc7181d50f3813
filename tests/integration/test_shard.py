"""Parts of the images that the points of a sweep score, and the runs that join them."""

from __future__ import annotations

import pytest

from support import Command, Ran

SURVEY = (
    *("task=difficulty", "+experiment=tiny", "difficulty.grid_size=16", "difficulty.batch_size=3"),
    *("data.sources.procedural.n_train=6", "data.sources.procedural.n_test=2"),
)


def computed(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [line.split()[0] for line in ran.err.splitlines() if line.endswith("computing")]


def files(ran: Ran) -> dict[str, bytes]:
    names = ("difficulty.csv", "histogram.png")
    return {name: (ran.folder / "outputs/latest" / name).read_bytes() for name in names}


def test_points_of_a_sweep_score_the_parts_of_a_survey(command: Command) -> None:
    whole = command(*SURVEY, "paths.store=alone")
    metrics, content = whole.metrics, files(whole)
    swept = command("-m", *SURVEY, "difficulty.shard=1/3,3/3,9/3")
    assert "3 points: 2 done, 1 failed, 0 skipped" in swept.out
    assert "difficulty.shard=9/3: must be one of 1/3 to 3/3" in swept.out
    assert command.computed == {"features": 2, "difficulty": 2}

    joined = command(*SURVEY, "difficulty.shard=all/3")
    assert computed(joined) == ["difficulty", "difficulty", "features"]  # all, the second part
    assert files(joined) == content
    assert joined.metrics | {"timing_s": {}} == metrics | {"timing_s": {}}


@pytest.mark.slow
def test_an_audit_joins_the_parts_of_its_images(command: Command) -> None:
    roles = ["member"] * 3 + ["nonmember"] * 3 + ["auxiliary"] * 2
    ids = [f"train/{i:06d}" for i in range(6)] + [f"test/{i:06d}" for i in range(2)]
    rows = [f"{image_id},{role}" for image_id, role in zip(ids, roles, strict=True)]
    (command.folder / "split.csv").write_text("\n".join(["id,role", *rows]))
    part = command(*SURVEY, "difficulty.shard=2/2")  # of all images, as the audit's
    assert part.metrics["record"]["part"] == "2 of 2"
    audit = ("data.protocol=manifest", "data.manifest=split.csv", "report.pictures=true")
    ran = command(*SURVEY[1:], *audit, "difficulty.shard=all/2")
    assert computed(ran).count("features") == 1
    assert computed(ran).count("difficulty") == 2
    assert "part" not in ran.metrics["record"]
