"""What passes a machine's door, as rules of nft(8).

The first table looks at frames before anything else of the kernel's does: it lets in TCP and questions to name servers,
from the machine's own addresses, whole packets without extension headers, and what finds a hardware address. The second
puts all of that, wherever it was going to, into the two sockets there are, and lets out only replies.

Both bound what one machine can take of the host. The kernel has one limit of connections that it keeps track of, and
applies it to each namespace: a machine could have 262,144 of them (80 MB). Here it has at most `CONNECTIONS` that are
open, and those that ended are forgotten in two minutes: with `NEW_A_SECOND` that makes 12,000 (4 MB).
"""

from subclaw_guest.network import MACHINE_ADDRESSES

TAP = "tap"
TCP_PORT = 1080
UDP_PORT = 5353
CONNECTIONS = 1_024
NEW_A_SECOND = 100
BURST = 400

_IPV4, _IPV6 = MACHINE_ADDRESSES
_TOO_MANY = f"limit rate over {NEW_A_SECOND}/second burst {BURST} packets drop"
_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"

RULES = f"""
table netdev frames {{
  chain from_machine {{
    type filter hook ingress device "{TAP}" priority 0; policy drop;
    ip saddr {_IPV4} ip frag-off & 0x3fff == 0 ip protocol tcp accept
    ip saddr {_IPV4} ip frag-off & 0x3fff == 0 udp dport 53 accept
    ip6 saddr {_IPV6} ip6 nexthdr tcp accept
    ip6 saddr {_IPV6} ip6 nexthdr udp udp dport 53 accept
    ip6 saddr {_IPV6} ip6 nexthdr icmpv6 {_NEIGHBOURS}
    meta protocol arp accept
  }}
}}
table inet door {{
  chain aside {{
    type nat hook prerouting priority dstnat;
    meta l4proto tcp redirect to :{TCP_PORT}
    udp dport 53 redirect to :{UDP_PORT}
  }}
  chain inward {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    tcp dport {TCP_PORT} ct state new {_TOO_MANY}
    tcp dport {TCP_PORT} ct state new ct count over {CONNECTIONS} drop
    tcp dport {TCP_PORT} accept
    udp dport {UDP_PORT} ct state new {_TOO_MANY}
    udp dport {UDP_PORT} accept
    {_NEIGHBOURS}
  }}
  chain through {{
    type filter hook forward priority filter; policy drop;
  }}
  chain outward {{
    type filter hook output priority filter; policy drop;
    ct state established,related accept
    {_NEIGHBOURS}
  }}
}}
"""
