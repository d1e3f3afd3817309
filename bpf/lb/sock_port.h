/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Keeps processes of the host off the ports of NodePorts: what they bound there would hear nothing, or take
 * what the Service's clients sent before the programs were attached. Pods have their own ports and bind what
 * they like.
 */
#ifndef LB_SOCK_PORT_H
#define LB_SOCK_PORT_H

#include "lb/base.h"
#include "lb/policy.h"
#include "lb/sock_address.h"
#include "lb/sock_call.h"

/* Would a socket with this address be in the way of a NodePort? */
static __always_inline bool lb_sock_takes_node_port(addr_t *address, __be16 port, u8 protocol)
{
	struct lb_frontend_key key = {.port = port, .protocol = protocol};
	struct lb_frontend *frontend = frontends.lookup(&key);
	struct lb_node_addr *node_addr;

	if (!frontend || frontend->kind != LB_KIND_NODE_PORT)
		return false;
	if (lb_addr_is_zero(address))
		return true;
	if (lb_addr_is_loopback(address))
		return lb_config_flags() & LB_CONFIG_LOOPBACK_NODE_PORTS;
	node_addr = node_addrs.lookup(address);
	return node_addr && (node_addr->flags & LB_NODE_ADDR_NODE_PORTS);
}

/* After bind() has its port, before the process has it: refusing gives the port back. */
static __always_inline int lb_sock_guard_port(struct bpf_sock *sock, int hook)
{
	addr_t address;

	if (!LB_PROTECT_NODE_PORTS || !lb_is_host_netns(lb_get_netns_cookie(sock)) ||
	    !lb_sock_bound_address(sock, hook, &address) ||
	    !lb_sock_takes_node_port(&address, bpf_htons(sock->src_port), (u8)sock->protocol))
		return LB_ALLOW;
	lb_count(LB_COUNTER_BIND_REFUSED);
#if LB_HAVE_SET_RETVAL
	lb_set_retval(-LB_EADDRINUSE); /* else EPERM */
#endif
	return LB_REFUSE;
}

#endif
