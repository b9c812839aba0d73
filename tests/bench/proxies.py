"""The proxies that are measured: how each is configured for the same job, started and stopped.

Every proxy gets a folder of its own for configuration and log, one port of 127.0.0.1, one list of
names, and one core. All run in the foreground, as processes of ours, with their own log on.
"""
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

PROXY_CORE, LOAD_CORE = 0, 1


def family(pid):
    """A process and all its descendants."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as f:
                    todo += [int(child) for child in f.read().split()]
        except FileNotFoundError:
            continue
    return found


def _sum_field(pid, file, field):
    total = 0
    for member in family(pid):
        try:
            with open(f"/proc/{member}/{file}") as f:
                total += int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M).group(1))
        except (FileNotFoundError, AttributeError):
            pass
    return total


def rss_kib(pid):
    return _sum_field(pid, "status", "VmRSS")


def pss_kib(pid):
    return _sum_field(pid, "smaps_rollup", "Pss")


def set_cores(pid, cores):
    for member in family(pid):
        for task in os.listdir(f"/proc/{member}/task"):
            os.sched_setaffinity(int(task), cores)


class Proxy:
    """One kind of proxy. prepare() writes its files and returns argv; start() runs it."""

    label = ""
    binary = ""
    has_list = True  # can be given a list of names
    idle_most = 1 << 30  # tunnels it can hold

    def __init__(self, bench):
        self.bench = bench
        self.process = None
        self.folder = os.path.join(bench.folder, self.name)
        self.port = None

    @property
    def name(self):
        return type(self).__name__.lower()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def why_not(self):
        """Why it cannot be measured here, or None."""
        return None if shutil.which(self.binary) else f"{self.binary} is not installed"

    def prepare(self, names_file):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def argv_for(self, names_file):
        """A fresh folder and port; the command to start it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        os.chmod(self.folder, 0o777)  # Squid leaves root behind
        self.port = self.bench.next_port()
        return self.prepare(names_file)

    def start(self, names_file):
        argv = self.argv_for(names_file)
        with open(os.path.join(self.folder, "output"), "w") as output:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.environment(),
                preexec_fn=lambda: os.sched_setaffinity(0, {PROXY_CORE}))
        end = time.monotonic() + 60
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > end:
                with open(os.path.join(self.folder, "output")) as f:
                    raise RuntimeError(f"{self.label} does not start: {f.read()[-500:]}")
            time.sleep(0.02)
        set_cores(self.process.pid, {PROXY_CORE})  # some spread their threads themselves

    def _listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self.process is None:
            return
        members = family(self.process.pid)
        self.process.kill()
        self.process.wait()
        for pid in members[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process = None

    def pids(self):
        return family(self.process.pid)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path


class Direct(Proxy):
    label = "no proxy"
    has_list = False

    def why_not(self):
        return None

    def start(self, names_file):
        pass

    def pids(self):
        return []


class Relay(Proxy):
    label = "bare relay"
    has_list = False

    def why_not(self):
        return None

    def prepare(self, names_file):
        return [self.bench.tool("relay"), self.address, "20.0.0.1:443", "20.0.0.1:80"]


class Egressd(Proxy):
    label = "egressd"
    workers = 1

    def __init__(self, bench):
        super().__init__(bench)
        self.binary = bench.egressd

    def why_not(self):
        return None if os.access(self.binary, os.X_OK) else f"{self.binary} is not built"

    def prepare(self, names_file):
        argv = [self.binary, "--allowlist", names_file, "--listen", self.address, "--audit-log",
                os.path.join(self.folder, "audit.jsonl"), "--dns", "127.0.0.1",
                "--max-connections", str(self.bench.tunnels_most)]
        if "--workers" in self.bench.egressd_options:
            argv += ["--workers", str(self.workers)]
        return argv


class Squid(Proxy):
    """The rules of an allowlist in Squid's words: ports, names, addresses, and nothing told upstream."""

    label = "Squid"
    binary = "squid"

    def prepare(self, names_file):
        addresses = self.write("addresses", "192.0.2.1\n")
        config = self.write("squid.conf", f"""
http_port {self.address}
acl tls_ports port 443
acl safe_ports port 80 443 1025-65535
acl CONNECT method CONNECT
acl names dstdomain "{names_file}"
acl addresses dst "{addresses}"
http_access deny !safe_ports
http_access deny CONNECT !tls_ports
http_access allow names
http_access allow addresses
http_access deny all
via off
forwarded_for delete
access_log daemon:{self.folder}/access.log squid
cache_log {self.folder}/cache.log
pid_filename {self.folder}/squid.pid
coredump_dir {self.folder}
max_filedescriptors {self.bench.files}
pinger_enable off
""")
        return [self.binary, "-N", "-f", config]


class TrafficServer(Proxy):
    label = "Traffic Server"
    binary = "traffic_server"

    def environment(self):
        return {**os.environ, "TS_RUNROOT": os.path.join(self.folder, "runroot.yaml")}

    def prepare(self, names_file):
        for part in ("log", "run", "cache", "var"):
            os.makedirs(os.path.join(self.folder, part))
        shutil.copytree("/etc/trafficserver", os.path.join(self.folder, "etc"))
        places = {"bindir": "/usr/bin", "sbindir": "/usr/bin", "libdir": "/usr/lib/trafficserver",
                  "libexecdir": "/usr/lib/trafficserver/modules", "includedir": "/usr/include",
                  "mandir": "/usr/share/man", "infodir": "/usr/share/info"}
        for key, part in (("prefix", ""), ("exec_prefix", ""), ("sysconfdir", "etc"),
                          ("datadir", "cache"), ("localstatedir", "var"), ("runtimedir", "run"),
                          ("logdir", "log"), ("cachedir", "cache")):
            places[key] = os.path.join(self.folder, part)
        root = self.write("runroot.yaml", "".join(f"{k}: {v}\n" for k, v in places.items()))
        records = {
            "http.server_ports": f"STRING {self.port}:ip-in=127.0.0.1", "admin.user_id": "STRING #-1",
            "crash_log_helper": 'STRING ""', "exec_thread.autoconfig": "INT 0",
            "exec_thread.limit": "INT 1", "exec_thread.affinity": "INT 0", "accept_threads": "INT 0", "task_threads": "INT 1",
            "reverse_proxy.enabled": "INT 1", "url_remap.remap_required": "INT 1",
            "url_remap.pristine_host_hdr": "INT 1", "http.cache.http": "INT 0",
            "http.connect_ports": "STRING 443", "http.insert_request_via_str": "INT 0",
            "http.insert_client_ip": "INT 0", "http.insert_squid_x_forwarded_for": "INT 0",
            "dns.resolv_conf": "STRING /etc/resolv.conf", "log.logging_enabled": "INT 3",
            "diags.output.status": "STRING L",
            "net.connections_throttle": f"INT {self.bench.files - 500}"}
        self.write("etc/records.config",
                   "".join(f"CONFIG proxy.config.{k} {v}\n" for k, v in records.items()))
        self.write("etc/storage.config", "")  # no cache
        with open(names_file) as f:
            names = f.read().split()
        self.write("etc/remap.config", "".join(
            f"map http://{n}/ http://{n}/\nmap https://{n}:443/ https://{n}:443/\n" for n in names))
        self.write("etc/logging.yaml", """logging:
  formats:
    - name: bench
      format: '%<cqtq> %<ttms> %<chi> %<crc>/%<pssc> %<psql> %<cqhm> %<cquc> %<phr>/%<shn>'
  logs:
    - filename: access
      format: bench
""")
        return [self.binary, f"--run-root={root}"]


class Tinyproxy(Proxy):
    label = "tinyproxy"
    binary = "tinyproxy"

    def prepare(self, names_file):
        with open(names_file) as f:
            rules = "".join(f"^{re.escape(n)}$\n" for n in f.read().split())
        config = self.write("tinyproxy.conf", f"""
Port {self.port}
Listen 127.0.0.1
Timeout 600
LogFile "{self.folder}/log"
LogLevel Connect
MaxClients {self.bench.tunnels_most}
Filter "{self.write("filter", rules)}"
FilterDefaultDeny Yes
FilterExtended On
ConnectPort 443
DisableViaHeader Yes
""")
        return [self.binary, "-d", "-c", config]


# In the order of the table's columns.
ALL = [Direct, Relay, Egressd, TrafficServer, Squid, Tinyproxy]


def raise_file_limit():
    """As many open files as may be. Returns that number."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300000, max(hard, 300000)))
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
