"""Opens a page of clip-page in headless Chromium, through chromedriver, and tries it.

Usage: browser.py PAGE PICTURES
PAGE must show PICTURES pictures. Filter, least score, sorting and keys are tried; nothing may be logged to the console
and no request may go out.
"""
import json, pathlib, socket, subprocess, sys, time, urllib.request

page, pictures = pathlib.Path(sys.argv[1]).resolve().as_uri(), int(sys.argv[2])
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def call(path, data=None, method=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method,
                                     data=None if data is None else json.dumps(data).encode())
    return json.load(urllib.request.urlopen(request, timeout=100))["value"]


def run(script, *args):
    return call(f"{session}/execute/sync", {"script": script, "args": list(args)})


def shown():
    return run("return [...document.querySelectorAll('figure')].filter(f => f.getClientRects().length).map(f => f.dataset.name)")


def put(id, value, event="input"):
    run("const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event(arguments[2]))",
        id, value, event)


def press(key):
    keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
    call(f"{session}/actions", {"actions": [{"type": "key", "id": "k", "actions": keys}]})


def check():
    # Pictures that are not in sight are decoded when they come there.
    run("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    bad = "return [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length"
    for _ in range(50):
        if run(bad) == 0:
            break
        time.sleep(0.1)
    assert run(bad) == 0, "pictures that are not shown"
    assert run("return document.images.length") == pictures, run("return document.images.length")
    names = shown()
    assert len(names) == run("return document.querySelectorAll('figure').length") > 1
    assert run("return document.getElementById('shown').textContent") == f"{len(names)} of {len(names)}"

    word = run("return document.querySelector('figure').dataset.name.toLowerCase()")
    put("filter", word.upper())
    some = shown()
    wanted = run("""return [...document.querySelectorAll('figure')].filter(f =>
        (f.closest('section').querySelector('h2').textContent + ' ' + f.textContent).toLowerCase().includes(arguments[0])
        ).map(f => f.dataset.name)""", word)
    assert some == wanted and some, some
    put("filter", "nothing has this name")
    assert shown() == []
    press("\ue00c")  # Escape
    assert shown() == names

    scores = "return [...document.querySelectorAll('figure')].map(f => Number(f.dataset.score)).filter(s => !isNaN(s))"
    middle = sorted(run(scores))[len(run(scores)) // 2]
    put("least", str(middle))
    assert len(shown()) == sum(s >= middle for s in run(scores)), (middle, shown())
    put("least", "")

    first = "return [...document.querySelector('.grid').children].map(f => Number(f.dataset.score)).filter(s => !isNaN(s))"
    put("sort", "low", "change")
    assert run(first) == sorted(run(first))
    put("sort", "high", "change")
    assert run(first) == sorted(run(first), reverse=True)
    put("sort", "given", "change")
    assert shown() == names

    press("/")
    assert run("return document.activeElement.id") == "filter"
    press("\ue00c")
    press("\ue014")  # the right arrow
    press("\ue014")
    assert run("return document.activeElement === document.querySelectorAll('figure')[1]")

    logged = call(f"{session}/se/log", {"type": "browser"})
    assert logged == [], logged
    requests = [json.loads(entry["message"])["message"] for entry in call(f"{session}/se/log", {"type": "performance"})]
    urls = {r["params"]["request"]["url"] for r in requests if r["method"] == "Network.requestWillBeSent"}
    assert all(url == page or url.startswith("data:") for url in urls), urls
    assert run("return window.hit === undefined"), "a name was run as a script"


session = None
try:
    for _ in range(100):
        try:
            call("/status")
            break
        except OSError:
            time.sleep(0.1)
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1000,800"]
    session = "/session/" + call("/session", {"capabilities": {"alwaysMatch": {
        "goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})["sessionId"]
    call(f"{session}/url", {"url": page})
    check()
finally:
    if session:
        call(session, method="DELETE")
    driver.terminate()
    driver.wait()
