"""/live, /ready and /metrics of the operator, and its page for people."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from moln_operator import page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from moln_operator.metrics import Metrics
    from moln_operator.settings import Settings


@asynccontextmanager
async def served(
    settings: Settings,
    metrics: Metrics,
    live: Callable[[], list[str]],
    ready: Callable[[], list[str]],
    show: Callable[[], str],
) -> AsyncIterator[int]:
    """Serve while the context is open; the port.

    `live` and `ready` answer what is wrong, empty for nothing; `show` answers the page.
    """

    def answer(wrong: list[str]) -> web.Response:
        return web.Response(status=503 if wrong else 200, text="\n".join(wrong) + "\n" if wrong else "ok\n")

    async def get_live(_: web.Request) -> web.Response:
        return answer(live())

    async def get_ready(_: web.Request) -> web.Response:
        return answer(ready())

    async def get_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def get_page(_: web.Request) -> web.Response:
        return web.Response(text=show(), content_type="text/html", headers=page.HEADERS)

    app = web.Application()
    if settings.page:
        app.router.add_get("/", get_page)
    app.add_routes(
        [
            web.get("/live", get_live),
            web.get("/ready", get_ready),
            web.get("/metrics", get_metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.listen_host, settings.listen_port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
