"""A client for the suite's client scenarios, with the gate in between.

    driver.py URL

The suite starts this with the URL of its scripted server. It puts a gate in front of that server, lets the Python
SDK's own conformance client do what the scenario wants through the gate, and stops the gate again. The client finds
the scenario in the suite's variables, which it inherits. Ours are:

    CONFORMANCE_GATE     the gate's program
    CONFORMANCE_CLIENT   the client's program
    CONFORMANCE_FOLDER   where each scenario gets a folder for its gate's config, data and log
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

READY_MAX = 20.0

CONFIG = """\
listen = "127.0.0.1:{port}"
data_dir = "data"
builtins = []
[limits.tool_call]
max = 10000
per = "1s"
[upstreams.suite]
url = "{url}"
prefix = "never"
"""


def main() -> int:
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    folder = pathlib.Path(os.environ["CONFORMANCE_FOLDER"]) / scenario.replace("/", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "gate.toml").write_text(CONFIG.format(port=port, url=sys.argv[1]))
    with (folder / "gate.log").open("wb") as log:
        command = [os.environ["CONFORMANCE_GATE"], "serve", "--config", "gate.toml"]
        gate = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    # The suite ends a scenario that takes too long with SIGTERM; the gate must not stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        wait_for(gate, port)
        client = [sys.executable, os.environ["CONFORMANCE_CLIENT"], f"http://127.0.0.1:{port}/mcp"]
        return subprocess.run(client).returncode
    finally:
        gate.terminate()
        try:
            gate.wait(5)
        except subprocess.TimeoutExpired:
            gate.kill()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(gate: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + READY_MAX
    while time.monotonic() < deadline:
        if gate.poll() is not None:
            sys.exit(f"the gate ended with {gate.returncode}; see its log")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit("the gate did not get ready; see its log")


if __name__ == "__main__":
    sys.exit(main())
