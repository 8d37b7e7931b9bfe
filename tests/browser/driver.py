"""A browser, driven over the WebDriver protocol (https://www.w3.org/TR/webdriver2/) with Python's own library."""

import base64
import json
import socket
import subprocess
import tempfile
import time
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014",
        "ArrowDown": "\ue015", "Tab": "\ue004"}


class Browser:
    """A window of Chromium of one size and colour scheme."""

    def __init__(self, width, height, dark=False):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}", "--log-level=SEVERE"],
                                       stdout=subprocess.DEVNULL)
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.session = ""
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 f"--user-data-dir={self.profile.name}", f"--window-size={width},{height}", "--hide-scrollbars"]
        options = {"args": flags, "perfLoggingPrefs": {"enableNetwork": True, "enablePage": False}}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        request = {"capabilities": {"alwaysMatch": capabilities}}
        self.session = self.wait(lambda: self.post("/session", request), "chromedriver")["sessionId"]
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                     mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        # The browser's own first page is not what is tested.
        self.open("about:blank")
        self.requests()
        self.log("browser")

    def close(self):
        try:
            self.request("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.profile.cleanup()

    def request(self, method, path, body=None):
        path = path if path == "/session" else f"/session/{self.session}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def post(self, path, body):
        return self.request("POST", path, body)

    def command(self, name, **parameters):
        return self.post("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def open(self, url):
        self.post("/url", {"url": url})

    def run(self, script, *arguments):
        """The result of a function's body."""
        return self.post("/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector):
        """The element, once it is there."""
        find = lambda: self.post("/element", {"using": "css selector", "value": selector})
        return self.wait(find, selector)[ELEMENT]

    def text(self, selector):
        return self.request("GET", f"/element/{self.find(selector)}/text")

    def click(self, selector):
        self.post(f"/element/{self.find(selector)}/click", {})

    def type(self, selector, text):
        self.post(f"/element/{self.find(selector)}/value", {"text": text})

    def press(self, *keys):
        """Keys, wherever the focus is."""
        keys = [KEYS.get(key, key) for key in keys]
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def point(self, x, y, click=False):
        """Moves the mouse to a point of the window."""
        actions = [{"type": "pointerMove", "duration": 0, "x": int(x), "y": int(y)}]
        if click:
            actions += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self.post("/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})

    def until(self, script, what):
        """Waits until the script's result is true."""
        return self.wait(lambda: self.run(script) or None, what)

    def wait(self, attempt, what, seconds=20):
        end = time.monotonic() + seconds
        while True:
            try:
                found = attempt()
                if found is not None:
                    return found
                problem = "not so"
            except (AssertionError, OSError) as error:
                problem = error
            if time.monotonic() > end:
                raise AssertionError(f"{what}: {problem}; log: {self.log('browser') if self.session else ''}")
            time.sleep(0.05)

    def log(self, kind):
        return self.post("/se/log", {"type": kind})

    def requests(self):
        """The addresses that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [message["params"]["request"]["url"] for message in messages
                if message["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.request("GET", "/screenshot")))
