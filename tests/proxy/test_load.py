"""
Under load others are served as before: with slow heads, with thousands of idle tunnels, with names
pending at a dead resolver, with no descriptors left. `make load` runs these; they take a while.

How a time is compared on a busy machine: two egressd run side by side, one loaded, one quiet, and are
asked in turn, so that whatever else runs hits both. The 99th percentile of the loaded one is at most
twice that of the quiet one, in the best of several rounds. No absolute time is asked for.
"""
import gc
import os
import resource
import socket
import subprocess
import sys
import time

import pytest

from conftest import EGRESSD
from dnsserver import A

pytestmark = [
    pytest.mark.load,
    pytest.mark.skipif("san" in EGRESSD.split(os.sep), reason="sanitizers have their own time and memory"),
]

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = 8  # at most; the first good one ends it
SAMPLES = 300  # of each side in a round
RSS_MAX_KIB = 64 << 10
TUNNELS = 5000


# ---- tools

class Process:
    """A loadgen.py process; first_line is what it said when it was ready."""

    def __init__(self, *args):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "loadgen.py"), *map(str, args)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first_line = self.process.stdout.readline().strip()
        assert self.first_line, "the load generator did not start"

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture
def load():
    """load("trickle", ...) -> Process"""
    running = []

    def start(*args):
        running.append(Process(*args))
        return running[-1]
    yield start
    for one in running:
        one.stop()


@pytest.fixture(autouse=True)
def many_files():
    """As many descriptors as may be had; root may have more than the hard limit says."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 6 * TUNNELS
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, before[0]), max(wanted, before[1])))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def side(egressd, dns, load, loopback):
    """A quiet egressd and one to load, both with the same list, and what leads to an echo through them.

    Of one worker each: pins and the limit of connections are a worker's own, and the system's choice which
    worker gets a client would decide who is served from a pin or has to wait."""
    host = loopback()
    port = int(load("echo", host).first_line)
    dns.add("allowed.test", A(host))
    entries = [f"allowed.test:{port}", host, ".pending.test"]
    target = f"allowed.test:{port}"

    def start(*options, loaded=()):
        quiet = egressd(entries, *options, workers=1)
        return quiet, egressd(entries, *options, *loaded, workers=1), target
    return start


def ask(proxy, target):
    """One tunnel: connect, CONNECT, a byte there and back, close. -> seconds"""
    begin = time.perf_counter()
    with socket.create_connection((proxy.host, proxy.port)) as sock:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nx".encode())
        data = b""
        while not data.endswith(b"\r\n\r\nx"):
            more = sock.recv(4096)
            assert more, f"the tunnel ended after {data!r}"
            data += more
        took = time.perf_counter() - begin
    assert data.startswith(b"HTTP/1.1 200 "), data
    return took


def p99(times):
    return sorted(times)[len(times) * 99 // 100]


def compare(quiet, loaded, what):
    """quiet() and loaded() take a sample each, in turn."""
    ratios = []
    for _ in range(20):
        quiet(), loaded()
    gc.disable()
    try:
        while not ratios or (min(ratios) > 2 and len(ratios) < ROUNDS):
            times = [(quiet(), loaded()) for _ in range(SAMPLES)]
            low, high = p99([t[0] for t in times]), p99([t[1] for t in times])
            ratios.append(high / low)
            print(f"{what}: p99 {high * 1e6:.0f} us loaded, {low * 1e6:.0f} us quiet, "
                  f"{high / low:.2f} times; median "
                  f"{sorted(t[1] for t in times)[SAMPLES // 2] * 1e6:.0f} and "
                  f"{sorted(t[0] for t in times)[SAMPLES // 2] * 1e6:.0f} us")
    finally:
        gc.enable()
    assert min(ratios) <= 2, f"{what}: p99 is {ratios} times the quiet one's"


def compare_tunnels(quiet, loaded, target, what):
    compare(lambda: ask(quiet, target), lambda: ask(loaded, target), what)


def rss_kib(proxy):
    with open(f"/proc/{proxy.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def check_memory(proxy, what):
    rss = rss_kib(proxy)
    print(f"{what}: {rss} KiB resident")
    assert rss < RSS_MAX_KIB


def cpu_seconds(proxy):
    """Of all its threads, to the nanosecond."""
    total = 0
    folder = f"/proc/{proxy.process.pid}/task"
    for task in os.listdir(folder):
        with open(f"{folder}/{task}/schedstat", encoding="ascii") as stat:
            total += int(stat.read().split()[0])
    return total / 1e9


def check_still(proxy, what, seconds=10):
    """Nothing moves: under 1 % of a core."""
    begin, before = time.monotonic(), cpu_seconds(proxy)
    time.sleep(seconds)
    share = (cpu_seconds(proxy) - before) / (time.monotonic() - begin)
    print(f"{what}: {share * 100:.3f} % of a core in {seconds} s")
    assert share < 0.01


def connect_slots():
    """Connections that egressd can have with the descriptors of this process."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64) // 4


# ---- loads

def test_slow_heads(side, load):
    """300 clients with nearly a whole head each, that send a byte now and then."""
    quiet, loaded, target = side()
    ask(quiet, target), ask(loaded, target)
    load("trickle", loaded.host, loaded.port, 300, 60 << 10)
    compare_tunnels(quiet, loaded, target, "300 slow heads")
    check_memory(loaded, "300 slow heads")
    quiet.accounts = loaded.accounts = False  # slow heads end with the test


def test_idle_tunnels(side):
    count = min(TUNNELS, connect_slots() - 50)
    if count < TUNNELS:
        print(f"only {count} tunnels: the hard limit of open files allows no more")
    if count < TUNNELS // 10:
        pytest.skip(f"the limit of open files allows only {count} tunnels")
    quiet, loaded, target = side(loaded=["--max-connections", str(count + 50)])
    for _ in range(50):
        ask(loaded, target)
    before = rss_kib(loaded)
    tunnels = []
    for _ in range(count):
        client, answer = loaded.tunnel(target, first=b"x")
        assert answer.status == 200 and client.read(1) == b"x"
        tunnels.append(client)
    print(f"{count} idle tunnels: {(rss_kib(loaded) - before) / count:.2f} KiB each")
    assert rss_kib(loaded) - before < 3 * count  # two sockets and their names; no buffer, no timer
    compare_tunnels(quiet, loaded, target, f"{count} idle tunnels")
    check_memory(loaded, f"{count} idle tunnels")
    check_still(loaded, f"{count} idle tunnels")
    for client in tunnels[::500]:  # they were idle, not dead
        assert client.send(b"y").read(1) == b"y"


def test_names_pending_at_a_dead_resolver(side, dns):
    """150 clients wait for names; pinned names are served as ever."""
    quiet, loaded, target = side(loaded=["--dns-timeout", "60"])
    ask(quiet, target), ask(loaded, target)
    dns.pause()
    waiting = []
    for i in range(150):
        client = loaded.connect(timeout=90)
        client.send(f"CONNECT n{i}.pending.test:443 HTTP/1.1\r\n\r\n")
        waiting.append(client)
    assert dns.wait_query("n149.pending.test", "A")
    compare_tunnels(quiet, loaded, target, "150 names pending")
    check_memory(loaded, "150 names pending")
    check_still(loaded, "150 names pending", 5)
    for client in waiting:
        client.sock.settimeout(0)
        with pytest.raises(BlockingIOError):  # they do wait, after all this time
            client.sock.recv(1)
    dns.resume()


def test_at_the_connection_limit(side):
    """All connections are taken and more clients wait: who has one is served."""
    quiet, loaded, target = side("--max-connections", "60")
    kept = [proxy.tunnel(target, first=b"x")[0] for proxy in (quiet, loaded)]
    for client in kept:
        client.read(1)
    idle = [loaded.tunnel(target)[0] for _ in range(59)]
    waiting = [loaded.connect() for _ in range(100)]
    for client in waiting:
        client.send(f"CONNECT {target} HTTP/1.1\r\n\r\n")
    compare(lambda: ping(kept[0]), lambda: ping(kept[1]), "all connections taken")
    check_memory(loaded, "all connections taken")
    check_still(loaded, "all connections taken")
    for client in idle:
        client.close()
    assert [client.read_answer("CONNECT").status for client in waiting[:40]] == [200] * 40


def ping(client):
    """A byte there and back through a tunnel that is there already. -> seconds"""
    begin = time.perf_counter()
    client.sock.sendall(b"x")
    assert client.sock.recv(1) == b"x"
    return time.perf_counter() - begin


def test_no_descriptors_left(side):
    """The system has no descriptor for another client: those who are there are served, nothing spins,
    and who waited is served when there are descriptors again."""
    quiet, loaded, target = side()
    kept = [proxy.tunnel(target, first=b"x")[0] for proxy in (quiet, loaded)]
    for client in kept:
        client.read(1)
    plain = loaded.connect()
    plain.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert plain.read_answer().status == 204
    pid = loaded.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free_descriptor(pid), before[1]))
    waiting = [loaded.connect() for _ in range(100)]
    for client in waiting:
        client.send(f"CONNECT {target} HTTP/1.1\r\n\r\n")
    compare(lambda: ping(kept[0]), lambda: ping(kept[1]), "no descriptors left")
    check_still(loaded, "no descriptors left")
    plain.send(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = plain.read_answer("CONNECT")
    assert (answer.status, answer.code) == (503, "overload")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert [client.read_answer("CONNECT").status for client in waiting] == [200] * len(waiting)


def free_descriptor(pid):
    """The lowest number that is no open descriptor: as a limit it leaves none."""
    taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    return next(n for n in range(len(taken) + 1) if n not in taken)
