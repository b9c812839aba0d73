"""Who may be reached: the order of a decision, spellings, special addresses, pins, the proxy itself."""
import re

from conftest import free_port
from dnsserver import A, AAAA, CNAME
from origins import sink

# ---- what is not listed --------------------------------------------------------------------------

NOT_LISTED = [
    ("denied.test:443", "another name"),
    ("test:443", "the parent of a listed name"),
    ("www.allowed.test:443", "a name below an exact entry"),
    ("xallowed.test:443", "a name that only ends in an entry"),
    ("xsuffix.test:443", "a suffix begins at a label"),
    ("allowed.test.evil.test:443", "a name that begins as an entry"),
    ("93.184.216.34:443", "an address"),
    ("[2606:2800:220:1::1]:443", "an IPv6 address"),
    ("127.0.0.1:443", "loopback"),
    ("169.254.169.254:443", "the metadata address"),
    ("xn--allowed-test.test:443", "another A-label"),
]


def test_not_listed_is_403_and_asks_nothing(egressd, dns):
    proxy = egressd("allowed.test\n.suffix.test\n")
    for target, why in NOT_LISTED:
        client, answer = proxy.tunnel(target)
        assert (answer.status, answer.code) == (403, "not-listed"), why
        assert client.ended(), why
        host = target.rpartition(":")[0].strip("[]")
        answer = proxy.get(f"http://{target.rpartition(':')[0]}/")
        assert (answer.status, answer.code) == (403, "not-listed"), why
        assert len(proxy.audit(action="deny", code="not-listed", host=host, rule=None)) == 2, why
    assert dns.queries == []


def test_wrong_port_is_403_and_asks_nothing(egressd, dns):
    proxy = egressd("allowed.test\nother.test:8443\n127.0.0.9:9000\n")
    for target in ["allowed.test:80", "allowed.test:8443", "allowed.test:444", "allowed.test:22",
                   "other.test:443", "127.0.0.9:443"]:
        _, answer = proxy.tunnel(target)
        assert (answer.status, answer.code) == (403, "port"), target
        proxy.wait_audit(action="deny", code="port", port=int(target.rpartition(":")[2]))
    for url in ["http://allowed.test:443/", "http://allowed.test:8080/", "http://other.test/"]:
        answer = proxy.get(url)
        assert (answer.status, answer.code) == (403, "port"), url
    line = proxy.audit(action="deny", host="other.test")[0]
    assert line["rule"] == {"line": 2, "entry": "other.test:8443"}
    assert dns.queries == []


def test_a_denial_comes_at_once_and_closes(egressd, dns):
    proxy = egressd("allowed.test\n")
    dns.pause()  # a resolver that answers nobody changes nothing
    client, answer = proxy.tunnel("denied.test:443", first=b"\x16\x03\x01")
    assert answer.status == 403 and answer.field("Connection") == "close"
    assert client.ended()


def test_literal_addresses_are_never_looked_up(egressd, dns, origin):
    up = origin(sink)
    dns.add("1.1.127.in-addr.arpa", A("127.0.0.1"))
    proxy = egressd(f"{up.host}:{up.port}\n")
    client, answer = proxy.tunnel(f"{up.host}:{up.port}", first=b"x")
    assert answer.status == 200
    up.wait_received(b"x")
    proxy.tunnel("198.51.100.7:443")
    client.close()
    proxy.wait_audit(action="close")
    assert dns.queries == []  # neither PTR nor anything else


# ---- spellings -----------------------------------------------------------------------------------

LONG_LABEL = "a" * 64 + ".test"
LONG_NAME = ".".join(["a" * 60] * 5)
PORT, FORM, USER = "the port is not a number", "no canonical form", "user information"
# What is wrong, as the answer must say it: the fault is found in the target, not elsewhere.
MALFORMED = [
    ("needs host:port", "allowed.test"), (PORT, "allowed.test:"), ("host is empty|host:port", ":443"),
    ("host is empty|host:port", ":"), ("needs host:port|" + FORM, "*"), ("needs host:port|" + FORM, "/"),
    (FORM, "/allowed.test:443"), ("needs host:port|" + FORM, "443"),
    *((PORT, f"allowed.test:{port}") for port in (
        "0", "65536", "0443", "+443", "-443", "4294967739", "18446744073709552059", "44x", "0x1bb", "443:443",
        "https", "443/", "443/path", "443?q", "443#f", "00000000443", "443;", "443,80", "1e2", "%34%34%33")),
    (USER, "user@allowed.test:443"), (USER, "user:secret@allowed.test:443"), (USER, "@allowed.test:443"),
    (USER, "denied.test:80@allowed.test:443"), (USER, "allowed.test:443@denied.test:443"),
    (PORT, "http://allowed.test:443"), (PORT, "https://allowed.test:443/"), (FORM, "//allowed.test:443"),
    ("no IPv6", "[allowed.test]:443"), ("without its", "[::1:443"), ("host is empty|" + PORT, "::1:443"),
    ("only ':' and a port", "[::1]443"), ("needs host:port", "[::1]"), ("host is empty|no IPv6", "[]:443"),
    (FORM, "[[::1]]:443"), (FORM, "[fe80::1%25eth0]:443"), (FORM, "[fe80::1%eth0]:443"), ("no IPv6", "[127.0.0.1]:443"),
    ("no IPv6", "[v1.a]:443"),
    *((FORM, f"[{address}]:443") for address in (
        "::1::2", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::12345", ":::", "1::2::3", "::1.2.3", "::256.1.1.1",
        "::01.2.3.4", ":1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:", "::g", "::ffff:127.1", "1:2:3:4:5:6:7:1.2.3.4")),
    *((FORM, f"{host}:443") for host in (
        "0x7f.1", "127.1", "2130706433", "0177.0.0.1", "127.0.0.1.", "127.0.0.01", "0x7f000001", "1.2.3.4.5",
        "256.1.1.1", "1.2.3", "1", "allowed.0x7f", "allowed.1", "1.2.3.4.", "0", "00.0.0.0", "1.2.3.+4",
        "allowed..test", ".allowed.test", "allowed.test..", ".", "-allowed.test", "allowed-.test", "allowed.-test",
        "al%6cowed.test", "allowed.test%00", "%61llowed.test", "*.test", "allow*d.test", "allowed.test\\",
        "allowed,test", "allowed.test;", "allowed!test", "<allowed.test>", "\"allowed.test\"", "allowed.test|x",
        "allowed.test^", "{allowed.test}", "allowed.test`", "allowed.test~", "allowed=test", LONG_LABEL, LONG_NAME)),
]
# llhttp has a grammar of its own for these; what it refuses is 400 with this text.
LLHTTP = "CONNECT needs host:port"


def test_what_has_no_canonical_form_is_400(egressd, dns):
    """Without a Host field, and with a good one: what decides is the target."""
    proxy = egressd("allowed.test\n::1\n127.0.0.1\n")
    for why, target in MALFORMED:
        for fields in ["", "Host: allowed.test:443\r\n"]:
            client = proxy.connect()
            client.send(f"CONNECT {target} HTTP/1.1\r\n{fields}\r\n")
            answer = client.read_answer()
            assert (answer.status, answer.code) == (400, "bad-request"), target
            assert re.search(f"{why}|{LLHTTP}", answer.json["message"]), (answer.json["message"], target)
            assert client.ended(), target
    assert len(proxy.audit(action="deny", code="bad-request")) == 2 * len(MALFORMED)
    assert dns.queries == []


MALFORMED_BYTES = [
    b"allowed.test:443\x00", b"allowed\x00.test:443", b"allowed\t.test:443", b"allowed.test\x7f:443",
    b"allowed\x0b.test:443", b"allowed\xc3\xa4.test:443", b"\xffallowed.test:443",
    b"allowed.test :443", b" allowed.test:443", b"allowed.test:443 ", b"\x1b[2J.test:443",
    b"allowed.test\r:443", b"allowed.test\n:443",
]


def test_odd_bytes_in_a_target_are_400(egressd, dns):
    proxy = egressd("allowed.test\n")
    for target in MALFORMED_BYTES:
        client = proxy.connect()
        client.send(b"CONNECT " + target + b" HTTP/1.1\r\nHost: allowed.test\r\n\r\n")
        answer = client.read_answer()
        assert (answer.status, answer.code) == (400, "bad-request"), target
        assert client.ended(), target
    assert len(proxy.audit(action="deny", code="bad-request")) == len(MALFORMED_BYTES)
    assert dns.queries == []


def test_one_canonical_form(egressd, dns, origin):
    """What is matched is what is looked up and logged, however it is spelled."""
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"Allowed.Test:{up.port}\n{up.host}\n")
    for i, name in enumerate(["allowed.test", "ALLOWED.TEST", "Allowed.tesT", "allowed.test."]):
        client, answer = proxy.tunnel(f"{name}:{up.port}")
        assert answer.status == 200, name
        assert len(proxy.audit(action="allow", host="allowed.test")) == i + 1
        client.close()
    assert {query.raw_name for query in dns.queries} == {"allowed.test"}
    for literal in [f"[::ffff:{up.host}]", "[::ffff:%02x%02x:%02x%02x]" % tuple(map(int, up.host.split(".")))]:
        client, answer = proxy.tunnel(f"{literal}:{up.port}")
        assert (answer.status, answer.code) == (403, "port"), literal
        assert proxy.audit(action="deny")[-1]["host"] == up.host  # a v4-mapped literal is its IPv4 address


def test_v4_mapped_literal_is_judged_as_ipv4(egressd, origin):
    up = origin(sink)
    proxy = egressd(f"{up.host}:{up.port}\n")
    client, answer = proxy.tunnel(f"[::ffff:{up.host}]:{up.port}", first=b"mapped")
    assert answer.status == 200
    up.wait_received(b"mapped")
    client.close()
    proxy.wait_audit(action="close", host=up.host)


FRAMED = ["Content-Length: 1\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
          "Transfer-Encoding: identity\r\n", "Content-Length: 0\r\nContent-Length: 0\r\n",
          "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 00x\r\n",
          "Host: other.test\r\n", "Host: a b\r\n", "X: a\r\n b\r\n", "X : a\r\n", ": a\r\n", "X\r\n"]


def test_connect_with_a_body_or_bad_fields_is_400(egressd, dns):
    proxy = egressd("allowed.test\n")
    for fields in FRAMED:
        client, answer = proxy.tunnel("allowed.test:443", fields=fields)
        assert (answer.status, answer.code) == (400, "bad-request"), fields
        assert client.ended(), fields
    assert dns.queries == []


def test_connect_needs_no_host_and_may_say_that_it_has_no_body(egressd, dns, origin):
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n")
    for head in ["CONNECT {} HTTP/1.1\r\n\r\n", "CONNECT {} HTTP/1.0\r\n\r\n",
                 "CONNECT {} HTTP/1.1\r\nHost: allowed.test\r\nContent-Length: 0\r\n\r\n",
                 "\r\nCONNECT {} HTTP/1.1\r\nHost: denied.test:1\r\n\r\n"]:
        client = proxy.connect()
        client.send(head.format(f"allowed.test:{up.port}"))
        assert client.read_answer("CONNECT").status == 200, head
        client.close()


# ---- vetting -------------------------------------------------------------------------------------

SPECIAL = [
    (A("127.0.0.1"), None), (A("127.255.255.254"), None), (A("0.0.0.0"), None),
    (A("0.1.2.3"), "0.1.2.3"), (A("10.0.0.1"), "10.0.0.1"), (A("172.16.0.1"), "172.16.0.1"),
    (A("172.31.255.255"), "172.31.255.255"), (A("192.168.1.1"), "192.168.1.1"),
    (A("100.64.0.1"), "100.64.0.1"), (A("100.100.100.200"), None), (A("169.254.169.254"), None),
    (A("169.254.1.1"), None), (A("192.0.2.1"), "192.0.2.1"), (A("198.18.0.1"), "198.18.0.1"),
    (A("224.0.0.1"), None), (A("240.0.0.1"), "240.0.0.1"), (A("255.255.255.255"), "255.255.255.255"),
    (AAAA("::1"), None), (AAAA("::"), None), (AAAA("fe80::1"), None), (AAAA("ff02::1"), None),
    (AAAA("fc00::1"), "fc00::1"), (AAAA("fd00:ec2::254"), None), (AAAA("2001:db8::1"), "2001:db8::1"),
    (AAAA("2002:7f00:1::"), "2002:7f00:1::"), (AAAA("2001:0:7f00:1::"), "2001:0:7f00:1::"),
    (AAAA("64:ff9b::7f00:1"), None), (AAAA("64:ff9b:1::a00:1"), "64:ff9b:1::a00:1"),
    (AAAA("::ffff:127.0.0.1"), None), (AAAA("::ffff:10.0.0.1"), "10.0.0.1"),
]


def test_special_addresses_are_dropped(egressd, dns):
    """Also when a service waits there: a proxy that dialled 127.0.0.1 would connect to itself."""
    names = [f"n{i}.rebind.test" for i in range(len(SPECIAL))]
    for name, (record, _) in zip(names, SPECIAL):
        dns.add(name, record)
    proxy = egressd(".rebind.test\n")
    for name, (record, add) in zip(names, SPECIAL):
        _, answer = proxy.tunnel(f"{name}:443")
        assert (answer.status, answer.code) == (403, "special-address"), record
        assert answer.json["host"] == name
        if add is not None and record.value not in ("0.1.2.3", "255.255.255.255"):
            assert answer.json["add"] == add, record
        if add is None:
            assert answer.json["add"] is None, record
    assert len(proxy.audit(action="deny", code="special-address")) == len(SPECIAL)


def test_only_vetted_addresses_are_dialled(egressd, dns, origin):
    good = origin(sink)
    bad = origin(sink, port=good.port)
    dns.add("mixed.test", A(bad.host), A(good.host), AAAA("::1"), AAAA("fe80::1"))
    proxy = egressd(f"mixed.test:{good.port}\n{good.host}\n")
    client, answer = proxy.tunnel(f"mixed.test:{good.port}", first=b"x")
    assert answer.status == 200
    good.wait_received(b"x")
    client.close()
    assert proxy.wait_audit(action="close") and proxy.audit(action="allow")[0]["address"] == good.host
    assert bad.connections == []


def test_what_vouches_for_an_address(egressd, dns, origin):
    up = origin(sink)
    dns.add("name.test", A(up.host))
    target, port = f"name.test:{up.port}", up.port
    network = ".".join(up.host.split(".")[:3]) + ".0/24"
    tries = [
        (up.host, 200, "the address itself, every port"),
        (f"{up.host}:{port}", 200, "for this port"),
        (f"{up.host}:{port % 60000 + 1}", 403, "for another port only"),
        (network, 403, "a range does not vouch for loopback"),
        (f"{network}:{port}", 403, "nor a range with a port"),
        (f"{up.host}/32", 403, "and /32 is a range"),
        ("other.test", 403, "nothing"),
    ]
    for entry, status, why in tries:
        proxy = egressd(f"{target}\n{entry}\n")
        client, answer = proxy.tunnel(target)
        assert answer.status == status, why
        client.close()
        if status == 403:
            assert answer.code == "special-address", why
    # A range opens no loopback literal either.
    proxy = egressd(f"{network}:{port}\n")
    _, answer = proxy.tunnel(f"{up.host}:{port}")
    assert answer.status == 403


def test_an_address_entry_alone_opens_no_name(egressd, dns, origin):
    up = origin(sink)
    dns.add("name.test", A(up.host))
    proxy = egressd(f"{up.host}:{up.port}\n")
    _, answer = proxy.tunnel(f"name.test:{up.port}")
    assert (answer.status, answer.code) == (403, "not-listed")
    assert dns.queries == []


def test_the_pin_holds(egressd, dns, origin):
    """A name that flips within its pin's life stays where it was; each request is vetted anew."""
    first = origin(sink)
    second = origin(sink, port=first.port)
    dns.add("flip.test", A(first.host, ttl=0))
    proxy = egressd(f"flip.test:{first.port}\n{first.host}\n{second.host}\n",
                    workers=1)
    for i in range(3):
        client, answer = proxy.tunnel(f"flip.test:{first.port}", first=b"x")
        assert answer.status == 200
        first.wait_connection(i + 1)
        client.close()
        dns.replace("flip.test", A(second.host, ttl=0))
    assert second.connections == []
    assert dns.count("flip.test", "A") == 1 and dns.count("flip.test", "AAAA") == 1
    proxy.reload(f"flip.test:{first.port}\n{second.host}\n")
    _, answer = proxy.tunnel(f"flip.test:{first.port}")
    assert (answer.status, answer.code) == (403, "special-address")


def test_a_chain_to_a_special_address_is_dropped(egressd, dns, origin):
    up = origin(sink)
    dns.add("chain.test", CNAME("inner.test"))
    dns.add("inner.test", A(up.host))
    proxy = egressd(f"chain.test:{up.port}\n")
    _, answer = proxy.tunnel(f"chain.test:{up.port}")
    assert (answer.status, answer.code) == (403, "special-address")
    proxy = egressd(f"chain.test:{up.port}\n{up.host}\n")
    client, answer = proxy.tunnel(f"chain.test:{up.port}")  # the target of a chain needs no entry
    assert answer.status == 200
    client.close()


# ---- the proxy itself ----------------------------------------------------------------------------

def test_own_listeners_are_self(egressd, dns, loopback):
    """By address, by name, by any spelling of the address; whatever the list says."""
    host, port = loopback(), free_port()
    dns.add("self.test", A(host))
    proxy = egressd(f"self.test:{port}\n{host}:{port}\n", listen=(host, port))
    for target in [f"{host}:{port}", f"self.test:{port}", f"[::ffff:{host}]:{port}"]:
        _, answer = proxy.tunnel(target)
        assert (answer.status, answer.code) == (403, "self"), target
        assert answer.json["add"] is None
        assert "destination_ip_prohibited" in answer.field("Proxy-Status")
    answer = proxy.get(f"http://self.test:{port}/")
    assert (answer.status, answer.code) == (403, "self")


def test_an_unspecified_listener_is_self_on_every_address(egressd, loopback):
    port, other = free_port(), loopback()
    entries = f"127.0.0.1:{port}\n{other}:{port}\n"
    proxy = egressd(entries, "--listen", f"0.0.0.0:{port}", listen=("127.0.0.1", free_port()))
    proxy.expect(r"egressd: serving on \S+")
    for host in ["127.0.0.1", other]:
        _, answer = proxy.tunnel(f"{host}:{port}")
        assert (answer.status, answer.code) == (403, "self"), host


def test_never_is_stronger_than_the_list(egressd, dns, origin):
    up = origin(sink)
    dns.add("never.test", A(up.host))
    network = ".".join(up.host.split(".")[:2]) + ".0.0/16"
    proxy = egressd(f"never.test:{up.port}\n{up.host}\n{up.host}:{up.port}\n", "--never", network)
    for target in [f"never.test:{up.port}", f"{up.host}:{up.port}"]:
        _, answer = proxy.tunnel(target)
        assert (answer.status, answer.code) == (403, "self"), target
    assert up.connections == []


# ---- ports ---------------------------------------------------------------------------------------

def allowed_by_the_proxy(answer):
    """Listed targets go on to DNS, which knows nothing, or to a port where nobody listens."""
    if answer.status == 403:
        assert answer.code in ("not-listed", "port"), answer
        return False
    assert answer.code in ("dns-nxdomain", "connect-refused"), answer
    return True


def test_ports_of_addresses(egressd, loopback):
    """An address without a port: CONNECT 443; plain HTTP 80, 443, 1025-65535."""
    host = loopback()
    proxy = egressd(f"{host}\n")
    for port, listed in [(80, True), (443, True), (1025, True), (65535, True), (81, False),
                         (1024, False), (22, False), (8080, True)]:
        answer = proxy.get(f"http://{host}:{port}/")
        assert allowed_by_the_proxy(answer) == listed, port
    for port, listed in [(443, True), (80, False), (8443, False)]:
        _, answer = proxy.tunnel(f"{host}:{port}")
        assert allowed_by_the_proxy(answer) == listed, port


# ---- failures ------------------------------------------------------------------------------------

def test_every_failure_before_the_tunnel_is_an_answer(egressd, dns, loopback):
    host, port = loopback(), free_port()
    dns.add("refused.test", A(host))
    dns.behave("broken.test", rcode="SERVFAIL")
    dns.behave("silent.test", silent=True)
    dns.add("empty.test", AAAA("2001:db8::1", owner="foreign.test"))
    entries = "".join(f"{name}.test:{port}\n" for name in
                      ("refused", "broken", "silent", "empty", "missing")) + host + "\n"
    proxy = egressd(entries, "--dns-timeout", "1")
    for name, status, code, error in [("refused", 502, "connect-refused", "connection_refused"),
                                      ("broken", 502, "dns-error", "dns_error"),
                                      ("missing", 502, "dns-nxdomain", "dns_error"),
                                      ("silent", 504, "dns-timeout", "dns_timeout")]:
        client, answer = proxy.tunnel(f"{name}.test:{port}")
        assert (answer.status, answer.code) == (status, code), name
        assert answer.field("Proxy-Status") == f"egressd; error={error}"
        assert answer.json["error"] == "upstream" and answer.json["retry"] is True
        assert client.ended()
        line = proxy.wait_audit(action="fail", code=code, host=f"{name}.test")
        assert line["rule"]["entry"] == f"{name}.test:{port}"
