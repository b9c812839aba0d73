"""How often egressd asks the heap: heap.c is preloaded and counts."""
import os
import struct
import subprocess

import pytest

from conftest import EGRESSD, ROOT
from dnsserver import A
from origins import HttpOrigin

pytestmark = pytest.mark.skipif(
    not {"san", "tsan"}.isdisjoint(EGRESSD.split(os.sep)), reason="sanitizers bring a heap of their own")


@pytest.fixture
def counted(egressd, tmp_path):
    """Starts egressd with one worker; proxy.taken() is how many blocks it ever took."""
    library, count = str(tmp_path / "heap.so"), str(tmp_path / "count")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", library,
                    os.path.join(ROOT, "tests/proxy/heap.c")], check=True)

    def taken():
        with open(count, "rb") as f:
            return struct.unpack("l", f.read(8))[0]

    def start(entries):
        proxy = egressd(entries, workers=1, env={"LD_PRELOAD": library, "HEAP_COUNT": count})
        proxy.taken = taken
        return proxy
    return start


def test_kept_requests_take_nothing(counted, dns, origin):
    """GETs one after the other on one connection, each answered by the kept upstream connection."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n" + b"x" * 128
    web = origin(HttpOrigin, lambda request: answer)
    dns.add("heap.test", A(web.host))
    proxy = counted([f"heap.test:{web.port}", f"{web.host}:{web.port}"])
    client = proxy.connect()

    def get(times):
        for _ in range(times):
            client.send(f"GET http://heap.test:{web.port}/ HTTP/1.1\r\nHost: heap.test:{web.port}\r\n\r\n")
            assert client.read_answer().body == b"x" * 128
    get(20)
    before = proxy.taken()
    assert before > 0, "nothing was counted"
    get(500)
    assert proxy.taken() == before
    proxy.get(f"http://heap.test:{web.port}/")  # a new connection is counted
    assert proxy.taken() > before
