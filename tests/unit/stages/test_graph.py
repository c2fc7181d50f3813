"""What the keys of a run's stages depend on, and what they do not."""

from __future__ import annotations

import importlib
import multiprocessing
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import pytest

import mia_lab
from mia_lab.errors import UserError
from mia_lab.stages.graph import RunStages, run_stages, wants_adjustment
from support import composed

SMALL = (
    "+experiment=facades_pix2pix",
    "data.image_size=32",
    "data.n_members=6",
    "data.n_nonmembers=5",
    "data.n_auxiliary=4",
    "victim.width=4",
    "victim.discriminator_width=4",
    "trainer=cpu",
)

REFERENCES = ("attack.names=[reconstruction,membership,watson]", "reference.count=2")


def stages(*overrides: str) -> RunStages:
    return run_stages(composed(*SMALL, *overrides))


def keys(*overrides: str) -> dict[str, str]:
    """Keys of all stages of an audit, by where the verdict reads them."""
    verdict = stages(*overrides).verdict
    assert verdict is not None
    found, waiting = {}, [("verdict", verdict)]
    while waiting:
        name, stage = waiting.pop()
        found[name] = stage.key
        for field, upstream in stage.upstream.items():
            several = upstream if isinstance(upstream, tuple) else (upstream,)
            waiting += [(f"{name}/{field}[{i}]", s) for i, s in enumerate(several)]
    return found


@cache
def default_keys() -> dict[str, str]:
    return keys()


def changed(*overrides: str) -> set[str]:
    """Names of the stages whose keys overrides change."""
    before, after = default_keys(), keys(*overrides)
    return {stage_name(path) for path in before if before[path] != after.get(path)}


def stage_name(path: str) -> str:
    last = path.rpartition("/")[2].partition("[")[0].rpartition(".")[2]
    return {"images": "split"}.get(last, last)


@pytest.mark.parametrize(
    "override",
    [
        "query.batch_size=3",
        "trainer=auto",
        "trainer.workers=1",
        "trainer.checkpoint_every_s=9",
        "paths.outputs=elsewhere",
        "paths.store=elsewhere",
        "tracking.mode=disabled",
        "report.images=false",
        "difficulty.batch_size=3",
        "difficulty.keep_gb=1",
        "name=other",
        "data.name=other",
    ],
)
def test_what_changes_no_number_changes_no_key(override: str) -> None:
    assert changed(override) == set()


def test_a_setting_changes_what_depends_on_it_alone() -> None:
    assert changed("attack.alpha=0.25") == {"verdict"}
    assert changed("attack.available.membership.alpha=0.25") == {"verdict"}
    assert changed("evaluation.permutations=50") == {"verdict", "blind"}
    assert changed("evaluation.adjust=false") == set()  # members are drawn at random
    assert changed("evaluation.adjust=true") == {"verdict"}
    assert changed("difficulty.ridge=7") == {"verdict", "difficulty"}
    assert "victim" not in changed("data.n_nonmembers=4")
    assert "victim" in changed("data.n_members=5")
    victim = changed("victim.epochs=9")
    assert {"verdict", "correspondence", "reconstructions", "victim"} == victim
    assert changed("trainer.threads=2") == victim
    grid = changed("difficulty.grid.ridge=[3]", "difficulty.grid.alpha=[2]")
    assert "blind" not in grid
    assert "features" not in grid


def test_attacks_are_adjusted_where_members_were_not_drawn_at_random(tmp_path: Path) -> None:
    def adjusts(*overrides: str) -> bool:
        return wants_adjustment(composed(*SMALL, *overrides))

    assert not adjusts()
    assert adjusts("evaluation.adjust=true")
    folders = "data.source=folder", f"data.root={tmp_path}", "data.protocol=official"
    assert adjusts(*folders)
    assert not adjusts(*folders, "evaluation.adjust=false")
    adjusted = {path for path in keys("evaluation.adjust=true") if "adjustment" in path}
    assert adjusted
    assert not any("blind" in path for path in adjusted)  # permutations do not repeat it


def test_numbers_count_by_value_not_by_how_they_are_typed() -> None:
    assert keys("difficulty.ridge=1", "attack.alpha=1") == default_keys()
    assert keys("difficulty.ridge=1.0", "attack.alpha=1.0") == default_keys()


def test_references_come_in_complementary_halves_and_undefended() -> None:
    attack = stages(*REFERENCES).attack
    assert len(attack.references) == 2
    first, second = (set(s.victim.training_set.ids) for s in attack.references)  # type: ignore[attr-defined]
    assert not first & second
    assert len(first | second) == 4
    noisy = stages(*REFERENCES, "defense=output_noise").attack
    assert [s.key for s in attack.references] == [s.key for s in noisy.references]


def test_until_ends_in_its_stage() -> None:
    for until, last in (
        ("split", "split"),
        ("victim", "victim"),
        ("reconstructions", "reconstructions"),
        ("difficulty", "difficulty"),
        ("attacks", "verdict"),
    ):
        config = composed(*SMALL, f"until={until}")
        assert run_stages(config).goals(config.until)[-1].name == last
    only = composed(*SMALL, *REFERENCES, "until=references", "reference.only=1")
    goals = run_stages(only).goals(only.until)
    assert [goal.name for goal in goals] == ["split", "reconstructions"]


ATTACK = """
import numpy as np
from mia_lab.types import ScoreTable

def mine(evidence, ids, model, *, weight=1.0):
    error = evidence.reconstructions.mean_error(ids, model)
    return ScoreTable("mine", model, np.array(ids), -error)
"""


def test_the_users_attack_file_counts_for_the_verdict_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "attack_of_mine.py"
    file.write_text(ATTACK)
    asked = (
        "+attack.available.mine._target_=attack_of_mine.mine",
        "+attack.available.mine._partial_=true",
        "attack.names=[reconstruction,mine]",
    )
    before = keys(*asked)
    assert keys(*asked) == before
    file.write_text(ATTACK.replace("return", "# another line\n    return"))
    assert keys(*asked) == before  # what is in memory is the code before
    importlib.reload(sys.modules["attack_of_mine"])
    after = keys(*asked)
    assert {stage_name(path) for path in before if before[path] != after[path]} == {"verdict"}


def test_the_users_dataset_file_counts_for_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = Path(__file__).parents[3] / "experiments" / "templates"
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "pairs_of_mine.py"
    content = (templates / "my_dataset.py").read_text()
    file.write_text(content)
    asked = (
        "data=custom",
        "data.n_members=6",
        "data.n_nonmembers=5",
        "data.source=mine",
        "+data.sources.mine._target_=pairs_of_mine.MyPairs",
        "+data.sources.mine.n=40",
    )
    before = keys(*asked)
    file.write_text(content + "\n# another line\n")
    importlib.reload(sys.modules["pairs_of_mine"])
    after = keys(*asked)
    assert all(before[path] != after[path] for path in before)


def imported_anew(package: Path) -> tuple[str | None, dict[str, str]]:
    """Where the package comes from, and its keys, if it is imported from a folder.

    For a process of its own that has imported the other packages already: they take seconds.
    """
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("mia_lab", "support", "test_graph"):
            del sys.modules[name]
    sys.path[:0] = [str(package), str(Path(__file__).parent)]
    graph = importlib.import_module("test_graph")
    return graph.mia_lab.__file__, graph.keys()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_comments_and_docstrings_of_the_package_change_no_key(tmp_path: Path) -> None:
    package = Path(mia_lab.__file__).parent
    shutil.copytree(package, tmp_path / "mia_lab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(package.parent / "conf", tmp_path / "conf")
    for module in (tmp_path / "mia_lab").rglob("*.py"):
        module.write_text(module.read_text() + "\n# A comment at the end.\n")
    expected = default_keys()
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        file, found = pool.submit(imported_anew, tmp_path).result(60)
    assert file == str(tmp_path / "mia_lab" / "__init__.py")
    assert found == expected


def test_what_attacks_lack_is_told_before_anything_is_computed() -> None:
    with pytest.raises(UserError, match="takes 20 auxiliaries, and there are 4"):
        stages("attack.names=[reconstruction,quantile]")
    with pytest.raises(UserError, match="reference"):
        stages("attack.names=[reconstruction,watson]", "data.n_auxiliary=0")
