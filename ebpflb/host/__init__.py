"""What this machine is and has: devices, addresses, sockets, filters. The only place that knows netlink."""
