"""Kills (make kills-engine) with the real engine: the launcher KILLS / 10 times, egressd and the engine
KILLS / 20 times each.

Whenever it happens, the next session starts, and what is left of the killed one goes: containers,
networks, staged files, processes. KILLS_SEED repeats a run.
"""
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import docker, left_behind, wait_until

KILLS = int(os.environ.get("KILLS", "200"))
SPAN_S = 2.0  # of a start; later the jail runs
EGRESSD_SPAN_S = 0.2  # the same, of egressd's life: at once, or when the jail is looking or runs


@pytest.fixture
def choose():
    seed = int(os.environ.get("KILLS_SEED", time.time_ns() % 1000000))
    print(f"KILLS_SEED={seed}")
    return random.Random(seed)


def everything(home):
    """What is there in the engine, and of this home's processes; other engines of this machine do not count."""
    mine = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as env:
                mine += b"HOME=%s\0" % str(home.path).encode() in env.read()
        except OSError:
            pass
    return {"engine": left_behind(), "networks": len(docker("network", "ls", "-q").split()), "processes": mine,
            "containers": docker("ps", "-aq")}


def next_session_is_well(home, turn):
    done = home.run("--bash", "-c", "echo fresh")
    assert (done.returncode, done.stdout) == (0, "fresh\n"), f"turn {turn}"
    wait_until(lambda: not left_behind() and not home.staged(), 60, f"turn {turn}: nothing is left")


def test_the_launcher_killed_at_random_moments(home, choose):
    """In half of the turns with all its children, its janitor among them."""
    before = everything(home)
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
    wait_until(lambda: everything(home) == before, 30, "networks and processes are gone")


def egressd_pid(home):
    """Of the session that is just starting, once it runs; asking the engine would take longer than its start."""
    sessions = {path.name.encode() for path in home.staged()}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as words:
                program, *rest = words.read().split(b"\0")
        except OSError:
            continue
        if program.endswith(b"egressd") and sessions & set(rest):
            return int(pid)
    return None


@pytest.mark.skipif("PRISONCODE_PRIVATE_ENGINE" not in os.environ,
                    reason="the processes of another engine may not be seen from here")
def test_egressd_killed_at_random_moments(home, choose):
    """Before it serves that is no session; later the way out is closed, and the session ends as it would."""
    before = everything(home)
    closed = 0
    for turn in range(max(1, KILLS // 20)):
        (home.workspace / "go").unlink(missing_ok=True)
        process = home.start("--bash", "-c", "while [ ! -e go ]; do sleep 0.05; done; "
                             f"curl -s -m 5 http://{home.model_entry}/hello || echo closed")
        end = time.monotonic() + 60
        while (pid := egressd_pid(home)) is None:  # without a pause: it serves after some milliseconds
            assert time.monotonic() < end, "egressd runs"
        delay = max(0, choose.uniform(-EGRESSD_SPAN_S / 4, EGRESSD_SPAN_S))
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        home.write("go", "")
        out, err = process.communicate(timeout=60)
        said = [line for line in err.splitlines() if line.startswith("prisoncode: ")]
        assert out == "closed\n" or (out == "" and process.returncode == 1 and said), (process.returncode, out, err)
        closed += out == "closed\n"
        print(f"turn {turn}: after {delay:.3f} s: {process.returncode}, {out.strip() or said[-1]}")
        next_session_is_well(home, turn)
    print(f"{closed} of them when the jail ran")
    wait_until(lambda: everything(home) == before, 30, "networks and processes are gone")


class Engine:
    """The private dockerd of tests/with-engine, to be killed and started as it was."""

    def __init__(self):
        folder = os.environ["DOCKER_HOST"][len("unix://"):].rpartition("/")[0]
        self.pid_file = os.path.join(folder, "pid")
        self.containerd_pid_file = os.path.join(folder, "exec", "containerd", "containerd.pid")
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
        # Its containerd is told so by the kernel. Both leave numbers of processes behind, which, where nobody
        # waits for orphans, would be taken for running ones.
        with open(self.containerd_pid_file) as text:
            containerd = int(text.read())
        wait_until(lambda: not is_alive(containerd), 60, "its containerd is gone")
        os.unlink(self.containerd_pid_file)
        os.unlink(self.pid_file)

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
    before = everything(home)
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
    wait_until(lambda: everything(home) == before, 60, "networks and processes are gone")
