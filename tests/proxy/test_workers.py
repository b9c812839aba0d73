"""Several workers: they share the list and the log, change lists at one moment, and end together."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import EGRESSD, free_port
from dnsserver import A

WORKERS = 4
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def tasks(proxy):
    return sorted(map(int, os.listdir(f"/proc/{proxy.process.pid}/task")))


def worker_of(line):
    return line["id"] % WORKERS


def many(proxy, count):
    """Connections enough for every worker to have some: the kernel spreads them by a hash."""
    return [proxy.connect() for _ in range(count)]


def ask(client, url="http://x.test/"):
    return client.send(f"GET {url} HTTP/1.1\r\nHost: x.test\r\n\r\n").read_answer()


def health(client):
    return client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").read_answer().status


# ---- how many

def test_each_gets_clients(egressd):
    proxy = egressd("a.test", workers=WORKERS)
    for client in many(proxy, 64):  # that one gets none: 4 * 0.75 ** 64, 4 in 100 million
        client.send("GET http://x.test/ HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n")
        assert client.read_answer().code == "not-listed"
    assert {worker_of(line) for line in proxy.audit(action="deny")} == set(range(WORKERS))
    # Memory checkers have threads of their own.
    assert len(tasks(proxy)) >= WORKERS


def quota():
    """Of the control group that this machine shows as its root, in processors."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            limit, period = file.read().split()
    except OSError:
        return None
    return None if limit == "max" else -(-int(limit) // int(period))


@pytest.mark.parametrize("cpus", [1, None])
def test_default_is_what_it_may_use(egressd, cpus):
    before = os.sched_getaffinity(0)
    port = free_port()
    try:
        os.sched_setaffinity(0, sorted(before)[:cpus])
        proxy = egressd("a.test", "--metrics", f"127.0.0.1:{port}", workers=None)
    finally:
        os.sched_setaffinity(0, before)
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b"".join(iter(lambda: sock.recv(65536), b""))
    workers = int(re.search(rb"\negressd_workers (\d+)\n", text)[1])
    proxy.workers = workers
    own = cpus or len(before)
    limit = quota()
    assert workers == (own if limit is None else min(own, limit)) or (limit is None and workers <= own)


def test_no_more_than_connections(egressd):
    """Each worker takes one client at least, so there are not more of them than connections."""
    proxy = egressd("a.test", "--max-connections", "1", workers=WORKERS)
    clients = many(proxy, 20)
    for client in clients:
        client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert clients[0].read_head().status == 204
    clients[1].sock.settimeout(0.3)  # nothing to wait for: it must not come
    with pytest.raises(TimeoutError):
        clients[1].read_head()
    clients[0].close()
    clients[1].sock.settimeout(20)
    assert clients[1].read_head().status == 204


def test_signals_are_the_first_ones(egressd):
    proxy = egressd("a.test", workers=WORKERS)

    def blocks(task):
        with open(f"/proc/{proxy.process.pid}/task/{task}/status", encoding="ascii") as status:
            mask = int(re.search(r"SigBlk:\s*(\w+)", status.read())[1], 16)
        return all(mask >> (number - 1) & 1 for number in SIGNALS)

    assert not blocks(proxy.process.pid)
    assert sum(map(blocks, tasks(proxy))) >= WORKERS - 1


def test_port_of_another_crew(egressd, tmp_path):
    """The first worker binds alone, so sharing among one's own does not let others in."""
    proxy = egressd("a.test", workers=WORKERS)
    argv = [EGRESSD, "--allowlist", proxy.list_path, "--listen", proxy.address, "--dns", "127.0.0.1:9",
            "--audit-log", str(tmp_path / "other"), "--workers", "2"]
    other = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert other.returncode == 1 and other.stdout == ""
    assert other.stderr == f"egressd: {proxy.address}: address already in use\n"


def test_port_held_with_reuseport(egressd, tmp_path):
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        (tmp_path / "list").write_text("a.test\n")
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        argv = [EGRESSD, "--allowlist", str(tmp_path / "list"), "--listen", address,
                "--dns", "127.0.0.1:9", "--audit-log", str(tmp_path / "log"), "--workers", "3"]
        refused = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 1
        assert refused.stderr == f"egressd: {address}: address already in use\n"


# ---- limits

def test_connections_in_total(egressd):
    """So many are served over all workers; the others wait, and come when one of them goes."""
    proxy = egressd("a.test", "--max-connections", "8", workers=WORKERS)
    clients = many(proxy, 80)
    for client in clients:
        client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    served, end = set(), time.monotonic() + 20
    while len(served) < 8 and time.monotonic() < end:
        for client in set(clients) - served:
            client.sock.settimeout(0.02)
            try:
                client.read_head()
                served.add(client)
            except TimeoutError:
                pass
    assert len(served) == 8
    for client in served:
        client.close()
    waiting = [client for client in clients if client not in served]
    for client in waiting:  # each that is served makes room for the next
        client.sock.settimeout(20)
    first = waiting[0]
    for client in waiting[1:]:
        client.close()
    assert first.read_head().status == 204


def test_connections_of_one_client_at_each(egressd):
    """Counted by each worker: never fewer than N, never more than N at each of them."""
    limit = 3
    proxy = egressd("a.test", "--max-per-client", str(limit), workers=WORKERS)
    clients = many(proxy, 80)
    answers = [ask(client) for client in clients]
    assert {answer.code for answer in answers} == {"not-listed", "limit"}
    allowed = [line["id"] % WORKERS for line in proxy.audit(action="deny", code="not-listed")]
    assert all(1 <= allowed.count(worker) <= limit for worker in range(WORKERS))
    assert sum(answer.code == "not-listed" for answer in answers) == limit * WORKERS


def test_lookups_and_pins_are_each_ones_own(egressd, dns, origin):
    up = origin()
    dns.add("x.test", A(up.host))
    proxy = egressd([f"x.test:{up.port}", up.host], workers=WORKERS)
    for _ in range(64):
        client, answer = proxy.tunnel(f"x.test:{up.port}")
        assert answer.status == 200
        client.close()
    asked = dns.count("x.test", "A")
    assert 1 <= asked <= WORKERS


# ---- one list

def test_lists_change_for_all_at_one_moment(egressd):
    """
    In the order of the log, no decision behind a reload's line is by the list before it: not of any
    worker, while all of them are asked without a pause.
    """
    lists = ["x.test:1", "y.test"]  # of x.test:80 they say: port, not-listed
    proxy = egressd(lists[1], workers=WORKERS)
    over = threading.Event()
    faults = []

    def hammer():
        try:
            client = proxy.connect()
            while not over.is_set():
                ask(client)
                client.close()
                client = proxy.connect()
        except OSError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=hammer) for _ in range(6)]
    for thread in threads:
        thread.start()
    for i in range(30):
        assert proxy.reload(lists[i % 2])["code"] == "reloaded"
    over.set()
    for thread in threads:
        thread.join()
    assert not faults
    want, decided = "not-listed", []
    for line in proxy.audit():
        if line["action"] == "reload":
            want = "port" if want == "not-listed" else "not-listed"
        elif line["action"] == "deny":
            assert line["code"] == want, line
            decided.append(worker_of(line))
    assert set(decided) == set(range(WORKERS)) and len(decided) > 100


def test_broken_list_reaches_none(egressd):
    proxy = egressd("x.test:1", workers=WORKERS)
    proxy.expect(r".*: error: .*", r".*the new list is unusable; the old one stays in force")
    clients = many(proxy, 40)
    assert proxy.reload("*")["code"] == "list-error"
    assert {ask(client).code for client in clients} == {"port"}


def test_revoked_tunnels_of_all_end(egressd, dns, origin):
    up = origin()
    dns.add("x.test", A(up.host))
    proxy = egressd([f"x.test:{up.port}", up.host], workers=WORKERS)
    tunnels = [proxy.tunnel(f"x.test:{up.port}")[0] for _ in range(40)]
    proxy.reload("other.test")
    assert all(client.ended() for client in tunnels)
    proxy.wait_audit(count=40, action="close", code="not-listed")
    assert {worker_of(line) for line in proxy.audit(action="close")} == set(range(WORKERS))


# ---- one log

def test_unwritable_log_is_known_to_all(egressd):
    """Every worker refuses, and says so when asked for its health; SIGUSR1 helps all of them."""
    proxy = egressd("a.test", "--audit-max", "2000", workers=WORKERS)
    proxy.accounts = False
    proxy.expect(r"egressd: audit log \S+: (cannot|can) be written.*")
    clients = many(proxy, 40)
    for client in clients[:20]:  # a line has more than 150 bytes
        client.send("GET http://x.test/ HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n")
        client.read_answer()
    rest = clients[20:]
    assert {health(client) for client in rest} == {503}
    rest = many(proxy, 40)
    assert {(ask(client).code) for client in rest} == {"audit"}
    said = [line for line in proxy.stderr if "cannot be written" in line]
    assert len(said) == 1
    os.rename(proxy.audit_path, proxy.audit_path + ".1")
    proxy.kill(signal.SIGUSR1)
    client = proxy.connect()
    end = time.monotonic() + 20
    while health(client) != 204:  # 503 closes
        assert time.monotonic() < end
        client = proxy.connect()
    assert {health(client) for client in many(proxy, 40)} == {204}


# ---- one end

def test_drain_waits_for_all(egressd, dns, origin):
    up = origin()
    dns.add("x.test", A(up.host))
    proxy = egressd([f"x.test:{up.port}", up.host], workers=WORKERS)
    tunnels = [proxy.tunnel(f"x.test:{up.port}")[0] for _ in range(40)]
    idle = many(proxy, 40)
    assert {health(client) for client in idle} == {204}
    proxy.kill(signal.SIGTERM)
    assert all(client.ended() for client in idle)
    assert proxy.process.poll() is None
    for client in tunnels[1:]:
        client.close()
    proxy.wait_audit(count=39, action="close", code="done")
    assert proxy.process.poll() is None
    assert tunnels[0].sock.fileno() >= 0
    tunnels[0].close()
    assert proxy.process.wait(20) == 0
    assert proxy.audit()[-1]["action"] == "stop"


def test_drain_ends_all_in_time(egressd, dns, origin):
    up = origin()
    dns.add("x.test", A(up.host))
    proxy = egressd([f"x.test:{up.port}", up.host], "--drain-timeout", "1", workers=WORKERS)
    tunnels = [proxy.tunnel(f"x.test:{up.port}")[0] for _ in range(40)]
    proxy.kill(signal.SIGTERM)
    assert all(client.ended() for client in tunnels)
    assert proxy.process.wait(20) == 0
    assert len(proxy.audit(action="close", code="draining")) == 40


def test_second_signal_ends_at_once(egressd, dns, origin):
    """Also when only others than the first worker, whose the signals are, still have something."""
    up = origin()
    dns.add("x.test", A(up.host))
    proxy = egressd([f"x.test:{up.port}", up.host], workers=WORKERS)
    proxy.accounts = False
    proxy.exit_status = 128 + signal.SIGTERM
    tunnels = [proxy.tunnel(f"x.test:{up.port}")[0] for _ in range(40)]
    idle = proxy.connect()
    assert health(idle) == 204
    proxy.kill(signal.SIGTERM)
    assert idle.ended()  # the first signal has been taken
    worker = {line["client"]: line["id"] % WORKERS for line in proxy.audit(action="allow")}
    for client in tunnels:
        host, port = client.sock.getsockname()
        if worker[f"{host}:{port}"] == 1:
            client.close()
    proxy.wait_audit(count=list(worker.values()).count(1), action="close", code="done")
    time.sleep(0.2)  # for the first worker to see that it has nothing left
    proxy.kill(signal.SIGTERM)
    assert proxy.process.wait(20) == 128 + signal.SIGTERM
