"""Two windows of the page in a browser without a screen, which is driven by its own protocol: what is
typed is typed, and what a screen reader would be told is asked for."""
import asyncio
import base64
import json
import pathlib
import subprocess
import sys

from websockets.asyncio.client import connect

addr, folder = sys.argv[1], pathlib.Path(sys.argv[2])
SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={folder}/profile"]
PATIENCE = 20


class Browser:
    def __init__(self, socket):
        self.socket, self.asked, self.events = socket, 0, []

    async def ask(self, method, session=None, **params):
        self.asked += 1
        question = {"id": self.asked, "method": method, "params": params}
        if session:
            question["sessionId"] = session
        await self.socket.send(json.dumps(question))
        while True:
            answer = json.loads(await self.socket.recv())
            if answer.get("id") == self.asked:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)


class Window:
    """A window of a person of its own, who shares nothing with the others."""

    @classmethod
    async def open(cls, browser, language, width=1000, height=640):
        own = cls()
        context = await browser.ask("Target.createBrowserContext")
        target = await browser.ask("Target.createTarget", url="about:blank", **context)
        attached = await browser.ask("Target.attachToTarget", flatten=True, **target)
        own.browser, own.session = browser, attached["sessionId"]
        for domain in ["Log", "Runtime", "Network", "Accessibility"]:
            await own.ask(f"{domain}.enable")
        await own.ask("Emulation.setLocaleOverride", locale=language)
        agent = (await browser.ask("Browser.getVersion"))["userAgent"]
        await own.ask("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)
        await own.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        await own.resize(width, height)
        await own.ask("Page.navigate", url=f"http://{addr}/")
        return own

    async def resize(self, width, height):
        await self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height,
                       deviceScaleFactor=1, mobile=width < 500)

    async def ask(self, method, **params):
        return await self.browser.ask(method, self.session, **params)

    async def value(self, expression):
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True,
                               awaitPromise=True)
        if "exceptionDetails" in found:
            sys.exit(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    async def until(self, expression):
        # The page may not be there yet.
        guarded = f"(() => {{ try {{ return {expression}; }} catch {{ return false; }} }})()"
        for _ in range(PATIENCE * 50):
            if await self.value(guarded):
                return
            await asyncio.sleep(0.02)
        body = await self.value("document.body && document.body.innerText")
        sys.exit(f"never: {expression}\n{body}")

    async def press(self, key, modifiers=0):
        codes = {"Enter": 13, "Tab": 9, "Backspace": 8, "a": 65}
        text = {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key],
                  "modifiers": modifiers}
        kind = "keyDown" if text else "rawKeyDown"
        await self.ask("Input.dispatchKeyEvent", type=kind, **common, **text)
        await self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    async def type(self, words):
        await self.ask("Input.insertText", text=words)

    async def tab_to(self, selector):
        """By the Tab key alone; where it stops, it can be seen."""
        for _ in range(20):
            await self.press("Tab")
            if not await self.value("document.activeElement === document.body || getComputedStyle("
                                    "document.activeElement).outlineStyle === 'solid'"):
                sys.exit("focus that cannot be seen: " + await self.value(
                    "document.activeElement.outerHTML"))
            if await self.value(f"document.activeElement.matches('{selector}')"):
                return
        sys.exit(f"the Tab key never comes to {selector}")

    async def roles(self):
        """What a screen reader is told of: role, name and liveness of all that it knows."""
        nodes = (await self.ask("Accessibility.getFullAXTree"))["nodes"]
        found = set()
        for node in nodes:
            live = [p["value"].get("value") for p in node.get("properties", [])
                    if p["name"] == "live"]
            name = node.get("name", {}).get("value", "")
            found.add((node.get("role", {}).get("value"), name, *live))
        return found

    async def picture(self, name):
        shot = await self.ask("Page.captureScreenshot", format="png")
        (folder / name).write_bytes(base64.b64decode(shot["data"]))


LINES = "[...document.querySelectorAll('#log .said > p')].map(line => line.textContent)"
LAST = f"({LINES}).at(-1)"
# Nothing is wider than the window, nothing lies on something else, nothing is cut.
LAYOUT = """(() => {
  const wrong = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) wrong.push(`wide: ${root.scrollWidth} of ${innerWidth}`);
  if (root.scrollHeight > innerHeight + 1) wrong.push(`high: ${root.scrollHeight} of ${innerHeight}`);
  const all = [...document.querySelectorAll('h1, #status, #languages button, #log, #people, label, input, textarea, form button')];
  const boxes = all.map(e => [e, e.getBoundingClientRect()]);
  for (const [e, r] of boxes) {
    const name = e.id || e.textContent.trim() || e.tagName;
    if (r.left < -1 || r.right > innerWidth + 1 || r.bottom > innerHeight + 1) wrong.push(`outside: ${name}`);
    if (e.matches('button, input, textarea') && (r.width < 44 || r.height < 44)) wrong.push(`small: ${name}`);
    if (e.matches('button') && e.scrollWidth > e.clientWidth + 1) wrong.push(`cut: ${name}`);
    for (const [f, s] of boxes) {
      if (e !== f && !e.contains(f) && !f.contains(e) && r.left < s.right - 1 && s.left < r.right - 1
          && r.top < s.bottom - 1 && s.top < r.bottom - 1) wrong.push(`${name} lies on ${f.id || f.tagName}`);
    }
  }
  return wrong.join('; ');
})()"""


def expect(got, wanted):
    if got != wanted:
        sys.exit(f"{got!r:.500} is not {wanted!r:.500}")


async def talks(browser):
    ada = await Window.open(browser, "en-GB")
    await ada.until("state === 'open' && own === 'guest-1'")
    zahra = await Window.open(browser, "fa-IR", width=360)
    await zahra.until("state === 'open' && own === 'guest-2'")
    expect(await ada.value("document.documentElement.dir + document.documentElement.lang"), "ltren")
    expect(await zahra.value("document.documentElement.dir + document.documentElement.lang"), "rtlfa")
    await ada.until("document.querySelectorAll('#people li').length === 2")

    await zahra.tab_to("#name-field")
    await zahra.press("a", modifiers=2)
    await zahra.type("زهرا")
    await zahra.press("Enter")
    await ada.until("people.has('زهرا')")
    await ada.tab_to("#text-field")
    await ada.type("hello <img src=x onerror=alert(1)>")
    await ada.press("Enter")
    await zahra.until(f"{LAST} === 'hello <img src=x onerror=alert(1)>'")
    expect(await ada.value("text.value"), "")
    await zahra.tab_to("#text-field")
    await zahra.type("سلام")
    await zahra.press("Enter", modifiers=8)
    await zahra.type("دو")
    await zahra.press("Enter")
    for window in [ada, zahra]:
        await window.until(f"{LAST} === 'سلام\\nدو'")
    expect(await ada.value("log.querySelectorAll('img, script').length"), 0)
    # Each text runs where it has to.
    side = "getComputedStyle([...document.querySelectorAll('#log .said > p')].at({})).direction"
    for window in [ada, zahra]:
        expect(await window.value(side.format(-2)), "ltr")
        expect(await window.value(side.format(-1)), "rtl")
    return ada, zahra


async def is_told(ada, zahra):
    told = await ada.roles()
    for wanted in [("status", "", "polite"), ("log", "Conversation", "polite"), ("main", ""),
                   ("heading", "The room"), ("button", "Send"), ("button", "English"),
                   ("textbox", "Your name"), ("alert", "", "assertive"),
                   ("textbox", "Message (Enter sends, Shift+Enter begins a line)"),
                   ("complementary", "Here: 2")]:
        if not any(found[:len(wanted)] == wanted for found in told):
            sys.exit(f"a screen reader is not told of {wanted}: {sorted(map(str, told))}")
    told = await zahra.roles()
    for wanted in [("log", "گفت‌وگو", "polite"), ("button", "بفرست"), ("textbox", "نام شما"),
                   ("heading", "اتاق"), ("complementary", "حاضران: ۲")]:
        if not any(found[:len(wanted)] == wanted for found in told):
            sys.exit(f"a screen reader is not told of {wanted}: {sorted(map(str, told))}")
    expect(await ada.value("by('status').textContent"), "Connected")


async def is_in_order(ada, zahra):
    for window in [ada, zahra]:
        for width, height in [(1000, 640), (700, 500), (360, 640), (320, 560)]:
            await window.resize(width, height)
            for language in ["en", "fa"]:
                await window.value(f"document.querySelector('[data-language={language}]').click()")
                await window.value("new Promise(requestAnimationFrame)")
                wrong = await window.value(LAYOUT)
                if wrong:
                    sys.exit(f"at {width} in {language}: {wrong}")
                await window.picture(f"{width}-{language}.png")
    await ada.value("document.querySelector('[data-language=en]').click()")
    expect(await ada.value("by('languages').querySelector('[aria-pressed=true]').lang"), "en")


async def comes_back(ada, zahra):
    """No network: it is said, what was typed is kept, and the name is there again afterwards."""
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    await zahra.ask("Network.emulateNetworkConditions", offline=True, **network)
    await zahra.value("window.dispatchEvent(new Event('offline'))")
    await zahra.until("by('status').textContent === 'آفلاین هستید'")
    await ada.until("!people.has('زهرا')")
    await zahra.value("text.focus()")
    await zahra.type("آیا")
    await zahra.press("Enter")
    expect(await zahra.value("text.value + by('wrong').textContent"), "آیافرستاده نشد: اتصالی نیست.")
    await zahra.ask("Network.emulateNetworkConditions", offline=False, **network)
    await zahra.until("state === 'open' && own === 'زهرا'")
    await ada.until("people.has('زهرا')")
    await zahra.press("Enter")
    await ada.until(f"{LAST} === 'آیا'")
    # The server goes: each wait is longer than the last. Nobody is at that port of the name server.
    await zahra.value("waits = []; Date_now = Date.now; lost = (old => () => { old();"
                      " waits.push(nextTry - Date.now()); })(lost);"
                      " window.WebSocket = function () { setTimeout(() => this.onclose()); }; socket.close()")
    await zahra.until("waits.length >= 4")
    expect(await zahra.value("waits.every((wait, n) => wait <= 510 * 2 ** n && wait >= 200 * 2 ** n)"), True)
    expect(await zahra.value("by('status').textContent.startsWith('متصل نیست')"), True)


async def main():
    browser = subprocess.Popen(["chromium", *SWITCHES, "about:blank"], stderr=subprocess.DEVNULL)
    try:
        port = folder / "profile" / "DevToolsActivePort"
        for _ in range(PATIENCE * 50):
            if port.exists() and len(port.read_text().split()) == 2:
                break
            await asyncio.sleep(0.02)
        number, path = port.read_text().split()
        async with connect(f"ws://127.0.0.1:{number}{path}", max_size=None) as socket:
            driver = Browser(socket)
            windows = await talks(driver)
            await is_told(*windows)
            await is_in_order(*windows)
            await comes_back(*windows)
            # Among others: what the policy forbids, and errors of scripts.
            bad = [event for event in driver.events
                   if event["method"] in ["Log.entryAdded", "Runtime.exceptionThrown"]
                   and "ERR_INTERNET_DISCONNECTED" not in str(event)]
            if bad:
                sys.exit(f"the browser complains: {bad}")
            print("the page works")
            await driver.ask("Browser.close")
    finally:
        browser.terminate()
        browser.wait()


asyncio.run(main())
