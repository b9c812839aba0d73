"""Kills (make kills): the launcher is killed at points nobody chose, KILLS times (200), in half of the
turns with all of its children, its janitor among them.

The next session starts, and then nothing of the killed one is left: no container or network of the
(fake) engine, no staged file, no process. KILLS_SEED repeats a run.
"""
import os
import pathlib
import random
import signal
import time

from conftest import wait_for
from test_faults import processes

KILLS = int(os.environ.get("KILLS", "200"))
SPAN_S = 0.5  # of a start here; later the jail runs


def left_in_engine(calls):
    """What was made and not removed, in the order of the calls."""
    alive = set()
    for call in calls:
        words = [word for word in call if not word.startswith("-")]
        name = called(call)
        if name is None:
            continue
        if words[0] == "create" or words[:2] == ["network", "create"]:
            alive.add((words[0], name))
        elif words[0] == "rm" or words[:2] == ["network", "rm"]:
            alive.discard(("create" if words[0] == "rm" else "network", name))
    return alive


def called(call):
    """The container or network that a call is about."""
    if call[0] == "create":
        return call[call.index("--name") + 1]
    names = [word for word in call if word.startswith("prisoncode-2")]
    return names[-1] if names else None


def children(pid):
    try:
        return [int(n) for n in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def forget(box):
    """The calls so far: nothing is left of them, and the numbers of processes come again."""
    for note in [box.fake / "order", *box.fake.glob("argv.*"), *box.fake.glob("gone.*")]:
        note.unlink()


def test_killed_at_random_moments(box):
    seed = int(os.environ.get("KILLS_SEED", time.time_ns() % 1000000))
    print(f"KILLS_SEED={seed}")
    choose = random.Random(seed)
    hang = box.fake / "hang"
    box.behave("""jail='[ ! -e "$FAKE/hang" ] || await; exit 0'""")
    reached = {}
    for turn in range(KILLS):
        hang.touch()
        process = box.popen("run", "x")
        time.sleep(choose.uniform(0, SPAN_S))
        assert process.poll() is None, process.communicate()
        family = children(process.pid) if choose.random() < 0.5 else []
        process.kill()
        kill_all(family)
        process.communicate(timeout=60)  # ends when nobody holds its pipes
        hang.unlink()
        verbs = box.verbs()
        reached[verbs[-1] if verbs else "nothing"] = reached.get(verbs[-1] if verbs else "nothing", 0) + 1
        done = box.run("run", "x")
        assert done.returncode == 0, f"turn {turn}: {done}"
        assert box.sessions() == [], f"turn {turn}"
        wait_for(lambda: not left_in_engine(box.calls()), f"turn {turn}: {left_in_engine(box.calls())}")
        forget(box)
    print(f"{KILLS} kills, the last call before them: {reached}")
    wait_for(lambda: not processes(box), "the last process")
    assert sorted(path.name for path in (box.dot / "run").iterdir()) == [".lock", ".owner"]
