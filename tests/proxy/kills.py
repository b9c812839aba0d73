"""Kills (make kills): egressd is killed under load at points nobody chose, KILLS times (200).

The next start serves at once, on the same address and into the same log. The log has whole lines, but
for at most one a life, the last one, that was torn (some lives end while the log's file takes only so
many bytes more); and whatever a client was answered is in it.
KILLS_SEED repeats a run.
"""
import os
import random
import resource
import signal
import socket
import subprocess
import threading
import time

from conftest import EGRESSD, PATIENCE, check_line, free_port
from dnsserver import A
from origins import HttpOrigin

KILLS = int(os.environ.get("KILLS", "200"))
CLIENTS = 6


class Load:
    """Clients that ask and ask; what they were answered, by the host's name, which is asked for once."""

    def __init__(self, address, port):
        self.address, self.port = address, port
        self.answered, self.counts = {}, [0] * CLIENTS
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, n):
        choose = random.Random(n)
        while not self.ended.is_set():
            self.counts[n] += 1
            name = f"n{self.counts[n]}-{n}"
            try:
                with socket.create_connection(self.address, PATIENCE) as sock:
                    self.ask(sock, name, choose.randrange(3))
            except OSError:
                self.ended.wait(0.002)  # between two lives

    def ask(self, sock, name, how):
        host = f"{name}.{'denied' if how == 0 else 'allowed'}.test"
        if how == 2:
            head = f"GET http://{host}:{self.port}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
        else:
            head = f"CONNECT {host}:{self.port} HTTP/1.1\r\n\r\n"
        sock.sendall(head.encode())
        answer = sock.recv(4096)
        if answer.startswith(b"HTTP/1.1 ") and len(answer) > 12:
            self.answered[host] = int(answer[9:12])

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def lives(data):
    """The log -> for each life its lines, and the torn end of its last one."""
    found = []
    pieces = data.split(b"\n")
    for piece in pieces:
        try:
            line = check_line(piece)
        except (ValueError, AssertionError):
            assert found and found[-1][1] == b"", f"a second torn line in one life: {piece!r}"
            found[-1][1] = piece
            continue
        if line["action"] == "start":
            found.append([[], b""])
        assert found[-1][1] == b"" or line["action"] == "start", f"{line} behind a torn line"
        found[-1][0].append(line)
    return found


def test_killed_at_random_points(dns, origin, tmp_path):
    seed = int(os.environ.get("KILLS_SEED", time.time_ns() % 1000000))
    print(f"KILLS_SEED={seed}")
    choose = random.Random(seed)
    web = origin(HttpOrigin)
    dns.add("*.allowed.test", A(web.host))
    list_path, log = tmp_path / "domains.txt", tmp_path / "audit.jsonl"
    list_path.write_text(f".allowed.test:{web.port}\n{web.host}\n")
    address = ("127.0.0.1", free_port())
    load = Load(address, web.port)
    try:
        for turn in range(KILLS):
            one_life(address, list_path, log, dns, turn, choose)
    finally:
        load.stop()
    found = lives(log.read_bytes())
    assert len(found) == KILLS
    check_lives(found, load)


def one_life(address, list_path, log, dns, turn, choose):
    process = subprocess.Popen(
        [EGRESSD, "--allowlist", str(list_path), "--listen", "%s:%d" % address, "--dns", dns.address,
         "--audit-log", str(log), "--workers", "2"], stderr=subprocess.PIPE)
    try:
        said = process.stderr.readline().decode()
        while "warning:" in said:
            said = process.stderr.readline().decode()
        assert said == "egressd: serving on %s:%d\n" % address, said
        with socket.create_connection(address, PATIENCE) as sock:  # the next start serves at once
            sock.sendall(f"CONNECT turn{turn}.denied.test:443 HTTP/1.1\r\n\r\n".encode())
            assert sock.recv(4096).startswith(b"HTTP/1.1 403 ")
        threading.Event().wait(choose.uniform(0, 0.15))
        assert process.poll() is None
        if choose.random() < 0.2:
            room = log.stat().st_size + choose.randrange(50, 900)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            threading.Event().wait(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        process.stderr.close()


def check_lives(found, load):
    decided, torn, ids_total = {}, 0, 0
    for lines, end in found:
        torn += end != b""
        ids = [line["id"] for line in lines if line["action"] in ("allow", "deny", "fail")]
        closes = [line["id"] for line in lines if line["action"] == "close"]
        allowed = {line["id"] for line in lines if line["action"] == "allow"}
        assert len(ids) == len(set(ids)) and len(closes) == len(set(closes)) and set(closes) <= allowed
        ids_total += len(ids)
        for line in lines:
            if "host" in line and line["action"] != "close":
                decided[line["host"]] = line
    for host, status in load.answered.items():
        if status == 503:  # there was no room for its line, or for half of it
            continue
        assert host in decided, f"{host} was answered {status}, and no line says so"
        assert (decided[host]["action"] == "allow") == (status == 200), (status, decided[host])
    print(f"{len(found)} lives, {ids_total} decisions, {len(load.answered)} answers, {torn} torn lines")
    assert torn > 0 or len(found) < 20, "nothing was torn"
    assert len(load.answered) > 5 * len(found), "there was no load"
