"""Clicks through the report that tests/it/program/report.rs writes: `report.py REPORT SCREENSHOTS`."""

import sys
from pathlib import Path

from driver import Browser

FEATURES = 200


def visit(browser, index, shot):
    browser.open(index)
    browser.until("return document.querySelectorAll('.row').length === 50", "a page of the list")
    shot("list")
    find_by_number(browser)
    examples_are_shaded(browser)
    shot("feature")
    neighbor_is_followed(browser)
    find_by_token(browser)
    find_by_label_and_text(browser)
    choose_by_density(browser)
    keys_move(browser)
    hostile_text_is_text(browser, shot)
    point_of_the_map_is_opened(browser, shot)
    missing_features_are_said(browser)
    nothing_is_wider_than_the_window(browser, index)


def at(browser, feature):
    browser.until(f"return location.hash === '#/feature/{feature}'", f"the address of feature {feature}")
    browser.until(f"return document.querySelector('.heading h1')?.textContent === 'Feature {feature}'",
                  f"feature {feature}")


def search(browser, text):
    browser.press("Escape", "/")
    browser.until("return document.activeElement.id === 'search'", "the search field has the focus")
    browser.type("#search", text)


def find_by_number(browser):
    search(browser, "12")
    browser.press("Enter")
    at(browser, 12)


def examples_are_shaded(browser):
    counts = browser.run("return ['.interval', '.example'].map((part) => document.querySelectorAll(part).length)")
    assert counts == [4, 16], counts
    titles = browser.run("return [...document.querySelectorAll('.interval h3')]"
                         ".map((title) => title.firstChild.textContent)")
    assert titles[0] == "Top activations" and len(set(titles)) == 4, titles
    shades = browser.run("return [...document.querySelector('.passage').querySelectorAll('[data-at]')]"
                         ".map((token) => getComputedStyle(token).backgroundColor)")
    assert len(set(shades)) == 3, f"none, a third and all of the maximum: {shades}"
    contrast = browser.run(CONTRAST)
    assert contrast >= 4.5, f"contrast of the strongest shade: {contrast}"
    # The value is shown where the keyboard is, too.
    browser.run("document.querySelector('.passage').focus()")
    browser.press("ArrowRight")
    browser.until("return !document.getElementById('tip').hidden", "the tip")
    value = browser.run("return Number(document.querySelector('#tip strong').textContent)")
    maximum = 2 + 12 % 17 / 3
    assert min(abs(value - maximum), abs(value - maximum / 3)) < 0.01, value
    browser.run("document.activeElement.blur()")
    assert browser.run("return document.getElementById('tip').hidden")
    assert browser.run("return document.querySelectorAll('.bars .fill').length") > 5, "the histogram"
    assert browser.run("return document.querySelectorAll('.statistics dd').length") == 6


# The ratio of WCAG 2 between the text and the strongest shade that is shown, drawn over the page.
CONTRAST = """
const lit = [...document.querySelectorAll('.passage .lit')]
    .sort((one, other) => other.style.getPropertyValue('--strength') - one.style.getPropertyValue('--strength'))[0];
const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const drawn = (...colors) => {
    for (const color of colors) { context.fillStyle = color; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
};
const luminance = (color) => color.map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
const style = getComputedStyle(lit);
const page = getComputedStyle(document.documentElement).backgroundColor;
const [low, high] = [drawn(style.color), drawn(page, style.backgroundColor)].map(luminance).sort((a, b) => a - b);
return (high + 0.05) / (low + 0.05);
"""


def neighbor_is_followed(browser):
    browser.click(".neighbors a")
    at(browser, 13)


def find_by_token(browser):
    search(browser, " bridge")
    browser.until("return document.body.dataset.shown.includes('bridge')", "features of a token")
    titles = browser.run("return [...document.querySelectorAll('.row .what')].map((row) => row.textContent)")
    assert all("bridge" in title for title in titles), titles
    browser.press("Enter")
    browser.until("return document.activeElement.classList.contains('row')", "the first row has the focus")
    browser.press("j", "Enter")
    browser.find(".feature")
    assert "bridge" in browser.text(".examples")


def find_by_label_and_text(browser):
    search(browser, ",")
    browser.until("return document.body.dataset.shown.includes('%2C')", "features of a comma, which is no number")
    numbers = browser.run("return [...document.querySelectorAll('.row .number:first-child')]"
                          ".map((cell) => cell.textContent)")
    assert numbers[0] != "0", numbers
    search(browser, "what crosses")
    browser.until("return document.querySelectorAll('.row').length === 1", "the feature of a label")
    assert "rivers and what crosses them" in browser.text(".row")
    search(browser, "under an old")
    browser.until("return document.body.dataset.shown.includes('under')", "the search")
    browser.until("document.querySelector('.scan')?.click(); return document.querySelectorAll('.row').length === 50"
                  " && !document.querySelector('.scan')", "features of a text, in all files")
    assert "under an old" in browser.text(".row .snippet")


def choose_by_density(browser):
    browser.run("location.hash = '#/?min=0.05&sort=density'")
    browser.until("return document.querySelector('h1')?.textContent.match(/^[0-9]+ features?$/)"
                  " && document.querySelectorAll('.row').length < 50", "a range of densities")
    shown = browser.run("return [...document.querySelectorAll('.row .density')]"
                        ".map((cell) => parseFloat(cell.textContent))")
    assert shown and min(shown) >= 5 and shown == sorted(shown, reverse=True), shown


def keys_move(browser):
    browser.run("location.hash = '#/feature/100'")
    at(browser, 100)
    # The first one leaves the search field.
    browser.press("Escape", "Escape")
    browser.find(".list")
    browser.run("location.hash = '#/'")
    browser.until("return document.querySelectorAll('.row').length === 50", "the whole list")
    browser.press("j", "j", "k", "ArrowDown", "Enter")
    at(browser, 1)
    browser.press("ArrowRight")
    at(browser, 2)
    browser.press("k")
    at(browser, 1)
    browser.press("?")
    browser.until("return document.getElementById('help').open", "the keys")
    browser.press("Escape")


def hostile_text_is_text(browser, shot):
    browser.run("location.hash = '#/feature/7'")
    at(browser, 7)
    passage = browser.run("return document.querySelector('.passage').textContent")
    for shown in ("<script>window.hacked = 1</script>", "</script>", "<img src=x", "U+202E", "U+2066", "␀", "U+2028",
                  "⇥"):
        assert shown in passage, (shown, passage)
    assert "1,048,576 characters" in passage and len(passage) < 2000, len(passage)
    assert "</script>" in browser.text(".label-line")
    for unseen in "\u202e\u2066\0\u2028":
        assert unseen not in browser.run("return document.documentElement.textContent"), hex(ord(unseen))
    scripts = browser.run("return document.querySelectorAll('main script, main img, main b, main iframe').length")
    assert scripts == 0, scripts
    shot("hostile")
    browser.press("Escape")
    browser.find(".list")


def point_of_the_map_is_opened(browser, shot):
    browser.press("m")
    browser.find(".map canvas")
    browser.until("return document.querySelector('.map canvas').width > 300", "the map")
    shot("map")
    # The middle of the canvas shows the point, once it is zoomed to it.
    box = browser.run("monosem.map.fit([31]);"
                      " const box = document.querySelector('.map canvas').getBoundingClientRect();"
                      " const [x, y] = monosem.map.place(31); return [box.left + x, box.top + y]")
    browser.point(*box)
    browser.until("return !document.getElementById('tip').hidden", "the tip of a point")
    assert browser.text("#tip strong") == "31", browser.text("#tip")
    browser.point(*box, click=True)
    at(browser, 31)


def missing_features_are_said(browser):
    for wrong in (FEATURES, "-1", "x", "1.5"):
        browser.run("location.hash = `#/feature/${arguments[0]}`", str(wrong))
        browser.until("return document.querySelector('h1')?.textContent === 'No such feature'", wrong)
    browser.run("location.hash = '#/feature/49'")
    at(browser, 49)
    assert "active on none" in browser.text(".examples")


def nothing_is_wider_than_the_window(browser, index):
    for page in ("", "#/feature/7", "#/feature/12", "#/map", "#/?q=e"):
        browser.open(index + page)
        browser.until("return document.querySelector('.list, .feature, .map') !== null", page)
        wide = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], (page, wide)


def main():
    report, screenshots = (Path(argument).resolve() for argument in sys.argv[1:3])
    for width, height in ((1280, 900), (390, 844)):
        for scheme in ("light", "dark"):
            browser = Browser(width, height, dark=scheme == "dark")
            try:
                visit(browser, f"{report.as_uri()}/index.html",
                      lambda name: browser.screenshot(screenshots / f"{name}-{width}-{scheme}.png"))
                assert browser.run("return window.hacked === undefined"), "text was run"
                assert (log := browser.log("browser")) == [], log
                foreign = [url for url in browser.requests() if not url.startswith(f"{report.as_uri()}/")]
                assert foreign == [], foreign
            finally:
                browser.close()
            print(f"ok  {width} px, {scheme}")


if __name__ == "__main__":
    main()
