#!/usr/bin/python3
"""Where the time of a tunnel goes, in egressd and in the bare relay: system calls, CPU, instructions.

    tests/bench/profile.py [--clients N] [--seconds S] [--egressd FILE] [--uncaged FILE]

make bench-profile. In the manner of make bench (a namespace of its own, a core for the proxy), three
looks one after the other, since each slows the proxy down: strace counts system calls (those of the log
stand under write); perf samples which of them, or whose code, has the CPU, and shares out the CPU that
a tunnel takes unwatched; callgrind counts the instructions of egressd's parts, in a build without the
cage, which valgrind does not know. What is not installed is left out, and said.
"""
import argparse
import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import bench as benches
import proxies

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SAMPLES = 10000  # a second
# The parts of a tunnel in egressd, by the functions that do all of it; callees are counted with them.
PARTS = [("accept", ["conn_accept"]), ("head: scan, parse", ["http_find_head", "http_parse_request"]),
         ("target and list", ["target_parse_connect", "decide_target"]), ("pin", ["dns_lookup"]),
         ("vetting", ["conn_vet"]), ("dial", ["dial_start"]), ("hello", ["guard_step"]),
         ("audit lines", ["audit_post"]), ("closing both sockets", ["pipe_close"])]


class Attached:
    """A tool that watches a process while the block runs, and ends by SIGINT."""

    def __init__(self, argv, settle=0.7):
        self.argv, self.settle = argv, settle

    def __enter__(self):
        self.tool = subprocess.Popen(self.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.settle)  # it says nothing when it has attached

    def __exit__(self, *exc):
        self.tool.send_signal(signal.SIGINT)
        self.tool.wait()


def tunnels(bench, proxy, clients):
    return bench.load(proxy, "connect", f"clients={clients}", "warm=0")


def count_calls(bench, proxy, args):
    """Calls of each name for one tunnel."""
    path = os.path.join(bench.out, f"{proxy.name}.strace")
    with Attached(["strace", "-c", "-f", "-U", "calls,name", "-o", path, "-p", str(proxy.process.pid)]):
        ops = tunnels(bench, proxy, args.clients)["ops"]
    with open(path) as f:
        found = re.findall(r"^ *(\d+) (\w+)$", f.read(), re.M)
    return {name: int(count) / ops for count, name in found if name != "total"}


def place_of(symbols, module):
    """What a sample is charged to: a system call, or whose code it is."""
    for symbol in symbols:
        if re.match(r"(?!sock_)\w+_write_iter$|generic_perform_write$", symbol):
            return "write (log)"
    for symbol in symbols:
        found = re.match(r"(?:__(?:x64|arm64|se)_sys|ksys)_(\w+)$", symbol)
        if found:
            return found.group(1)
    if any(symbol.startswith(("do_syscall", "entry_", "syscall_", "el0_")) for symbol in symbols):
        return "way in and out of the kernel"
    if module.startswith("["):
        return "interrupts, page faults"
    return "code: " + re.sub(r"\.so.*", "", module)


def share_cpu(bench, proxy, args):
    """Microseconds of CPU at each place for one tunnel; the places' sum is the CPU of a tunnel."""
    path = os.path.join(bench.out, f"{proxy.name}.perf")
    plain = tunnels(bench, proxy, args.clients)
    each = plain["proxy_cpu"] / plain["ops"] * 1e6
    with Attached(["perf", "record", "-F", str(SAMPLES), "-e", "cpu-clock", "-g", "-o", path,
                   "-p", str(proxy.process.pid)]):
        tunnels(bench, proxy, args.clients)
    text = subprocess.run(["perf", "script", "-i", path, "-F", "ip,sym,dso"], check=True,
                          capture_output=True, text=True).stdout
    counts = collections.Counter()
    for block in text.split("\n\n"):
        frames = re.findall(r"^\s*[0-9a-f]+ (\S+)(?:.*) \((.*)\)$", block, re.M)
        if frames:
            counts[place_of([symbol for symbol, _ in frames], os.path.basename(frames[0][1]))] += 1
    total = sum(counts.values())
    return {place: count * each / total for place, count in counts.items()}


def count_instructions(bench, args):
    """(instructions of egressd and its libraries for a tunnel, of each part). One at a time: valgrind is
    slow, and of many at a time too many would be cut off by the window's end."""
    proxy = proxies.Egressd(bench)
    proxy.binary = args.uncaged
    plain, out = proxy.prepare, os.path.join(bench.out, "egressd.callgrind")
    proxy.prepare = lambda names: ["valgrind", "--tool=callgrind", "--instr-atstart=no",
                                   f"--callgrind-out-file={out}"] + plain(names)
    proxy.start(bench.names_file)
    try:
        tunnels(bench, proxy, 1)  # pins, and what is built at first use
        for switch in ("on", "off"):
            subprocess.run(["callgrind_control", "-i", switch, str(proxy.process.pid)], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if switch == "on":
                ops = tunnels(bench, proxy, 1)["ops"]
        proxy.process.terminate()
        proxy.process.wait()  # it writes its file at the end
    finally:
        proxy.stop()
    text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", out],
                          check=True, capture_output=True, text=True).stdout
    total = int(re.search(r"^ *([\d,]+) .*PROGRAM TOTALS", text, re.M).group(1).replace(",", ""))
    costs = {}
    for cost, function in re.findall(r"^ *([\d,]+) .*?:(\w+)(?:\.\w+)* \[", text, re.M):
        cost = int(cost.replace(",", ""))  # a function stands once for each file that it is said to be in
        costs[function] = max(costs.get(function, 0), cost)
    return total / ops, {part: sum(costs.get(name, 0) for name in names) / ops for part, names in PARTS}


def print_table(head, rows):
    lines = [head] + [[row[0]] + ["" if cell is None else f"{cell:,.1f}" for cell in row[1:]] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, line in enumerate(lines):
        print("| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w)
                                for i, (c, w) in enumerate(zip(line, widths))) + " |")
        if number == 0:
            print("|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":"
                                 for i, w in enumerate(widths)) + "|")
    print()


def show_places(calls, times):
    """calls, times: one dict for each proxy, relay and egressd."""
    places = sorted(set().union(*calls, *times), key=lambda place: -max(t.get(place, 0) for t in times))
    rows = [[place] + [look.get(place) for pair in zip(calls, times) for look in pair] for place in places]
    rows.append(["in all"] + [sum(look.values()) or None for pair in zip(calls, times) for look in pair])
    rows = [row for row in rows if any(cell and cell >= 0.05 for cell in row[1:])]
    print_table(["a tunnel", "relay, calls", "CPU us", "egressd, calls", "CPU us"], rows)


def installed(tool):
    if shutil.which(tool) is None:
        print(f"profile: {tool} is not installed: what it tells is left out", file=sys.stderr)
        return False
    return True


def profile(bench, args):
    calls, times = [], []
    strace, perf = installed("strace"), installed("perf")
    for kind in (proxies.Relay, proxies.Egressd):
        proxy = kind(bench)
        proxy.start(bench.names_file)
        try:
            tunnels(bench, proxy, args.clients)
            calls.append(count_calls(bench, proxy, args) if strace else {})
            times.append(share_cpu(bench, proxy, args) if perf else {})
        finally:
            proxy.stop()
    if strace or perf:
        show_places(calls, times)
    if not installed("valgrind"):
        return
    if not os.access(args.uncaged, os.X_OK):
        print(f"profile: {args.uncaged} is not built: no instructions are counted", file=sys.stderr)
        return
    total, parts = count_instructions(bench, args)
    rest = total - sum(parts.values())
    print_table(["part of egressd", "instructions"],
                [[part, count] for part, count in parts.items()] +
                [["the loop, buffers, what is between", rest], ["in all", total]])


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--clients", type=int, default=64)
    p.add_argument("--seconds", type=float, default=2)
    p.add_argument("--egressd", default=os.path.join(ROOT, "build", "egressd"))
    p.add_argument("--uncaged", default=os.path.join(ROOT, "build", "tests", "egressd-uncaged"))
    p.add_argument("--tools", default=os.path.join(ROOT, "build", "bench"))
    p.add_argument("--out", default=os.path.join(ROOT, "build", "bench", "profile"))
    return p.parse_args()


def main():
    args = options()
    benches.enter_namespace()
    bench = benches.Bench(args, proxies.raise_file_limit())
    benches.own_resolver(bench.folder)
    try:
        profile(bench, args)
    finally:
        bench.origin.kill()
        bench.origin.wait()


if __name__ == "__main__":
    main()
