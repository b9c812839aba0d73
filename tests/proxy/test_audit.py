"""The audit log: every request in it once, whatever clients send and whatever becomes of the file."""
import json
import os
import resource
import signal
import socket
import time

import jsonschema
import pytest

import limits
from conftest import check_line, free_port
from dnsserver import A
from origins import HttpOrigin, sink

CANNOT = r"egressd: audit log \S+: cannot be written, requests are refused until it can: .*"
AGAIN = r"egressd: audit log \S+: can be written again"


def test_one_line_a_request(egressd, dns, origin, loopback):
    """The harness checks the accounts; here is one of each kind, with its members."""
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    dns.add("closed.test", A(loopback()))
    dns.add("special.test", A("10.9.8.7"))
    port = up.port
    entries = f"allowed.test:{port}\nclosed.test:{port}\nmissing.test:{port}\nspecial.test:{port}\n127.0.0.0/8\n"
    proxy = egressd(entries + f"{up.host}\n", "--session", "s-1")
    proxy.expect(r"\S+: warning: .*")
    client, answer = proxy.tunnel(f"allowed.test:{port}", first=b"12345")
    up.wait_received(b"12345")
    up.connections[0].send(b"123")
    assert client.read(3) == b"123"
    client.close()
    close = proxy.wait_audit(action="close")
    assert (close["bytes_up"], close["bytes_down"], close["code"]) == (5, 3, "done")
    allow = proxy.audit(action="allow")[0]
    assert allow["rule"] == {"line": 1, "entry": f"allowed.test:{port}"}
    assert allow["address"] == up.host and allow["method"] == "CONNECT" and "sni" not in allow
    assert allow["client"].startswith("127.0.0.1:") and allow["id"] == close["id"]
    for target, action, code in [(f"missing.test:{port}", "fail", "dns-nxdomain"),
                                 (f"special.test:{port}", "deny", "special-address"),
                                 ("denied.test:443", "deny", "not-listed"),
                                 ("allowed.test:1", "deny", "port"),
                                 ("a b", "deny", "bad-request")]:
        proxy.tunnel(target)
        proxy.wait_audit(action=action, code=code)
    assert {line["session"] for line in proxy.audit()} == {"s-1"}
    assert [line["action"] for line in proxy.audit()][0] == "start"


def test_times_of_an_allow(egressd, dns, origin, loopback):
    """dns_ms is the lookup's, connect_ms the dial's: here that of a second address, after the first one's head start."""
    up = origin(sink)
    with socket.socket() as silent, socket.socket() as first, socket.socket() as second:
        silent.bind((loopback(), up.port))
        silent.listen(0)
        for sock in (first, second):  # now its queue is full: no SYN is answered
            sock.setblocking(False)
            sock.connect_ex(silent.getsockname())
        dns.add("allowed.test", A(silent.getsockname()[0]), A(up.host), delay=0.1)
        proxy = egressd([f"allowed.test:{up.port}", up.host, silent.getsockname()[0]], workers=1)
        begin = time.monotonic()
        client, answer = proxy.tunnel(f"allowed.test:{up.port}")
        took = (time.monotonic() - begin) * 1000
    assert answer.status == 200
    allow = proxy.wait_audit(action="allow")
    assert allow["address"] == up.host
    assert 90 <= allow["dns_ms"] and limits.LIMIT_DIAL_STAGGER_MS - 10 <= allow["connect_ms"]
    assert allow["dns_ms"] + allow["connect_ms"] <= took + 10
    client.close()
    assert proxy.wait_audit(action="close")["duration_ms"] >= allow["dns_ms"] + allow["connect_ms"] - 10


def test_the_line_comes_before_its_effect(egressd, dns, origin):
    """Whoever has an answer finds its line in the log, without waiting."""
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n")
    for i in range(50):
        proxy.tunnel("denied.test:443")
        assert len(proxy.audit(action="deny")) == i + 1
        client, _ = proxy.tunnel(f"allowed.test:{up.port}")
        assert len(proxy.audit(action="allow")) == i + 1
        client.close()


FORGED = [
    b'GET http://x.test/","action":"allow HTTP/1.1\r\nHost: x.test\r\n\r\n',
    b'GET http://"},{"action":"allow"}/ HTTP/1.1\r\nHost: x.test\r\n\r\n',
    b'GET http://x.test/\\ HTTP/1.1\r\nHost: x.test\r\n\r\n',
    b'{"action":"allow"} http://x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n',
    b'CONNECT x.test:443","action":"allow"," HTTP/1.1\r\n\r\n',
    b"CONNECT x\x00y.test:443 HTTP/1.1\r\n\r\n",
    b"CONNECT x\ny.test:443 HTTP/1.1\r\n\r\n",
    b"CONNECT \x1b[2J\x1b]0;owned\x07:443 HTTP/1.1\r\n\r\n",
    b"CONNECT \xff\xfe\xc3\x28\xed\xa0\x80:443 HTTP/1.1\r\n\r\n",
    b"CONNECT \xe2\x80\xaeevil.test:443 HTTP/1.1\r\n\r\n",
    b"CONNECT \xc2\x9b31m:443 HTTP/1.1\r\n\r\n",
    b"CONNECT " + b"a" * 10000 + b":443 HTTP/1.1\r\n\r\n",
    b"CONNECT " + b"\x01" * 10000 + b":443 HTTP/1.1\r\n\r\n",
    b"CONNECT " + b'"' * 10000 + b":443 HTTP/1.1\r\n\r\n",
    b"GET http://x.test/" + b"\xf0\x9f\x98\x80" * 3000 + b" HTTP/1.1\r\nHost: x.test\r\n\r\n",
    b"GET http://x.test/" + b"p" * 15000 + b" HTTP/1.1\r\nHost: x.test\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    b"\r\n\r\n" * 9 + b"GET / HTTP/1.1\r\n\r\n",
    b"X" * 70000,
]


def test_what_clients_send_cannot_break_a_line(egressd):
    proxy = egressd("allowed.test\n")
    for data in FORGED:
        client = proxy.connect()
        client.send(data)
        assert client.read_answer().status in (400, 403, 414, 431, 501), data[:60]
        client.close()
    with open(proxy.audit_path, "rb") as log:
        raw = log.read()
    assert raw.count(b"\n") == 1 + len(FORGED)
    for line in raw.splitlines():
        assert len(line) < 4096
        members = json.loads(line, object_pairs_hook=list)
        names = [name for name, _ in members]
        assert len(names) == len(set(names))  # no member was smuggled in
    assert len(proxy.audit(action="deny")) == len(FORGED)
    long_host = [line["host"] for line in proxy.audit(action="deny") if line.get("host", "").startswith("aaa")]
    assert long_host and long_host[0].endswith("...")


@pytest.mark.parametrize("place", ["method", "host", "port", "path", "field", "connect"])
def test_every_byte_at_every_place(egressd, place):
    """
    Each of the 256 byte values in a method, host, port, path, field and CONNECT target: one whole line
    each (the harness looks at them), which says nothing that is not printable ASCII.
    """
    forms = {"method": b"G%sT http://x.test/ HTTP/1.1", "host": b"GET http://x%s.test/ HTTP/1.1",
             "port": b"GET http://x.test:8%s/ HTTP/1.1", "path": b"GET http://x.test/a%sb HTTP/1.1",
             "field": b"GET http://x.test/ HTTP/1.1\r\nX%s: y", "connect": b"CONNECT x%s.test:443 HTTP/1.1"}
    proxy = egressd("allowed.test\n")
    for c in range(256):
        client = proxy.connect()
        client.send(forms[place] % bytes([c]) + b"\r\nHost: x.test\r\n\r\n")
        assert client.read_answer().status in (400, 403, 501), c
        client.close()
    lines = proxy.audit(action="deny")
    assert len(lines) == 256
    for line in lines:
        for name in ("method", "host", "path"):
            assert line.get(name, "x").isascii() and line.get(name, "x").isprintable(), line


def test_long_hosts_are_cut_and_marked(egressd):
    """4 KiB and more of host: the line stays under 4,096 bytes, keeps its members, and says that it is cut."""
    proxy = egressd("allowed.test\n", "--session", "s" * 512)
    for size in (253, 254, 1000, 4096, 16000):
        for fill in (b"a", b'"', b"\\"):
            client = proxy.connect()
            client.send(b"CONNECT " + fill * size + b":443 HTTP/1.1\r\n\r\n")
            assert client.read_answer().status == 400
            client.close()
    lines = proxy.audit(action="deny")
    assert len(lines) == 15 and all(line["code"] == "bad-request" and line["method"] == "CONNECT" for line in lines)
    for line in lines:
        host = line["host"]
        assert host.endswith("...") or len(host) < 300, host
        assert host[0] * (len(host) - 7) in host  # its beginning is what was sent


def test_a_session_of_hostile_bytes(egressd):
    """Control bytes, quotes, UTF-8 and what is none: the value comes back as it was given."""
    for given, read in [("a\x01\x1f\x7f\"\\/\u0080\u009f", None), ("\u00e4\u20ac\U0001f600\u202e", None),
                        ("".join(map(chr, range(1, 128))), None), (b"\xff\xc3(\xed\xa0\x80\xc0\x80", "\xff\xc3(\xed\xa0\x80\xc0\x80"),
                        (b"cut\xe2\x82", "cut\xe2\x82")]:
        proxy = egressd("allowed.test\n", "--session", given if isinstance(given, str) else os.fsdecode(given))
        proxy.tunnel("denied.test:443")
        assert {line["session"] for line in proxy.audit()} == {read or given}
        proxy.stop()


GOOD = {"time": "2026-11-23T08:31:51.123Z", "id": 1, "action": "deny", "code": "not-listed", "client": "127.0.0.1:1",
        "method": "CONNECT", "host": "evil.test", "port": 443, "rule": None}
BAD_LINES = [
    {**GOOD, "action": "nothing"}, {**GOOD, "code": "listed"}, {**GOOD, "code": "made-up"}, {**GOOD, "id": 0},
    {**GOOD, "id": "1"}, {**GOOD, "port": 65536}, {**GOOD, "port": 0}, {**GOOD, "client": "someone"}, {**GOOD, "more": 1},
    {**GOOD, "time": "2026-11-23 08:31:51"}, {**GOOD, "rule": {"line": 0, "entry": "x"}}, {**GOOD, "rule": {"line": 1}},
    {**GOOD, "lost": 0}, {**GOOD, "status": 200}, {**GOOD, "session": ""},
    *({name: value for name, value in GOOD.items() if name != gone} for gone in
      ("time", "id", "action", "code", "client", "rule")),
    {**GOOD, "action": "close", "code": "done"}, {**GOOD, "action": "allow", "code": "listed"},
    *({**GOOD, "action": "fail", "rule": {"line": 1, "entry": "evil.test"}, "code": code}
      for code in ("not-listed", "overload", "draining", "internal", "limit")),  # egressd refused: deny
]
BROKEN_LINES = [
    b"", b"{", b"[]", b"null", b'{"action":"stop"}x', json.dumps(GOOD).encode()[:-1], json.dumps(GOOD).encode() + b"\r",
    b'{"x":"\x01"}', b'{"x":"\x7f"}', b'{"x":"\xff"}', b'{"x":"' + b"a" * 4096 + b'"}',
    json.dumps(GOOD).replace('"id": 1', '"id": 1, "id": 2').encode(), json.dumps(GOOD).replace("deny", "de\\ny").encode(),
]


@pytest.mark.parametrize("number", [0, 1000])
def test_the_harness_refuses_bad_lines(number):
    """What looks at the log of every test: it takes a good line and none of these."""
    assert check_line(json.dumps(GOOD).encode(), number) == GOOD
    for line in BAD_LINES:
        with pytest.raises(jsonschema.ValidationError):
            check_line(json.dumps(line).encode(), number)
    for raw in BROKEN_LINES:
        with pytest.raises((AssertionError, ValueError, AttributeError, jsonschema.ValidationError)):
            check_line(raw, number)


def test_full_disk(egressd, dns, origin, run_egressd):
    """A new file that takes no byte: everything is refused, live tunnels go on, then it recovers."""
    up = origin()
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n")
    alive, answer = proxy.tunnel(f"allowed.test:{up.port}", first=b"one")
    assert alive.read(3) == b"one"
    ends, _ = proxy.tunnel(f"allowed.test:{up.port}", first=b"x")
    assert ends.read(1) == b"x"
    os.rename(proxy.audit_path, proxy.audit_path + ".1")
    resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    proxy.kill(signal.SIGUSR1)
    proxy.accounts = False
    while True:  # the signal has no answer of its own
        client, answer = proxy.tunnel("denied.test:443")
        if answer.status == 503:
            break
    for _ in range(3):
        for method, target in [("CONNECT", "denied.test:443"), ("CONNECT", f"allowed.test:{up.port}")]:
            _, answer = proxy.tunnel(target)
            assert (answer.status, answer.code) == (503, "audit"), target
            assert answer.json["error"] == "unavailable" and answer.json["retry"] is True
            assert answer.field("Proxy-Status") == "egressd; error=proxy_internal_error"
    proxy.wait_stderr(CANNOT)
    assert run_egressd("--health", proxy.address).returncode == 1
    alive.send(b"two")
    assert alive.read(3) == b"two"
    ends.half_close()
    assert ends.read_all() == b""  # its close line is lost ...
    assert run_egressd("--health", proxy.address).returncode == 1  # ... by now
    assert len([line for line in proxy.stderr if "cannot be written" in line]) == 1  # said once
    os.unlink(proxy.audit_path)
    resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    proxy.kill(signal.SIGUSR1)
    while run_egressd("--health", proxy.address).returncode != 0:
        pass
    proxy.wait_stderr(AGAIN)
    client, answer = proxy.tunnel("denied.test:443")
    assert (answer.status, answer.code) == (403, "not-listed")
    line = proxy.wait_audit(action="deny", code="not-listed")
    assert line["lost"] == 1
    alive.close()
    proxy.wait_audit(action="close")
    with open(proxy.audit_path + ".1", "rb") as old:
        data = old.read()
        assert data.endswith(b"\n")
        for line in data.splitlines():
            check_line(line)


@pytest.mark.parametrize("before, after", [
    (b'{"time":"2026-11-2', b'{"time":"2026-11-2\n'), (b'{"a":1}\n{"b"', b'{"a":1}\n{"b"\n'),
    (b'{"a":1}\n', b'{"a":1}\n'), (b"", b"")])
def test_a_torn_line_of_an_earlier_life_spoils_no_other(egressd, tmp_path, before, after):
    """What a kill or a full disk cut off stays as it is; the first line of the next life is whole."""
    log = tmp_path / "old.jsonl"
    log.write_bytes(before)
    proxy = egressd("allowed.test\n", audit_path=str(log))
    proxy.accounts = False
    proxy.check_log = lambda: None  # it has the torn line
    proxy.tunnel("denied.test:443")
    proxy.stop()
    data = log.read_bytes()
    assert data.startswith(after)
    lines = [check_line(raw) for raw in data[len(after):].split(b"\n")[:-1]]
    assert [line["action"] for line in lines] == ["start", "deny", "stop"] and data.endswith(b"\n")


def test_audit_max(egressd, dns):
    proxy = egressd("allowed.test\n", "--audit-max", "5000")
    proxy.accounts = False  # the stop line may have no room, or just have it
    proxy.expect(AGAIN)
    for _ in range(100):
        _, answer = proxy.tunnel("denied.test:443")
        if answer.status == 503:
            break
    assert answer.code == "audit"
    proxy.wait_stderr(CANNOT + "--audit-max.*")
    assert 4000 < os.path.getsize(proxy.audit_path) <= 5000
    for _ in range(20):
        assert proxy.tunnel("denied.test:443")[1].status == 503
    assert os.path.getsize(proxy.audit_path) <= 5000


def test_sigusr1_reopens(egressd):
    proxy = egressd("allowed.test\n")
    proxy.accounts = False  # over two files
    proxy.tunnel("one.test:443")
    os.rename(proxy.audit_path, proxy.audit_path + ".1")
    proxy.tunnel("two.test:443")  # still into the old file
    proxy.kill(signal.SIGUSR1)
    while not os.path.exists(proxy.audit_path):
        proxy.tunnel("meanwhile.test:443")
    proxy.tunnel("three.test:443")
    proxy.wait_audit(action="deny", host="three.test")
    with open(proxy.audit_path + ".1") as old:
        hosts = [check_line(line.rstrip("\n").encode()).get("host") for line in old]
    assert hosts[:3] == [None, "one.test", "two.test"] and "three.test" not in hosts


def test_standard_output_that_nobody_reads(egressd):
    """A full pipe is no reason to stall: 503 for new requests, and lines stay whole."""
    reader, writer = os.pipe()
    proxy = egressd("allowed.test\n", audit=writer)
    os.close(writer)
    statuses = []
    while 503 not in statuses:
        assert len(statuses) < 2000
        statuses.append(proxy.tunnel("denied.test:443")[1].status)
    assert set(statuses) == {403, 503} and len(statuses) > 50
    proxy.wait_stderr(CANNOT.replace(r"\S+", "-", 1))
    log = os.read(reader, 1 << 20)
    assert proxy.tunnel("denied.test:443")[1].status == 403
    proxy.wait_stderr(AGAIN.replace(r"\S+", "-", 1))
    proxy.kill(signal.SIGTERM)
    while data := os.read(reader, 1 << 16):
        log += data
    os.close(reader)
    lines = [check_line(line) for line in log.splitlines()]
    assert log.endswith(b"\n") and lines[-1]["action"] == "stop"
    assert len([line for line in lines if line["code"] == "not-listed"]) == statuses.count(403) + 1


def test_log_to_standard_output(egressd, dns):
    proxy = egressd("allowed.test\n", audit="stdout")
    proxy.tunnel("denied.test:443")
    proxy.stop()
    lines = [json.loads(line) for line in proxy.stdout.splitlines()]
    assert [line["action"] for line in lines] == ["start", "deny", "stop"]


def test_unwritable_at_start_serves_nothing(run_egressd, tmp_path):
    entries = tmp_path / "domains.txt"
    entries.write_text("allowed.test\n")
    for log in ["/nonexistent/audit.jsonl", str(tmp_path)]:
        ran = run_egressd("--allowlist", str(entries), "--listen", f"127.0.0.1:{free_port()}",
                          "--dns", "127.0.0.1:9", "--audit-log", log)
        assert ran.returncode == 1 and ran.stdout == ""
        assert len(ran.stderr.splitlines()) == 1 and log in ran.stderr, ran.stderr


def test_reload_lines(egressd):
    proxy = egressd("allowed.test\n")
    line = proxy.reload("other.test\nallowed.test\n")
    assert line["code"] == "reloaded"
    line = proxy.reload("*\n")
    assert line["code"] == "list-error"
    proxy.expect(r".*error: .*", r"egressd: .*")
    assert proxy.tunnel("other.test:443")[1].code == "dns-nxdomain"  # the old list is in force


def test_plain_http_lines(egressd, dns, origin):
    up = origin(HttpOrigin)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n", workers=1)
    base = f"http://allowed.test:{up.port}"
    client = proxy.connect()
    for i, path in enumerate(["/a/b?secret=1", "/", "/c%20d", "?q"]):
        client.send(f"GET {base}{path} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_answer().status == 200
        allow = proxy.wait_audit(count=i + 1, action="allow")
        assert allow["path"] == path.split("?")[0] or path == "?q" and allow["path"] == "/"
        assert allow["method"] == "GET" and allow["port"] == up.port
        assert proxy.wait_audit(count=i + 1, action="close")["status"] == 200
    client.send("POST http://denied.test/x?secret HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert client.read_answer().status == 403
    denied = proxy.audit(action="deny")[0]
    assert denied["path"] == "/x" and "address" not in denied  # the kept connection's is another's
    with open(proxy.audit_path) as log:
        assert "secret" not in log.read()
    assert [line["id"] for line in proxy.audit() if "id" in line] == [1, 1, 2, 2, 3, 3, 4, 4, 5]


def test_many_at_once(egressd, dns, origin):
    """200 clients at a time: every line whole, every request accounted for (by the harness)."""
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n")
    clients = [proxy.connect() for _ in range(200)]
    for i, client in enumerate(clients):
        target = f"allowed.test:{up.port}" if i % 2 else "denied.test:443"
        client.send(f"CONNECT {target} HTTP/1.1\r\n\r\n")
    for i, client in enumerate(clients):
        assert client.read_answer("CONNECT").status == (200 if i % 2 else 403)
        if i % 2:
            client.send(b"x")
        client.close()
    proxy.wait_audit(count=100, action="close")
    assert len(proxy.audit(action="deny")) == 100


def test_a_tunnel_without_a_byte_has_its_close_line(egressd, dns, origin):
    """A client that leaves before it says anything ends the tunnel: nothing can still become a hello."""
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n")
    client, answer = proxy.tunnel(f"allowed.test:{up.port}")
    client.close()
    up.wait_ended()
    close = proxy.wait_audit(action="close")
    assert (close["bytes_up"], close["bytes_down"], close["code"]) == (0, 0, "done")
