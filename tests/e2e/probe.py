#!/usr/bin/python3
"""Try to get somewhere: reads a list of targets from the file named, prints which of them answered.

A target is [kind, host, port, text]. Kinds: "tcp" (does it accept and say something?), "udp" (does a
datagram come back?), "dns-udp" and "dns-tcp" (is the name "text" answered, whatever the answer?).
Runs in containers: standard library only. All at once, three seconds at most.
"""
import json
import socket
import struct
import sys
import threading

SECONDS = 3


def query(name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">6H", 0x5151, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def connect(kind, host, port):
    family, _, _, _, address = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)[0]
    sock = socket.socket(family, kind)
    sock.settimeout(SECONDS)
    sock.connect(address)
    return sock


def attempt(kind, host, port, text):
    if kind == "tcp":
        return connect(socket.SOCK_STREAM, host, port).recv(100) != b""
    if kind in ("udp", "dns-udp"):
        sock = connect(socket.SOCK_DGRAM, host, port)
        sock.send(query(text) if kind == "dns-udp" else b"hello")
        return sock.recv(1000) != b""
    sock = connect(socket.SOCK_STREAM, host, port)
    message = query(text)
    sock.sendall(struct.pack(">H", len(message)) + message)
    return sock.recv(1000) != b""


def run(targets):
    answers = [None] * len(targets)

    def work(index):
        try:
            answers[index] = "answered" if attempt(*targets[index]) else "closed"
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
