"""egressd under valgrind (make valgrind): every kind of request once; at its end nothing is lost, and no
descriptor is open but those that it was given."""
import re

from conftest import EGRESSD, free_port
from dnsserver import A
from origins import HttpOrigin


def test_a_scripted_life(egressd, dns, origin, tmp_path):
    report, program = tmp_path / "report", tmp_path / "egressd"
    program.write_text("#!/bin/sh\nexec valgrind -q --error-exitcode=99 --leak-check=full --track-fds=yes "
                       f'--log-file={report} {EGRESSD} "$@"\n')
    program.chmod(0o755)
    raw, web = origin(), origin(HttpOrigin)
    dns.add("raw.test", A(raw.host))
    dns.add("web.test", A(web.host))
    dns.add("special.test", A("10.1.2.3"))
    entries = [f"raw.test:{raw.port}", raw.host]
    proxy = egressd([*entries, f"web.test:{web.port}", f"special.test:{raw.port}", "missing.test", web.host],
                    "--metrics", f"127.0.0.1:{free_port()}", workers=2,
                    program=str(program))
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
    proxy.reload(entries)
    proxy.expect(r".*domains.txt:1:1: error: .*", r"egressd: .*")
    proxy.reload("*\n")
    open_tunnel, _ = proxy.tunnel(f"raw.test:{raw.port}", first=b"x")
    assert open_tunnel.read(1) == b"x"
    open_tunnel.close()
    proxy.stop()
    said = report.read_text()
    assert not re.search(r"definitely lost|indirectly lost|Invalid|uninitialised", said), said
    total, std = map(int, re.search(r"FILE DESCRIPTORS: (\d+) open \((\d+) std\)", said).groups())
    assert total == std + said.count("<inherited from parent>"), said
