"""A headless Chromium for the tests of pages."""

import asyncio
import json
import os
import shutil
import subprocess
import time

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Browser:
    "A headless Chromium that is spoken to over its debugging socket; needs nothing but tornado, which the kernel brings."

    def __init__(self, folder):
        exe = os.environ.get("CHROME_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
        if not exe:
            pytest.skip(
                "no Chromium or Chrome here (Debian: apt-get install chromium; or set CHROME_PATH)"
            )
        self.downloads, self.n, self.errors = folder / "downloads", 0, []
        self.downloads.mkdir(parents=True)
        self.process = subprocess.Popen(
            [
                exe,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--mute-audio",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder / 'profile'}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.loop = asyncio.new_event_loop()
        port = folder / "profile" / "DevToolsActivePort"
        try:
            self.until(
                lambda: port.exists() and len(port.read_text().split()) == 2,
                "the browser to start",
                30,
            )
            number, path = port.read_text().split()
            self.loop.run_until_complete(self._connect(f"ws://127.0.0.1:{number}{path}"))
        except BaseException:
            self.close()
            raise

    async def _connect(self, url):
        from tornado.websocket import websocket_connect

        self.socket, self.session = await websocket_connect(url, max_message_size=1 << 28), None
        await self._call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads)
        )
        target = (await self._call("Target.createTarget", url="about:blank"))["targetId"]
        self.session = (await self._call("Target.attachToTarget", targetId=target, flatten=True))[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            await self._call(f"{domain}.enable")

    async def _call(self, method, **params):
        self.n += 1
        number = self.n
        await self.socket.write_message(
            json.dumps(
                dict(id=number, method=method, params=params)
                | (dict(sessionId=self.session) if self.session else {})
            )
        )
        while True:
            m = json.loads(await asyncio.wait_for(self.socket.read_message(), 30))
            if m.get("method") == "Runtime.exceptionThrown":
                self.errors.append(
                    m["params"]["exceptionDetails"].get("exception", {}).get("description", "error")
                )
            if m.get("method") == "Log.entryAdded" and m["params"]["entry"]["level"] == "error":
                self.errors.append(m["params"]["entry"]["text"])
            if m.get("method") == "Page.javascriptDialogOpening":
                await self.socket.write_message(
                    json.dumps(
                        dict(
                            id=0,
                            method="Page.handleJavaScriptDialog",
                            params=dict(accept=True),
                            sessionId=self.session,
                        )
                    )
                )
            if m.get("id") != number:
                continue
            if "error" in m:
                raise RuntimeError(f"{method}: {m['error']}")
            return m["result"]

    def call(self, method, **params):
        return self.loop.run_until_complete(self._call(method, **params))

    def js(self, code):
        r = self.call(
            "Runtime.evaluate",
            expression=code,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        if "exceptionDetails" in r:
            raise RuntimeError(r["exceptionDetails"].get("exception", {}).get("description", code))
        return r["result"].get("value")

    def until(self, test, what, seconds=10):
        end = time.monotonic() + seconds
        while not test():
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s for {what}")
            time.sleep(0.05)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until(
            lambda: (
                self.js(f"location.href === {json.dumps(url)} && document.readyState") == "complete"
            ),
            "the page",
        )

    def key(self, key, code=None):
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        number = {"Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, "Tab": 9}.get(
            key, ord(key.upper()[0])
        )
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=code or key,
                windowsVirtualKeyCode=number,
                **(dict(text=text) if text and kind == "keyDown" else {}),
            )

    def text(self, id):
        return self.js(f"document.getElementById({json.dumps(id)}).textContent")

    def start(self, rater):
        self.js(
            f"const r = document.getElementById('rater'); r.value = {json.dumps(rater)}; r.dispatchEvent(new Event('input')); document.getElementById('go').click(); true"
        )

    def close(self):
        if getattr(self, "socket", None):
            try:
                self.call("Browser.close")
            except (TimeoutError, RuntimeError, TypeError, OSError):
                pass
            self.socket.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.loop.close()
