"""The operator's page for people: every Cloud at a glance, as HTML. Pure; reads only; runs no script.

Served at `/` beside the health checks. It says what the metrics and the Clouds' statuses say, those that need a person
first.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moln_operator.observe.overview import CloudView, PodView
    from moln_spec.resources.cloud import Usage
    from moln_spec.resources.meta import Condition

REFRESH_SECONDS: Final = 10
_BAD_IF_TRUE: Final = ("Degraded", "ScaleDownBlocked")
_BAD_IF_FALSE: Final = ("Ready", "Accepted")
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #f5f7f9; --card: #fff; --line: #d9e0e6; --soft: #5d6b78;
  --good: #1a7f4b; --warn: #a05a00; --bad: #b3261e; --bar: #3d7eb8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --paper: #12181e; --card: #1b242d; --line: #313d49;
  --soft: #9aa8b5; --good: #57c98d; --warn: #f0b054; --bad: #ff8a80; --bar: #5b9bd5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.15rem; margin: 0; overflow-wrap: anywhere; }
header, .head { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: baseline;
  justify-content: space-between; }
h2 .soft { font-size: 1rem; font-weight: 400; margin-left: .5rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); } .good { color: var(--good); } .warn { color: var(--warn); }
.bad { color: var(--bad); } .word { font-weight: 600; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; margin: 1rem 0; padding: 1rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .6rem 1rem; margin: .8rem 0; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-variant-numeric: tabular-nums; }
ul { margin: .4rem 0; padding: 0; list-style: none; } li { overflow-wrap: anywhere; }
progress { width: 100%; height: .5rem; accent-color: var(--bar); }
summary { cursor: pointer; color: var(--soft); } table { border-collapse: collapse; width: 100%; margin-top: .4rem; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { font-weight: 500; color: var(--soft); }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def render(clouds: Iterable[CloudView], *, leads: bool) -> str:
    """The page. `leads`: this process reconciles; one that stands by knows of no Cloud."""
    ordered = sorted(clouds, key=lambda cloud: (-_trouble(cloud), cloud.key))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{REFRESH_SECONDS}">
<title>moln: {escape(_summary(ordered, leads=leads))}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>moln</h1><p>{escape(_summary(ordered, leads=leads))}</p></header>
{"".join(map(_card, ordered))}
</body>
</html>
"""


def _summary(clouds: list[CloudView], *, leads: bool) -> str:
    if not leads:
        return "this replica of the operator stands by: another one works"
    if not clouds:
        return "there is no Cloud yet"
    need = sum(_trouble(cloud) > 0 for cloud in clouds)
    many = "1 Cloud" if len(clouds) == 1 else f"{len(clouds)} Clouds"
    return f"{many}, all is well" if not need else f"{many}, {need} to look at"


def _trouble(cloud: CloudView) -> int:
    """0 when all is well, 1 when something needs a look, 2 when data is at risk."""
    if cloud.coverage is not None and cloud.coverage.at_risk:
        return 2
    return int(any(map(_is_bad, cloud.status.conditions)) or not cloud.status.conditions)


def _is_bad(condition: Condition) -> bool:
    return (condition.type in _BAD_IF_TRUE and condition.status == "True") or (
        condition.type in _BAD_IF_FALSE and condition.status != "True"
    )


def _card(cloud: CloudView) -> str:
    namespace, name = cloud.key
    word, kind = (("well", "good"), ("to look at", "warn"), ("data at risk", "bad"))[_trouble(cloud)]
    return f"""<article>
<div class="head"><h2>{escape(name)} <span class="soft">{escape(namespace)}</span></h2>
<span class="word {kind}">{word}</span></div>
{_endpoint(cloud)}
{_conditions(cloud)}
<dl>{_facts(cloud)}</dl>
<details><summary>Nodes</summary>
<table><tr><th>Node</th><th>State</th><th>Machine</th></tr>{"".join(map(_node, cloud.pods))}</table>
</details>
</article>
"""


def _conditions(cloud: CloudView) -> str:
    """What is wrong, in the operator's words; what is well needs none but that it moves."""
    shown = [
        f'<li><span class="word {_colour(one)}">{escape(one.reason)}</span> {escape(one.message)}</li>'
        for one in cloud.status.conditions
        if _is_bad(one) or (one.type in ("Progressing", "Paused") and one.status == "True")
    ]
    if not cloud.status.conditions:
        shown = ['<li class="soft">not looked at yet</li>']
    return f"<ul>{''.join(shown)}</ul>" if shown else ""


def _colour(condition: Condition) -> str:
    return "warn" if _is_bad(condition) else "soft"


def _endpoint(cloud: CloudView) -> str:
    found = cloud.status.external_endpoint or cloud.status.endpoint
    return f'<p class="soft">S3 at {escape(found)}</p>' if found else ""


def _facts(cloud: CloudView) -> str:
    status = cloud.status
    nodes, usage = status.nodes, status.usage
    facts = [
        ("Nodes ready", f"{nodes.ready} of {nodes.desired}", _bar(nodes.ready, nodes.desired)),
        ("Copies that serve", _copies(cloud), ""),
        ("Used", _used(usage), _bar(usage.used_percent, 100)),
        ("Objects", f"{usage.objects:,}", ""),
        ("Map", f"epoch {status.map.epoch}{_behind(cloud)}", ""),
    ]
    return "".join(f"<div><dt>{title}</dt><dd>{escape(text)}{bar}</dd></div>" for title, text, bar in facts)


def _used(usage: Usage) -> str:
    return f"{usage.used} of {usage.capacity}" if usage.capacity else "not known yet"


def _copies(cloud: CloudView) -> str:
    found = cloud.coverage
    return "-" if found is None else f"at least {found.fewest} of {found.copies}"


def _behind(cloud: CloudView) -> str:
    known = cloud.status.map
    if cloud.map is not None and cloud.map.change is not None:
        return ", keys move to a new layout"
    return "" if known.acknowledged == known.epoch else f", {known.acknowledged or 'none'} everywhere"


def _bar(value: int, most: int) -> str:
    return f'<progress value="{value}" max="{max(most, 1)}"></progress>'


def _node(pod: PodView) -> str:
    state, kind = ("ready", "good") if pod.ready else ("not ready", "bad")
    machine = escape(pod.machine or "nowhere")
    return f'<tr><td>{escape(pod.name)}</td><td class="{kind}">{state}</td><td>{machine}</td></tr>'
