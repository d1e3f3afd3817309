/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which Service, if any, claims a destination. ClusterIP, load-balancer IP and externalIP match by their
 * address; only then NodePorts, which hold on every address of the node (kube-proxy's order).
 */
#ifndef LB_FRONTEND_H
#define LB_FRONTEND_H

#include "lb/base.h"

/* Returns the map's entry or NULL. `loopback_is_node`: the asker sits in the host's network namespace. */
static __always_inline struct lb_frontend *lb_frontend_lookup(const addr_t *address, __be16 port, u8 protocol,
							      bool loopback_is_node)
{
	struct lb_frontend_key key = {.address = *address, .port = port, .protocol = protocol};
	struct lb_frontend *frontend = frontends.lookup(&key);

	if (frontend)
		return frontend;
	key.address = (addr_t){};
	frontend = frontends.lookup(&key);
	if (!frontend)
		return NULL;
	key.address = *address;
	if (node_addrs.lookup(&key.address) || (loopback_is_node && lb_addr_is_loopback(address)))
		return frontend;
	return NULL;
}

#endif
