/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which Service, if any, claims a destination. ClusterIP, load-balancer IP and externalIP match by their
 * address; only then NodePorts, which hold on every address of the node (kube-proxy's order).
 */
#ifndef LB_FRONTEND_H
#define LB_FRONTEND_H

#include "lb/base.h"
#include "lb/policy.h"

/* Whose addresses NodePorts hold on, for the asker. */
enum lb_node_scope {
	LB_NODE_ADDRESSES,	  /* this node's, as configured, loopback excluded */
	LB_NODE_AND_ITS_LOOPBACK, /* the asker sits in the host's network namespace */
	LB_NODE_ANY,		  /* another node took the packet in, and sent it here: it has checked */
};

/*
 * Returns the map's entry or NULL. Dialling the unspecified address means one's own loopback; it must not
 * meet the key of the NodePorts.
 */
static __always_inline struct lb_frontend *lb_frontend_lookup(const addr_t *address, __be16 port, u8 protocol,
							      enum lb_node_scope scope)
{
	struct lb_frontend_key key = {.address = *address, .port = port, .protocol = protocol};
	bool is_unspecified = lb_addr_is_zero(address);
	struct lb_node_addr *node_addr;
	struct lb_frontend *frontend;

	if (!is_unspecified) {
		frontend = frontends.lookup(&key);
		if (frontend)
			return frontend;
		key.address = (addr_t){};
	}
	frontend = frontends.lookup(&key);
	if (!frontend || scope == LB_NODE_ANY)
		return frontend;
	if (scope == LB_NODE_AND_ITS_LOOPBACK && (is_unspecified || lb_addr_is_loopback(address)))
		return lb_is_set(lb_config_flags() & LB_CONFIG_LOOPBACK_NODE_PORTS) ? frontend : NULL;
	key.address = *address;
	node_addr = node_addrs.lookup(&key.address);
	return node_addr && lb_is_set(node_addr->flags & LB_NODE_ADDR_NODE_PORTS) ? frontend : NULL;
}

/* Is this the address of a Service that has backends? Whatever the port. */
static __always_inline bool lb_address_is_served(const addr_t *address)
{
	struct lb_frontend_key key = {.address = *address};
	struct lb_frontend *row = frontends.lookup(&key);

	return row && (row->flags & LB_FRONTEND_HAS_BACKENDS);
}

/* May this client use the frontend? Kept apart from the choice of a backend: it is asked once, of a flow's
 * first packet. */
static __always_inline bool lb_frontend_admits(const struct lb_frontend *frontend, const addr_t *client)
{
	struct lb_source_range_key key = {
		.prefix_length = 8 * (sizeof(u32) + sizeof(addr_t)),
		.service_id = frontend->service_id,
		.address = *client,
	};

	return !(frontend->flags & LB_FRONTEND_SOURCE_RANGES) || source_ranges.lookup(&key);
}

#endif
