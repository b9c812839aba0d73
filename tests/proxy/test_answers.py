"""Answers of egressd's own: bodies, heads, the line to add."""
from dnsserver import A


def test_smoke(egressd, dns, origin):
    up = origin()
    dns.add("allowed.test", A(up.host))
    proxy = egressd([f"allowed.test:{up.port}", up.host])
    client, answer = proxy.tunnel(f"allowed.test:{up.port}", first=b"hello")
    assert answer.status == 200
    assert client.read(5) == b"hello"
    client.half_close()
    assert client.read_all() == b""
    proxy.wait_audit(action="close", code="done", bytes_up=5, bytes_down=5)
    _, answer = proxy.tunnel("denied.test:443")
    assert answer.status == 403 and answer.code == "not-listed"
    assert dns.count("denied.test") == 0
