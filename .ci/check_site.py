"""Look at the built site as a browser does: ``python .ci/check_site.py docs/_build/html``.

Every link between pages, picture, script and fragment must exist; nothing that a page needs may come from
another host, so that it works without a network. If Chromium is here, it searches for `SEARCHES`, and the page
must be one of the first `N_SEEN` results.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

SEARCHES = {
    "power cut": "reliability.html",
    "append": "growing.html",
    "append a day": "xarray.html",
    "dask array": "dask.html",
    "slurm": "cluster.html",
    "add a filter": "filters.html",
}
"""What somebody types: the page that answers."""
N_SEEN = 3
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 120


class Page(HTMLParser):
    """The identifiers of a page, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort the attributes of a tag."""
        values = {name: value for name, value in attrs if value is not None}
        self.ids |= {
            values[name] for name in ("id", "name") if name in values and (name == "id" or tag == "a")
        }
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        elif "src" in values:
            self.loads.add(values["src"])
        elif tag == "link" and "href" in values and values.get("rel") not in ("canonical", "search"):
            self.loads.add(values["href"])


def is_elsewhere(link: str) -> bool:
    """Tell whether a link leaves the site."""
    parts = urlsplit(link)
    return bool(parts.netloc) or parts.scheme in ("http", "https", "mailto")


def pages_of(site: Path) -> list[Path]:
    """Return the pages; the theme's own files contain a template."""
    return [path for path in sorted(site.rglob("*.html")) if site / "_static" not in path.parents]


def wrong_links(site: Path) -> list[str]:
    """Return a line for each link that leads nowhere, and each part of a page that another host has."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in pages_of(site)}
    wrong = []
    for path, page in pages.items():
        here = path.relative_to(site)
        wrong += [f"{here}: loads {load}" for load in page.loads if is_elsewhere(load)]
        for link in sorted(page.links | page.loads):
            if is_elsewhere(link) or link.startswith(("data:", "javascript:")) or link == "#":
                continue
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or not target.is_relative_to(site):
                wrong.append(f"{here}: no file {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                wrong.append(f"{here}: no heading {link}")
    for path in sorted(site.rglob("*.css")):
        found = re.findall(
            r"(?:url\(|@import )\s*[\"']?(https?:[^\"')\s]+)", path.read_text(encoding="utf-8")
        )
        wrong += [f"{path.relative_to(site)}: loads {url}" for url in found]
    return wrong


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that prints nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def found_pages(browser: str, address: str, words: str) -> list[str]:
    """Return the names of the pages that a search finds, the first ones first."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--virtual-time-budget=20000", "--dump-dom", f"{address}/search.html?q={quote(words)}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    results = done.stdout.partition('class="search"')[2]
    return [Path(urlsplit(link).path).name for link in re.findall(r'<a href="([^"]+)" data-score', results)]


def wrong_searches(site: Path, browser: str) -> list[str]:
    """Return a line for each search that does not find its page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            found = {words: found_pages(browser, address, words)[:N_SEEN] for words in SEARCHES}
        finally:
            server.shutdown()
            thread.join()
    return [
        f"search for {words!r}: {page} is not among the first results, {found[words]}"
        for words, page in SEARCHES.items()
        if page not in found[words]
    ]


def main(folder: str) -> None:
    """Exit with the list of what is wrong."""
    site = Path(folder).resolve()
    n_pages = len(pages_of(site))
    if not n_pages:
        sys.exit(f"no pages in {site}")
    wrong = wrong_links(site)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser:
        wrong += wrong_searches(site, browser)
    else:
        print(f"skipped: searches, as none of {', '.join(BROWSERS)} is here (Debian: chromium)")
    if wrong:
        sys.exit("\n".join(wrong))
    print(
        f"{n_pages} pages: all links lead somewhere" + (", all searches find their page" if browser else "")
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
