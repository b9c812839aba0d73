"""Faults (make faults): each call that can fail fails once, in turn, under a running egressd.

Whatever fails: it does not crash, what is denied stays denied and asks nobody, what is allowed works
again at once afterwards, no descriptor is lost, and the audit log accounts for every request.
"""
import errno
import os
import random
import signal
import socket
import subprocess
import threading

import pytest

from conftest import EGRESSD, ROOT
from dnsserver import A
from origins import HttpOrigin

SAN = "san" in EGRESSD.split(os.sep)
FAULTY = os.path.join(os.path.dirname(EGRESSD), "tests", "egressd-faulty")
NTH_MAX = 60  # of one call in one round; what comes later repeats what came before

FAULTS = [
    ("malloc", errno.ENOMEM), ("calloc", errno.ENOMEM), ("realloc", errno.ENOMEM),
    ("socket", errno.EMFILE), ("accept4", errno.EMFILE), ("accept4", errno.ECONNABORTED),
    ("connect", errno.EADDRNOTAVAIL), ("connect", errno.ENETUNREACH), ("pipe2", errno.EMFILE),
    ("read", errno.ECONNRESET),
    ("write", errno.EIO), ("write", errno.ENOSPC), ("write", errno.EPIPE), ("writev", errno.ENOBUFS),
    ("recv", errno.ECONNRESET), ("send", errno.ENOBUFS), ("splice", errno.EINVAL),
    ("getsockopt", errno.ENOBUFS), ("shutdown", errno.ENOTCONN),
]


# Not called with every libuv, or not by us (under sanitizers only our own calls are counted).
UNUSED = ("pipe2", "splice", "recv", "send", "getsockopt", "shutdown", "realloc", "writev")


@pytest.fixture(scope="session")
def fault_so(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("fault") / "fault.so")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-fno-builtin",
                    "-o", out, os.path.join(ROOT, "tests/proxy/fault.c"), "-ldl"], check=True)
    return out


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Round:
    """The same few requests, over and over; each on a fresh name, since failures are remembered."""

    def __init__(self, proxy, dns, raw, web):
        self.proxy, self.dns, self.raw, self.web, self.count = proxy, dns, raw, web, 0

    def attempt(self, head, method):
        """-> the answer's status, or None if the connection broke."""
        try:
            client = self.proxy.connect(timeout=10)
            client.send(head)
            answer = client.read_answer(method)
            if method == "CONNECT" and answer.status == 200:
                client.send(b"ping")
                client.half_close()
                assert client.read_all() in (b"ping", b"")
            client.close()
            return answer.status
        except (OSError, AssertionError, EOFError, IndexError, ValueError) as broken:
            assert "timed out" not in str(broken), "a client was left waiting"
            return None

    def run(self):
        self.count += 1
        name = f"n{self.count}.allowed.test"
        self.dns.add(name, A(self.raw.host))
        web = f"w{self.count}.allowed.test"
        self.dns.add(web, A(self.web.host))
        denied = f"d{self.count}.denied.test"
        tunnel = f"CONNECT {name}:{self.raw.port} HTTP/1.1\r\n\r\n"
        get = f"GET http://{web}:{self.web.port}/x HTTP/1.1\r\nHost: {web}\r\n\r\n"
        post = (f"POST http://{web}:{self.web.port}/y HTTP/1.1\r\nHost: {web}\r\n"
                "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        results = [self.attempt(tunnel, "CONNECT"), self.attempt(get, "GET"), self.attempt(post, "POST")]
        for head in (f"CONNECT {denied}:443 HTTP/1.1\r\n\r\n",
                     f"GET http://{denied}/ HTTP/1.1\r\nHost: {denied}\r\n\r\n"):
            status = self.attempt(head, head.split(" ", 1)[0])
            assert status in (403, 503, None), f"denied, but answered {status}"
        assert self.dns.count(denied) == 0
        return results


@pytest.mark.parametrize("name, number", FAULTS,
                         ids=[f"{name}-{errno.errorcode[number]}" for name, number in FAULTS])
def test_each_call_fails_once(egressd, dns, origin, request, name, number):
    env = {"FAULT": f"{name}:{number}"}
    if not SAN:
        env["LD_PRELOAD"] = request.getfixturevalue("fault_so")
    raw, web = origin(), origin(HttpOrigin)
    proxy = egressd([".allowed.test:%d" % raw.port, ".allowed.test:%d" % web.port, raw.host, web.host],
                    workers=1, env=env, program=FAULTY if SAN else EGRESSD)
    proxy.expect(r"fault: .*", r"egressd: .*", r".*warning: .*")
    proxy.accounts = name != "write"  # lines are lost, and said to be
    rounds = Round(proxy, dns, raw, web)
    assert rounds.run()[0] == 200
    before = descriptors(proxy.process.pid)
    fired = 0
    for nth in range(1, NTH_MAX + 1):
        proxy.kill(signal.SIGUSR2)
        rounds.run()
        assert proxy.process.poll() is None, f"{name} {nth} ended it"
        if not any(line == f"fault: {name} {nth}" for line in proxy.stderr):
            break  # there are no more such calls in a round
        fired += 1
        # One more may be needed: a kept failure, or a log that must be tried again.
        assert 200 in (rounds.run()[0], rounds.run()[0]), f"after {name} {nth} it serves no more"
    assert proxy.audit(code="dns-timeout") == [], "a failure held up lookups"
    print(f"{name}: failed at {fired} places")
    assert fired > 0 or SAN or name in UNUSED, f"{name} is never called: the fault was none"
    proxy.wait_stderr("egressd: serving.*")
    wait_descriptors(proxy, before)


def wait_descriptors(proxy, before):
    pause = threading.Event()
    for _ in range(500):
        if descriptors(proxy.process.pid) <= before:
            return
        pause.wait(0.01)
    raise AssertionError(f"{descriptors(proxy.process.pid)} descriptors, {before} before")


def test_resolver_that_answers_garbage(egressd, origin):
    """Random bytes with the right number and question, and without: a failure or silence, no address."""
    choose = random.Random(3)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    ended = threading.Event()

    def answer():
        server.settimeout(0.2)
        while not ended.is_set():
            try:
                query, client = server.recvfrom(2048)
            except TimeoutError:
                continue
            junk = bytes(choose.randrange(256) for _ in range(choose.randrange(300)))
            kind = choose.randrange(4)
            head = query[:2] + bytes([0x80 | choose.randrange(128), choose.randrange(256)])
            server.sendto({0: junk, 1: query[:2] + junk, 2: head + query[4:12] + junk,
                           3: head + bytes([0, 1, 0, 1, 0, 0, 0, 0]) + query[12:] + junk}[kind], client)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        proxy = egressd(".allowed.test:443\n10.0.0.0/8\n", "--dns", "127.0.0.1:%d" % server.getsockname()[1],
                        "--dns-timeout", "1", use_dns=None)
        clients = []
        for n in range(60):
            client = proxy.connect()
            client.send(f"CONNECT n{n}.allowed.test:443 HTTP/1.1\r\n\r\n")
            clients.append(client)
        for client in clients:
            answered = client.read_answer("CONNECT")
            assert answered.status in (403, 502, 503, 504), answered
    finally:
        ended.set()
        thread.join()
        server.close()
