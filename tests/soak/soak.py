#!/usr/bin/python3
"""
soak.py - egressd under a mixed load with faults, for as long as one likes (make soak MINUTES=n).

    soak.py [--minutes N] [--rate CLIENTS_A_SECOND] [--seed N]

In a network and a mount namespace of its own (root, or a kernel that lets users make them): the real
egressd, origins, a resolver, clients of all kinds (kinds.py) at a fixed rate, and meanwhile

    lists that are good, broken or gone; a resolver that falls silent; a full disk for the audit log;
    logs renamed and opened anew by SIGUSR1.

It fails when a client sees what it should not, when a request has not exactly the audit lines that it
should have (ledger.py), when what the log calls lost is not what is missing, or when memory, descriptors,
threads and pins are not what they were after the warm-up. EGRESSD names the binary.
"""
import argparse
import asyncio
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import kinds
import world
from ledger import Ledger

PROGRAM = os.environ.get("EGRESSD", os.path.join(world.ROOT, "build", "egressd"))
SANITIZED = "san" in PROGRAM.split(os.sep)
WARM_UP_S = 120  # every name is pinned by each worker, every pool has its size; at least
LONG_TUNNELS = 8
DISK = 3 << 20
QUIET_S = 75  # until all that runs has ended, idle tunnels last
RSS_GROWTH_KIB = 1024  # that is no leak: 5 bytes for each request of an hour at the usual rate
CLIENTS_MAX = 300  # at a time


def enter_namespaces():
    """Run anew where ports, addresses and mounts are our own, and gone when we are."""
    if os.environ.get("SOAK_INSIDE"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    argv = ["unshare", "--net", "--mount"] + ([] if os.getuid() == 0 else ["--map-root-user"])
    os.environ["SOAK_INSIDE"] = "1"
    os.execvp(argv[0], [*argv, sys.executable, "-B", *sys.argv])


class Soak:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.disk = os.path.join(folder, "disk")
        os.mkdir(self.disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "soak", self.disk], check=True)
        self.ledger = Ledger(world.WORKERS)
        self.number, self.tasks = 0, set()
        self.ended = asyncio.Event()
        self.events = {}

    # ---- clients

    async def run(self, kind, *args):
        self.number += 1
        client = kinds.Client(self, kind.__name__, self.number)
        begin = time.monotonic()
        try:
            async with asyncio.timeout(None if args else kinds.PATIENCE):
                await kind(client, *args)
        except kinds.Excused:
            pass
        except (OSError, EOFError, AssertionError, ValueError, KeyError) as error:
            # Behind a 200 only a reset says that the disk is full.
            if not (isinstance(error, (OSError, EOFError)) and self.ledger.excuses("audit", begin)):
                self.ledger.fault(f"{kind.__name__} {client.host}: {error!r}")
            else:
                for conn in client.conns[-1:]:
                    for wanted in conn.account.wanted[-1:]:
                        wanted.answered = False
        finally:
            client.finish(time.monotonic())

    def start(self, kind, *args):
        task = asyncio.ensure_future(self.run(kind, *args))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def load(self, seconds):
        """A fixed rate: what is late is not made up for, so that a busy machine gets no flood."""
        names, weights = list(kinds.KINDS), list(kinds.KINDS.values())
        end, pause = time.monotonic() + seconds, 1 / self.options.rate
        while time.monotonic() < end:
            if len(self.tasks) < CLIENTS_MAX:
                self.start(random.choices(names, weights)[0])
            if self.proxy.process.poll() is not None:
                self.ledger.fault(f"egressd ended: {self.proxy.process.returncode}")
                return
            await asyncio.sleep(random.uniform(0, 2 * pause))

    # ---- faults

    def count(self, event):
        self.events[event] = self.events.get(event, 0) + 1

    async def reload(self):
        """Good, broken, gone, and in the end always good."""
        how = random.randrange(4)
        if how == 0:
            self.proxy.write_list(random.choice(world.BROKEN))
            self.count("broken lists")
        elif how == 1:
            os.unlink(self.proxy.list_path)
            self.count("lists gone")
        await asyncio.sleep(1 if how < 2 else 0)
        self.flipped = not self.flipped
        self.proxy.write_list(world.LIST + (world.FLIPPED if self.flipped else "# no more\n"))
        if random.random() < 0.5:
            self.proxy.process.send_signal(signal.SIGHUP)
        self.count("new lists")
        await asyncio.sleep(1)

    async def fill_disk(self):
        end = self.ledger.window("audit")
        filler = os.path.join(self.disk, "filler")
        with open(filler, "wb", buffering=0) as out:
            try:
                while True:
                    out.write(b"x" * 4096)
            except OSError:
                pass
        self.count("full disks")
        await asyncio.sleep(random.uniform(0.5, 4))
        if random.random() < 0.3:
            await self.proxy.rotate(self.ledger)
            self.count("logs opened anew on a full disk")
            await asyncio.sleep(0.5)
        os.unlink(filler)
        await asyncio.sleep(0.5)
        end(after=1)

    async def silence_dns(self):
        end = self.ledger.window("dns-timeout")
        self.resolver.paused = True
        self.count("silences of the resolver")
        await asyncio.sleep(random.uniform(1, 8))
        self.resolver.paused = False
        end(after=11)  # the time of a lookup, and that of a remembered failure

    async def trouble(self):
        last_silence = 0.0
        while not self.ended.is_set():
            await asyncio.sleep(random.uniform(2, 6))
            what = random.choices([self.reload, self.fill_disk, self.silence_dns], [5, 3, 1])[0]
            if what == self.silence_dns:
                if time.monotonic() - last_silence < 60:
                    continue
                last_silence = time.monotonic()
            await what()

    async def follow_log(self):
        turns = 0
        while not self.ended.is_set():
            await asyncio.sleep(0.25)
            self.proxy.read_log(self.ledger)
            turns += 1
            if turns % 8 == 0:
                self.ledger.settle()
            full = self.ledger.excuses("audit", time.monotonic())
            if not full and os.path.getsize(self.proxy.log_path) > DISK // 4:
                await self.proxy.rotate(self.ledger)
                self.count("logs opened anew")

    # ---- what it uses

    async def quiet(self):
        """Until nothing runs but the long tunnels -> what egressd uses then."""
        end = time.monotonic() + QUIET_S
        while len(self.tasks) > len(self.long) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        metrics = await world.read_metrics()
        while metrics["egressd_connections"] > len(self.long) and time.monotonic() < end:
            await asyncio.sleep(0.5)
            metrics = await world.read_metrics()
        await asyncio.sleep(7)  # lookups that nobody waits for have ended too
        self.proxy.read_log(self.ledger)
        return self.sample(await world.read_metrics())

    def sample(self, metrics):
        rss, threads, descriptors, cpu = self.proxy.usage()
        return {"RSS KiB": rss, "threads": threads, "descriptors": sum(descriptors.values()),
                "connections": metrics["egressd_connections"], "tunnels": metrics["egressd_tunnels"],
                "pins": metrics["egressd_pins"], "cpu s": cpu, "kinds": descriptors}

    @staticmethod
    def show(when, sample):
        print(f"{when:>10}: " + ", ".join(f"{key} {value:.0f}" for key, value in sample.items()
                                         if key != "kinds") + f"  {sample['kinds']}", flush=True)

    def compare(self, first, last):
        fault = self.ledger.fault
        for key in ("threads", "connections", "tunnels"):
            if first[key] != last[key]:
                fault(f"{key}: {first[key]}, and {last[key]} at the end")
        for kind in {*first["kinds"], *last["kinds"]} - {"pipe"}:
            if first["kinds"].get(kind) != last["kinds"].get(kind):
                fault(f"descriptors: {first['kinds']}, and {last['kinds']} at the end")
        # Idle channels of bulk are kept: 8 pipes for each worker at most.
        if last["kinds"].get("pipe", 0) > first["kinds"].get("pipe", 0) + 2 * 8 * world.WORKERS:
            fault(f"pipes: {first['kinds']}, and {last['kinds']} at the end")
        names = sum(kinds.NAMES.values()) * world.WORKERS
        if not 0.8 * first["pins"] <= last["pins"] <= names:  # failures are forgotten at a reload
            fault(f"pins: {first['pins']}, {last['pins']} at the end, at most {names}")
        if SANITIZED:
            print("memory is not compared: a sanitizer keeps what was freed")
        elif last["RSS KiB"] > first["RSS KiB"] + RSS_GROWTH_KIB:
            fault(f"memory grew from {first['RSS KiB']} to {last['RSS KiB']} KiB")

    # ---- all of it

    async def main(self):
        fault = self.ledger.fault
        self.web, self.resolver = await world.start_origins(fault, self.folder)
        self.proxy = world.Proxy(PROGRAM, self.folder, self.disk, fault)
        self.flipped = True
        await self.proxy.wait_ready()
        self.long = [self.start(kinds.long_tunnel, self.ended) for _ in range(LONG_TUNNELS)]
        helpers = [asyncio.ensure_future(one()) for one in (self.follow_log, self.trouble)]
        seconds = self.options.minutes * 60
        await self.load(max(WARM_UP_S, seconds / 20))
        first = await self.quiet()
        self.show("start", first)
        begin = time.monotonic()
        while (left := seconds - (time.monotonic() - begin)) > 1 and self.proxy.process.poll() is None:
            await self.load(min(left, 300))
            self.show(f"{(time.monotonic() - begin) / 60:.0f} min", self.sample(await world.read_metrics()))
            print(f"            {self.ledger.requests} requests accounted for, {len(self.ledger.faults)} faults")
        last = await self.quiet()
        self.show("end", last)
        self.compare(first, last)
        await self.end(helpers)

    async def end(self, helpers):
        self.ended.set()
        for helper in helpers:
            await helper
        await asyncio.gather(*self.tasks)
        for _ in range(20):  # so that the last request of each worker is one with a line: ids are counted by it
            await self.run(kinds.denied_get)
        await asyncio.sleep(2)
        metrics = await world.read_metrics()
        await self.stop_proxy()
        self.ledger.settle(everything=True)
        print("kinds:", dict(self.ledger.kinds))
        print("outcomes:", dict(self.ledger.outcomes))
        print("faults made:", self.events, "DNS queries:", self.resolver.queries)
        print("accounts:")
        self.ledger.compare_sums(metrics)

    async def stop_proxy(self):
        self.proxy.process.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.to_thread(self.proxy.process.wait, 60)
        except subprocess.TimeoutExpired:
            self.proxy.process.kill()
            status = "that it did not come"
        self.proxy.read_log(self.ledger)
        self.proxy.log.close()
        if status != 0 or self.ledger.seen["stop"] != 1 or self.proxy.rest:
            self.ledger.fault(f"its end was {status}, {self.ledger.seen['stop']} stop lines, {self.proxy.rest!r}")
        with open(self.proxy.stderr_path, errors="replace") as said:
            for line in said:
                if not any(known in line for known in KNOWN):
                    self.ledger.fault(f"on standard error: {line.rstrip()}")


# On standard error: the greeting, the disk, and lists, whose diagnostics begin with their file.
KNOWN = ["egressd: serving on", "cannot be written, requests are refused until it can", "can be written again",
         "domains.txt"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=40)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    enter_namespaces()
    print(f"soak: {options.minutes:g} minutes, {options.rate:g} clients a second, --seed {options.seed}: {PROGRAM}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    random.seed(options.seed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, max(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    folder = tempfile.mkdtemp(prefix="soak.")
    soak = None
    try:
        soak = Soak(options, folder)
        asyncio.run(soak.main())
    finally:
        if soak is not None and getattr(soak, "proxy", None) is not None and soak.proxy.process.poll() is None:
            soak.proxy.process.kill()
        subprocess.run(["umount", os.path.join(folder, "disk")], check=False)
        shutil.rmtree(folder, ignore_errors=True)
    faults = len(soak.ledger.faults)
    print(f"soak: {soak.ledger.requests} requests in {sum(soak.ledger.kinds.values())} connections, {faults} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
