"""``task=score`` and the release gate, through the real command."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from scipy import stats

from support import Command, Ran

TINY = ("+experiment=tiny", "data.n_auxiliary=4", "score.fpr=0.2")
FILES = {
    "config.yaml", "gallery.png", "histogram.png", "metrics.json", "report.html", "scores.csv",
    "split.csv",
}  # fmt: skip


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def latest(ran: Ran) -> Path:
    assert ran.code == 0, ran.err
    return ran.folder / "outputs" / "latest"


def existing(*more: str, manifest: str = "candidates.csv") -> tuple[str, ...]:
    """Score the candidates of a manifest against a victim in a file."""
    return (
        "task=score", "data.image_size=32", "trainer=cpu", "trainer.threads=1", "score.fpr=0.2",
        "tracking.mode=disabled", "victim=pretrained", "victim.checkpoint=victim.safetensors",
        "data.protocol=manifest", f"data.manifest={manifest}", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A folder with an audit, its victim, and a manifest that does not tell who was a member."""
    command = Command(tmp_path_factory.mktemp("audited"))
    folder = latest(command(*TINY)).resolve().rename(command.folder / "audit")
    (victim,) = command.folder.glob("outputs/store/victim/*/victim.safetensors")
    (command.folder / "victim.safetensors").write_bytes(victim.read_bytes())
    with (command.folder / "candidates.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "role", "content"])
        for row in table(folder / "split.csv"):
            known = row["role"] if row["role"] == "auxiliary" else ""
            writer.writerow([row["id"], known, row["content"]])
    return command


def test_scores_are_the_audits_and_decisions_follow(audited: Command) -> None:
    ran = audited(*existing())
    folder = latest(ran)
    assert {p.name for p in folder.iterdir()} >= FILES
    rows = {row["id"]: row for row in table(folder / "scores.csv")}
    judged = {row["id"]: row for row in table(audited.folder / "audit/scores.csv")}
    candidates = {i: row for i, row in rows.items() if row["role"] == "candidate"}
    assert candidates.keys() == judged.keys()
    assert len(rows) == len(judged) + 4
    for key in ("reconstruction_error", "difficulty", "membership_error"):
        for image, row in judged.items():
            assert float(rows[image][key]) == pytest.approx(float(row[key]), rel=1e-5)

    metrics = ran.metrics
    for attack in ("reconstruction", "membership"):
        known = [
            float(row[f"{attack}_error"]) for row in rows.values() if row["role"] == "auxiliary"
        ]
        errors = [float(row[f"{attack}_error"]) for row in candidates.values()]
        ranks = stats.rankdata(errors, method="min")
        for error, rank, row in zip(errors, ranks, candidates.values(), strict=True):
            p_value = (1 + sum(a <= error for a in known)) / 5
            assert float(row[f"{attack}_p_value"]) == p_value
            assert (row[f"{attack}_decision"] == "member") == (p_value <= 0.2)
            assert int(row[f"{attack}_rank"]) == rank
        numbers = metrics["attacks"][attack]
        assert numbers["threshold_error"] == min(known)
        assert numbers["n_called_members"] == sum(error < min(known) for error in errors)
        assert numbers["fpr_upper95"] == pytest.approx(stats.beta.ppf(0.95, 1, 4))
    assert {row["role"] for row in table(folder / "split.csv")} == {"candidate", "auxiliary"}
    assert "rank  image" in ran.out
    assert "same distribution" in (folder / "report.html").read_text()

    again = audited(*existing("attack.alpha=0.5", "report.pictures=false"))
    assert again.code == 0
    assert re.findall(r"(\w+) \w+: computing", again.err) == ["decisions"]


def test_without_auxiliaries_nothing_is_decided(audited: Command) -> None:
    ids = [row["id"] for row in table(audited.folder / "audit/scores.csv")]
    (audited.folder / "ids.csv").write_text("\n".join(["id", *ids]))
    ran = audited(*existing("score.fpr=0.001", "report.pictures=false", manifest="ids.csv"))
    assert "No candidate is called a member" in ran.out
    rows = table(latest(ran) / "scores.csv")
    assert [int(row["membership_rank"]) for row in rows] == list(range(1, len(ids) + 1))
    assert not [key for key in rows[0] if "decision" in key or "p_value" in key]
    assert ran.metrics["attacks"] == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,role\n{0},member\n", "bad.csv:2: role member: this role is known"),
        ("id,role\n{0},\n{1},auxiliary\n", "1 auxiliaries resolve false positive rates from 0.5"),
        ("id,role\n{0},\n{1},auxiliary\n", "at least 4 auxiliaries"),
        ("id,content\n{0},00\n", "{0}: its content differs from data.manifest"),
    ],
)
def test_bad_manifests(audited: Command, text: str, message: str) -> None:
    ids = [row["id"] for row in table(audited.folder / "audit/scores.csv")]
    (audited.folder / "bad.csv").write_text(text.format(*ids))
    assert message.format(*ids) in audited(*existing(manifest="bad.csv")).error


MANIFEST = ("data.protocol=manifest", "data.manifest=candidates.csv")
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "whom": (("task=score",), "data.protocol=resplit: task=score needs the ids"),
    "a victim to train": (("task=score", *MANIFEST), "victim=pix2pix: is trained here"),
    "fpr": (existing("score.fpr=0"), "score.fpr=0: must be above 0"),
    "fpr 1": (existing("score.fpr=1"), "score.fpr=1: must be below 1"),
    "fpr nan": (existing("score.fpr=nan"), "score.fpr=nan: must be a finite number"),
    "until": (existing("until=split"), "until=split stops an audit"),
    "grid": (existing("difficulty.grid.ridge=[2]"), "difficulty.grid compares settings"),
    "no manifest": (existing(), "candidates.csv: cannot be read"),
    "gate of scores": (existing("fail_if=auc/membership > 0.6"), "which task=score does not run"),
    "gate until": (
        (*TINY, "until=split", "fail_if=auc/membership > 0.6"),
        "until=split stops it before",
    ),
    "no condition": ((*TINY, "fail_if=auc/membership"), "write fail_if='auc/membership > 0.6'"),
    "typo": ((*TINY, "fail_if=auc/membrship > 0.6"), 'did you mean "auc/membership"?'),
    "attack that does not run": (
        (*TINY, "attack.names=[membership]", "fail_if=auc/reconstruction > 0.6"),
        "this audit has no auc/reconstruction",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_computed(command: Command, case: str) -> None:
    arguments, message = REFUSED[case]
    ran = command(*arguments)
    assert message in ran.error
    assert ran.code == 2
    assert not (command.folder / "outputs/store").exists()


def gated(audited: Command, condition: str) -> tuple[Ran, dict[str, object]]:
    """Audit behind a gate; everything is written whatever comes of it."""
    ran = audited(*TINY, "report.pictures=true", f"fail_if={condition}")
    folder = audited.folder / "outputs/latest"
    assert {"metrics.json", "scores.csv", "roc.png", "report.html"} <= {
        p.name for p in folder.iterdir()
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["gate"]["condition"] == condition
    return ran, metrics


def test_gate(audited: Command) -> None:
    ran, metrics = gated(audited, "auc/membership >= 0")
    area = metrics["attacks"]["membership"]["auc"]
    assert ran.code == 3
    assert ran.err.splitlines()[-1] == f"fail_if: auc/membership = {area:.6g} >= 0"
    outcome = {
        "condition": "auc/membership >= 0",
        "value": area,
        "failed": True,
        "reversed": False,
        "unrelated": False,
    }
    assert metrics["gate"] == {
        "condition": "auc/membership >= 0",
        "failed": True,
        "outcomes": [outcome],
    }
    assert "report: " in ran.out
    assert "Gate failed" in _text(audited.folder / "outputs/latest")

    ran, metrics = gated(audited, "tpr_at_fpr_0.01/membership < 0")
    assert ran.code == 3
    assert "cannot be decided, which counts as failed" in ran.err.splitlines()[-1]
    assert metrics["gate"]["outcomes"][0]["value"] is None

    ran, metrics = gated(audited, "auc/membership > 1 or auc/reconstruction > 1")
    assert ran.code == 0
    words = "auc/membership = .*, not > 1; auc/reconstruction = .*, not > 1"
    assert re.fullmatch(f"fail_if: passed, {words}", ran.out.splitlines()[-1])
    assert "Gate passed" in _text(audited.folder / "outputs/latest")


def _text(folder: Path) -> str:
    page = (folder / "report.html").read_text()
    return page.replace("<strong>", "").replace("</strong>", "")
