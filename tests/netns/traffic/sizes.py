"""How long things are: packets, and what headers take of them."""

from ebpflb.core.abi import Family

MTU = 1500
"""Of the cables."""
UDP_HEADERS = {Family.IPV4: 20 + 8, Family.IPV6: 40 + 8}
"""Of UDP over IP."""
TCP_HEADERS = {Family.IPV4: 20 + 20, Family.IPV6: 40 + 20}
LONGEST_DATAGRAM = {Family.IPV4: 65_507, Family.IPV6: 65_487}
VXLAN_BYTES = 50
"""What VXLAN takes of the MTU, over IPv4."""
OUTER_BYTES = {Family.IPV4: 20, Family.IPV6: 40}
"""What DSR takes of it."""
