"""Bad input ends quickly, in one line that names the file or key, and leaves nothing to trust."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mia_lab.stages.split import SplitStage
from mia_lab.store import Store
from support import Command

TINY = ("+experiment=tiny",)
FOLDER = (*TINY, "data=custom", "data.root=pairs")
TWO_FOLDERS = (*FOLDER, "data.layout=two_folders")

NO_PART = "PIL.ImageFilter.BLUR"
"""A class, but no part of an audit."""

Prepare = Callable[[Path], None]


def picture(path: Path, width: int = 64, height: int = 32, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def nothing(_: Path) -> None:
    pass


def pairs(root: Path, n: int = 13) -> None:
    for i in range(n):
        picture(root / f"pairs/train/{i:02d}.jpg", seed=i)


def empty_folder(root: Path) -> None:
    (root / "pairs/train").mkdir(parents=True)


def lonely(root: Path) -> None:
    for side in "AB":
        for i in range(13):
            picture(root / f"pairs/train{side}/{i}.png", 32, seed=i)
    (root / "pairs/trainB/7.png").unlink()


def truncated(root: Path) -> None:
    pairs(root)
    path = root / "pairs/train/07.jpg"
    path.write_bytes(path.read_bytes()[:600])


def single_pixel(root: Path) -> None:
    for side in "AB":
        for i in range(13):
            picture(root / f"pairs/train{side}/{i}.png", 32, seed=i)
            if i == 7:
                picture(root / f"pairs/train{side}/{i}.png", 1, 1)


def odd_width(root: Path) -> None:
    pairs(root)
    picture(root / "pairs/train/07.jpg", width=63)


def blocked_outputs(root: Path) -> None:
    (root / "outputs").write_text("a file where the folder should be")


CASES: dict[str, tuple[Prepare, tuple[str, ...], str]] = {
    "unknown key": (
        nothing,
        ("victim.epochss=3",),
        'name, norm, out_channels, seed, width; did you mean "epochs"?',
    ),
    "unknown added key": (nothing, ("+epochs=3",), 'victim; did you mean "demo_epochs"?'),
    "wrong type": (nothing, ("seed=often",), "seed=often: must be a whole number"),
    "unknown experiment": (nothing, ("+experiment=faces",), "facades_pix2pix"),
    "missing root": (nothing, FOLDER, "data.root=pairs: no such folder"),
    "no MIA_LAB_DATA": (nothing, (*TINY, "data.source=folder"), "Set MIA_LAB_DATA"),
    "empty folder": (empty_folder, FOLDER, "pairs/train: contains no pictures"),
    "A without its B": (lonely, TWO_FOLDERS, "trainA/7.png: has no partner"),
    "truncated JPEG": (truncated, FOLDER, "train/07.jpg: cannot be decoded"),
    "1 x 1 image": (single_pixel, TWO_FOLDERS, "7.png: a picture has 1 x 1 pixels"),
    "odd width": (odd_width, FOLDER, "train/07.jpg: is 63 pixels wide"),
    "more members than images": (pairs, (*FOLDER, "data.n_members=20"), "data.n_members=20"),
    "negative count": (nothing, (*TINY, "data.n_nonmembers=-5"), "data.n_nonmembers=-5: must be"),
    "alpha is not a number": (nothing, (*TINY, "attack.alpha=nan"), "attack.alpha=nan: must be"),
    "unknown layer": (nothing, (*TINY, "difficulty.layers=[1,7]"), "difficulty.layers"),
    "unknown weights": (nothing, (*TINY, "backbone.weights=gone.pt"), "backbone.weights=gone.pt"),
    "unwritable outputs": (blocked_outputs, TINY, "paths.outputs"),
    "unwritable store": (
        blocked_outputs,
        (*TINY, "paths.outputs=elsewhere", "paths.store=outputs/store"),
        "paths.store=outputs/store: cannot be written",
    ),
    "resplit of a foreign victim": (
        nothing,
        ("victim=pretrained", "victim.checkpoint=model.safetensors"),
        "data.protocol=resplit draws new members",
    ),
    "foreign victim without its file": (
        nothing,
        ("victim=pretrained", "victim.checkpoint=gone.safetensors", "data.protocol=official"),
        "gone.safetensors: cannot be read",
    ),
    "victim class that does not exist": (
        nothing,
        ("victim=custom", "victim._target_=gone.Model", "data.protocol=official"),
        "gone",
    ),
    "prune without saying what": (nothing, ("task=store", "store.action=prune"), "say what"),
    "no store": (nothing, ("task=store",), "paths.store=outputs/store: no such folder"),
    **{
        f"no number: {setting}": (nothing, (*TINY, setting), message)
        for setting, message in {
            "difficulty.ridge=nan": "difficulty.ridge=nan: must be a finite number or auto",
            "difficulty.ridge=inf": "difficulty.ridge=inf: must be a finite number or auto",
            "difficulty.ridge=1e300": "difficulty.ridge=1e+300: must be at most 1e+12",
            "victim.learning_rate=inf": "victim.learning_rate=inf: must be a finite number",
            "attack.alpha=1e308": "attack.alpha=1e+308: must be at most 1e+12",
            "attack.alpha=-1e200": "attack.alpha=-1e+200: must be at least -1e+12",
            "difficulty.grid.alpha=[1e99]": "must be at most 1e+12",
            "attack.available.membership.alpha=1e99": "attack.available.membership.alpha=1e+99",
        }.items()
    },
    "a dataset that is not one": (
        nothing,
        ("data=custom", "data.source=mine", f"+data.sources.mine._target_={NO_PART}"),
        f"data.sources.mine._target_={NO_PART}: has no method ids",
    ),
    "a victim that is not one": (
        nothing,
        ("victim=custom", f"victim._target_={NO_PART}", "data.protocol=official"),
        "has no method translate",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(command: Command, case: str) -> None:
    prepare, arguments, message = CASES[case]
    prepare(command.folder)
    ran = command(*arguments)
    assert message in ran.error
    runs = command.folder.glob("outputs/runs/*/*/*")
    assert not [p for p in runs if p.name in ("metrics.json", "report.html", "scores.csv")]
    store = command.folder / "outputs" / "store"
    finished = [p for p in store.glob("[!.]*/*") if not p.suffix] if store.is_dir() else []
    assert {p.parent.name for p in finished} <= {"split"}, "published something"


@pytest.mark.slow
def test_bad_input_is_quick(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last check before any computing costs little beside the import of the libraries."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # as users run it
    libraries = "import hydra, pytorch_lightning, sklearn, timm, torch"
    start = _children_cpu_s()
    subprocess.run([sys.executable, "-c", libraries], check=True)
    imported = _children_cpu_s()
    assert "difficulty.layers" in command.alone(*TINY, "difficulty.layers=[1,7]").error
    # Of the processor's time, not the clock's, and against a rival: tests share their machine.
    assert _children_cpu_s() - imported < 2 * (imported - start)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("target", ["os.system", "mia_lab.store.disk.os.system"])
@pytest.mark.parametrize(
    ("key", "settings"),
    {
        "victim": ("victim=custom", "data.protocol=official"),
        "data.sources.mine": ("data=custom", "data.source=mine"),
        "attack.available.mine": ("attack.names=[mine]",),
        "defense": (),
        "difficulty": ("difficulty=none",),
        "backbone": (),
    }.items(),
)
def test_what_is_no_component_is_not_called(
    command: Command, key: str, settings: tuple[str, ...], target: str
) -> None:
    """``os.system`` would be called before its result turns out to be none."""
    (command.folder / "script.sh").write_text("touch called\n")
    called = (f"++{key}._target_={target}", f"++{key}.command=./script.sh")
    (command.folder / "script.sh").chmod(0o755)
    ran = command(*settings, *called, "until=split")
    assert f"{key}._target_={target}: belongs to Python's standard library" in ran.error
    assert not (command.folder / "called").exists()


def test_identical_pairs_of_one_role_are_a_warning(command: Command) -> None:
    """Roles that a manifest gives, so that the copies are members both, or a group, or not."""
    pairs(command.folder)
    train = command.folder / "pairs/train"
    shutil.copy(train / "03.jpg", train / "04.jpg")
    names = sorted(p.stem for p in train.iterdir())
    roles = ["member"] * 6 + ["nonmember"] * 6 + ["auxiliary"]
    lines = [f"train/{name},{role}" for name, role in zip(names, roles, strict=True)]
    given = (*FOLDER, "data.protocol=manifest", "data.manifest=roles.csv", "data.test=train")
    given += ("attack.names=[reconstruction]", "difficulty=none", "demo_epochs=1")
    told = "1 pair is in the data several times under other names (train/03 = train/04)."
    (command.folder / "roles.csv").write_text("\n".join(["id,role", *lines]))
    ran = command(*given, "report.pictures=true")
    assert ran.err.count(told) == 1
    assert ran.metrics["record"]["identical pairs"].startswith(told)
    page = (command.folder / "outputs/latest/report.html").read_text()
    assert page.count(told) == 2  # in its section, and in the record
    grouped = [f"{line},{'twins' if line[6:8] in ('03', '04') else ''}" for line in lines]
    (command.folder / "roles.csv").write_text("\n".join(["id,role,group", *grouped]))
    ran = command(*given)
    assert "several times" not in ran.err
    assert "identical pairs" not in ran.metrics["record"]


def test_a_picture_changes_while_a_run_reads_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are hashed first and decoded later; nothing wrong is stored under the right key."""
    pairs(command.folder)
    compute = SplitStage.compute

    def changing(stage: SplitStage, folder: Path, store: Store) -> None:
        picture(command.folder / "pairs/train/03.jpg", seed=99)
        compute(stage, folder, store)

    monkeypatch.setattr(SplitStage, "compute", changing)
    assert "03.jpg: has changed since this run began" in command(*FOLDER, "until=split").error
    assert not command.computed
    monkeypatch.undo()
    assert command(*FOLDER, "until=split").code == 0


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an audit, to be copied."""
    command = Command(tmp_path_factory.mktemp("audited"))
    assert command(*TINY, "until=attacks").code == 0
    return command.folder


@pytest.mark.parametrize(
    ("file", "until"),
    [
        ("split/*/role.npy", "attacks"),
        ("victim/*/victim.safetensors", "victim"),
        ("difficulty/*/score.npy", "attacks"),
        ("blind/*/null.npy", "attacks"),
    ],
)
def test_flipped_byte_in_the_store(command: Command, audited: Path, file: str, until: str) -> None:
    shutil.copytree(audited, command.folder, symlinks=True, dirs_exist_ok=True)
    (path,) = command.folder.glob(f"outputs/store/{file}")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    before = (command.folder / "outputs/latest/metrics.json").read_text()
    # Another weight: a stored verdict would be read instead of what it was computed from.
    error = command(*TINY, f"until={until}", "attack.alpha=0.3").error
    assert f"{path.name}: damaged" in error
    assert "delete the folder" in error
    assert (command.folder / "outputs/latest/metrics.json").read_text() == before


def test_traceback_on_request(command: Command) -> None:
    command.environment["HYDRA_FULL_ERROR"] = "1"
    ran = command("attack.alpha=nan")
    assert ran.code != 0
    assert "Traceback" in ran.err
    assert "attack.alpha=nan: must be a finite number" in ran.err
