"""A SLURM of two nodes on this machine, in a folder of its own, for tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "sbatch", "munged")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
LIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
MaxArraySize=5
ReturnToService=2
KillWait=5
AccountingStorageType=accounting_storage/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port1} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port2} CPUs=2 RealMemory=4000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 PriorityTier=1 GraceTime=20
PartitionName=high Nodes=n1,n2 MaxTime=60 PriorityTier=10
"""


def missing() -> str:
    """Why no cluster can be started here; "" where it can."""
    if os.geteuid():
        return "SLURM's daemons need root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in NEEDED if not shutil.which(name, path=path)]
    hint = f"apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    return f"{', '.join(absent)} not installed: {hint}" if absent else ""


class Cluster:
    """A running one: what it is asked and told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        environment = {**os.environ, **self.environment}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
        return ran.stdout

    def jobs(self) -> dict[str, str]:
        """The state of every job, by "array_task", as far as the cluster remembers."""
        columns = ("--noheader", "--array", "--states=all", "--Format=JobArrayID:40,State:24")
        return dict(line.split() for line in self.ask("squeue", *columns).splitlines())

    def node(self, job: str) -> str:
        return self.ask("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()

    def process(self, job: str) -> int:
        """The Python process of a job of an array, of this cluster alone: names repeat."""
        array, _, task = job.partition("_")
        wanted = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}", "SLURM_PROCID=0"}
        wanted |= {f"{name}={value}" for name, value in self.environment.items()}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                started_as = (folder / "environ").read_text().split("\0")
                command = (folder / "cmdline").read_text().split("\0")
                if wanted <= set(started_as) and command[1:4] == [
                    "-u",
                    "-m",
                    "submitit.core._submit",
                ]:
                    found.append(int(folder.name))
        (process,) = found
        return process

    def release(self, job: str) -> None:
        """Let a requeued job start now, not after the two minutes that SLURM waits."""
        wait_for(lambda: self.jobs().get(job) == "PENDING")
        time.sleep(4)  # it ignores us before
        self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")

    def cancel_all(self) -> None:
        if LIVE & set(self.jobs().values()):
            self.ask("scancel", "--user=root")
            wait_for(lambda: not LIVE & set(self.jobs().values()), 20)

    def stop(self) -> None:
        with suppress(AssertionError):
            self.cancel_all()
        for file in self.folder.glob("slurm*.pid"):
            with suppress(ProcessLookupError, ValueError, FileNotFoundError):
                os.kill(int(file.read_text()), signal.SIGTERM)
        with suppress(AssertionError):
            wait_for(lambda: not list(self.folder.glob("slurm*.pid")), 15)


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that accepts jobs; stopped in the end, with whatever runs on it."""
    _start_munge()
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    port, port1, port2 = _free_ports(3)
    host = socket.gethostname().partition(".")[0]
    text = CONF.format(host=host, folder=folder, port=port, port1=port1, port2=port2)
    (folder / "slurm.conf").write_text(text)
    cluster = Cluster(folder)
    conf = str(folder / "slurm.conf")
    try:
        cluster.ask("/usr/sbin/slurmctld", "-c", "-f", conf)
        for node in ("n1", "n2"):
            cluster.ask("/usr/sbin/slurmd", "-N", node, "-f", conf)
        wait_for(lambda: cluster.ask("sinfo", "-h", "-p", "main", "-o", "%t %D") == "idle 2\n")
        yield cluster
    finally:
        cluster.stop()


def _start_munge() -> None:
    if Path("/run/munge/munge.socket.2").exists() and _munge_answers():
        return
    folders = ["/run/munge", "/var/log/munge", "/var/lib/munge"]
    subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "-m", "0755", *folders])
    subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--force"], check=True)
    wait_for(_munge_answers, 10)


def _munge_answers() -> bool:
    return subprocess.run(["munge", "-n"], capture_output=True).returncode == 0


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
