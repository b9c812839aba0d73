"""Kills (make kills) with the real engine: the launcher KILLS / 10 times, the engine KILLS / 20 times.

Whenever it happens, the next session starts, and what is left of the killed one goes: containers,
networks, staged files, interfaces, processes. KILLS_SEED repeats a run.
"""
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import docker, left_behind, wait_until
from test_end import everything

KILLS = int(os.environ.get("KILLS", "200"))
SPAN_S = 2.0  # of a start; later the jail runs


@pytest.fixture
def choose():
    seed = int(os.environ.get("KILLS_SEED", time.time_ns() % 1000000))
    print(f"KILLS_SEED={seed}")
    return random.Random(seed)


def next_session_is_well(home, turn):
    done = home.run("--bash", "-c", "echo fresh")
    assert (done.returncode, done.stdout) == (0, "fresh\n"), f"turn {turn}"
    wait_until(lambda: not left_behind() and not home.staged(), 60, f"turn {turn}: nothing is left")


def test_the_launcher_killed_at_random_moments(home, choose):
    """In half of the turns with all its children, its janitor among them."""
    before = everything()
    for turn in range(max(1, KILLS // 10)):
        process = home.start("--bash", "-c", "sleep 600")
        time.sleep(choose.uniform(0, SPAN_S))
        assert process.poll() is None, process.communicate()
        family = []
        if choose.random() < 0.5:
            family = open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()
        process.kill()
        for pid in family:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        next_session_is_well(home, turn)
        process.communicate(timeout=60)
    wait_until(lambda: everything() == before, 30, "interfaces and processes are gone")


class Engine:
    """The private dockerd of tests/with-engine, to be killed and started as it was."""

    def __init__(self):
        folder = os.environ["DOCKER_HOST"][len("unix://"):].rpartition("/")[0]
        self.pid_file = os.path.join(folder, "pid")
        self.log = os.path.join(folder, "log")
        with open(f"/proc/{self.pid}/cmdline", "rb") as words:
            self.argv = words.read().split(b"\0")[:-1]
        with open(f"/proc/{self.pid}/environ", "rb") as words:
            self.env = dict(word.split(b"=", 1) for word in words.read().split(b"\0")[:-1])

    @property
    def pid(self):
        with open(self.pid_file) as text:
            return int(text.read())

    def kill(self):
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), 30, "dockerd is gone")

    def start(self):
        with open(self.log, "ab") as log:
            subprocess.Popen(self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             start_new_session=True)
        wait_until(lambda: subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0,
                   60, "dockerd answers")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif("PRISONCODE_PRIVATE_ENGINE" not in os.environ, reason="kills no engine but a private one")
def test_the_engine_killed_at_random_moments(home, choose):
    engine = Engine()
    before = everything()
    for turn in range(max(1, KILLS // 20)):
        process = home.start("--bash", "-c", "sleep 600")
        time.sleep(choose.uniform(0, SPAN_S))
        engine.kill()
        out, err = process.communicate(timeout=60)
        said = [line for line in err.splitlines() if line.startswith("prisoncode: ")]
        assert process.returncode != 0 and said, (process.returncode, out, err)
        print(f"turn {turn}: {process.returncode}, {said[-1]}")
        engine.start()
        next_session_is_well(home, turn)
    wait_until(lambda: everything() == before, 60, "interfaces and processes are gone")
    assert docker("ps", "-aq") == ""
