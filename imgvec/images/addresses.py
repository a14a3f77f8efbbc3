"""Tells which internet addresses are public: a URL from a list must not reach into the network that imgvec runs in."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

# IANA IPv4 Special-Purpose Address Registry, multicast and class E. Spelled out: `is_global` differs between versions
# of Python.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
    ).split()
)

# Only 2000::/3 is given out (IANA IPv6 Global Unicast); out of it: IETF protocol assignments with Teredo and ORCHID,
# 6to4, both documentation ranges. NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), which would carry a private IPv4 address
# through a translator, lies outside, as do loopback, link-local, unique local and multicast.
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(IPv6Network(text) for text in "2001::/23 2001:db8::/32 2002::/16 3fff::/20".split())


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parse CIDR blocks; raises `ValueError` if one is invalid."""
    return tuple(ip_network(text.strip()) for text in texts)


def may_connect(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether `address` is public, or inside one of the `allowed` networks.

    An IPv4 address mapped into IPv6 (::ffff:a.b.c.d) is judged as the IPv4 address that the system would connect to.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in allowed if network.version == ip.version) or _is_public(ip)


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_4)
    return ip in _PUBLIC_6 and not any(ip in network for network in _NOT_PUBLIC_6)
