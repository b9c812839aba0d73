"""egressd under valgrind (make valgrind): every kind of request once; at its end nothing is leaked, and no
descriptor is open but those it was given."""
import os
import re

from conftest import EGRESSD
from dnsserver import A
from origins import HttpOrigin


def test_a_scripted_life(egressd, dns, origin, tmp_path):
    raw, web = origin(), origin(HttpOrigin)
    dns.add("raw.test", A(raw.host))
    dns.add("web.test", A(web.host))
    dns.add("special.test", A("10.1.2.3"))
    report = tmp_path / "valgrind"
    wrapper = tmp_path / "egressd"
    wrapper.write_text(f"#!/bin/sh\nexec valgrind -q --error-exitcode=9 --leak-check=full --track-fds=yes "
                       f"--log-file={report} {EGRESSD} \"$@\"\n")
    wrapper.chmod(0o755)
    os.mkfifo(tmp_path / "unused")  # what it inherits must not count as its own
    proxy = egressd(f"raw.test:{raw.port}\nweb.test:{web.port}\nspecial.test:{raw.port}\nmissing.test\n"
                    f"{raw.host}\n{web.host}\n", "--metrics", "127.0.0.1:0" if False else "127.0.0.1:%d" % free(),
                    program=str(wrapper), workers=2)
    proxy.expect(r"egressd: .*seccomp.*", r"egressd: .*Landlock.*")
    client, answer = proxy.tunnel(f"raw.test:{raw.port}", first=b"x" * 100000)
    assert answer.status == 200 and client.read(100000) == b"x" * 100000
    client.half_close()
    assert client.read_all() == b""
    for n in range(3):
        assert proxy.get(f"http://web.test:{web.port}/{n}").status == 200
    assert proxy.request("POST", f"http://web.test:{web.port}/p", "Transfer-Encoding: chunked\r\n",
                         b"3\r\nabc\r\n0\r\n\r\n").status == 200
    for target, status in (("denied.test:443", 403), (f"special.test:{raw.port}", 403), ("missing.test:443", 502),
                           ("0x7f.1:443", 400)):
        assert proxy.tunnel(target)[1].status == status
    proxy.reload(f"raw.test:{raw.port}\n{raw.host}\n")
    proxy.reload("*\n")
    proxy.expect(r".*domains.txt:1:1: error: .*", r"egressd: .*")
    open_tunnel, _ = proxy.tunnel(f"raw.test:{raw.port}", first=b"x")
    assert open_tunnel.read(1) == b"x"
    open_tunnel.close()
    proxy.stop()
    said = report.read_text()
    assert not re.search(r"lost|Invalid|uninitialised|Syscall param", said), said
    check_descriptors(said)


def free():
    from conftest import free_port
    return free_port()


def check_descriptors(said):
    """Open at the end are those that a parent gave (0 to 2, and what valgrind calls inherited)."""
    total, std = map(int, re.search(r"FILE DESCRIPTORS: (\d+) open \((\d+) std\)", said).groups())
    inherited = said.count("<inherited from parent>")
    assert total <= max(std, 3) + inherited - min(std, inherited) or total == std, said
