"""A change of nodes that somebody thinks of: from numbers on the command line to the map that names it. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from moln.errors import CliError, Exit
from moln_spec.mapmaking import places_of
from moln_spec.membership import Seat, Wanted, thought_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from moln_spec.cloudmap import CloudMap
    from moln_spec.membership import Report, Step

_NOWHERE = "127.0.0.1:1"


def wished(
    cloud_map: CloudMap,
    pools: Mapping[str, int],
    without: Collection[str],
    copies: Mapping[str, int],
    reports: Mapping[str, Report],
) -> Step:
    """The map with the change to pools of so many nodes, without some, and with so many copies by some policies.

    What is not named stays as it is. Nodes that come are named as the cloud would name them. CliError.
    """
    known = {seat.name for seat in _seats(cloud_map, {})}
    _require_known(without, known, "node")
    _require_known(pools, {node.pool for node in cloud_map.nodes}, "pool")
    _require_known(copies, {policy.name for policy in cloud_map.policies}, "ReplicationPolicy")
    seats = tuple(seat for seat in _seats(cloud_map, pools) if seat.name not in without)
    if not seats:
        raise CliError("no node would be left", Exit.USAGE)
    policies = tuple(
        policy.model_copy(update={"copies": copies.get(policy.name, policy.copies)}) for policy in cloud_map.policies
    )
    bound = places_of(cloud_map.model_copy(update={"policies": policies}))
    wanted = Wanted(seats, policies, frozenset(cloud_map.given_up), bound)
    return thought_of(cloud_map, wanted, reports)


def _require_known(named: Collection[str], known: Collection[str], what: str) -> None:
    for name in named:
        if name not in known:
            raise CliError(f"there is no {what} {name} (there is {', '.join(sorted(known)) or 'none'})", Exit.USAGE)


def _seats(cloud_map: CloudMap, pools: Mapping[str, int]) -> list[Seat]:
    """Where nodes would be; a pool without a number keeps those that it has."""
    there = [node for node in cloud_map.nodes if node.state != "leaving" or node.pool in pools]
    seats = [
        Seat(node.name, node.address, node.pool, node.zone, node.weight)
        for node in there
        if node.pool not in pools or node.name in {f"{node.pool}-{number}" for number in range(pools[node.pool])}
    ]
    for pool, replicas in pools.items():
        has = {seat.name for seat in seats}
        weight = next(node.weight for node in cloud_map.nodes if node.pool == pool)
        zones = Counter({node.zone: 0 for node in cloud_map.nodes if node.pool == pool})
        zones.update(seat.zone for seat in seats if seat.pool == pool)
        for name in (f"{pool}-{number}" for number in range(replicas)):
            if name not in has:
                zone = min(zones, key=lambda zone: (zones[zone], zone))
                zones[zone] += 1
                seats.append(Seat(name, _NOWHERE, pool, zone, weight))
    return seats
