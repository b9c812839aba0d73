"""A box to run prisoncode in: a home, a workspace, a fake docker, and nothing of the real ones."""
import fcntl
import os
import pathlib
import select
import signal
import struct
import subprocess
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
PRISONCODE = os.environ.get("PRISONCODE", str(HERE.parent.parent / "build" / "prisoncode"))
FAKE = HERE / "fake-docker"
DEADLINE = 20  # seconds; nothing here takes more than a few hundred milliseconds


def pytest_configure(config):
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup's; what we start has it as usual
        signal.signal(signal.SIGHUP, lambda *_: None)
    config.addinivalue_line("markers", "slow: many sessions, or long ones (make slow, which make check runs)")


def all_but(values, *usual):
    """Parameters of which make test takes the usual ones alone: the others are marked as slow."""
    assert set(usual) <= set(values)
    return [pytest.param(*(value if isinstance(value, tuple) else (value,)),
                         marks=[] if value in usual else [pytest.mark.slow]) for value in values]


def wait_for(condition, what):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain for " + what
        time.sleep(0.005)


def wait_for_line(process, text):
    """The line of its standard error with this text, without its end."""
    seen, end = b"", time.monotonic() + DEADLINE
    while True:
        for line in seen.decode().split("\n")[:-1]:
            if text in line:
                return line
        ready, _, _ = select.select([process.stderr], [], [], max(0, end - time.monotonic()))
        more = os.read(process.stderr.fileno(), 65536) if ready else b""
        assert more, "waited in vain for '%s': %s" % (text, seen.decode())
        seen += more


def holder(lock):
    """The process that holds a session's lock, 0: nobody."""
    layout = "hhqqi0q"  # struct flock
    ask = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with open(lock, "r+b") as f:
        kind, _, _, _, pid = struct.unpack(layout, fcntl.fcntl(f, fcntl.F_GETLK, ask))
    return 0 if kind == fcntl.F_UNLCK else pid


class Box:
    def __init__(self, root):
        self.root = root
        self.home = root / "home"
        self.dot = self.home / ".prisoncode"
        self.config = self.home / ".config" / "opencode"
        self.auth = self.home / ".local" / "share" / "opencode" / "auth.json"
        self.workspace = self.home / "project"
        self.fake = root / "fake"
        self.bin = root / "bin"
        for d in (self.dot, self.config, self.auth.parent, self.workspace, self.fake, self.bin):
            d.mkdir(parents=True)
        (self.bin / "docker").symlink_to(FAKE)
        self.auth.write_text('{"openai":{"type":"api","key":"k"}}')
        self.set_config('{"share":"disabled","disabled_providers":["opencode"]}')
        self.set_list("api.openai.com\n")
        self.env = {"HOME": str(self.home), "PATH": "%s:/usr/bin:/bin" % self.bin,
                    "FAKE": str(self.fake), "LANG": "C.UTF-8",
                    # a sanitizer's report must not look like a refusal of ours
                    "ASAN_OPTIONS": "exitcode=99", "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99"}
        self.started, self.pipes = [], []

    def set_config(self, text, name="opencode.json"):
        (self.config / name).write_text(text)

    def set_list(self, text):
        (self.dot / "domains.txt").write_text(text)

    def behave(self, script):
        (self.fake / "behave").write_text(script)

    def popen(self, *args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=None, env=None, **more):
        p = subprocess.Popen([PRISONCODE, *args], cwd=cwd or self.workspace, env={**self.env, **(env or {})},
                             stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, **more)
        self.started.append(p)
        return p

    def run(self, *args, input=None, **more):
        more.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
        p = self.popen(*args, **more)
        out, err = p.communicate(input, timeout=DEADLINE)
        assert p.returncode != 99 and "Sanitizer" not in err, err
        self.settle()
        return subprocess.CompletedProcess(args, p.returncode, out, err)

    def refused(self, *args, **more):
        """Runs; it must end with 1 and one line that says why; returns standard error."""
        r = self.run(*args, **more)
        assert r.returncode == 1, r
        assert r.stderr.splitlines()[-1].startswith("prisoncode: "), r.stderr
        assert r.stdout == ""
        return r.stderr

    def calls(self):
        order = self.fake / "order"
        if not order.exists():
            return []
        return [(self.fake / ("argv." + n)).read_bytes().decode().split("\0")[:-1]
                for n in order.read_text().split()]

    def verbs(self):
        """The calls in short: "create jail", "network rm net"."""
        return [short(c) for c in self.calls()]

    def call(self, verb):
        found = [c for c in self.calls() if short(c) == verb]
        assert len(found) == 1, (verb, self.verbs())
        return found[0]

    def wait_for_call(self, verb):
        wait_for(lambda: verb in self.verbs(), verb)

    def wait_for_container(self, kind):
        wait_for(lambda: list(self.fake.glob("runs.prisoncode-*-" + kind)), kind)

    def let_go(self):
        """Whoever reads a line from $FAKE/go, a pipe, has one, now and later.

        Open for both directions: a writer that opens and closes may meet no reader and wait for ever, or
        two, of whom one finds nothing."""
        self.pipes.append(os.open(self.fake / "go", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        os.write(self.pipes[-1], b"\n" * 8)

    def session_dirs(self):
        run = self.dot / "run"
        return sorted(p for p in run.iterdir() if not p.name.startswith(".")) if run.is_dir() else []

    def is_cleaned(self, directory):
        """Does a janitor of a session that has ended still work on it?"""
        live = [p.pid for p in self.started if p.poll() is None]
        try:
            return holder(directory / "lock") in [0, *live]
        except FileNotFoundError:
            return not directory.exists()  # the lock goes before the folder

    def settle(self):
        """The prompt is back before everything is removed: wait for the janitors."""
        wait_for(lambda: all(self.is_cleaned(d) for d in self.session_dirs()), "janitors")

    def sessions(self):
        self.settle()
        return self.session_dirs()

    def audits(self):
        return sorted(self.dot.glob("audit/*/*.jsonl"))

    def end(self):
        for p in self.started:
            if p.poll() is None:
                p.kill()
            p.wait()
            for f in (p.stdout, p.stderr, p.stdin):
                if f:
                    f.close()
        for fd in self.pipes:
            os.close(fd)
        order = self.fake / "order"
        for n in order.read_text().split() if order.exists() else []:
            try:  # a fake of ours that still waits
                if b"fake-docker" in pathlib.Path("/proc/%s/cmdline" % n).read_bytes() or \
                        str(self.bin).encode() in pathlib.Path("/proc/%s/cmdline" % n).read_bytes():
                    os.kill(int(n), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass


def short(call):
    words = [w for w in call[:2] if not w.startswith("-")]
    if words[0] not in ("network", "image", "container"):
        words = words[:1]
    named = [w for w in call if w.startswith("prisoncode-2")]
    if words[0] == "kill":
        words.append(call[2])
    if words[:2] == ["network", "connect"]:
        named = named[1:]
    return " ".join(words + [n.rsplit("-", 1)[1] for n in named[:1]])


def option(call, name):
    """All values of an option of a docker call, up to the image."""
    return [call[i + 1] for i, w in enumerate(call) if w == name]


def mounts(call):
    ret = {}
    for m in option(call, "--mount"):
        fields = dict(f.partition("=")[::2] for f in m.split(","))
        ret[fields["dst"]] = (fields["src"], "readonly" in fields)
    return ret


ENTER = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def run_with_mounts(box, script, *args):
    """Runs prisoncode where the script has mounted something that nobody else sees."""
    able = subprocess.run([*ENTER, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    if able.returncode != 0:
        pytest.skip("no private mounts here: " + able.stderr.decode())
    return subprocess.run([*ENTER, "sh", "-ec", script + '\nexec "$0" "$@"', PRISONCODE, *args], cwd=box.workspace,
                          env=box.env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def box(tmp_path):
    b = Box(tmp_path)
    yield b
    b.end()
