"""Answers of egressd's own: what they say, to whom, and in which form."""
import re
import signal
import socket

import pytest

from conftest import free_port
from dnsserver import A
from origins import sink

MEMBERS = ["message", "error", "code", "host", "port", "add", "retry"]


def check_head(answer, status, reason, error):
    assert (answer.version, answer.status, answer.reason) == ("HTTP/1.1", status, reason)
    assert answer.field("Proxy-Status") == f"egressd; error={error}"
    assert answer.field("Content-Length") == str(len(answer.body))
    assert answer.field("Content-Type") == "application/json"
    assert list(answer.json) == MEMBERS


def test_denial_says_what_why_and_the_line(egressd):
    proxy = egressd("allowed.test\n", "--hint", "Ask the user to run: prisoncode --allow %s")
    _, answer = proxy.tunnel("x.test:8080")
    check_head(answer, 403, "Forbidden", "http_request_denied")
    assert answer.json == {
        "message": "egress to x.test:8080 is denied: not in the allowlist. "
                   "Ask the user to run: prisoncode --allow x.test:8080",
        "error": "denied", "code": "not-listed", "host": "x.test", "port": 8080,
        "add": "x.test:8080", "retry": False}


def test_hint_names_the_list_by_default(egressd):
    proxy = egressd("allowed.test\n")
    _, answer = proxy.tunnel("x.test:443")
    assert answer.json["add"] == "x.test"
    assert proxy.list_path in answer.json["message"] and "x.test" in answer.json["message"]


ADDS = [
    # method, target, line
    ("CONNECT", "x.test:443", "x.test"),
    ("CONNECT", "x.test:80", "x.test:80"),
    ("CONNECT", "X.Test.:8443", "x.test:8443"),
    ("GET", "http://x.test/", "x.test"),
    ("GET", "http://x.test:80/", "x.test"),
    ("GET", "http://x.test:443/", "x.test:443"),
    ("GET", "http://x.test:8080/path?query", "x.test:8080"),
    ("CONNECT", "203.0.113.9:443", "203.0.113.9"),
    ("CONNECT", "10.0.0.5:22", "10.0.0.5:22"),
    ("CONNECT", "[2600:1::7]:443", "2600:1::7"),
    ("CONNECT", "[2600:1:0:0::7]:8443", "[2600:1::7]:8443"),
    ("GET", "http://[2600:1::7]:8443/", "[2600:1::7]:8443"),
    ("CONNECT", "other.test:8080", "other.test:8080"),  # listed for 443: code port
    ("GET", "http://ported.test/", "ported.test"),      # listed for 8443
    ("CONNECT", "127.0.0.1:443", None),
    ("CONNECT", "[::1]:443", None),
    ("GET", "http://169.254.169.254/latest/", None),
    ("CONNECT", "[fe80::1]:443", None),
    ("CONNECT", "224.0.0.1:443", None),
    ("CONNECT", "0.0.0.0:443", None),
]


def ask(proxy, method, target, fields=""):
    if method == "CONNECT":
        return proxy.tunnel(target, fields=fields)[1]
    return proxy.request(method, target, fields)


def test_add_is_the_narrowest_line_that_helps(egressd):
    proxy = egressd("other.test\nported.test:8443\n")
    for method, target, line in ADDS:
        answer = ask(proxy, method, target)
        assert answer.status == 403, target
        assert answer.json["add"] == line, target
        assert answer.json["retry"] is False
        if line is None:
            assert proxy.list_path not in answer.json["message"], target
        else:
            assert line in answer.json["message"].split(": ", 1)[1], target


@pytest.mark.parametrize("method, target, line", [row for row in ADDS if row[2] is not None])
def test_the_line_helps(egressd, run_egressd, method, target, line):
    """Added to the list, it opens what was denied."""
    proxy = egressd(f"{line}\n")
    proxy.expect(r"\S+:\d+:\d+: warning: .*")
    host_port = target if method == "CONNECT" else target.split("/")[2]
    if method == "GET" and not re.search(r":\d+$", host_port):
        host_port += ":80"
    ran = run_egressd("--explain", host_port, "--allowlist", proxy.list_path)
    want = {"CONNECT": "CONNECT: allow", "GET": "HTTP: allow"}[method]
    assert any(said.startswith(want) for said in ran.stdout.splitlines()), ran.stdout


def test_dropped_address_is_named(egressd, dns):
    dns.add("lan.test", A("192.168.7.9"))
    dns.add("meta.test", A("169.254.169.254"))
    proxy = egressd("lan.test\nlan.test:8443\nmeta.test\n")
    _, answer = proxy.tunnel("lan.test:443")
    check_head(answer, 403, answer.reason, "destination_ip_prohibited")
    assert answer.json["add"] == "192.168.7.9" and "192.168.7.9" in answer.json["message"]
    assert proxy.audit(action="deny", code="special-address")[0]["address"] == "192.168.7.9"
    _, answer = proxy.tunnel("lan.test:8443")
    assert answer.json["add"] == "192.168.7.9:8443"
    _, answer = proxy.tunnel("meta.test:443")
    assert answer.json["add"] is None and "169.254.169.254" in answer.json["message"]


PLAIN = ["text/plain", "text/plain, application/json;q=0.5", "text/plain;q=0.9, application/json;q=0.1"]
JSON = ["", "*/*", "application/json", "text/plain;q=0.1, application/json", "text/html", "application/*",
        "text/html, application/xhtml+xml, */*;q=0.8"]


def test_plain_text_when_accept_prefers_it(egressd):
    proxy = egressd("allowed.test\n")
    _, answer = proxy.tunnel("x.test:443")
    message = answer.json["message"]
    for accept in PLAIN:
        for method, target in [("CONNECT", "x.test:443"), ("GET", "http://x.test:443/")]:
            answer = ask(proxy, method, target, f"Accept: {accept}\r\n")
            assert answer.field("Content-Type").startswith("text/plain"), accept
            if method == "CONNECT":
                assert answer.body.decode() == message + "\n", accept
    for accept in JSON:
        _, answer = proxy.tunnel("x.test:443", fields=f"Accept: {accept}\r\n" if accept else "")
        assert answer.field("Content-Type") == "application/json", accept
        assert answer.json["message"] == message


def test_nothing_of_the_request_is_echoed(egressd):
    """Neither fields, path, method nor a malformed target come back."""
    proxy = egressd("allowed.test\n")
    mark = "xq7zz"
    for data in [
        f"GET http://x.test/{mark}?{mark} HTTP/1.1\r\nHost: x.test\r\nX-{mark}: {mark}\r\n\r\n",
        f"CONNECT x.test:443 HTTP/1.1\r\nUser-Agent: {mark}\r\nCookie: {mark}\r\n\r\n",
        f"CONNECT {mark}@x.test:443 HTTP/1.1\r\n\r\n",
        f"GET http://{mark}:x/ HTTP/1.1\r\nHost: {mark}\r\n\r\n",
        f"GET /{mark} HTTP/1.1\r\nHost: {mark}\r\n\r\n",
        f"{mark.upper()} http://x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n",
        f"GET http://x.test/ HTTP/1.1\r\nHost: x.test\r\n{mark}\r\n\r\n",
        f"<{mark}>",
    ]:
        client = proxy.connect()
        client.send(data)
        client.half_close()
        said = client.read_all().decode()
        assert mark not in said.lower(), data
        assert "<" not in said


STATUSES = [
    ("GET / HTTP/1.1\r\nHost: x.test\r\n\r\n", 400, "bad-request", "proxy"),
    ("GET https://x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n", 400, "bad-request", "CONNECT"),
    ("TRACE http://x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n", 405, "bad-request", ""),
    ("FOO http://x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n", 501, "bad-request", ""),
    ("get http://x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n", 501, "bad-request", ""),
    ("GET http://x.test/" + "a" * 20000 + " HTTP/1.1\r\nHost: x.test\r\n\r\n", 414, "too-large", ""),
    ("GET http://x.test/ HTTP/1.1\r\nHost: x.test\r\n" + "A: b\r\n" * 200 + "\r\n", 431, "too-large", ""),
    ("GET http://x.test/ HTTP/1.1\r\nHost: x.test\r\nA: " + "b" * 70000, 431, "too-large", ""),
    ("GET http://x.test/ HTTP/1.1\r\n\r\n", 400, "bad-request", "Host"),
]


def test_statuses_of_what_is_malformed(egressd, dns):
    proxy = egressd("x.test\n")
    for data, status, code, word in STATUSES:
        client = proxy.connect()
        client.send(data)
        answer = client.read_answer()
        assert (answer.status, answer.code) == (status, code), data[:80]
        check_head(answer, status, answer.reason, "http_request_error")
        assert answer.json["error"] == "bad-request" and answer.json["retry"] is False
        assert answer.json["add"] is None
        assert word in answer.json["message"], data[:80]
        assert 2 <= len(answer.reason.split()) <= 3
        assert (answer.field("Allow") is not None) == (status == 405)
        assert client.ended(), data[:80]
    assert dns.queries == []


def test_head_answers_have_no_body(egressd):
    proxy = egressd("allowed.test\n")
    client = proxy.connect()
    client.send("HEAD http://x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n")
    answer = client.read_answer("HEAD")
    assert answer.status == 403 and int(answer.field("Content-Length")) > 0
    assert client.read_all() == b""


def test_slow_head_is_408(egressd):
    proxy = egressd("allowed.test\n", "--header-timeout", "1")
    client = proxy.connect()
    client.send("GET http://allowed.test/ HTTP/1.1\r\nHost: al")
    answer = client.read_answer()
    check_head(answer, 408, "Request Timeout", "http_request_error")
    assert answer.code == "timeout" and answer.json["retry"] is True
    assert client.ended()
    proxy.wait_audit(action="deny", code="timeout")


def test_over_the_client_limit_is_429(egressd, loopback):
    proxy = egressd("allowed.test\n", "--max-per-client", "2", workers=1)
    held = [proxy.connect(), proxy.connect()]
    for client in held:
        client.send("GET http://allowed.test/ HTTP/1.1\r\n")
    client, answer = proxy.tunnel("allowed.test:443")
    check_head(answer, 429, "Too Many Connections", "http_request_denied")
    assert answer.json["error"] == "denied" and answer.json["retry"] is True
    proxy.wait_audit(action="deny", code="limit")
    other = proxy.connect(source=(loopback(), 0))  # another client address has a count of its own
    other.send("CONNECT x.test:443 HTTP/1.1\r\n\r\n")
    assert other.read_answer().code == "not-listed"


def test_health(egressd, run_egressd):
    proxy = egressd("allowed.test\n")
    client = proxy.connect()
    for _ in range(2):
        client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.read_answer()
        assert answer.status == 204 and answer.field("Proxy-Status") == "egressd"
        assert answer.field("Content-Length") is None
    ran = run_egressd("--health", proxy.address)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert proxy.audit(action="deny") == proxy.audit(action="allow") == []
    ran = run_egressd("--health", f"127.0.0.1:{free_port()}")
    assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 1


# ---- every code that answers ---------------------------------------------------------------------

def check_rules(answer, status, code, error):
    """What holds for each answer of egressd's own, by its status."""
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.field("Proxy-Status") == f"egressd; error={error}"
    if status == 403:  # opencode shows the message behind this phrase only
        assert answer.reason == "Forbidden"
    else:
        assert 2 <= len(answer.reason.split()) <= 3 and answer.reason.isascii()
    assert answer.field("Content-Type") == "application/json" and answer.field("Connection") == "close"
    assert int(answer.field("Content-Length")) == len(answer.body) and b"<" not in answer.body
    body = answer.json
    assert list(body) == MEMBERS
    kinds = {403: "denied", 429: "denied", 502: "upstream", 504: "upstream", 503: "unavailable"}
    assert body["error"] == kinds.get(status, "bad-request")
    assert body["retry"] is (status in (408, 429, 502, 503, 504))
    if code not in ("not-listed", "port", "special-address"):
        assert body["add"] is None and "HINT" not in body["message"]
    else:
        assert body["message"].endswith(f"HINT {body['add']}")


def silent_listener(host):
    """A port that neither accepts nor refuses: its queue is full. -> what keeps it so, port"""
    listener = socket.socket()
    listener.bind((host, 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        waiting.append(one)
    return [listener, *waiting], listener.getsockname()[1]


def test_each_code_follows_the_rules(egressd, dns, origin, loopback):
    """By both methods, in one place: status, code, Proxy-Status, and what the body must and must not say."""
    host = loopback()
    held, silent = silent_listener(host)
    dns.add("allowed.test", A(host))
    dns.add("special.test", A("192.168.7.9"))
    dns.behave("broken.test", rcode="SERVFAIL")
    dns.behave("quiet.test", silent=True)
    closed = free_port(host)
    entries = [f"{name}.test:{closed}" for name in ("allowed", "special", "broken", "quiet", "missing")]
    proxy = egressd([*entries, host, f"224.0.0.9:{closed}", f"allowed.test:{silent}", f"127.0.0.1:{closed}"],
                    "--hint", "HINT %s", "--connect-timeout", "1", "--dns-timeout", "1", "--never", "127.0.0.1/32")
    proxy.expect(r"\S+: warning: .*")
    for target, status, code, error in [
            ("denied.test:443", 403, "not-listed", "http_request_denied"),
            ("allowed.test:1", 403, "port", "http_request_denied"),
            (f"special.test:{closed}", 403, "special-address", "destination_ip_prohibited"),
            (f"127.0.0.1:{closed}", 403, "self", "destination_ip_prohibited"),
            ("127.1:443", 400, "bad-request", "http_request_error"),
            (f"missing.test:{closed}", 502, "dns-nxdomain", "dns_error"),
            (f"broken.test:{closed}", 502, "dns-error", "dns_error"),
            (f"quiet.test:{closed}", 504, "dns-timeout", "dns_timeout"),
            (f"allowed.test:{closed}", 502, "connect-refused", "connection_refused"),
            (f"224.0.0.9:{closed}", 502, "connect-unreachable", "destination_ip_unroutable"),
            (f"allowed.test:{silent}", 504, "connect-timeout", "connection_timeout")]:
        for method in ("CONNECT", "GET"):
            answer = ask(proxy, method, target if method == "CONNECT" else f"http://{target}/")
            check_rules(answer, status, code, error)
            if status != 400:
                assert (answer.json["host"], answer.json["port"]) == (target.split(":")[0], int(target.split(":")[1]))
            line = proxy.audit()[-1]
            assert (line["code"], line["action"]) == (code, "deny" if status in (400, 403) else "fail")
    for one in held:
        one.close()


@pytest.mark.parametrize("said, status, code, error", [
    (b"HELLO\r\n\r\n", 502, "upstream-protocol", "http_protocol_error"),
    (b"", 502, "upstream-closed", "connection_terminated"),
    (None, 504, "idle", "connection_read_timeout")])
def test_an_origins_fault_follows_the_rules(egressd, dns, origin, said, status, code, error):
    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        if said is None:
            conn.read_all()
        conn.send(said or b"")

    up = origin(handler)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n", "--idle-timeout", "1", "--hint", "HINT %s")
    answer = proxy.get(f"http://allowed.test:{up.port}/")
    check_rules(answer, status, code, error)
    close = proxy.wait_audit(action="close")
    assert (close["code"], close["status"]) == (code, status)


def test_draining_follows_the_rules(egressd, dns, origin):
    """A connection that is there already hears 503 when the proxy ends."""
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n", "--hint", "HINT %s", workers=1)
    client = proxy.connect()
    client.send("CONNECT allowed.test:1 HTTP/1.1\r\n")  # read before what comes now is answered
    alive, _ = proxy.tunnel(f"allowed.test:{up.port}", first=b"x")
    up.wait_received(b"x")
    proxy.kill(signal.SIGTERM)
    while True:  # until it accepts no more
        try:
            proxy.connect().close()
        except ConnectionResetError:
            pass  # it was in the queue when that was closed
        except ConnectionRefusedError:
            break
    client.send("\r\n")
    check_rules(client.read_answer("CONNECT"), 503, "draining", "proxy_internal_error")
    alive.close()
