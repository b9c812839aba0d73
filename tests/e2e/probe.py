#!/usr/bin/python3
"""Try to get somewhere: reads a list of targets from the file named, prints which of them answered.

A target is [kind, host, port, text]. Kinds: "tcp" (does it accept and say something?), "udp" (does a
datagram come back?), "dns-udp" and "dns-tcp" (is the name "text" answered, whatever the answer?).
Runs in containers: standard library only. All at once, in a
few seconds.
"""
import errno
import json
import socket
import struct
import sys
import threading
import time

SECONDS = 3


def query(name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">6H", 0x5151, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def attempt(kind, host, port, text):
    family, _, _, _, address = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)[0]
    message = query(text) if kind.startswith("dns") else b"hello"
    datagrams = kind in ("udp", "dns-udp")
    with socket.socket(family, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM) as sock:
        sock.settimeout(SECONDS)
        if datagrams:
            # Not connected: an answer from another address of the same machine counts too.
            sock.sendto(message, address)
            return sock.recvfrom(1000)[0] != b""
        sock.connect(address)
        if kind == "dns-tcp":
            sock.sendall(struct.pack(">H", len(message)) + message)
        return sock.recv(1000) != b""


def patient_attempt(*target):
    """An interface that has just come up has no IPv6 address for a second or two."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            return attempt(*target)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > end:
                raise
        time.sleep(0.1)


def run(targets):
    answers = [None] * len(targets)

    def work(index):
        try:
            answers[index] = "answered" if patient_attempt(*targets[index]) else "closed"
        except OSError as error:
            answers[index] = str(error)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as f:
        print(json.dumps(run(json.load(f))))
