"""The soak's ledger: what was asked, beside what the audit log says of it.

Each client connection has an address of its own, so that "client" in an audit line names it. An account
holds the requests of one connection in their order; once the connection is over and its lines have come,
both are compared and forgotten: exactly one decision for each request, of an outcome that its kind
expects, exactly one close for each allow. What could not be written while the disk was full is counted,
and must be the number that the log itself says was lost.
"""
import collections
import json
import time

SETTLE_S = 60  # after its client left a connection has ended: idle and drain times are shorter
FAULTS_SHOWN = 100


class Wanted:
    """One request. outcomes: "deny:CODE", "fail:CODE", or "allow:CODE of the close line"."""

    def __init__(self, members, outcomes):
        self.members = members  # that the decision's line must have
        self.outcomes = outcomes
        self.begin = time.monotonic()
        self.answered = False  # by anything but "the log cannot be written"
        self.left = False  # its client went before any decision
        self.close = {}  # members that a close line of code done must have

    def excuse(self, code):
        """It was answered with this code. A line that was torn by a full disk says what it began to say."""
        if code == "audit":
            self.outcomes = {one for one in self.outcomes if not one.startswith("allow:")} | \
                {"deny:audit", "fail:dns-timeout"}
        else:
            self.outcomes = {f"deny:{code}", f"fail:{code}"}

    def __repr__(self):
        return f"{self.members} -> {sorted(self.outcomes)}"


class Account:
    def __init__(self, kind, client):
        self.kind, self.client = kind, client
        self.wanted, self.lines = [], []
        self.begin, self.end = time.monotonic(), None


class Ledger:
    def __init__(self, workers):
        self.workers = workers
        self.accounts = {}  # by client
        self.open_ids = {}  # allowed and not closed -> account
        self.closes = {}  # of accounts that are not settled, by id
        self.last_id = collections.Counter()  # by worker
        self.outcomes = collections.Counter()
        self.kinds = collections.Counter()
        self.seen = collections.Counter()  # lines by action
        self.codes = collections.Counter()  # (action, code)
        self.lost_said = self.missing_decisions = self.missing_of_left = self.missing_closes = self.requests = 0
        self.windows = collections.defaultdict(list)  # code -> [begin, end] of faults that excuse it
        self.faults = []

    def fault(self, text):
        self.faults.append(text)
        if len(self.faults) <= FAULTS_SHOWN:
            print("FAULT", text, flush=True)

    # ---- faults of the surroundings

    def window(self, code):
        """From now on answers with this code are excused; returns what ends that."""
        entry = [time.monotonic(), float("inf")]
        self.windows[code].append(entry)

        def end(after=0.0):
            entry[1] = time.monotonic() + after
        return end

    def excuses(self, code, begin, end=None):
        end = time.monotonic() if end is None else end
        return any(a <= end and begin <= b for a, b in self.windows[code])

    # ---- what was asked

    def open(self, kind, client):
        account = Account(kind, client)
        self.accounts[client] = account
        self.kinds[kind] += 1
        return account

    # ---- what the log says

    def take(self, line):
        action = line["action"]
        self.seen[action] += 1
        self.lost_said += line.get("lost", 0)
        if action in ("allow", "deny", "fail"):
            self.take_decision(line)
        elif action == "close":
            account = self.open_ids.pop(line["id"], None)
            if account is None:
                self.fault(f"the close of nothing, or a second one: {line}")
            else:
                self.closes[line["id"]] = line
        self.codes[action, line["code"]] += 1

    def take_decision(self, line):
        account = self.accounts.get(line["client"])
        worker = line["id"] % self.workers
        if line["id"] <= self.last_id[worker] and account is not None and \
                any(one["id"] == line["id"] for one in account.lines):
            self.fault(f"decided twice: {line}")
        self.last_id[worker] = max(self.last_id[worker], line["id"])
        if account is None:
            self.fault(f"a line of no request: {line}")
            return
        account.lines.append(line)
        if line["action"] == "allow":
            self.open_ids[line["id"]] = account

    # ---- comparing

    def settle(self, everything=False):
        now = time.monotonic()
        for client, account in list(self.accounts.items()):
            if account.end is None:
                continue
            complete = len(account.lines) == len(account.wanted) and \
                not any(line["id"] in self.open_ids for line in account.lines)
            # A little later, so that a line too many is seen as well.
            if everything or now - account.end > (3 if complete else SETTLE_S):
                self.compare(account)
                del self.accounts[client]

    def compare(self, account):
        lines = sorted(account.lines, key=lambda line: line["id"])
        self.requests += len(account.wanted)
        full = self.excuses("audit", account.begin, account.end)
        if full and len(lines) == len(account.wanted) - 1 and not account.wanted[-1].answered:
            # Refused, and its line was dropped; where nobody was left to be refused, the log says so.
            self.missing_of_left += account.wanted.pop().left
            self.missing_decisions += 1
        if len(lines) != len(account.wanted):
            self.fault(f"{account.kind} {account.client}: {len(account.wanted)} requests, "
                       f"{len(lines)} lines: {account.wanted} / {lines}")
        for wanted, line in zip(account.wanted, lines):
            self.compare_one(account, wanted, line, full)
        for line in lines:
            self.closes.pop(line["id"], None)
            self.open_ids.pop(line["id"], None)

    def compare_one(self, account, wanted, line, full):
        close = self.closes.get(line["id"], {})
        outcome = f"{line['action']}:{line['code']}"
        if line["action"] == "allow":
            outcome = "allow:" + close.get("code", "")
        self.outcomes[outcome] += 1
        if outcome == "allow:" and full:
            self.missing_closes += 1
            return
        refused = full and outcome in ("deny:audit", "allow:audit") and not wanted.answered
        if outcome not in wanted.outcomes and not refused:
            self.fault(f"{account.kind}: {outcome}, wanted {wanted}: {line} {close}")
        for key, value in wanted.members.items():
            if line.get(key) != value:
                self.fault(f"{account.kind}: {key} is {line.get(key)!r} and not {value!r}: {line}")
        for key, value in wanted.close.items() if outcome == "allow:done" else ():
            if close.get(key) != value:
                self.fault(f"{account.kind}: {key} is {close.get(key)!r} and not {value!r}: {close}")

    def compare_sums(self, metrics):
        """At the end, when nothing is open: ids, what was lost, and the metrics."""
        ids = sum(1 + (last - (worker or self.workers)) // self.workers
                  for worker, last in self.last_id.items())
        decided = sum(self.seen[action] for action in ("allow", "deny", "fail"))
        reloads_missing = metrics.total("egressd_reloads_total") - self.seen["reload"]
        lost = self.missing_closes + self.missing_of_left + reloads_missing
        for what, one, other in [
                ("ids, and lines with those that were refused unwritten", ids, decided + self.missing_decisions),
                ("requests sent, and ids", self.requests, ids),
                ("lines that the log calls lost, and lines missing", self.lost_said, lost),
                ("the metric of dropped lines, and lines missing",
                 metrics.total("egressd_audit_dropped_lines_total"), lost),
                ("the metric of requests, and requests sent", metrics.total("egressd_requests_total"),
                 self.requests),
                ("the metric of ends, and allow lines that were not taken back", metrics.total("egressd_closed_total"),
                 self.seen["allow"] - self.codes["close", "audit"]),
                ("accounts left open", len(self.accounts) + len(self.open_ids), 0)]:
            print(f"  {what}: {one:.0f}, {other:.0f}")
            if one != other:
                self.fault(f"{what} differ: {one:.0f}, {other:.0f}")


def parse_line(raw, session):
    """One line of the log, which must be one JSON object of this session."""
    if len(raw) >= 4096 or any(byte < 0x20 or byte == 0x7f for byte in raw):
        raise ValueError(f"no clean line: {raw!r}")
    line = json.loads(raw.decode("utf-8"))
    if line.get("session") != session:
        raise ValueError(f"another session: {raw!r}")
    return line
