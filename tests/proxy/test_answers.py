"""Answers of egressd's own: what they say, to whom, and in which form."""
import re

import pytest

from conftest import free_port
from dnsserver import A

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
    check_head(answer, 403, "Egress Denied", "http_request_denied")
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
    proxy = egressd("allowed.test\n", "--max-per-client", "2")
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
