"""The examples of clusters, started as far as one machine can: two Ray nodes in place of two machines."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from robench.cli import app
from robench.evaluation.jobs import read_jobs
from robench.runs.directory import RunDirectory

EXAMPLES = Path(__file__).parents[3] / "examples" / "cluster"

# What SLURM's commands do for the script: name the nodes, one after another, and start a command on one. Each gets a core.
SRUN = '#!/usr/bin/env bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@" --num-cpus=1\n'
SCONTROL = "#!/usr/bin/env bash\necho 127.0.0.1\nsleep 0.2\necho 127.0.0.2\n"


def evaluate_options() -> set[str]:
    text = CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    return set(re.findall(r"--[a-z-]+", text))


@pytest.mark.slow(minutes=2)
def test_the_slurm_script_evaluates_on_two_nodes(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'robench[ray]'")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "USER": "somebody",
        "ROBENCH_PORT": str(port),
        "ROBENCH_CACHE": str(tmp_path / "cache"),
    }
    arguments = ["demo", "--limit", "40", "--corruption", "fog", "--out", str(tmp_path / "run")]
    script = ["bash", str(EXAMPLES / "slurm.sbatch"), *arguments]
    done = subprocess.run(
        script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    run = RunDirectory.open(tmp_path / "run")
    assert len(run.finished()) == len(run.conditions) == 6
    assert "workers on cpu" in done.stderr
    assert not run.manifest.get("events")


def test_the_kubernetes_job_gives_a_command_that_exists() -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    name, verb, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (name, verb) == ("robench", "evaluate")
    assert {one for one in arguments if one.startswith("--")} <= evaluate_options()
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        claims = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= claims
            # The driver's folder is where workers look for what is named by a relative path.
            assert container["workingDir"] == groups[0]["template"]["spec"]["containers"][0]["workingDir"]


def test_the_file_of_jobs_can_be_read() -> None:
    jobs = read_jobs(EXAMPLES / "jobs.toml")
    assert len(jobs) == 4
    assert all(job["data"] == "imagenet/val" for job in jobs)
