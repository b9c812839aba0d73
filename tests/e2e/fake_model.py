#!/usr/bin/python3
"""A model server of our own: it speaks as much of OpenAI's chat-completions protocol as opencode
needs, and says what a script tells it to say.

A script is a list of steps. Step N is the answer to the request that follows N answers of the model
since the user's last message, so the server keeps no state and any number of sessions can use it at
once. A step is a dict:

    {"text": "..."}                         the model says so (and the run ends)
    {"tool": "read", "args": {...}}         it asks for a tool; more of them in "and": [{...}, ...]
    {"hang": true}                          it says one word and then nothing, until the client goes

Scripts have names. A user's message that has a word "script:NAME" in it chooses one; "default" is
for all others. A request without tools (opencode's for a title) gets a title.

As a program: fake_model.py SCRIPTS.json PORT_FILE [REQUESTS.jsonl]
"""
import http.server
import json
import os
import re
import sys
import threading

MODEL = "fake-model"


class FakeModel:
    """The server and what it was asked. Use as a context manager."""

    def __init__(self, scripts=None, address="0.0.0.0", log=None):
        self.scripts = dict(scripts or {})
        self.requests = []
        self._changed = threading.Condition()
        self._log = log
        handler = type("Handler", (_Handler,), {"model": self})
        self._server = _Server((address, 0), handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()

    def record(self, body):
        with self._changed:
            self.requests.append(body)
            if self._log:
                self._log.write(json.dumps(body) + "\n")
                self._log.flush()
            self._changed.notify_all()

    def wait_for(self, predicate, seconds=60):
        """Wait until a request came for which predicate(body) is true; returns it."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: next((r for r in self.requests if predicate(r)), None), seconds)
        assert found, f"no such request in {seconds} s; {len(self.requests)} others"
        return found

    def tool_results(self, script=None):
        """The texts that tools returned to the model, in order, as the last request shows them."""
        best = []
        for body in self.requests:
            if script is None or _script_name(body["messages"]) == script:
                found = [_text(m) for m in body["messages"] if m["role"] == "tool"]
                best = max(best, found, key=len)
        return best

    def step(self, body):
        if not body.get("tools"):
            return {"text": "A title"}
        messages = body["messages"]
        steps = self.scripts.get(_script_name(messages))
        if steps is None:
            return {"text": "no such script"}
        last_user = max(i for i, m in enumerate(messages) if m["role"] == "user")
        done = sum(1 for m in messages[last_user + 1:] if m["role"] == "assistant")
        return steps[done] if done < len(steps) else {"text": "the script is at its end"}


def _text(message):
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _script_name(messages):
    text = next((_text(m) for m in reversed(messages) if m["role"] == "user"), "")
    found = re.findall(r"script:([a-z0-9-]+)", text)
    return found[-1] if found else "default"


def _chunks(step):
    """The deltas of one streamed answer, then its finish_reason."""
    if "tool" not in step:
        words = re.findall(r"\S+\s*|\s+", step.get("text", "thinking"))
        yield from ({"role": "assistant", "content": word} for word in words)
        yield "stop"
        return
    for index, call in enumerate([step, *step.get("and", [])]):
        function = {"name": call["tool"], "arguments": ""}
        yield {"role": "assistant", "content": None, "tool_calls": [
            {"index": index, "id": f"call_{os.urandom(6).hex()}", "type": "function",
             "function": function}]}
        arguments = json.dumps(call["args"])
        for at in range(0, len(arguments), 40):
            yield {"tool_calls": [{"index": index,
                                   "function": {"arguments": arguments[at:at + 40]}}]}
    yield "tool_calls"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = None

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path == "/hello":
            self._whole(200, b"hello from the host\n", "text/plain")
        elif self.path == "/v1/models":
            data = [{"id": MODEL, "object": "model"}]
            self._whole(200, json.dumps({"object": "list", "data": data}).encode())
        else:
            self._whole(404, b'{"error":{"message":"not found"}}')

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/v1/chat/completions":
            self._whole(404, b'{"error":{"message":"not found"}}')
            return
        request = json.loads(body)
        request["authorization"] = self.headers.get("Authorization", "")
        self.model.record(request)
        self._stream(self.model.step(request))

    def _whole(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, step):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for delta in _chunks(step):
            if isinstance(delta, str):
                if step.get("hang"):
                    self.rfile.read(1)
                    self.close_connection = True
                    return
                self._event({}, delta)
            else:
                self._event(delta)
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, delta, finish=None):
        event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                 "model": MODEL,
                 "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        if finish:
            event["usage"] = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def opencode_config(port, host="host.docker.internal", **more):
    """An opencode.json whose only model is this server, as a user's own model server would be."""
    return {
        "share": "disabled",
        "disabled_providers": ["opencode"],
        "model": f"fake/{MODEL}",
        "small_model": f"fake/{MODEL}",
        "provider": {"fake": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "Fake",
            "options": {"baseURL": f"http://{host}:{port}/v1"},
            "models": {MODEL: {"name": "Fake model", "tool_call": True,
                               "limit": {"context": 100000, "output": 10000}}},
        }},
        **more,
    }


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__.strip().splitlines()[-1].strip())
    with open(sys.argv[1], encoding="utf-8") as f:
        scripts = json.load(f)
    log = open(sys.argv[3], "w", encoding="utf-8") if len(sys.argv) == 4 else None
    with FakeModel(scripts, log=log) as model:
        with open(sys.argv[2] + ".new", "w", encoding="ascii") as f:
            f.write(f"{model.port}\n")
        os.rename(sys.argv[2] + ".new", sys.argv[2])
        threading.Event().wait()


if __name__ == "__main__":
    main()
