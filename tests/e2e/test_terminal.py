"""At a terminal: keys, colours, size, and the terminal afterwards, whatever the end was."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from conftest import docker, session_containers, wait_until

CTRL_C, CTRL_P, CTRL_Q, CTRL_Z = b"\x03", b"\x10", b"\x11", b"\x1a"
SLOW = 120  # seconds: opencode draws after five of its own CPU's


class Terminal:
    """prisoncode at a pseudo-terminal; what it wrote is in seen."""

    def __init__(self, home, *args, rows=30, columns=100):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.modes = termios.tcgetattr(slave)
        self.slave = slave
        self.seen = b""
        home.env["TERM"], home.env["COLORTERM"] = "xterm-256color", "truecolor"

        def own_terminal():
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        person = home.person.become()
        os.fchmod(slave, 0o666)
        self.process = subprocess.Popen([home.env["PRISONCODE_BIN"], *args], cwd=home.workspace, env=home.env,
                                        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                        preexec_fn=own_terminal, **person)
        home.processes.append(self.process)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys)

    def read(self, seconds):
        ready, _, _ = select.select([self.master], [], [], seconds)
        if ready:
            self.seen += os.read(self.master, 65536)
        return bool(ready)

    def pause(self, seconds):
        """What came before is seen then, and is no answer to what is typed next."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.read(left)

    def until(self, what, seconds=SLOW, start=0):
        """Reads until this is there (bytes, or a compiled pattern)."""
        pattern = what if hasattr(what, "search") else re.compile(re.escape(what))
        end = time.monotonic() + seconds
        while not pattern.search(self.seen, start):
            assert time.monotonic() < end, (what, self.seen[-2000:])
            self.read(0.2)

    def end(self, seconds=60):
        """Waits for its end; returns the status."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, self.seen[-2000:]
            self.read(0.1)
        while self.read(0.1):
            pass
        return self.process.returncode

    def restored(self):
        return termios.tcgetattr(self.slave) == self.modes

    def close(self):
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(home):
    made = []

    def make(*args, **more):
        made.append(Terminal(home, *args, **more))
        return made[-1]
    yield make
    for t in made:
        home.end_all()
        t.close()


def test_a_shell_has_the_terminal(terminal):
    """Colours, size and its changes, Ctrl-P and Ctrl-Q as they are, Ctrl-Z and Ctrl-C for the job in it."""
    t = terminal("--bash", "--norc", rows=33, columns=101)
    t.until(re.compile(rb"[$#] "))
    t.type(b"stty size; echo $TERM.$COLORTERM; tput colors\r")
    t.until(b"33 101")
    t.until(b"xterm-256color.truecolor")
    t.resize(44, 120)
    t.type(b"sleep 0.5; stty size\r")
    t.until(b"44 120")
    t.type(b"stty raw -echo; dd bs=1 count=2 2>/dev/null | od -An -tx1; stty sane; echo re''ady\r")
    t.pause(1)  # until dd reads; what comes too early is echoed, and read all the same
    t.type(CTRL_P + CTRL_Q)
    t.until(b"10 11")
    t.until(b"ready")
    t.type(b"sleep 100\r")
    t.pause(0.5)
    t.type(CTRL_Z)
    t.until(b"Stopped")
    t.type(b"kill %1; cat\r")
    t.pause(0.5)
    before = len(t.seen)
    t.type(CTRL_C)
    t.until(re.compile(rb"[$#] "), start=before)  # an interrupt flushes what was typed ahead
    t.type(b"echo st''atus $?\r")
    t.until(b"status 130")
    t.type(b"exit 5\r")
    assert t.end() == 5
    assert t.restored()


def press(t, key, what):
    """Until this is drawn; a program that is not ready yet may not see a key."""
    for _ in range(SLOW // 10):
        before = len(t.seen)
        t.type(key)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            t.read(0.2)
            if re.search(what, t.seen[before:]):
                return
    raise AssertionError((key, what, t.seen[-2000:]))


def open_commands(t):
    press(t, CTRL_P, rb"Commands|Suggested|Switch")


def close_dialog(t):
    press(t, b"\x1b", rb"Ask anything")  # what it covered


def test_opencodes_screen(terminal):
    """Drawn in colours and with the mouse, anew when the size changes; Ctrl-P is its own, Ctrl-Z does no
    harm, Ctrl-C ends it, and the terminal is as before."""
    t = terminal(rows=30, columns=100)
    t.until(b"\x1b[?1049h")  # the second screen
    t.until(re.compile(rb"\x1b\[[0-9;]*38;2;\d+"))  # a colour of 24 bits
    t.until(re.compile(rb"\x1b\[\?100[023]h"))  # the mouse
    t.until(re.compile(rb"commands|Ask anything", re.I))
    open_commands(t)
    t.type(CTRL_Q)  # with Ctrl-P before it, docker's default to leave the jail alone
    close_dialog(t)
    t.type(CTRL_Z)
    open_commands(t)
    before = len(t.seen)
    t.resize(45, 140)
    t.until(re.compile(rb"\x1b\[(3[1-9]|4[0-5]);\d+H"), start=before)  # a row that was not there before
    assert t.process.poll() is None and not t.restored()
    for _ in range(5):  # the first one may close a dialog
        t.type(CTRL_C)
        end = time.monotonic() + 3
        while t.process.poll() is None and time.monotonic() < end:
            t.read(0.1)
    assert t.end() == 0
    assert t.restored()
    for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?1003h", b"\x1b[?1003l"), (b"\x1b[?1000h", b"\x1b[?1000l")):
        assert t.seen.rfind(off) >= t.seen.rfind(on), off


def test_ctrl_z_stops_nothing_that_nobody_could_continue(terminal, home):
    """A run and a shell's one command have the terminal's own keys; Ctrl-C ends them after it."""
    home.model.scripts["hang-ctrl-z"] = [{"hang": True}]
    for args, started in ((["run", "script:hang-ctrl-z"],
                           lambda: home.model.wait_for(lambda r: "script:hang-ctrl-z" in json.dumps(r))),
                          (["--bash", "-c", "touch started; sleep 600"],
                           lambda: wait_until((home.workspace / "started").exists, 30, "the shell runs"))):
        t = terminal(*args)
        started()
        t.type(CTRL_Z)
        t.pause(1)
        t.type(CTRL_C)
        assert t.end() == 130, args


DRAW = "printf '\\033[?1049h\\033[?1000h\\033[?25l'; stty raw -echo; echo dra''wn; exec sleep 600"


def drawn(terminal):
    """A program that has changed everything, and does not restore it."""
    t = terminal("--bash", "-c", DRAW)
    t.until(b"drawn")
    assert not t.restored(), "else there is nothing to restore"
    return t


def assert_screen_reset(t):
    for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?1000h", b"\x1b[?1000l"), (b"\x1b[?25l", b"\x1b[?25h")):
        assert t.seen.rfind(off) > t.seen.rfind(on), off


def test_the_terminal_after_a_killed_program(terminal):
    t = drawn(terminal)
    jail, = [c for c in session_containers() if c.endswith("-jail")]
    docker("kill", jail)
    assert t.end() == 137
    assert t.restored()
    assert_screen_reset(t)


@pytest.mark.parametrize("sent,status", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_terminal_after_a_signal(terminal, sent, status):
    t = drawn(terminal)
    t.process.send_signal(sent)
    assert t.end() == status
    assert t.restored()
    assert_screen_reset(t)


def test_the_terminal_after_the_client_was_killed(terminal):
    """Docker's client cannot restore anything then: the launcher does."""
    t = drawn(terminal)
    children = open(f"/proc/{t.process.pid}/task/{t.process.pid}/children").read().split()
    client, = [c for c in children if b"\0--interactive\0" in open(f"/proc/{c}/cmdline", "rb").read()]
    os.kill(int(client), signal.SIGKILL)
    assert t.end() == 1
    assert b"the connection to the jail was lost" in t.seen
    assert t.restored()
    assert_screen_reset(t)
