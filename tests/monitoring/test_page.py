"""The operator's page in a real browser."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.operator.test_overview import STATUS, an_inventory, fill
from tests.operator.test_page import WELL

from moln_operator import health, page
from moln_operator.metrics import Metrics
from moln_operator.observe.overview import Overview
from moln_operator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.monitoring
BROWSER = Path("/usr/bin/chromium")


@contextmanager
def served() -> Iterator[str]:
    """The page of two clouds, one well and one with a node down, as the operator serves it."""
    inventory = an_inventory(2, {**WELL, **STATUS})
    fill(inventory, "archive", 3, WELL)
    overview = Overview(inventory)
    ports: list[int] = []
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        settings = Settings(image="x", listen_host="127.0.0.1", listen_port=0)
        shown = health.served(settings, Metrics(), list, list, lambda: page.render(overview.clouds(), leads=True))
        async with shown as port:
            ports.append(port)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield f"http://127.0.0.1:{ports[0]}/"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def browse(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the browser without a screen; it must end well."""
    if not BROWSER.exists():
        pytest.fail("Chromium is not installed: run scripts/install-monitoring")
    usual = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    profile = f"--user-data-dir={folder / 'profile'}"
    logging = ["--enable-logging=stderr", "--log-level=0"]
    command = [str(BROWSER), *usual, profile, *logging, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


def test_a_browser_shows_it(tmp_path: Path) -> None:
    """Its style is let through by its own policy, nothing is refused, and a picture of it is no empty sheet.

    MOLN_PICTURES names a folder that keeps the picture.
    """
    with served() as url:
        shot = browse(tmp_path, "--window-size=1000,760", "--screenshot=page.png", url)
        document = browse(tmp_path, "--dump-dom", url)
    for done in (shot, document):
        told = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert not told
    assert "2 Clouds, 1 to look at" in document.stdout
    assert document.stdout.index("photos") < document.stdout.index("archive"), "what needs a look comes first"
    picture = tmp_path / "page.png"
    assert picture.stat().st_size > 20_000
    if "MOLN_PICTURES" in os.environ:
        shutil.copy(picture, Path(os.environ["MOLN_PICTURES"]) / "operator-page.png")
