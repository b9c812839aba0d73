"""Reloads while requests run, every way in which a list is changed, and a log's disk that fills up."""
import ctypes
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

import limits
from conftest import EGRESSD, PATIENCE
from dnsserver import A
from origins import HttpOrigin, Origin, sink

BROKEN = (r"\S+(:\d+:\d+)?: error: .*", r"egressd: .*: the new list is unusable.*")


def status_of(proxy, target):
    client, answer = proxy.tunnel(target)
    client.close()
    return answer.status


# ---- under load

def listening_sockets(proxy):
    """Inodes of the sockets that listen on the proxy's port: another one is another inode."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        words = [line.split() for line in table.readlines()[1:]]
    return sorted(w[9] for w in words if w[3] == "0A" and w[1].endswith(":%04X" % proxy.port))


class Asker(threading.Thread):
    """Asks for the same thing again and again, and keeps the statuses that were not expected."""

    def __init__(self, ask, expected, count):
        super().__init__(daemon=True)
        self.ask, self.expected, self.left = ask, expected, count
        self.wrong = []
        self.over = False
        self.start()

    def run(self):
        try:
            while self.left > 0:
                status = self.ask()
                self.left -= 1
                if status != self.expected:
                    self.wrong.append(status)
        except Exception as error:  # a refused connection, an answer that broke off
            self.wrong.append(error)
        self.over = True


@pytest.mark.load
@pytest.mark.parametrize("workers", ["1", "2"])
def test_100_reloads_during_1000_requests(egressd, dns, origin, workers):
    """Good and broken in turn: nothing is refused or wrongly allowed, and the socket never closes."""
    up = origin(HttpOrigin)
    for name in ("always.test", "never.test", "sometimes.test"):
        dns.add(name, A(up.host))
    always = [f"always.test:{up.port}", up.host]
    proxy = egressd(always, workers=int(workers)).expect(*BROKEN)
    sockets = listening_sockets(proxy)
    assert len(sockets) == int(workers)
    kept = proxy.connect()

    def get_kept():
        kept.send(f"GET http://always.test:{up.port}/ HTTP/1.1\r\nHost: x\r\n\r\n")
        return kept.read_answer().status

    askers = [
        Asker(lambda: status_of(proxy, f"always.test:{up.port}"), 200, 300),
        Asker(lambda: status_of(proxy, f"never.test:{up.port}"), 403, 200),
        Asker(lambda: proxy.get(f"http://always.test:{up.port}/").status, 200, 200),
        Asker(lambda: proxy.get(f"http://never.test:{up.port}/").status, 403, 100),
        Asker(get_kept, 200, 200),
    ]
    asked = 0
    for i in range(100):
        if i % 2:
            assert proxy.reload(always + ["*"])["code"] == "list-error"
        else:
            listed = i % 4 == 0
            name = [f"sometimes.test:{up.port}"] if listed else [f"n{i}.test"]
            assert proxy.reload(always + name)["code"] == "reloaded"
        # A good list is in force for the next request, and a broken one changed nothing.
        assert status_of(proxy, f"sometimes.test:{up.port}") == (200 if listed else 403)
        asked += 1
        assert listening_sockets(proxy) == sockets
    for asker in askers:
        asker.join(60)
        assert asker.over and asker.wrong == [] and asker.left == 0
    assert asked + 1000 == 1100
    assert dns.count("never.test") == 0
    assert len(proxy.audit(action="reload")) == 100


@pytest.mark.parametrize("workers", ["1", "2"])
def test_everything_revoked_ends(egressd, dns, origin, workers):
    """Tunnels, exchanges before and in their answers, kept connections; what stays listed goes on."""
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"

    def handler(conn):
        head = conn.read_until(b"\r\n\r\n")
        conn.send(half if b"/half" in head else whole if b"/whole" in head else b"")
        conn.read_all()

    plain, raw, stays = origin(Origin, handler), origin(), origin()
    for name, up in (("plain.test", plain), ("raw.test", raw), ("stays.test", stays)):
        dns.add(name, A(up.host))
    entries = [f"{name}.test:{up.port}" for name, up in (("plain", plain), ("raw", raw), ("stays", stays))]
    hosts = [up.host for up in (plain, raw, stays)]
    proxy = egressd(entries + hosts, workers=int(workers))

    def get(path):
        client = proxy.connect()
        return client.send(f"GET http://plain.test:{plain.port}/{path} HTTP/1.1\r\nHost: x\r\n\r\n")

    tunnels = [proxy.tunnel(f"raw.test:{raw.port}", first=b"x")[0] for _ in range(30)]
    staying = [proxy.tunnel(f"stays.test:{stays.port}", first=b"x")[0] for _ in range(10)]
    begun, silent, kept = ([get(path) for _ in range(10)] for path in ("half", "none", "whole"))
    for client in tunnels + staying:
        assert client.read(1) == b"x"
    for client in begun:
        client.read_until(b"half")
    for client in kept:
        assert client.read_answer().body == b"good"
    proxy.wait_audit(action="allow", count=70)
    proxy.reload(entries[2:] + hosts)
    assert all(client.is_reset() for client in tunnels + begun)
    for client in silent:
        answer = client.read_answer()
        assert (answer.status, answer.code) == (403, "not-listed")
    for up, count in ((raw, 30), (plain, 30)):
        for i in range(count):
            up.wait_ended(i)  # those of the kept ones, too
    proxy.wait_audit(action="close", code="not-listed", count=50)
    for client in staying:
        assert client.send(b"y").read(1) == b"y"
    for client in kept:
        client.send(f"GET http://plain.test:{plain.port}/whole HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_answer().status == 403
    assert {line["code"] for line in proxy.audit(action="close")} == {"not-listed", "done"}


# ---- what ends in the states between

@pytest.mark.parametrize("keep", [[], ["allowed.test"]], ids=["the name", "its address"])
def test_revoked_before_the_hello(egressd, dns, origin, keep):
    """The 200 is out, the hello is not here: a reset and one line; the origin has seen no byte."""
    up = origin(sink, port=443)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(["allowed.test", up.host])
    client, answer = proxy.tunnel("allowed.test:443", first=b"\x16\x03\x01\x02")
    assert answer.status == 200
    proxy.reload(["other.test", *keep])
    assert client.is_reset()
    proxy.wait_audit(action="deny", code="not-listed", host="allowed.test")
    up.wait_ended()
    assert up.received == b""


@pytest.mark.parametrize("keep", [[], ["allowed.test"]], ids=["the name", "its address"])
@pytest.mark.parametrize("method", ["CONNECT", "GET"])
def test_revoked_while_connecting(egressd, dns, loopback, method, keep):
    """The host has not answered yet: the attempt ends, and the client has its 403 at once."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        host = loopback()
        listener.bind((host, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for sock in (first, second):  # now its queue is full: no SYN is answered
            sock.setblocking(False)
            sock.connect_ex((host, port))
        assert select.select([], [first], [], 5)[1]
        dns.add("allowed.test", A(host))
        proxy = egressd([f"allowed.test:{port}", host], "--connect-timeout", "300")
        client = proxy.connect()
        target = f"allowed.test:{port}" if method == "CONNECT" else f"http://allowed.test:{port}/"
        client.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_attempt(proxy, host, port)
        proxy.reload(["other.test"] + [f"allowed.test:{port}" for _ in keep])
        answer = client.read_answer(method)
        assert (answer.status, answer.code) == (403, "not-listed")
        proxy.wait_audit(action="deny", code="not-listed", host="allowed.test")
        wait_attempt(proxy, host, port, there=False)


def wait_attempt(proxy, host, port, there=True):
    """Until a socket of the proxy is (or none is any more) between its SYN and the answer (/proc/net/tcp, state 2)."""
    wanted = f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"
    end = time.monotonic() + PATIENCE
    while True:
        inodes = {os.readlink(fd.path) for fd in descriptors(proxy)}
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table]
        if there == any(row[2] == wanted and row[3] == "02" and f"socket:[{row[9]}]" in inodes for row in rows[1:]):
            return
        assert time.monotonic() < end, f"an attempt to {host}:{port}: {not there}"
        time.sleep(0.005)


def descriptors(proxy):
    for fd in os.scandir(f"/proc/{proxy.process.pid}/fd"):
        if os.path.islink(fd.path):
            yield fd


@pytest.mark.parametrize("keep", [[], ["allowed.test"]], ids=["the name", "its address"])
def test_revoked_websocket(egressd, dns, origin, keep):
    """A tunnel that plain HTTP made is judged as plain HTTP (here: by port 80), by name and by address."""
    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        conn.read_all()

    up = origin(Origin, handler, port=80)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(["allowed.test", up.host])
    client = proxy.connect()
    client.send("GET http://allowed.test/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert client.read_answer().status == 101
    proxy.reload(["other.test", "allowed.test", up.host])
    client.send(b"\x81\x84mask")
    up.wait_received(b"mask")
    proxy.reload(["other.test", *keep])
    assert client.is_reset()
    line = proxy.wait_audit(action="close", code="not-listed", host="allowed.test")
    assert line["status"] == 101
    up.wait_ended()


def test_a_storm_of_signals(egressd):
    """SIGHUP after SIGHUP: every one may be answered by the same reload, and the last word counts."""
    proxy = egressd("one.test")
    for i in range(200):
        proxy.write_list(f"n{i}.test")
        proxy.kill(signal.SIGHUP)
    end = time.monotonic() + 20
    while status_of(proxy, "n199.test:443") == 403:
        assert time.monotonic() < end
    assert status_of(proxy, "n198.test:443") == 403


# ---- how lists are changed

def has_landlock():
    """In the cage, which a build for sanitizers has not."""
    return ("san" not in EGRESSD.split(os.sep) and "tsan" not in EGRESSD.split(os.sep) and
            ctypes.CDLL(None).syscall(444, 0, 0, 1) > 0)  # landlock_create_ruleset: its version


def rename(path, text):
    with open(path + ".tmp", "w", encoding="ascii") as new:
        new.write(text)
    os.rename(path + ".tmp", path)


def rewrite(path, text):
    """Truncates, then writes."""
    with open(path, "w", encoding="ascii") as same:
        same.flush()
        same.write(text)


def rewrite_line_by_line(path, text):
    with open(path, "w", encoding="ascii") as same:
        for line in text.splitlines(True):
            same.write(line)
            same.flush()
            time.sleep(0.02)


def overwrite(path, text):
    """In place, never shorter than the longer of both: as `dd conv=notrunc` does."""
    with open(path, "r+", encoding="ascii") as same:
        size = os.path.getsize(path)
        same.write(text + "#" * max(0, size - len(text)))


def copy_over(path, text):
    """As `cp new list`, and an editor that keeps a backup."""
    shutil.copy(path, path + "~")
    with open(path + ".tmp", "w", encoding="ascii") as new:
        new.write(text)
    shutil.copy(path + ".tmp", path)
    os.unlink(path + ".tmp")


def move_away_and_write(path, text):
    """As editors that rename the old file to a backup and write a new one."""
    os.rename(path, path + "~")
    with open(path, "w", encoding="ascii") as new:
        new.write(text)


def link_to(path, text):
    with open(path + ".real", "w", encoding="ascii") as new:
        new.write(text)
    os.symlink(path + ".real", path + ".link")
    os.rename(path + ".link", path)


@pytest.mark.parametrize("change", [rename, rewrite, rewrite_line_by_line, overwrite, copy_over,
                                    move_away_and_write, link_to], ids=lambda f: f.__name__)
def test_every_way_to_write_a_list_is_followed(egressd, change):
    """By file events alone, again and again. A list that is being written is not read half."""
    proxy = egressd(["first.test", "# a comment, so that this file is longer than the next"])
    for i in range(3):
        change(proxy.list_path, f"# {i}\n# list\nnew{i}.test\n")
        proxy.wait_audit(action="reload", count=i + 1)
        assert status_of(proxy, f"new{i}.test:443") != 403
        assert status_of(proxy, "first.test:443") == 403
    assert {line["code"] for line in proxy.audit(action="reload")} == {"reloaded"}
    assert len(proxy.audit(action="reload")) == 3


def test_append_is_followed(egressd):
    proxy = egressd("first.test")
    for i in range(3):
        with open(proxy.list_path, "a", encoding="ascii") as same:
            same.write(f"\nnew{i}.test\n")
        proxy.wait_audit(action="reload", code="reloaded", count=i + 1)
        assert status_of(proxy, f"new{i}.test:443") != 403
        assert status_of(proxy, "first.test:443") != 403


def test_a_list_that_vanishes_and_comes_back(egressd):
    """While it is gone the old one is in force; the new one is followed as before."""
    proxy = egressd("first.test").expect(*BROKEN)
    for i in range(2):
        os.unlink(proxy.list_path)
        proxy.wait_audit(action="reload", code="list-error", count=i + 1)
        assert status_of(proxy, "first.test:443" if i == 0 else "new0.test:443") != 403
        with open(proxy.list_path, "w", encoding="ascii") as new:
            new.write(f"new{i}.test\n")
        proxy.wait_audit(action="reload", code="reloaded", count=i + 1)
        assert status_of(proxy, f"new{i}.test:443") != 403
        assert status_of(proxy, "first.test:443") == 403


def test_an_editor_that_pauses(egressd):
    """Empty for longer than the quiet time: an error that is said, the old list, then the new one."""
    proxy = egressd("first.test").expect(*BROKEN)
    with open(proxy.list_path, "w", encoding="ascii") as same:
        proxy.wait_audit(action="reload", code="list-error")
        assert status_of(proxy, "first.test:443") != 403
        same.write("new.test\n")
    proxy.wait_audit(action="reload", code="reloaded")
    assert status_of(proxy, "new.test:443") != 403
    assert status_of(proxy, "first.test:443") == 403


def test_config_map_is_swapped_again_and_again(egressd, tmp_path):
    """domains.txt -> ..data/domains.txt, ..data -> a directory that goes with its time."""
    mount = tmp_path / "mount"

    def version(i, text):
        (mount / f"..{i}").mkdir(parents=True)
        (mount / f"..{i}" / "domains.txt").write_text(text)
        (mount / "..data_tmp").symlink_to(f"..{i}")
        os.rename(mount / "..data_tmp", mount / "..data")
        if i > 0:
            shutil.rmtree(mount / f"..{i - 1}")

    version(0, "first.test\n")
    (mount / "domains.txt").symlink_to("..data/domains.txt")
    proxy = egressd(None, list_path=str(mount / "domains.txt"))
    for i in range(1, 6):
        version(i, f"new{i}.test\n")
        proxy.wait_audit(action="reload", code="reloaded", count=i)
        assert status_of(proxy, f"new{i}.test:443") != 403
        assert status_of(proxy, "first.test:443") == 403


def wait_in_force(proxy, name):
    end = time.monotonic() + 20
    while status_of(proxy, f"{name}:443") == 403:
        assert time.monotonic() < end, proxy.audit(action="reload")
        time.sleep(0.02)


def watched(proxy):
    """The inodes whose events egressd is told of."""
    found = set()
    folder = f"/proc/{proxy.process.pid}/fdinfo"
    try:
        for name in os.listdir(folder):
            try:
                with open(os.path.join(folder, name), encoding="ascii") as info:
                    found |= {int(ino, 16) for ino in re.findall(r"^inotify .*ino:([0-9a-f]+)", info.read(), re.M)}
            except FileNotFoundError:  # closed by now
                pass
    except PermissionError:
        pytest.skip("only root can see what a caged process watches")
    return found


def make_folder(path, text):
    path.mkdir()
    (path / "real.txt").write_text(text)
    (path / "domains.txt").symlink_to("real.txt")
    return path


def test_a_directory_that_is_replaced_as_a_whole(egressd, tmp_path):
    """Its events end with it. A look without any finds the new one, whose events count from then on."""
    conf = make_folder(tmp_path / "conf", "")
    (conf / "domains.txt").unlink()
    (conf / "domains.txt").symlink_to("../up.txt")  # so that the cage lets what is beside conf be read
    (tmp_path / "up.txt").write_text("first.test\n")
    proxy = egressd(None, list_path=str(conf / "domains.txt"))
    proxy.expect(*BROKEN)  # between two renames there is none
    for i in range(3):
        new = make_folder(tmp_path / f"new{i}", f"new{i}.test\n")
        os.rename(conf, tmp_path / f"old{i}")
        os.rename(new, conf)
        wait_in_force(proxy, f"new{i}.test")
        assert status_of(proxy, "first.test:443") == 403
        assert os.stat(conf).st_ino in watched(proxy)
        assert os.stat(tmp_path / f"old{i}").st_ino not in watched(proxy)
        rename(str(conf / "real.txt"), f"newer{i}.test\n")
        wait_in_force(proxy, f"newer{i}.test")


def test_a_list_without_events_is_looked_at(egressd, tmp_path):
    """A link further up that leads elsewhere: nothing tells, and it is seen all the same."""
    make_folder(tmp_path / "v0", "first.test\n")
    make_folder(tmp_path / "v1", "second.test\n")
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "current").symlink_to("../v0")
    path = tmp_path / "up" / "current" / "domains.txt"
    proxy = egressd(None, list_path=str(path))
    before = watched(proxy)
    (tmp_path / "up" / "next").symlink_to("../v1")
    os.rename(tmp_path / "up" / "next", tmp_path / "up" / "current")
    proxy.expect(*BROKEN)
    assert os.stat(tmp_path / "up").st_ino not in before
    if has_landlock():  # the cage was made when v1 was not meant: it cannot be read, and that is said
        proxy.wait_stderr(rf"egressd: {path}: the new list is unusable; the old one stays in force",
                          timeout=5 * limits.LIMIT_RELOAD_POLL_MS / 1000)
        assert status_of(proxy, "first.test:443") != 403
    else:
        wait_in_force(proxy, "second.test")


# ---- a disk that is full

@pytest.fixture
def small_disk(tmp_path):
    """A wrapper that runs egressd with a file system of 64 KiB of its own: (program, folder)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    wrapper = tmp_path / "egressd-on-a-small-disk"
    user = "" if os.geteuid() == 0 else "-r"
    mount = f"mount -t tmpfs -o size=64k,mode=755 tmpfs '{folder}'"
    tried = subprocess.run(["unshare", f"-m{user[1:]}", "sh", "-c", mount], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.decode().strip()}")
    wrapper.write_text(f"#!/bin/sh\nexec unshare -m{user[1:]} sh -c '{mount.replace(chr(39), chr(34))}; "
                       f"exec \"$@\"' sh \"{EGRESSD}\" \"$@\"\n")
    wrapper.chmod(0o755)
    return str(wrapper), str(folder)


def test_log_on_a_disk_that_fills_up_and_has_room_again(egressd, origin, small_disk, run_egressd):
    """Nothing is decided without its line; tunnels go on; with room it serves again, without a signal."""
    up = origin()
    program, folder = small_disk
    proxy = egressd(f"{up.host}:{up.port}", program=program, audit_path=f"{folder}/audit.jsonl")
    proxy.accounts = False  # what was answered 503 has a number and no line
    disk = f"/proc/{proxy.process.pid}/root{folder}"
    proxy.audit_path = f"{disk}/audit.jsonl"
    assert os.path.exists(proxy.audit_path)
    alive, _ = proxy.tunnel(f"{up.host}:{up.port}", first=b"one")
    assert alive.read(3) == b"one"
    with open(f"{disk}/ballast", "wb") as ballast:
        ballast.write(b"x" * (40 << 10))
    statuses = []
    while 503 not in statuses:
        assert len(statuses) < 1000
        statuses.append(status_of(proxy, "denied.test:443"))
    assert set(statuses) == {403, 503} and len(statuses) > 10
    proxy.wait_stderr(r"egressd: audit log \S+: cannot be written, requests are refused .*No space left.*")
    for target in ("denied.test:443", f"{up.host}:{up.port}"):
        _, answer = proxy.tunnel(target)
        assert (answer.status, answer.code) == (503, "audit")
    assert run_egressd("--health", proxy.address).returncode == 1
    assert alive.send(b"two").read(3) == b"two"
    assert len(proxy.audit(action="deny", code="not-listed")) == statuses.count(403)
    os.unlink(f"{disk}/ballast")
    assert status_of(proxy, "denied.test:443") == 403
    proxy.wait_stderr(r"egressd: audit log \S+: can be written again")
    assert status_of(proxy, f"{up.host}:{up.port}") == 200
    assert run_egressd("--health", proxy.address).returncode == 0
    alive.close()
    proxy.wait_audit(action="close", count=2)
    with open(proxy.audit_path, "rb") as log:  # it keeps the file when its name is gone with the process
        proxy.stop()
        proxy.check_lines(log.read())
