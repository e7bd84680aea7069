"""Runtime shim for functions written in Python.

Speaks the OpenWhisk action runtime protocol (POST /init, then any number of POST /run) as HTTP/1.1
over one connection that, as under inetd, is already open on descriptor 0 when the shim starts. In a container
there is no such thing: with --listen PORT it is the first connection to that port.
Requests follow one another, nothing is pipelined, and end of file means: exit.

Every import delays each cold start: HTTP is read by hand, and what is rarely needed is imported when it is.
"""

import fcntl
import json
import os
import sys

SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
MAX_BODY_BYTES = 16 * 1024 * 1024


class Refusal(Exception):
    """Becomes an answer other than 200 OK."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Runtime:
    """One app's code, once it is loaded; loading takes the place of what was loaded before."""

    def __init__(self):
        self.module = None
        self.main = "main"
        self.filename = self.code = ""
        self.event_loop = None

    def init(self, request):
        value = value_of(request)
        name = str(value.get("name") or "app")
        self.filename, self.code = f"<{name}>", str(value.get("code") or "")
        module = type(sys)(name)
        try:
            export(value.get("env") or {})
            if value.get("binary"):
                import base64

                self.code = base64.b64decode(self.code, validate=True).decode()
            exec(compile(self.code, self.filename, "exec"), vars(module))
        except BaseException as error:  # not only Exception: sys.exit() must not end the shim
            raise self.failure(error) from None
        # Pickle looks modules up by name; one that is there already must not be shadowed, though.
        if sys.modules.setdefault(name, module) is self.module:
            sys.modules[name] = module
        self.module = module
        self.main = value.get("main") or "main"
        return '{"ok":true}'

    def run(self, request):
        if self.module is None:
            raise Refusal("502 Bad Gateway", "not initialised")
        value = value_of(request)
        try:
            export({f"__OW_{name.upper()}": member for name, member in request.items() if name != "value"})
            result = self.function(request.get("action_name"))(value)
            if hasattr(result, "__await__"):
                result = self.wait_for(result)
            if not isinstance(result, dict):
                raise TypeError(f"the function returned {type(result).__name__}, expected dict")
            return json.dumps(result, allow_nan=False)
        except BaseException as error:
            raise self.failure(error) from None
        finally:
            end_logs()

    def function(self, name):
        """What the code itself defines as `name`, else as its main."""
        defined = vars(self.module)
        for candidate in (name, self.main):
            if callable(defined.get(candidate)):
                return defined[candidate]
        raise NameError(f"the code defines no function {self.main}")

    def wait_for(self, awaitable):
        # One loop for all runs: clients that the code keeps from run to run are bound to it.
        if self.event_loop is None:
            import asyncio

            self.event_loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.event_loop)

        async def result():
            return await awaitable

        return self.event_loop.run_until_complete(result())

    def failure(self, error):
        """The traceback goes to the logs, its end to the caller."""
        import linecache
        import traceback

        # The code is in no file; only this way can tracebacks quote it.
        linecache.cache[self.filename] = (len(self.code), None, self.code.splitlines(True), self.filename)
        inner_frames = error.__traceback__.tb_next  # without the shim's own
        try:
            traceback.print_exception(type(error), error, inner_frames)
        except Exception:  # the code may have closed or replaced the stream
            pass
        return Refusal("502 Bad Gateway", "".join(traceback.format_exception_only(type(error), error)).strip())


def value_of(request):
    value = request.get("value")
    if not isinstance(value, (dict, type(None))):
        raise Refusal("400 Bad Request", "value is no JSON object")
    return value or {}


def export(members):
    for name, value in members.items():
        if name.isidentifier():
            os.environ[name] = value if isinstance(value, str) else json.dumps(value)


def end_logs():
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except Exception:  # the code may have closed or replaced it
            pass
        try:
            os.write(descriptor, SENTINEL)
        except OSError:  # nobody reads the logs any more
            pass


def accept(port):
    """Puts the first connection to a port on descriptor 0."""
    import socket

    with socket.create_server(("", port), backlog=1) as server:
        connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        os.dup2(connection.fileno(), 0)


def take_connection():
    """Moves the connection from descriptor 0 to where neither the code nor its child processes meet it."""
    descriptor = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 100)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.set_blocking(descriptor, True)  # an agent with asynchronous sockets may hand it over otherwise
    # Children that fork without exec: they must neither hold the connection open nor answer on it.
    os.register_at_fork(after_in_child=lambda: os.dup2(0, descriptor))
    return open(descriptor, "rb", closefd=False), open(descriptor, "wb", closefd=False)


def read_head(reader):
    """Route and Content-Length of the next request, None at end of file."""
    line = reader.readline()
    route = b" ".join(line.split()[:2])
    length = 0
    while line not in (b"", b"\r\n"):
        line = reader.readline()
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return (route, length) if line else None


def answer(runtime, route, body):
    handler = {b"POST /init": runtime.init, b"POST /run": runtime.run}.get(route)
    if handler is None:
        raise Refusal("404 Not Found", "POST /init and POST /run are all there is")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal("400 Bad Request", f"malformed JSON: {error}") from None
    if not isinstance(request, dict):
        raise Refusal("400 Bad Request", "the body is no JSON object")
    return handler(request)


def serve(reader, writer):
    runtime = Runtime()
    for route, length in iter(lambda: read_head(reader), None):
        unread = 0
        try:
            if length > MAX_BODY_BYTES:
                unread = length
                raise Refusal("413 Content Too Large", "the body is larger than 16 MiB")
            status, body = "200 OK", answer(runtime, route, reader.read(length))
        except Refusal as refusal:
            status, body = refusal.status, json.dumps({"error": str(refusal)})
        content = body.encode()
        writer.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status.encode(), len(content), content)
        )
        writer.flush()
        # Only now, since the sender may wait for the refusal instead of sending it all.
        while unread:
            unread -= len(reader.read(min(unread, 65536))) or unread


if __name__ == "__main__":
    if sys.argv[1:2] == ["--listen"]:
        accept(int(sys.argv[2]))
    connection = take_connection()
    # A log line should be out at once, in case the function is killed, and none should fail for its characters.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        serve(*connection)
    except OSError:  # the agent is gone
        pass
    # Threads and exit handlers of the code have no say in it.
    os._exit(0)
