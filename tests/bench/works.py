"""The kinds of work, and how each is sampled. A sample is a dict of figures by metric."""
import json
import os
import select
import subprocess
import time

import proxies

FOREIGN_MOST = 0.05  # of both cores' time; beyond it a sample is taken again
PACE_MOST = 1.15     # a fixed piece of work may take so much longer than the fastest ever seen


class Metric:
    """unit, digits, and whether more is better: for table, chart and ratios."""

    def __init__(self, key, text, more_is_better, digits=0):
        self.key, self.text, self.more_is_better, self.digits = key, text, more_is_better, digits


RATE = Metric("rate", "per s", True)
CPU = Metric("cpu_us", "CPU us each", False, 1)
GBPS = Metric("gbps", "GB/s", True, 2)
CPU_GB = Metric("cpu_s_gb", "CPU s per GB", False, 3)
P50 = Metric("p50_us", "p50 us", False, 1)
PSS = Metric("pss_kib", "PSS KiB each", False, 2)
START = Metric("start_ms", "ms", False, 1)
RSS = Metric("rss_kib", "RSS KiB", False)


class Work:
    skip = ()

    def suits(self, proxy):
        return proxy.name not in self.skip


class Load(Work):
    """Work that load.c does in a window of time."""

    def __init__(self, key, text, options, metrics, skip=(), one_core=False):
        self.key, self.text, self.options, self.metrics = key, text, options, metrics
        self.skip, self.one_core = skip, one_core

    def sample(self, bench, proxy):
        if self.one_core:
            proxies.set_cores(proxy.process.pid, {proxies.LOAD_CORE})
        try:
            got = bench.load(proxy, *self.options)
        finally:
            if self.one_core:
                proxies.set_cores(proxy.process.pid, {proxies.PROXY_CORE})
        return self._figures(got)

    def _figures(self, got):
        figures = {"foreign": got["foreign"], "pace": got["pace"], "errors": got["errors"]}
        for metric in self.metrics:
            if metric is RATE:
                figures["rate"] = got["ops"] / got["seconds"]
            elif metric is CPU:
                figures["cpu_us"] = got["proxy_cpu"] / max(got["ops"], 1) * 1e6
            elif metric is GBPS:
                figures["gbps"] = got["bytes"] / got["seconds"] / 1e9
            elif metric is CPU_GB:
                figures["cpu_s_gb"] = got["proxy_cpu"] / max(got["bytes"], 1) * 1e9
            elif metric is P50:
                figures["p50_us"] = got["p50_us"]
        return figures


def loads():
    both = [RATE, CPU]
    bulk = [GBPS, CPU_GB]
    return [
        Load("connect64", "CONNECT, ClientHello, echo, close; 64 at a time",
             ("connect", "clients=64"), both),
        Load("connect1", "the same, one at a time", ("connect", "clients=1"), both),
        Load("deny64", "denial, 64 at a time", ("deny", "clients=64"), both, skip=("direct",)),
        Load("get128", "GET 128 B kept alive, 32 connections", ("get", "clients=32", "size=128"), both),
        Load("get16k", "GET 16 KiB kept alive, 32 connections",
             ("get", "clients=32", "size=16384"), both),
        Load("getclose", "GET 128 B, a connection each, 64 at a time",
             ("get", "clients=64", "size=128", "close=1"), both),
        Load("down1", "1 tunnel down", ("bulk", "clients=1", "warm=0.3"), bulk),
        Load("down8", "8 tunnels down", ("bulk", "clients=8", "warm=0.3"), bulk),
        Load("both1", "1 tunnel both ways", ("bulk", "clients=1", "both=1", "warm=0.3"), bulk),
        Load("both8", "8 tunnels both ways", ("bulk", "clients=8", "both=1", "warm=0.3"), bulk),
        Load("ping2", "one byte to and fro, two cores", ("ping",), [P50]),
        Load("ping1", "one byte to and fro, one core", ("ping",), [P50], skip=("direct",),
             one_core=True),
    ]


def crews():
    works = [("connect64", "CONNECT, echo, close; 64 at a time", ("connect", "clients=64")),
             ("get128", "GET 128 B kept alive, 32 connections", ("get", "clients=32", "size=128"))]
    return [Workers(*work, count) for work in works for count in (1, 2)]


def growth(most):
    """Requests that go over more and more open connections, ten in flight."""
    counts = sorted({1, 10, 100, 1000, min(10000, most)})
    return [Load(f"open{n}", f"GET 128 B over {n:,} open connections in turn",
                 ("get", f"clients={n}", f"flight={min(n, 10)}", "size=128"), [CPU],
                 skip=("direct", "tinyproxy")) for n in counts]


class Workers(Load):
    """egressd with so many workers; they, load and origin have both cores. It shows what workers cost
    each other: with nothing shared but the list, CPU each stays what it is with one."""

    def __init__(self, key, text, options, count):
        super().__init__(f"{key}-workers{count}", f"{text}; all on both cores, {count} worker(s)", options,
                         [RATE, CPU])
        self.count = count

    def suits(self, proxy):
        return isinstance(proxy, proxies.Egressd)

    def sample(self, bench, proxy):
        other = type(proxy)(bench)
        other.folder += "-workers"
        other.workers = self.count
        other.start(bench.names_file)
        try:
            for pid in [bench.origin.pid] + other.pids():
                proxies.set_cores(pid, {0, 1})
            return self._figures(bench.load(other, *self.options, cores={0, 1}))
        finally:
            proxies.set_cores(bench.origin.pid, {proxies.LOAD_CORE})
            other.stop()


class Idle(Work):
    """Memory for each of many idle tunnels, of a fresh process."""

    def __init__(self, count):
        self.key, self.count = f"idle{count}", count
        self.text = f"{count:,} idle tunnels"
        self.metrics, self.skip = [PSS], ("direct",)

    def sample(self, bench, proxy):
        proxy.stop()
        proxy.start(bench.names_file)
        try:
            bench.load(proxy, "connect", "clients=1", "seconds=0.1")  # what is built at first use
            before = proxies.pss_kib(proxy.process.pid)
            with Held(bench, bench.load_argv(proxy, "idle", f"clients={self.count}")) as held:
                time.sleep(0.3)
                after = proxies.pss_kib(proxy.process.pid)
                opened = held.said["ops"]
            if opened < self.count:
                raise RuntimeError(f"{proxy.label} holds {opened} of {self.count} tunnels")
        finally:
            proxy.stop()
            proxy.start(bench.names_file)
        return {"pss_kib": (after - before) / self.count, "foreign": 0, "pace": 0, "errors": 0}


class Start(Work):
    """From exec to the first 200, and memory then, with a list of so many names."""

    def __init__(self, names, skip=()):
        self.key, self.names = f"start{names}", names
        self.text = f"exec to first 200, list of {names:,} names"
        self.metrics, self.skip = [START, RSS], ("direct",) + skip

    def sample(self, bench, proxy):
        other = type(proxy)(bench)
        other.folder += "-start"
        argv = other.argv_for(bench.list_of(self.names))
        with Held(bench, bench.load_argv(other, "exec", "--", *argv), env=other.environment()) as held:
            rss = proxies.rss_kib(held.said["pid"])
            members = proxies.family(held.said["pid"])
        for pid in members:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        return {"start_ms": held.said["ms"], "rss_kib": rss, "foreign": 0, "pace": 0, "errors": 0}


class Held:
    """load.c in a mode in which it says a line and then holds what it made until the block ends."""

    def __init__(self, bench, argv, env=None):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=env,
                                        preexec_fn=bench.pin_load())
        ready = select.select([self.process.stdout], [], [], 130)[0]
        line = self.process.stdout.readline() if ready else b""
        if not line:
            self.process.kill()
            raise RuntimeError(self.process.stderr.read().decode()[-300:])
        self.said = json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
