"""What the launcher makes of the answers of squeue and sbatch, which scripts give here."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from omegaconf.errors import ReadonlyConfigError
from submitit.core.utils import UncompletedJobError

from mia_lab.errors import UserError
from mia_lab.sweeps import slurm
from mia_lab.sweeps.interruption import uninterrupted
from mia_lab.sweeps.point import Point, State

SQUEUE = """#!/bin/sh
n=$(cat {folder}/asked 2>/dev/null || echo 0)
echo $((n + 1)) > {folder}/asked
sed -n "$((n + 1))p" {folder}/answers
[ "$n" -eq 2 ] && mv {folder}/late {folder}/result 2>/dev/null
exit 0
"""

SBATCH = """#!/bin/sh
# Accepts arrays of up to {limit} jobs.
for file; do :; done
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$file")
parallelism=$(sed -n 's/^#SBATCH --array=.*%\\([0-9]*\\)/\\1/p' "$file")
if [ "${{last:-0}}" -ge {limit} ]; then
  echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2
  exit 1
fi
echo "$((${{last:-0}} + 1)) ${{parallelism:-1}}" >> {folder}/arrays
echo "Submitted batch job $((70 + $(wc -l < {folder}/arrays)))"
"""

SCONTROL = """#!/bin/sh
echo "Configuration data as of today"
echo "MaxArraySize            = {limit}"
"""

DONE = JobReturn(status=JobStatus.COMPLETED)

Script = Callable[[str, str], None]


def queued(folder: Path, points: int = 1) -> slurm.QueuedJob:
    numbered = tuple(Point(folder / str(number), ()) for number in range(points))
    return slurm.QueuedJob(numbered, "7_0", folder / "result", folder / "log")


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def write(name: str, content: str) -> None:
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)

    return write


@pytest.fixture
def answers(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Path:
    script("squeue", SQUEUE.format(folder=tmp_path))
    monkeypatch.setattr(slurm, "POLL_S", 0.01)
    monkeypatch.setattr(slurm, "QUERY_S", 0.0)
    return tmp_path / "answers"


def reasons(returns: Sequence[JobReturn]) -> list[str]:
    """Why each point failed; "" for those that did not."""
    return ["" if r.status is JobStatus.COMPLETED else str(r._return_value) for r in returns]


def test_a_job_that_is_queued_again_is_not_lost(tmp_path: Path, answers: Path) -> None:
    answers.write_text("7_0 NODE_FAIL 0\n7_0 RUNNING 0\n7_0 NODE_FAIL 0\n")
    (tmp_path / "late").write_bytes(pickle.dumps(("success", [DONE])))
    assert reasons(slurm._wait([queued(tmp_path)])) == [""]


def test_a_job_that_ended_twice_without_a_result_is_lost(tmp_path: Path, answers: Path) -> None:
    answers.write_text("7_0 RUNNING 0\n7_0 NODE_FAIL 0\n7_0 NODE_FAIL 0\n")
    assert reasons(slurm._wait([queued(tmp_path)])) == ["its node failed"]


def test_points_done_before_their_job_died_are_done(tmp_path: Path, answers: Path) -> None:
    answers.write_text("7_0 FAILED 9\n7_0 FAILED 9\n")
    job = queued(tmp_path, points=4)
    states = (State.DONE, State.FAILED, State.RUNNING, State.PLANNED)
    for point, state in zip(job.points, states, strict=True):
        Point(point.folder, (), state=state, reason="its own" * (state is State.FAILED)).write()
    killed = "killed by signal 9 (too little memory?)"
    assert reasons(slurm._wait([job])) == ["", "its own", killed, killed]


def test_points_after_the_time_limit_are_lost(tmp_path: Path) -> None:
    late = JobReturn(status=JobStatus.FAILED)
    late.return_value = UncompletedJobError("Job not requeued because: timed-out too many times.")
    (tmp_path / "result").write_bytes(pickle.dumps(("success", [DONE, late])))
    returns = queued(tmp_path, points=3).returns()
    assert returns is not None
    assert reasons(returns) == ["", slurm.TIME_LIMIT, slurm.TIME_LIMIT]


class FakeProgram:
    def compose(self, point: Point) -> str:
        return f"configuration of {point.number}"


def test_the_error_of_a_job_is_its_message(tmp_path: Path) -> None:
    """Not what libraries print below it."""
    try:
        OmegaConf.create({"a": {"b": 1}}, flags={"readonly": True}).a.b = 2
    except ReadonlyConfigError:
        (tmp_path / "result").write_bytes(pickle.dumps(("error", traceback.format_exc())))
    found = queued(tmp_path).returns()
    assert found is not None
    assert reasons(found) == [
        "omegaconf.errors.ReadonlyConfigError: Cannot change read-only config container"
    ]


def test_the_error_of_a_job_is_the_first_line_of_its_message() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "a.py", line 1, in <module>\n    f()\n'
        "torch.AcceleratorError: CUDA error: out of memory\n"
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
    )
    found = slurm._message_of_traceback(text)
    assert found == "torch.AcceleratorError: CUDA error: out of memory"


def submit(folder: Path, n_points: int, points_per_job: int = 1) -> list[slurm.QueuedJob]:
    points = [Point(folder / str(number), ()) for number in range(n_points)]
    jobs = slurm._jobs(points, FakeProgram(), points_per_job)  # type: ignore[arg-type]
    parameters = {"submitit_folder": str(folder / "%j"), "max_num_timeout": 1}
    found: list[slurm.QueuedJob] = []
    slurm._submit(jobs, {**parameters, "array_parallelism": 8}, found)
    return found


@pytest.mark.parametrize("scontrol_limit", [None, 4, 1001])
def test_arrays_are_as_large_as_the_cluster_allows(
    tmp_path: Path, script: Script, scontrol_limit: int | None
) -> None:
    script("sbatch", SBATCH.format(folder=tmp_path, limit=4))
    script("srun", "#!/bin/sh\n")
    silent = "#!/bin/sh\nexit 1\n"
    known = SCONTROL.format(limit=scontrol_limit)
    script("scontrol", silent if scontrol_limit is None else known)
    found = submit(tmp_path, 11)
    assert [job.points[0].number for job in found] == [*range(11)]
    assert len({job.id for job in found}) == 11
    arrays = [
        tuple(map(int, row.split())) for row in (tmp_path / "arrays").read_text().split("\n")[:-1]
    ]
    assert sum(size for size, _ in arrays) == 11
    assert max(size for size, _ in arrays) <= 4
    assert sum(parallelism for _, parallelism in arrays) <= 8


def test_jobs_hold_several_points(tmp_path: Path, script: Script) -> None:
    script("sbatch", SBATCH.format(folder=tmp_path, limit=4))
    script("srun", "#!/bin/sh\n")
    script("scontrol", SCONTROL.format(limit=4))
    found = submit(tmp_path, 7, points_per_job=3)
    assert [[p.number for p in job.points] for job in found] == [[0, 1, 2], [3, 4, 5], [6]]
    assert (tmp_path / "arrays").read_text() == "3 3\n"
    with pytest.raises(UserError, match=r"hydra.launcher.points_per_job=0: must be at least 1"):
        submit(tmp_path, 7, points_per_job=0)


def test_other_refusals_are_told(tmp_path: Path, script: Script) -> None:
    script("sbatch", "#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    script("srun", "#!/bin/sh\n")
    with pytest.raises(UserError, match=r"the jobs were refused .*invalid partition"):
        submit(tmp_path, 2)


def test_an_interruption_waits_until_all_jobs_are_known() -> None:
    known = False
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored
    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGINT)
            known = True
    finally:
        signal.signal(signal.SIGINT, handler)
    assert known
