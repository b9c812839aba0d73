"""End-to-end tests: the real launcher, engine, egressd and opencode; only the model is ours.

The launcher runs as an ordinary user made for the tests (as whoever runs them, where that is not
root). Every test has a home, a workspace and a list of its own, and must leave nothing in the engine.
"""
import grp
import json
import os
import pathlib
import pwd
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from fake_model import FakeModel, opencode_config  # noqa: E402

TREE = pathlib.Path(__file__).resolve().parents[2]
PRISONCODE = pathlib.Path(os.environ.get("PRISONCODE", TREE / "build/prisoncode"))
SESSION_LABEL = "org.prisoncode.session"
APP_IMAGE = "prisoncode:latest"
ROOT = os.geteuid() == 0


def docker(*args, check=True, **more):
    """Run the docker command as the tests' own user; returns its standard output."""
    done = subprocess.run(["docker", *args], capture_output=True, text=True, timeout=120, **more)
    assert not check or done.returncode == 0, f"docker {args}: {done.stderr}"
    return done.stdout


def pytest_sessionstart(session):
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup's; what we start has it as usual
        signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        done = subprocess.run(["docker", "version"], capture_output=True, text=True, timeout=30)
        answers = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        answers = False
    if not answers:
        pytest.exit("e2e: no Docker engine answers: start one, or as root run "
                    "tests/with-engine make e2e", returncode=1)
    if not PRISONCODE.exists():
        pytest.exit(f"e2e: {PRISONCODE} is missing: run make first", returncode=1)
    _foreign.extend(left_behind())


def _labelled(*command):
    found = docker(*command, "--filter", f"label={SESSION_LABEL}", "--format", "{{.Name}}"
                   if command[0] == "network" else "{{.Names}}")
    return [name for name in found.split() if name not in _foreign]


_foreign = []  # what sessions that are not ours had in the engine before the first test


def session_containers():
    """The names of all containers of the tests' sessions, stopped ones too."""
    return _labelled("ps", "--all")


def session_networks():
    return _labelled("network", "ls")


def left_behind():
    """Everything of the tests' sessions that the engine still has."""
    return session_containers() + session_networks()


def remove(names):
    """Remove what a failed test left, so that the next one can be judged by itself."""
    if names:
        for containers in session_containers():
            docker("rm", "-f", containers)
        for network in session_networks():
            docker("network", "rm", network)


def wait_until(predicate, seconds, what):
    """Wait for something that has no event of its own."""
    end = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class Person:
    """Whose prisoncode it is: a user of this machine."""

    def __init__(self, name, uid, gid, groups):
        self.name, self.uid, self.gid, self.groups = name, uid, gid, groups

    def own(self, path):
        """Give a file or tree to this user."""
        if ROOT:
            for entry in [path, *pathlib.Path(path).rglob("*")]:
                os.chown(entry, self.uid, self.gid, follow_symlinks=False)

    def become(self):
        """Arguments that make subprocess run a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": self.groups} if ROOT else {}


def socket_group():
    """The group that may use the engine's socket; our own engine's socket is given one if need be."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return None
    sock = host[len("unix://"):]
    if os.stat(sock).st_gid == 0 and "PRISONCODE_PRIVATE_ENGINE" in os.environ:
        os.chown(sock, 0, grp.getgrnam("daemon").gr_gid)
    return os.stat(sock).st_gid


@pytest.fixture(scope="session")
def person():
    if not ROOT:
        me = pwd.getpwuid(os.getuid())
        yield Person(me.pw_name, me.pw_uid, me.pw_gid, os.getgroups())
        return
    name = f"e2e{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", "--home-dir", "/nonexistent", "--user-group",
                    "--shell", "/bin/sh", name], check=True)
    try:
        made = pwd.getpwnam(name)
        group = socket_group()
        yield Person(name, made.pw_uid, made.pw_gid, [] if group is None else [group])
    finally:
        # What cleans up behind a session may run for a moment longer.
        wait_until(lambda: subprocess.run(["userdel", name], stderr=subprocess.DEVNULL).returncode == 0,
                   30, "no process of the tests' user is left")


@pytest.fixture(scope="session")
def root_person():
    if not ROOT:
        pytest.skip("only root can run the launcher as root")
    return Person("root", 0, 0, [0])


@pytest.fixture(scope="session")
def scratch():
    """A folder that every user can get into, unlike pytest's own."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="prisoncode-e2e."))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def installed(scratch):
    """The launcher and what the images are built from, where the user can read them."""
    where = scratch / "installed"
    where.mkdir()
    shutil.copy(PRISONCODE, where / "prisoncode")
    for name in ("Makefile", ".dockerignore"):
        shutil.copy(TREE / name, where / name)
    for name in ("acl", "egressd", "docker"):
        shutil.copytree(TREE / name, where / name)
    return where


@pytest.fixture(scope="session")
def base_image():
    done = subprocess.run([TREE / "tests/e2e/base-image"], stdout=subprocess.PIPE, text=True,
                          timeout=900)
    assert done.returncode == 0
    return done.stdout.strip()


@pytest.fixture(scope="session")
def model():
    with FakeModel() as server:
        yield server


class Home:
    """A user's home with a workspace, a list, opencode's configuration and a key."""

    def __init__(self, path, person, env, model):
        self.path, self.person, self.env, self.model = path, person, env, model
        self.processes = []
        self.dot = path / ".prisoncode"
        self.config = path / ".config/opencode"
        self.auth = path / ".local/share/opencode/auth.json"
        self.workspace = path / "work/project"
        for folder in (self.dot, self.config, self.auth.parent, self.workspace):
            folder.mkdir(parents=True)
        self.auth.write_text(json.dumps({"fake": {"type": "api", "key": "sk-fake-0123456789"}}))
        self.auth.chmod(0o600)
        self.write_config()
        self.write_list(self.model_entry)
        person.own(path)

    @property
    def model_entry(self):
        return f"host.docker.internal:{self.model.port}"

    def write_list(self, *entries):
        self._write(self.dot / "domains.txt", "\n".join(entries) + "\n")

    def write_config(self, **more):
        self._write(self.config / "opencode.json",
                    json.dumps(opencode_config(self.model.port, **more)))

    def write(self, name, text):
        """A file of the workspace."""
        self._write(self.workspace / name, text)

    def _write(self, path, text):
        path.write_text(text)
        self.person.own(path)

    def read(self, name):
        return (self.workspace / name).read_text()

    def start(self, *args, cwd=None, **more):
        """Start prisoncode; returns the process. It leads a process group of its own."""
        more.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(
            [self.env["PRISONCODE_BIN"], *args], cwd=cwd or self.workspace, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            **self.person.become(), **more)
        self.processes.append(process)
        return process

    def end_all(self):
        """End what a failed test left running."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=30)

    def run(self, *args, stdin=None, timeout=120, **more):
        """Run prisoncode to its end."""
        if stdin is not None:
            more["stdin"] = subprocess.PIPE
        process = self.start(*args, **more)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()
            out, err = process.communicate(timeout=30)
            pytest.fail(f"prisoncode {args} did not end in {timeout} s\n{out}\n{err}")
        print(f"$ prisoncode {' '.join(args)}\n{out}{err}(status {process.returncode})")
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def audit(self):
        """All lines of all audit logs, oldest session first."""
        logs = [p for p in (self.dot / "audit").rglob("*") if p.is_file()]
        logs.sort(key=lambda p: p.stat().st_mtime)
        return [json.loads(line) for log in logs for line in log.read_text().splitlines()
                if line.startswith("{")]

    def staged(self):
        """What is left of sessions' private files."""
        run = self.dot / "run"
        return sorted(p for p in run.iterdir() if p.is_dir()) if run.exists() else []


@pytest.fixture(scope="session")
def make_home(scratch, installed, base_image, model):
    count = 0

    def make(person):
        nonlocal count
        count += 1
        path = scratch / f"home{count}"
        path.mkdir()
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "DOCKER_HOST", "NPM_REGISTRY")}
        env = {**keep, "HOME": str(path), "LANG": "C.UTF-8", "USER": person.name,
               # Which engine is whose is said in the real home.
               **({} if ROOT else {"DOCKER_CONFIG": os.environ.get(
                   "DOCKER_CONFIG", os.path.expanduser("~/.docker"))}),
               "PRISONCODE_BIN": str(installed / "prisoncode"),
               "PRISONCODE_DATADIR": str(installed), "PRISONCODE_BASE_IMAGE": base_image}
        return Home(path, person, env, model)
    return make


@pytest.fixture(scope="session")
def images(make_home, person):
    """Both images, built by the launcher itself from this checkout."""
    start = time.monotonic()
    done = make_home(person).run("--reinstall", timeout=1200)
    assert done.returncode == 0, done.stderr
    _report.append(f"images built or found up to date: {time.monotonic() - start:.1f} s")


@pytest.fixture
def home(make_home, person, images):
    home = make_home(person)
    yield home
    home.end_all()
    # Removals may go on for a moment after the prompt is back.
    end = time.monotonic() + 15
    while (left := left_behind() + home.staged()) and time.monotonic() < end:
        time.sleep(0.05)
    remove(left)
    assert left == [], "sessions left this behind"


# ---- the report of times -------------------------------------------------------------------------

_report = []


@pytest.fixture(scope="session")
def report_times():
    """Adds a line with the median of some seconds to the report at the end; returns the median."""
    def add(what, seconds):
        median = statistics.median(seconds)
        each = " ".join(f"{s:.2f}" for s in seconds)
        _report.append(f"{what}: median {median * 1000:.0f} ms of {len(seconds)} ({each} s)")
        return median
    return add


def pytest_terminal_summary(terminalreporter):
    if _report:
        terminalreporter.section("times")
        for line in _report:
            terminalreporter.line(line)
        folder = TREE / "build"
        folder.mkdir(exist_ok=True)
        (folder / "e2e-times.txt").write_text("\n".join(_report) + "\n")
