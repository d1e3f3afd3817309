/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which Service, if any, claims a destination. ClusterIP, load-balancer IP and externalIP match by their
 * address; only then NodePorts, which hold on every address of the node (kube-proxy's order).
 */
#ifndef LB_FRONTEND_H
#define LB_FRONTEND_H

#include "lb/base.h"

/*
 * Returns the map's entry or NULL. `loopback_is_node`: the asker sits in the host's network namespace, so
 * that its loopback is the node's. Dialling the unspecified address means one's own loopback, too; it must
 * not meet the key of the NodePorts.
 */
static __always_inline struct lb_frontend *lb_frontend_lookup(const addr_t *address, __be16 port, u8 protocol,
							      bool loopback_is_node)
{
	struct lb_frontend_key key = {.address = *address, .port = port, .protocol = protocol};
	bool is_unspecified = lb_addr_is_zero(address);
	struct lb_frontend *frontend;

	if (!is_unspecified) {
		frontend = frontends.lookup(&key);
		if (frontend)
			return frontend;
		key.address = (addr_t){};
	}
	frontend = frontends.lookup(&key);
	if (!frontend)
		return NULL;
	if (loopback_is_node && (is_unspecified || lb_addr_is_loopback(address)))
		return frontend;
	key.address = *address;
	return node_addrs.lookup(&key.address) ? frontend : NULL;
}

#endif
