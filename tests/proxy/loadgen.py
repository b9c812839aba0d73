"""Load from processes of their own, so that what it costs is not measured: python3 loadgen.py ROLE ...

    echo HOST                   prints the port it listens on, and sends back what comes
    trickle HOST PORT N FIRST   N connections: FIRST bytes of a head each, then a byte a second for each

Both end when their standard input does.
"""
import select
import socket
import sys


def echo(host):
    listener = socket.create_server((host, 0), backlog=4096)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(sys.stdin, select.EPOLLIN)
    conns = {}
    while True:
        for fd, _ in poll.poll():
            if fd == sys.stdin.fileno():
                return
            if fd == listener.fileno():
                accept_all(listener, poll, conns)
            elif not send_back(conns[fd]):
                poll.unregister(fd)
                conns.pop(fd).close()


def accept_all(listener, poll, conns):
    while True:
        try:
            conn, _ = listener.accept()
        except BlockingIOError:
            return
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conns[conn.fileno()] = conn
        poll.register(conn, select.EPOLLIN)


def send_back(conn):
    try:
        data = conn.recv(65536)
        conn.sendall(data)
    except OSError:
        return False
    return data != b""


def trickle(host, port, count, first):
    conns = []
    head = b"CONNECT allowed.test:443 HTTP/1.1\r\nHost: x\r\nX-Slow: "
    for _ in range(int(count)):
        conn = socket.create_connection((host, int(port)))
        conn.sendall(head + b"x" * (int(first) - len(head)))
        conns.append(conn)
    print("ready", flush=True)
    for i in range(1 << 30):
        if select.select([sys.stdin], [], [], 1 / len(conns))[0]:
            return
        try:
            conns[i % len(conns)].send(b"x")
        except OSError:
            pass  # its time is over


if __name__ == "__main__":
    {"echo": echo, "trickle": trickle}[sys.argv[1]](*sys.argv[2:])
