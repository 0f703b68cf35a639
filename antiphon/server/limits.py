"""How many requests a client may send: a bucket of tokens for each address, which fills again with time."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

MOST_CLIENTS = 1 << 16  # remembered at once; the one that has been quiet for longest is forgotten first


class ClientLimit:
    """At most `rate` requests per second and client, after a pause as many of one second at once."""

    def __init__(self, rate: float) -> None:
        self.rate, self.burst = rate, max(1.0, rate)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def wait(self, client: str, now: float) -> float:
        """Seconds until the client may send its request; 0: now, and it is counted."""
        name = _network(client)
        tokens, counted = self._buckets.pop(name, (self.burst, now))
        tokens = min(self.burst, tokens + self.rate * (now - counted))
        taken = tokens >= 1
        self._buckets[name] = (tokens - taken, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - tokens) / self.rate


def _network(client: str) -> str:
    """Whose address it is: with IPv6 a single client has a whole network of 64 bits."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:  # a socket that is a file has no addresses
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
