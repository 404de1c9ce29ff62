"""A headless Chromium for the tests of pages, driven by Playwright."""

import json
import os
import shutil
import time

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--mute-audio",
)


def find_chromium():
    "Path of the Chromium of this machine, or None. Playwright never downloads one."
    if os.environ.get("CHROME_PATH"):
        return os.environ["CHROME_PATH"]
    paths = map(shutil.which, BROWSERS)
    return next((path for path in paths if path), None)


class Browser:
    "One page of a headless Chromium. `errors` collects what the page reports as an error."

    def __init__(self, folder):
        playwright = pytest.importorskip(
            "playwright.sync_api", reason="Playwright is not installed (pip install playwright)"
        )
        executable = find_chromium()
        if executable is None:
            pytest.skip(
                "no Chromium or Chrome here (Debian: apt-get install chromium; or set CHROME_PATH)"
            )
        self.errors = []
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        self.driver = playwright.sync_playwright().start()
        try:
            self.process = self.driver.chromium.launch(executable_path=executable, args=FLAGS)
            self.context = self.process.new_context(no_viewport=True)
            self.page = self.context.new_page()
        except BaseException:
            self.driver.stop()
            raise
        self.session = self.context.new_cdp_session(self.page)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self.keep_error)
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.on("download", self.keep_download)

    def forget(self):
        "Delete what pages of files have kept, close other tabs, and forget errors."
        for page in self.context.pages:
            if page is not self.page:
                page.close()
        self.open("about:blank")
        everything = dict(origin="file://", storageTypes="local_storage")
        self.call("Storage.clearDataForOrigin", **everything)
        self.errors.clear()

    def keep_error(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def keep_download(self, download):
        download.save_as(self.downloads / download.suggested_filename)

    def call(self, method, **parameters):
        "Send a command of Chromium's own protocol, for what Playwright has no function for."
        return self.session.send(method, parameters)

    def js(self, code):
        "The value of JavaScript code in the page; a promise is awaited."
        return self.page.evaluate(code)

    def until(self, test, what, seconds=10):
        "Wait until `test()` holds. The page's events are handled meanwhile."
        end = time.monotonic() + seconds
        while not test():
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s for {what}")
            self.page.wait_for_timeout(50)

    def open(self, url):
        self.page.goto(url)

    def key(self, key):
        "Press and release a key, given by its name as `KeyboardEvent.key` has it."
        self.page.keyboard.press(key)

    def text(self, id):
        return self.page.text_content(f"[id={json.dumps(id)}]")

    def start(self, rater):
        "Type a rater's name on the first page of a listening test and press its button."
        self.page.fill("#rater", rater)
        self.page.click("#go")

    def close(self):
        self.process.close()
        self.driver.stop()
