# SPDX-License-Identifier: Apache-2.0
"""The page at / in a headless Chromium: typing, streaming, stopping, the keyboard, a phone's width, both colour
schemes, and no error in the console.

usage: page.py http://127.0.0.1:8080     (needs Debian's chromium and chromium-driver and `pip install selenium`;
                                          not part of the test suite)
"""
import sys
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

URL = sys.argv[1]
SECONDS = 60

options = webdriver.ChromeOptions()
for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
    options.add_argument(option)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))


def at(name):
    return driver.find_element(By.ID, name)


def until(condition, what):
    WebDriverWait(driver, SECONDS, poll_frequency=0.05).until(lambda _: condition(), what)


def output():
    return at("output").get_attribute("textContent")


def is_idle():
    return at("run").is_enabled() and not at("stop").is_enabled()


def fill(name, text):
    at(name).clear()
    at(name).send_keys(text)


def run_whole(prompt, tokens):
    fill("prompt", prompt)
    fill("max_tokens", tokens)
    fill("temperature", "0")
    at("run").click()
    until(lambda: len(output()) > len(prompt), "no token arrived")
    until(is_idle, "the answer does not end")
    return output()


def check_width(width):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": width, "height": 700, "deviceScaleFactor": 2, "mobile": width < 600})
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width, f"at {width} pixels the page is {wide} wide"
    for name in ("prompt", "run", "stop", "copy", "output", "max_tokens", "temperature", "seed"):
        box = at(name).rect
        assert box["x"] >= 0 and box["x"] + box["width"] <= width + 1, (name, box)


try:
    driver.get(URL)
    until(lambda: "parameters" in at("model").text, "the model is not described")
    assert driver.switch_to.active_element == at("prompt")

    # An answer arrives, and the same again.
    text = run_whole("Once upon a time", "24")
    assert text.startswith("Once upon a time") and len(text) > 20, text
    assert run_whole("Once upon a time", "24") == text
    assert "24 written" in at("stats").text and "first token" in at("stats").text, at("stats").text
    assert at("error").text == ""

    # Tokens arrive one by one, and the button and the key both stop them.
    for stop in (lambda: at("stop").click(), lambda: at("prompt").send_keys(Keys.ESCAPE)):
        fill("max_tokens", "1000000")
        at("run").click()
        until(lambda: len(driver.find_elements(By.CSS_SELECTOR, "#output span")) > 10, "no tokens arrive")
        first = len(output())
        until(lambda: len(output()) > first, "no more tokens arrive")
        assert not at("run").is_enabled() and at("stop").is_enabled()
        stop()
        until(is_idle, "it does not stop")
        stopped = output()
        time.sleep(0.5)
        assert output() == stopped, "tokens arrive after the stop"
    until(lambda: driver.execute_script("return fetch('v1/capacity').then(r => r.json())")["requests_running"] == 0,
          "a stopped request still runs")

    # The keyboard alone: everything can be reached, Ctrl+Enter runs.
    fill("max_tokens", "8")
    driver.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    at("prompt").click()
    reached = set()
    for _ in range(14):
        reached.add(driver.switch_to.active_element.get_attribute("id"))
        driver.switch_to.active_element.send_keys(Keys.TAB)
    assert {"prompt", "max_tokens", "temperature", "seed", "colour", "run", "copy", "output"} <= reached, reached
    at("prompt").send_keys(Keys.CONTROL, Keys.ENTER)
    until(lambda: "8 written" in at("stats").text, "Ctrl+Enter does not run")

    # Colours by probability, errors, the text of others is text.
    at("colour").click()
    run_whole("<b>bold</b> & <script>x</script>", "8")
    assert output().startswith("<b>bold</b> & <script>x</script>")
    coloured = driver.find_elements(By.CSS_SELECTOR, "#output span[title$='%']")
    assert 1 <= len(coloured) <= 8 and "%" in coloured[0].get_attribute("title")
    driver.execute_script("document.getElementById('temperature').value = 500")
    driver.execute_script("document.getElementById('settings').dispatchEvent(new Event('submit', {cancelable: true}))")
    until(lambda: "temperature" in at("error").text, "an error is not shown")
    until(is_idle, "after an error it does not run again")

    for width in (320, 390, 1280):
        check_width(width)
    for scheme in ("light", "dark"):
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                               {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        colours = [driver.execute_script(f"return getComputedStyle(document.documentElement).{what}")
                   for what in ("color", "colorScheme")]
        assert colours[0] == ("rgb(0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)"), (scheme, colours)

    # The refused request is the only thing that the browser complains of.
    complaints = [entry["message"] for entry in driver.get_log("browser") if "400" not in entry["message"]]
    assert not [message for message in complaints if "favicon" not in message], complaints
    print(f"Chromium {driver.capabilities['browserVersion']}: all as it should be")
finally:
    driver.quit()
