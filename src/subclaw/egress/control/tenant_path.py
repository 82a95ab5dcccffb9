"""Where the gateway takes calls that the control plane makes for a tenant; shared by both sides of the socket.

`/-/tenant/7/https/api.example.com:443/orders?open=1`: whose call it is, the scheme, the host, and the target there.
"""

PREFIX = "/-/tenant/"
