"""Limits reached from outside: times by their defaults, memory that clients cannot fill, fairness.

The lexical limits (heads, targets, fields, chunks, hellos, messages of DNS) have their edges in the unit
tests; test_http.py and test_tunnel.py show what a client gets beyond them.
"""
import contextlib
import ctypes
import datetime
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

import limits
from client import Client
from conftest import EGRESSD, free_port
from dnsserver import A, DnsServer
from origins import HttpOrigin, sink

HERE = os.path.dirname(os.path.abspath(__file__))
SAN = "san" in EGRESSD.split(os.sep)
CHECK = "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"


def seconds(line):
    """The time of an audit line."""
    return datetime.datetime.strptime(line["time"], "%Y-%m-%dT%H:%M:%S.%fZ").timestamp()


def memory_kib(proxy):
    with open(f"/proc/{proxy.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


# ---- times, by a clock that runs faster than ours

@pytest.fixture(scope="session")
def clock_library(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("clock") / "fastclock.so")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", path,
                    os.path.join(HERE, "fastclock.c"), "-ldl"], check=True)
    return path


@pytest.fixture
def fast(egressd, clock_library):
    """egressd whose time runs fast: fast(rate, entries, *options) -> (proxy, mark)."""
    if SAN:
        pytest.skip("a sanitizer must come first of all libraries, and so must the clock")

    def start(rate, entries, *options):
        proxy = egressd(entries, *options, env={"LD_PRELOAD": clock_library, "FAST_CLOCK": str(rate)})
        count = 0

        def mark():
            """What egressd's clock says now."""
            nonlocal count
            count += 1
            client, answer = proxy.tunnel("mark.test:443")
            assert answer.status == 403
            client.close()
            return seconds(proxy.wait_audit(action="deny", host="mark.test", count=count))
        return proxy, mark
    return start


def check_time(took, limit):
    print(f"took {took:.3f} s, limit {limit} s")
    assert limit * 0.99 <= took < limit * 2


def test_header_time(fast):
    proxy, mark = fast(40, "allowed.test")
    client = proxy.connect()
    begin = mark()
    client.send("CONNECT allowed.test:443 HTTP/1.1\r\n")
    assert client.read_answer("CONNECT").status == 408
    check_time(seconds(proxy.wait_audit(action="deny", code="timeout")) - begin,
               limits.DEFAULT_HEADER_MS / 1000)


def test_time_before_and_between_requests(fast):
    proxy, mark = fast(60, "allowed.test")
    silent, kept = proxy.connect(), proxy.connect()
    assert kept.send(CHECK).read_answer().status == 204
    begin = mark()
    assert silent.ended() and kept.ended()
    check_time(mark() - begin, limits.LIMIT_IDLE_MS / 1000)


def test_hello_time(fast, origin):
    up = origin(sink, port=443)
    proxy, mark = fast(20, up.host)
    begin = mark()
    client, _ = proxy.tunnel(f"{up.host}:443")
    assert client.is_reset()
    check_time(seconds(proxy.wait_audit(action="deny", code="timeout")) - begin,
               limits.LIMIT_HELLO_MS / 1000)


def test_idle_time(fast, origin):
    up = origin(sink)
    proxy, mark = fast(3600, f"{up.host}:{up.port}", "--connect-timeout", "99999",
                       "--header-timeout", "99999")
    client, _ = proxy.tunnel(f"{up.host}:{up.port}")
    assert client.is_reset()
    close = proxy.wait_audit(action="close", code="idle")
    check_time(close["duration_ms"] / 1000, limits.DEFAULT_IDLE_MS / 1000)


def test_dns_time(fast, dns):
    dns.behave("allowed.test", silent=True)
    proxy, mark = fast(10, "allowed.test")
    begin = mark()
    _, answer = proxy.tunnel("allowed.test:443")
    assert (answer.status, answer.code) == (504, "dns-timeout")
    check_time(seconds(proxy.wait_audit(action="fail", code="dns-timeout")) - begin,
               limits.DEFAULT_DNS_MS / 1000)


@pytest.fixture
def silent_host(loopback):
    """(host, port) of a listener whose queue is full: it answers no SYN."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        host = loopback()
        listener.bind((host, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for sock in (first, second):
            sock.setblocking(False)
            sock.connect_ex((host, port))
        assert select.select([], [first], [], 5)[1]
        yield host, port


def test_connect_time(fast, silent_host):
    host, port = silent_host
    proxy, mark = fast(20, f"{host}:{port}")
    begin = mark()
    _, answer = proxy.tunnel(f"{host}:{port}")
    assert (answer.status, answer.code) == (504, "connect-timeout")
    check_time(seconds(proxy.wait_audit(action="fail", code="connect-timeout")) - begin,
               limits.DEFAULT_CONNECT_MS / 1000)


def test_drain_time(fast, origin):
    up = origin(sink)
    proxy, mark = fast(30, f"{up.host}:{up.port}")
    client, _ = proxy.tunnel(f"{up.host}:{up.port}")
    begin = mark()
    proxy.kill(signal.SIGTERM)
    assert client.is_reset()
    assert proxy.process.wait(20) == 0
    check_time(seconds(proxy.audit(action="close", code="draining")[-1]) - begin,
               limits.DEFAULT_DRAIN_MS / 1000)


def test_linger_time(fast):
    """A client that never reads its error answer, and goes on sending a little, is closed in time."""
    proxy, mark = fast(4, "allowed.test")
    client = proxy.connect()
    client.send("CONNECT denied.test:443 HTTP/1.1\r\n\r\n")
    begin = mark()
    try:
        while not select.select([], [], [client.sock], 0.02)[2]:
            client.send("x")
    except (BrokenPipeError, ConnectionResetError):
        pass
    check_time(mark() - begin, limits.LIMIT_LINGER_MS / 1000)


def test_linger_bytes(egressd):
    """What comes after a refusal is read away up to a bound, long before the time is over."""
    proxy = egressd("allowed.test")
    client = proxy.connect()
    client.send("CONNECT denied.test:443 HTTP/1.1\r\n\r\n")
    assert client.read_answer("CONNECT").status == 403
    begin, sent = time.monotonic(), 0
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while sent < 64 << 20:
            client.send("x" * 4096)
            sent += 4096
    assert time.monotonic() - begin < limits.LIMIT_LINGER_MS / 1000 * 0.8
    assert sent >= limits.LIMIT_LINGER


def test_health_time(run_egressd, clock_library, origin):
    if SAN:
        pytest.skip("a sanitizer must come first of all libraries, and so must the clock")
    other = origin(sink)
    begin = time.monotonic()
    done = run_egressd("--health", f"{other.host}:{other.port}",
                       env={"LD_PRELOAD": clock_library, "FAST_CLOCK": "5"})
    took = (time.monotonic() - begin) * 5
    assert done.returncode == 1 and "in time" in done.stderr
    check_time(took, limits.LIMIT_HEALTH_MS / 1000)


def cares_version():
    """Later ones have a longest time of a try of their own, 5 s."""
    library = ctypes.CDLL("libcares.so.2")
    library.ares_version.restype = ctypes.c_char_p
    return tuple(int(n) for n in library.ares_version(None).decode().split("."))


def test_time_of_a_try_at_a_resolver(fast, dns):
    """Many resolvers share the time, and yet each has some; a long time is not one long wait."""
    dns.behave("allowed.test", silent=True)
    limit = limits.LIMIT_DNS_TRY_MAX_MS // 1000
    if cares_version() >= (1, 30):
        limit = min(limit, 5)
    proxy, _ = fast(limit, "allowed.test", "--dns-timeout", "3600")  # a second of ours
    client = proxy.connect()
    begin = time.monotonic()  # not the first question's arrival, which may be late
    client.send("CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
    assert dns.wait_query("allowed.test", "A", count=2)
    second = [q.time for q in dns.queries if q.qtype == "A"][1]
    check_time((second - begin) * limit, limit)


def test_least_time_of_a_try_at_a_resolver(egressd):
    """Many resolvers that share a short time: the next one is not asked before this one could answer."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(DnsServer()) for _ in range(limits.LIMIT_RESOLVERS)]
        for server in servers:
            server.behave("allowed.test", silent=True)
        proxy = egressd("allowed.test", "--dns-timeout", "1",
                        *[word for server in servers for word in ("--dns", server.address)], use_dns=None)
        begin = time.monotonic()
        assert proxy.tunnel("allowed.test:443")[1].code == "dns-timeout"
        times = sorted(q.time for server in servers for q in server.queries if q.qtype == "A")
    assert len(times) >= 3
    # Each since the beginning, not since the one before: that may have been late to arrive.
    assert all(at - begin > i * limits.LIMIT_DNS_TRY_MIN_MS / 1000 - 0.005 for i, at in enumerate(times))


def test_reload_waits_for_quiet(egressd):
    """An editor that writes in pieces is not interrupted: one reload, after it has been quiet."""
    proxy = egressd("allowed.test")
    with open(proxy.list_path, "w", encoding="ascii") as same:
        for name in ("a", "b", "c"):
            same.write(f"{name}.test\n")
            same.flush()
            wrote = time.time()
            time.sleep(limits.LIMIT_RELOAD_QUIET_MS / 1000 / 4)
    line = proxy.wait_audit(action="reload", code="reloaded")
    assert "3 entries" in line["text"]
    assert datetime.datetime.strptime(line["time"], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() - wrote >= \
        limits.LIMIT_RELOAD_QUIET_MS / 1000 - 0.005
    assert len(proxy.audit(action="reload")) == 1


def keepalive_seconds(port, remote):
    """When the keep-alive timer of the socket port -> remote fires, from /proc/net/tcp."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            words = line.split()
            ports = [int(words[i].rsplit(":", 1)[1], 16) for i in (1, 2)]
            timer, when = words[5].split(":")
            if ports == [port, remote] and words[3] == "01":
                return int(when, 16) / os.sysconf("SC_CLK_TCK") if timer == "02" else None
    return None


def test_keepalive_on_both_sides(egressd, origin):
    up = origin(sink)
    proxy = egressd(f"{up.host}:{up.port}")
    client, _ = proxy.tunnel(f"{up.host}:{up.port}")
    to_client = keepalive_seconds(proxy.port, client.sock.getsockname()[1])
    to_origin = keepalive_seconds(up.wait_connection().peer[1], up.port)
    for when in (to_client, to_origin):
        assert when is not None and limits.LIMIT_KEEPALIVE_S - 20 < when <= limits.LIMIT_KEEPALIVE_S + 1


# ---- clients that do not read

def send_until_full(client, data, most):
    """As much as is taken: until nothing is for half a second."""
    client.sock.setblocking(False)
    sent, data = 0, data * 2 * (1 + 65536 // len(data))  # twice, so that a piece may start anywhere in the first half
    while sent < most and select.select([], [client.sock], [], 0.5)[1]:
        at = sent % (len(data) // 2)
        try:
            sent += client.sock.send(data[at:at + min(65536, most - sent)])
        except BlockingIOError:
            pass
    client.sock.settimeout(60)
    return sent


@pytest.mark.load
def test_health_checks_that_nobody_reads(egressd):
    """Their answers are not gathered: the client is not read until it reads."""
    proxy = egressd("allowed.test")
    client = proxy.connect()
    before = memory_kib(proxy)
    sent = send_until_full(client, CHECK.encode(), 64 << 20)
    grown = memory_kib(proxy) - before
    print(f"{sent} bytes sent, {grown} KiB more")
    assert sent < 64 << 20
    if not SAN:
        assert grown < 2048
    client.half_close()
    got = []
    while data := client.sock.recv(1 << 20):
        got.append(data)
    assert b"".join(got).count(b"HTTP/1.1 204 ") == sent // len(CHECK)


@pytest.mark.load
def test_answers_that_nobody_reads(egressd, dns, origin):
    """Requests that come ahead are not sent up while the client does not take the answers."""
    body = b"x" * 60000
    up = origin(HttpOrigin, lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + body)
    dns.add("allowed.test", A(up.host))
    proxy = egressd([f"allowed.test:{up.port}", up.host])
    client = proxy.connect()
    before = memory_kib(proxy)
    ask = f"GET http://allowed.test:{up.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    sent = send_until_full(client, ask, 2000 * len(ask)) // len(ask)
    asked = 0
    while (now := len(up.requests)) != asked or now == 0:
        asked = now
        time.sleep(0.5)  # until nothing goes up any more
    grown = memory_kib(proxy) - before
    print(f"{sent} requests sent, {asked} went up, {grown} KiB more")
    assert asked < sent / 2
    if not SAN:
        assert grown < 2048
    client.half_close()
    for _ in range(sent):
        assert client.read_answer().body == body
    assert client.ended()


@pytest.mark.load
def test_client_that_never_takes_its_answer(egressd):
    proxy = egressd("allowed.test", "--idle-timeout", "1")
    client = proxy.connect()
    send_until_full(client, CHECK.encode(), 64 << 20)
    descriptors = f"/proc/{proxy.process.pid}/fd"
    before = len(os.listdir(descriptors))
    end = time.monotonic() + 20
    while len(os.listdir(descriptors)) == before:
        assert time.monotonic() < end, "it is kept for ever"
        time.sleep(0.01)
    assert not proxy.audit(action="deny")


def unread(proxy, client):
    """Bytes that egressd's kernel and the client's hold for the client, from /proc/net/tcp."""
    ends = {(proxy.port, client.sock.getsockname()[1]): 0, (client.sock.getsockname()[1], proxy.port): 1}
    total = 0
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            words = line.split()
            end = ends.get(tuple(int(words[i].rsplit(":", 1)[1], 16) for i in (1, 2)))
            if end is not None:
                total += int(words[4].split(":")[end], 16)
    return total


@pytest.mark.load
@pytest.mark.parametrize("closing", ["asked to close", "drained"])
def test_slow_client_gets_its_whole_answer(fast, origin, closing):
    """What the kernel does not take of an answer waits in egressd, longer than an error answer would."""
    def respond(request):
        size = int(request.target[1:])
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size

    up = origin(HttpOrigin, respond)
    proxy, mark = fast(20, f"{up.host}:{up.port}", "--drain-timeout", "9999", "--connect-timeout", "9999",
                       "--header-timeout", "9999")
    fields = "Connection: close\r\n" if closing == "asked to close" else ""

    def start(size):
        client = proxy.connect()
        client.send(f"GET http://{up.host}:{up.port}/{size} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
        return client

    first = start(64 << 20)
    full = -1
    while (now := unread(proxy, first)) != full or now == 0:
        full = now
        time.sleep(0.2)  # until nothing moves any more
    first.close()
    sizes = [full + (i << 14) for i in range(-4, 5)]  # around what the kernel takes
    clients = [start(size) for size in sizes]
    up.wait_requests(len(sizes) + 1)
    time.sleep(2 * limits.LIMIT_LINGER_MS / 1000 / 20)  # by the fast clock
    closed = len(proxy.audit(action="close", code="done"))
    print(f"the kernel took {full} bytes; {closed} of {len(sizes)} answers are said to be over")
    assert 2 < closed
    if closing == "drained":
        proxy.kill(signal.SIGTERM)
        time.sleep(2 * limits.LIMIT_LINGER_MS / 1000 / 20)
    for client, size in zip(clients, sizes):
        answer = client.read_head()
        assert int(answer.field("Content-Length")) == size
        left = size - len(client.buffer)
        while left > 0:
            data = client.sock.recv(1 << 20)
            assert data, f"{left} bytes of {size} are missing"
            left -= len(data)
        client.close()


# ---- tunnels with one end

@pytest.mark.parametrize("who", ["client", "origin", "nobody"])
def test_half_open_tunnel_ends_at_the_idle_time(egressd, origin, who):
    """One side has said its last byte and the other never says a thing: not for ever."""
    over = threading.Event()

    def handler(conn):
        if who == "origin":
            conn.half_close()
        over.wait(60)

    up = origin(handler)
    proxy = egressd(f"{up.host}:{up.port}", "--idle-timeout", "1")
    client, _ = proxy.tunnel(f"{up.host}:{up.port}")
    begin = time.monotonic()
    if who == "client":
        client.half_close()
    poll = select.poll()
    poll.register(client.sock, 0)  # errors only
    assert poll.poll(20000) and time.monotonic() - begin > 0.9
    over.set()
    assert proxy.wait_audit(action="close")["code"] == "idle"


def test_half_open_tunnel_lives_while_the_other_half_does(egressd, origin):
    def talk(conn):
        conn.read_all()
        for _ in range(15):
            conn.send(b"x")
            time.sleep(0.1)
    up = origin(talk)
    proxy = egressd(f"{up.host}:{up.port}", "--idle-timeout", "1")
    client, _ = proxy.tunnel(f"{up.host}:{up.port}")
    client.half_close()
    assert client.read_all() == b"x" * 15
    assert proxy.wait_audit(action="close")["code"] == "done"


# ---- fairness

@pytest.mark.parametrize("first", ["", "CONNECT allowed.test:443 HT"], ids=["silent", "slow"])
def test_one_client_cannot_starve_another(egressd, origin, first):
    """Over its limit a client gets no more than others can spare, even if it never asks for a thing."""
    up = origin()
    proxy = egressd(f"{up.host}:{up.port}", "--max-connections", "40", "--max-per-client", "10", workers=1)
    target = f"{up.host}:{up.port}"
    kept = [proxy.tunnel(target)[0] for _ in range(10)]
    more = []
    for _ in range(100):
        try:
            more.append(proxy.connect().send(first))
        except OSError:
            pass  # it was reset
    for _ in range(limits.LIMIT_EXCESS_SHARE):
        other = proxy.connect(source=("127.0.0.2", 0), timeout=5)
        other.send(f"CONNECT {target} HTTP/1.1\r\n\r\nhello")
        assert other.read_answer("CONNECT").status == 200
        assert other.read(5) == b"hello"
    assert kept[0].send(b"still").read(5) == b"still"


def test_a_flood_over_the_limit_is_answered_while_there_is_room(egressd, origin):
    up = origin(sink)
    proxy = egressd(f"{up.host}:{up.port}", "--max-connections", "40", "--max-per-client", "2", workers=1)
    kept = [proxy.tunnel(f"{up.host}:{up.port}")[0] for _ in range(2)]
    clients = [proxy.connect() for _ in range(20)]
    for client in clients:
        _, answer = client.send("CONNECT x.test:443 HTTP/1.1\r\n\r\n"), client.read_answer("CONNECT")
        assert (answer.status, answer.code) == (429, "limit")
    assert len(kept) == 2


def test_pending_lookups(egressd, dns):
    """More names at a time than may be looked up: 503 at once, and room again when askers leave."""
    proxy = egressd(".pending.test\nallowed.test\n", "--dns-timeout", "30", "--drain-timeout", "1",
                    workers=1)  # as many to each worker, else
    dns.add("allowed.test", A("192.0.2.1"))
    dns.behave("*.pending.test", silent=True)
    clients = []
    for i in range(limits.LIMIT_LOOKUPS):
        clients.append(proxy.connect())
        clients[-1].send(f"CONNECT n{i}.pending.test:443 HTTP/1.1\r\n\r\n")
    assert dns.wait_query(f"n{limits.LIMIT_LOOKUPS - 1}.pending.test", "A")
    _, answer = proxy.tunnel("one-more.pending.test:443")
    assert (answer.status, answer.code) == (503, "overload")
    assert dns.count("one-more.pending.test") == 0
    clients[0].reset()
    proxy.wait_audit(action="fail", code="client-closed")
    _, answer = proxy.tunnel("allowed.test:443")
    assert answer.code == "special-address"


@pytest.mark.parametrize("workers", [1, 2])
def test_descriptors_are_kept_in_reserve(tmp_path, workers):
    """The connection limit leaves room for what is no connection, and for each worker's own."""
    wanted = 10
    files = wanted * limits.LIMIT_FDS_PER_CONN + limits.LIMIT_RESERVED_FDS + \
        (workers - 1) * limits.LIMIT_WORKER_FDS
    wrapper = tmp_path / "limited"
    wrapper.write_text(f"#!/bin/sh\nulimit -n {files}\nexec {EGRESSD} \"$@\"\n")
    wrapper.chmod(0o755)
    entries = tmp_path / "list"
    entries.write_text("allowed.test\n")
    for count, said in ((wanted, False), (wanted + 1, True)):
        with subprocess.Popen([wrapper, "--allowlist", entries, "--listen", f"127.0.0.1:{free_port()}",
                               "--dns", "127.0.0.1:9", "--audit-log", tmp_path / "log", "--workers",
                               str(workers), "--max-connections", str(count)],
                              stderr=subprocess.PIPE) as process:
            lines = []
            while not lines or b"serving" not in lines[-1]:
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert any(b"open files allows %d connections" % wanted in line for line in lines) == said, lines


# ---- sizes that only the whole program has

def test_bodies_larger_than_a_piece(egressd, origin):
    """Many pieces that come at once are passed as they are, also behind the head."""
    up = origin(HttpOrigin)
    proxy = egressd(f"{up.host}:{up.port}")
    for size in (limits.LIMIT_PIECE - 1, limits.LIMIT_PIECE, 3 * limits.LIMIT_PIECE + 1):
        body = bytes(range(48, 123)) * (size // 75 + 1)
        answer = proxy.request("POST", f"http://{up.host}:{up.port}/", f"Content-Length: {size}\r\n",
                               body[:size])
        assert answer.json["body"].encode() == body[:size]


@pytest.mark.parametrize("byte", ["a", "\x01", '"', "\\", "\u00e9", "*"])
def test_the_longest_diagnostic_in_json(run_egressd, byte):
    """A line of a list that is as long as it may be, and longer when it is escaped."""
    entry = byte * (1024 // len(byte.encode()))
    done = run_egressd("--check", "-", "--json", stdin=entry + "\n")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and len(found) == 1 and found[0]["entry"]
    assert found[0]["text"] and all(len(line) < limits.LIMIT_LINT_LINE for line in done.stdout.split("\n"))
    assert len(found[0]["text"].encode()) <= limits.LIMIT_LINT_TEXT


def ask_metrics(port):
    return Client(socket.create_connection(("127.0.0.1", port), 20))


def test_metrics_limits(fast):
    """Who asks for the numbers is bounded as well: in time, in bytes, and how many at a time."""
    port = free_port()
    proxy, mark = fast(10, "allowed.test", "--metrics", f"127.0.0.1:{port}")
    begin = mark()
    silent = [ask_metrics(port) for _ in range(limits.LIMIT_METRICS_CONNS)]
    late = ask_metrics(port).send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert all(client.ended() for client in silent)
    check_time(mark() - begin, limits.LIMIT_METRICS_MS / 1000)
    answer = late.read_answer()  # it waited until one of the others had to go
    assert answer.status == 200 and len(answer.body) <= limits.LIMIT_METRICS_TEXT
    large = ask_metrics(port).send("GET /metrics HTTP/1.1\r\nX: " + "x" * limits.LIMIT_METRICS_HEAD)
    assert b" 200 " not in large.read_all()
