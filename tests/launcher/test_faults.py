"""Full disks, homes that cannot be written, an engine that goes away: one clear line, nothing left behind."""
import os
import re

import pytest

from conftest import FAKE, run_with_mounts, wait_for

GONE = "echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1"


def refusal(r):
    """The one line that says why."""
    assert r.returncode == 1 and r.stdout == "", r
    lines = [l for l in r.stderr.splitlines() if "started by root" not in l]
    assert len(lines) == 1 and lines[0].startswith("prisoncode: "), r.stderr
    return lines[0]


def assert_engine_empty(box):
    """What was made was removed."""
    verbs = box.verbs()
    for kind in ("net", "out"):
        assert verbs.count("network create " + kind) == min(1, verbs.count("network rm " + kind)), verbs
    assert not list(box.fake.glob("runs.*"))


@pytest.mark.parametrize("free", [0, 4, 8, 12, 20, 40])
def test_full_disk_while_files_are_staged(box, free):
    """A disk with so many KiB left takes some of the staged files, and not all."""
    (box.dot / "run").mkdir()
    (box.config / "plugin.js").write_text("x" * 40000)
    r = run_with_mounts(box, "mount -t tmpfs -o size=1m none $HOME/.prisoncode/run\n"
                             "dd if=/dev/zero of=$HOME/.prisoncode/run/.fill bs=1k count=%d 2>/dev/null" % (1024 - free), "run", "x")
    assert "No space left on device" in refusal(r)
    assert "start jail" not in box.verbs()
    assert_engine_empty(box)


def test_read_only_home(box):
    r = run_with_mounts(box, "mount --bind $HOME $HOME; mount -o remount,bind,ro $HOME; cd $HOME/project", "run", "x")
    assert "Read-only file system" in refusal(r)
    assert not [v for v in box.verbs() if v.split()[0] in ("create", "start", "build")]
    assert_engine_empty(box)


def test_doctor_in_a_read_only_home_and_on_a_full_disk(box):
    r = run_with_mounts(box, "mount --bind $HOME $HOME; mount -o remount,bind,ro $HOME; cd $HOME/project", "--doctor")
    assert r.returncode == 1 and "FAIL  home       " in r.stdout and "Read-only file system" in r.stdout
    r = run_with_mounts(box, "cp $HOME/.prisoncode/domains.txt /tmp/d.$$\nmount -t tmpfs -o size=1m none $HOME/.prisoncode\n"
                             "mv /tmp/d.$$ $HOME/.prisoncode/domains.txt", "--doctor")
    assert r.returncode == 1 and "MiB are free in" in r.stdout


def test_nothing_under_home_is_writable_but_run(box):
    """A list that cannot be marked as shown, an audit folder that cannot be made: said, not ignored."""
    box.set_list("a.test\na.test\n")
    (box.dot / "audit").write_text("in the way")
    assert "cannot make" in box.refused("run", "x")
    assert box.sessions() == []


def test_run_folder_in_the_way(box):
    (box.dot / "run").write_text("in the way")
    assert "cannot make" in box.refused("run", "x")
    assert box.verbs() == []


STEPS = ["network create", "create", "network connect", "start"]


@pytest.mark.parametrize("verb", STEPS)
def test_engine_that_dies_during_the_start(box, verb):
    """From this step on nobody answers; what was made is removed when somebody does."""
    box.behave("""case "$*" in '%s '*) : >"$FAKE/dead";; esac
[ ! -e "$FAKE/dead" ] || { %s; }""" % (verb, GONE))
    r = box.run("run", "x")
    assert r.returncode == 1
    assert r.stderr.splitlines()[-1].startswith("prisoncode: the Docker daemon does not answer")
    assert "start jail" not in box.verbs() or verb == "start"
    left = box.sessions()
    assert all({f.name for f in d.iterdir()} <= {"lock", "list"} for d in left)
    if verb != "network create":
        assert len(left) == 1 and ("the next start tries again" in r.stderr or verb == "start")
    (box.fake / "dead").unlink()
    box.behave("")
    count = len(box.calls())
    assert box.run("run", "x").returncode == 0
    assert box.sessions() == []
    for d in left:
        assert ["network", "rm", "prisoncode-%s-net" % d.name] in box.calls()[count:]


@pytest.mark.parametrize("verb,what", [("network connect", "connect the sidecar"), ("start *-egressd", "start the sidecar")])
def test_engine_that_dies_while_it_is_asked(box, verb, what):
    """What docker says of a connection that was cut names no cause: what to do is added."""
    box.behave("""case "$*" in %s*)
	until [ -e "$FAKE/made" ]; do sleep 0.01; done # the jail, which is made meanwhile
	: >"$FAKE/dead"; echo 'error during connect: Post "http://x/v1.41/y": EOF' >&2; exit 1;; esac
[ ! -e "$FAKE/dead" ] || { %s; }
case "$*" in create*-jail*) : >"$FAKE/made";; esac""" % (verb.replace(" ", "\\ "), GONE))
    r = box.run("run", "x")
    last = r.stderr.splitlines()[-1]
    assert r.returncode == 1 and last.startswith("prisoncode: docker could not " + what) and ": EOF (" in last
    assert "start it, 'sudo systemctl start docker'" in last and "  | " not in r.stderr


def test_engine_that_goes_away_with_the_jail(box):
    """Nobody says how the jail ended: ours is the status, with the reason and what to do."""
    box.behave("""jail='exit 125'
[ "$1" != container ] || { echo 'error during connect: Get "http://x/v1.41/y": EOF' >&2; exit 1; }""")
    r = box.run("run", "x")
    assert r.returncode == 1 and "start it, 'sudo systemctl start docker'" in r.stderr.splitlines()[-1]


def test_engine_that_dies_during_the_session(box):
    """Its restart ends the client: the exit status is ours then, with the reason."""
    box.behave("""jail='await; : >"$FAKE/dead"; echo "error waiting for container: unexpected EOF" >&2; exit 125'
[ ! -e "$FAKE/dead" ] || { %s; }""" % GONE)
    p = box.popen("run", "x")
    box.wait_for_container("jail")
    next(box.fake.glob("pipe.*-jail.*")).write_text("end\n")
    _, err = p.communicate(timeout=20)
    assert p.returncode == 1 and "prisoncode: the Docker daemon does not answer" in err.splitlines()[-1]
    left = box.sessions()
    assert {f.name for f in left[0].iterdir()} <= {"lock", "list"}
    (box.fake / "dead").unlink()
    for pipe in box.fake.glob("pipe.*"):  # the sidecar of the old engine
        pipe.unlink()
    for mark in box.fake.glob("runs.*"):
        mark.unlink()
    box.behave("")
    assert box.run("run", "x").returncode == 0 and box.sessions() == []


@pytest.mark.parametrize("verb", ["rm jail", "rm egressd", "network rm net"])
def test_engine_that_comes_back_while_things_are_removed(box, verb):
    """It refused one removal and does the others: nothing waits for the next start."""
    words = verb.split()
    box.behave("""case "$*" in '%s '*-%s) [ -e "$FAKE/back" ] || { : >"$FAKE/back"; %s; } ;; esac"""
               % (" ".join(words[:-1]), words[-1], GONE))
    assert box.run("run", "x").returncode == 0
    assert (box.fake / "back").exists() and box.sessions() == []
    assert box.verbs().count(verb) == 2


@pytest.mark.slow
def test_many_sessions_one_after_another(box):
    """No descriptor, process or file is left by any of them."""
    for _ in range(10):
        assert box.run("run", "x").returncode == 0
    assert box.sessions() == []
    wait_for(lambda: not processes(box), "the last of them")
    verbs = box.verbs()
    for make, undo in (("network create net", "network rm net"), ("network create out", "network rm out"),
                       ("create jail", "rm jail"), ("create egressd", "rm egressd")):
        assert verbs.count(make) == verbs.count(undo) == 10
    assert sorted(p.name for p in (box.dot / "run").iterdir()) == [".lock", ".owner"]


def test_docker_is_given_no_descriptors(box):
    """But the three that everybody has, and one by which the janitor knows that what makes something runs."""
    seen = box.root / "seen"
    seen.mkdir()
    # By another process and not through a pipe: the shell that is looked at has nothing open for it.
    box.behave(f'(ls -l /proc/$$/fd >"{seen}/$1.$$")')
    assert box.run("run", "x").returncode == 0
    given = {}
    for path in seen.iterdir():
        verb = path.name.split(".")[0]
        for fd, leads_to in re.findall(r" (\d+) -> (.*)", path.read_text()):
            if leads_to not in (str(FAKE), str(box.bin / "docker"), str(box.fake / "behave")):  # its own
                given.setdefault(verb, set()).add(int(fd))
    inherited = {int(fd) for fd in os.listdir("/proc/self/fd")
                 if os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(int(fd))} - {0, 1, 2}
    print(given, inherited)
    assert {"create", "start", "rm", "stop", "network"} <= set(given)
    for verb, fds in given.items():
        may = {0, 1, 2, 3} if verb in ("create", "network", "info", "image") else {0, 1, 2}
        assert fds - inherited <= may, (verb, fds)


def processes(box):
    """The processes of this box: prisoncode, its janitors, fakes."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"HOME=%s\0" % str(box.home).encode() in open("/proc/%s/environ" % pid, "rb").read():
                found.append(int(pid))
        except OSError:
            pass
    return found
