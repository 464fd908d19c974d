"""A headless Chromium driven over its debugging pipe (file descriptors 3 and 4): real keys, reloads, console, requests.

Source: https://chromedevtools.github.io/devtools-protocol, messages as JSON that end in a zero byte.
"""

import base64
import fcntl
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

KEYS = {
    "ArrowDown": (40, ""), "ArrowUp": (38, ""), "ArrowLeft": (37, ""), "ArrowRight": (39, ""), "Home": (36, ""),
    "End": (35, ""), "Escape": (27, ""), "Enter": (13, "\r"), "Tab": (9, ""),
}  # fmt: skip
PATIENCE_S = 60.0


class Page:
    """One tab; `console` and `requests` hold what it logged and what it asked for over any network."""

    def __init__(self, browser: str, folder: Path) -> None:
        (read, chrome_out), (chrome_in, write) = ([_high(end) for end in os.pipe()] for _ in range(2))
        errors = os.open(folder / "chromium.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip
        actions = [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in ((chrome_in, 3), (chrome_out, 4), (errors, 2))]
        self.pid = os.posix_spawn(browser, command, dict(os.environ), file_actions=actions)
        for fd in (chrome_in, chrome_out, errors):
            os.close(fd)
        self.read, self.write, self.rest, self.sent = read, write, b"", 0
        self.session: str | None = None
        self.console: list[str] = []
        self.requests: list[str] = []
        self.loaded = 0
        targets = self.send("Target.getTargets")["targetInfos"]
        tab = next(one["targetId"] for one in targets if one["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        os.close(self.read)
        os.close(self.write)

    def send(self, method: str, **given: Any) -> dict[str, Any]:
        """The answer to one command; events that come before it are noted."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": given}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.sent:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._note(answer)

    def go(self, url: str) -> None:
        """Opens an address and waits for its load event."""
        self._load("Page.navigate", url=url)

    def reload(self) -> None:
        self._load("Page.reload")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Presses keys one after another, as a person would."""
        for key in keys:
            code, text = KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key))
            given = {"key": key, "windowsVirtualKeyCode": code}
            self.send("Input.dispatchKeyEvent", type="keyDown", **given, **({"text": text} if text else {}))
            self.send("Input.dispatchKeyEvent", type="keyUp", **given)
        self.settle()

    def click(self, selector: str) -> None:
        """Clicks the middle of the first match."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            " e.scrollIntoView({block: 'center'});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
        self.settle()

    def settle(self) -> None:
        """Waits until two frames have been drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def shape(self, width: int, height: int, dark: bool = False) -> None:
        """Size of the window and theme."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.settle()

    def picture(self, path: Path, whole: bool = False) -> None:
        """A picture of what is seen, or of the whole page."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def _load(self, method: str, **given: Any) -> None:
        loaded = self.loaded
        self.send(method, **given)
        until = time.monotonic() + PATIENCE_S
        while self.loaded == loaded and time.monotonic() < until:
            self._note(self._next())
        self.settle()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], PATIENCE_S)
            piece = os.read(self.read, 1 << 16) if ready else b""
            assert piece, "Chromium says nothing more"
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        method, given = event.get("method", ""), event.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded += 1
        elif method == "Runtime.consoleAPICalled":
            self.console.append(str([one.get("value") for one in given["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(given["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(f"{given['entry']['level']}: {given['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])


def _high(fd: int) -> int:
    """The same pipe end, well above the numbers that Chromium expects its own at."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(fd)
    return moved
