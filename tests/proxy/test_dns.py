"""What egressd asks of DNS, and what it believes: the real program against a scripted resolver."""
import socket
import time

import pytest

from conftest import free_port
from dnsserver import A, AAAA, CNAME, DnsServer

PATIENCE = 20


@pytest.fixture
def reach(egressd, dns, origin):
    """reach(name) -> (proxy, origin): the name is listed with the origin's port, its address vetted."""
    def start(*options, name="allowed.test", extra=(), **more):
        up = origin()
        proxy = egressd([f"{name}:{up.port}", up.host, *extra], *options, workers=1, **more)
        return proxy, up
    return start


def status(proxy, up, name="allowed.test"):
    client, answer = proxy.tunnel(f"{name}:{up.port}")
    client.close()
    return answer.status


def code(proxy, up, name="allowed.test"):
    answer = proxy.tunnel(f"{name}:{up.port}")[1]
    return "listed" if answer.status == 200 else answer.code


# ---- what is asked

def test_nothing_else_is_ever_asked(reach, dns):
    """Not for what is denied, never backwards, no search list, no other type: A and AAAA of listed names."""
    proxy, up = reach("--max-connections", "50", extra=["1.2.3.4:444"])
    dns.add("allowed.test", A(up.host))
    assert status(proxy, up) == 200
    for target in ("denied.test:443", "allowed.test:443", f"{up.host}:{up.port}", "8.8.8.8:443",
                   "[2001:db8::1]:443", "allowed:443", "x.allowed.test:443"):
        proxy.tunnel(target)[0].close()
    asked = {(query.name, query.qtype) for query in dns.queries}
    assert asked == {("allowed.test", "A"), ("allowed.test", "AAAA")}


def test_both_types_at_once(reach, dns):
    """Neither question waits for the other's answer."""
    proxy, up = reach()
    dns.add("allowed.test", A(up.host), hold=True)
    client = proxy.connect()
    client.send(f"CONNECT allowed.test:{up.port} HTTP/1.1\r\n\r\n")
    assert dns.wait_query("allowed.test", "A") and dns.wait_query("allowed.test", "AAAA")
    dns.release("allowed.test")
    assert client.read_answer("CONNECT").status == 200


def test_one_question_for_all_who_wait(reach, dns):
    proxy, up = reach()
    dns.add("allowed.test", A(up.host), hold=True)
    clients = [proxy.connect() for _ in range(30)]
    for client in clients:
        client.send(f"CONNECT allowed.test:{up.port} HTTP/1.1\r\n\r\n")
    assert dns.wait_query("allowed.test", "A")
    other, _ = proxy.tunnel("denied.test:443")  # answered after the thirty were read
    other.close()
    dns.release("allowed.test")
    assert all(client.read_answer("CONNECT").status == 200 for client in clients)
    assert dns.count("allowed.test", "A") == 1 and dns.count("allowed.test", "AAAA") == 1


def test_failures_are_believed_for_a_while(reach, dns):
    proxy, up = reach(name=".names.test")
    assert [code(proxy, up, "gone.names.test") for _ in range(3)] == ["dns-nxdomain"] * 3
    assert dns.count("gone.names.test", "A") == 1
    dns.add("gone.names.test", A(up.host))
    end = time.monotonic() + PATIENCE
    begin = time.monotonic()
    while code(proxy, up, "gone.names.test") != "listed":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert time.monotonic() - begin > 3  # 5 s, less what the machine made of it


# ---- what is believed

@pytest.mark.parametrize("kind", [
    "wrong-id", "wrong-question", "not-a-response", "opcode", "two-questions", "no-question",
    "wrong-class", "short", "foreign", "record-class", "cut", "garbage", "loop"])
def test_what_is_no_answer_is_ignored(reach, dns, kind):
    """Alone it opens nothing: the lookup fails, whatever the message says, and nobody is connected to."""
    proxy, up = reach("--dns-timeout", "1")
    dns.add("allowed.test", A(up.host), send=(kind,))
    answer = proxy.tunnel(f"allowed.test:{up.port}")[1]
    assert answer.status in (502, 504) and answer.code.startswith("dns-"), answer
    assert up.connections == []


@pytest.mark.parametrize("kind", ["wrong-id", "wrong-question", "short"])
def test_the_right_answer_behind_a_forged_one(reach, dns, kind):
    """Who sends first does not win: what does not belong to the question is passed over."""
    proxy, up = reach()
    dns.add("allowed.test", A(up.host), send=(kind, "right"))
    assert status(proxy, up) == 200


def test_records_of_others_in_the_answer(reach, dns, loopback):
    """Also in the other sections: only the chain from the question counts."""
    proxy, up = reach()
    foreign = A(loopback(), owner="other.test")
    dns.add("allowed.test", A(up.host), extra=(foreign,), authority=(foreign,), additional=(foreign,))
    assert status(proxy, up) == 200
    assert proxy.wait_audit(action="allow")["address"] == up.host


@pytest.mark.parametrize("how", [{}, {"shuffle": True}, {"compress": False}])
def test_chain(reach, dns, how):
    proxy, up = reach()
    dns.add("allowed.test", CNAME("b.test"), **how)
    dns.add("b.test", CNAME("c.test"))
    dns.add("c.test", A(up.host))
    assert status(proxy, up) == 200
    assert dns.count("b.test") == dns.count("c.test") == 0  # it came in the one answer


def test_chain_without_an_end(reach, dns):
    proxy, up = reach()
    dns.add("allowed.test", CNAME("b.test"), chase=False)
    dns.add("b.test", A(up.host))
    assert code(proxy, up) in ("dns-error", "dns-nxdomain")
    assert up.connections == []


def test_truncated_comes_by_tcp(reach, dns):
    proxy, up = reach()
    dns.add("allowed.test", A(up.host), truncate=True)
    assert status(proxy, up) == 200
    assert dns.count("allowed.test", "A", "tcp") == 1


def test_an_answer_by_tcp_that_is_lost(reach, dns):
    """It is asked for again while there is time: half a second of five had passed."""
    proxy, up = reach()
    dns.add("allowed.test", A(up.host), truncate=True, no_tcp=True)
    client = proxy.connect().send(f"CONNECT allowed.test:{up.port} HTTP/1.1\r\n\r\n")
    assert dns.wait_query("allowed.test", "A", transport="tcp")
    dns.behave("allowed.test", truncate=True)
    assert client.read_answer("CONNECT").status == 200


def test_truncated_and_no_tcp(reach, dns):
    """It ends in time."""
    proxy, up = reach("--dns-timeout", "1")
    dns.add("allowed.test", A(up.host), truncate=True, no_tcp=True)
    begin = time.monotonic()
    assert proxy.tunnel(f"allowed.test:{up.port}")[1].status in (502, 504)
    assert time.monotonic() - begin < 10


def test_late_answer_finds_nobody(reach, dns):
    proxy, up = reach("--dns-timeout", "1")
    dns.add("allowed.test", A(up.host), hold=True)
    assert code(proxy, up) == "dns-timeout"
    dns.release("allowed.test")
    assert code(proxy, up) == "dns-timeout"  # the failure is pinned, the late word is not
    assert up.connections == []


# ---- while resolvers fail

def test_aaaa_that_never_comes_holds_nothing_back(reach, dns):
    proxy, up = reach()
    dns.add("allowed.test", A(up.host))
    dns.behave("allowed.test", "AAAA", silent=True)
    begin = time.monotonic()
    assert status(proxy, up) == 200
    assert time.monotonic() - begin < 2  # 50 ms are given to it; the machine may be busy
    assert proxy.wait_audit(action="allow")["dns_ms"] >= 49


def test_a_that_never_comes_holds_nothing_back(reach, dns, egressd):
    """And the other way round, on a machine that has an IPv6 loopback."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as why:
        pytest.skip(f"no IPv6 loopback here: {why}")
    with server:
        port = server.getsockname()[1]
        proxy = egressd([f"six.test:{port}", "::1"], workers=1)
        dns.add("six.test", AAAA("::1"))
        dns.behave("six.test", "A", silent=True)
        client, answer = proxy.tunnel(f"six.test:{port}")
        assert answer.status == 200
        client.close()


def test_all_resolvers_dead(reach, dns):
    """Live tunnels and pinned names go on; the others get 504 in time; and it comes back."""
    proxy, up = reach("--dns-timeout", "1", name=".names.test")
    dns.add("pinned.names.test", A(up.host))
    tunnel, answer = proxy.tunnel(f"pinned.names.test:{up.port}")
    assert answer.status == 200
    dns.pause()
    begin = time.monotonic()
    answer = proxy.tunnel(f"new.names.test:{up.port}")[1]
    assert (answer.status, answer.code) == (504, "dns-timeout")
    assert time.monotonic() - begin < 5
    assert status(proxy, up, "pinned.names.test") == 200
    assert tunnel.send("still here").read(10) == b"still here"
    dns.stop()  # now the port is unreachable, too
    assert code(proxy, up, "newer.names.test") in ("dns-timeout", "dns-error")
    assert status(proxy, up, "pinned.names.test") == 200
    dns.start()
    dns.resume()
    dns.add("newest.names.test", A(up.host))
    assert status(proxy, up, "newest.names.test") == 200


def test_the_second_resolver_answers(egressd, origin):
    up = origin()
    with DnsServer() as good:
        good.add("allowed.test", A(up.host))
        dead = f"127.0.0.1:{free_port()}"
        proxy = egressd([f"allowed.test:{up.port}", up.host], "--dns", dead, "--dns", good.address,
                        use_dns=None, workers=1)
        assert status(proxy, up) == 200
