/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the configuration of the node asks of every Service: who counts as a pod, whose address is hidden from
 * backends, where NodePorts hold on loopback, and what becomes of packets to ClusterIPs that no frontend has.
 * (The table of kube-proxy's decisions: docs/semantics.md.)
 */
#ifndef LB_POLICY_H
#define LB_POLICY_H

#include "lb/base.h"
#include "lb/packet.h"
#include "lb/verdict.h"

/* Where the packet came from. */
enum lb_side {
	LB_FROM_UPLINK,
	LB_FROM_POD,
	LB_FROM_NODE, /* this node's own, on its way out */
};

/* Who the client is, as far as policies tell clients apart. */
struct lb_origin {
	bool is_pod; /* says the detector, before it is asked whether it is the node */
	bool is_node;
};

static __always_inline u32 lb_config_flags(void)
{
	u32 zero = 0;
	struct lb_config *row = config.lookup(&zero);

	return row ? row->flags : 0;
}

static __always_inline bool lb_addr_lies_in(const addr_t *a, const addr_t *network, const addr_t *mask)
{
	__be32 difference = 0;

#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		difference |= (a->word[i] & mask->word[i]) ^ network->word[i];
	return !difference;
}

/* False where the detector knows no network. */
static __always_inline bool lb_is_in_pod_network(const addr_t *address)
{
	u32 zero = 0;
	struct lb_config *row = config.lookup(&zero);

	return row && (row->flags & LB_CONFIG_DETECT_BY_NETWORK) &&
	       lb_addr_lies_in(address, &row->pod_network, &row->pod_mask);
}

static __always_inline bool lb_comes_in_from_pods(lb_ctx *ctx)
{
#ifdef LB_XDP
	u32 ifindex = ctx->ingress_ifindex;
#else
	u32 ifindex = ctx->ifindex;
#endif
	struct lb_device *device = devices.lookup(&ifindex);

	return device && (device->flags & LB_DEVICE_POD_SOURCE);
}

static __always_inline struct lb_origin lb_origin(lb_ctx *ctx, const struct lb_packet *packet,
						  enum lb_side side)
{
	struct lb_origin origin = {.is_node = side == LB_FROM_NODE};
	u32 zero = 0;
	struct lb_config *row = config.lookup(&zero);

	if (!row)
		return origin;
	if (row->flags & LB_CONFIG_DETECT_BY_NETWORK)
		origin.is_pod = lb_addr_lies_in(&packet->tuple.saddr, &row->pod_network, &row->pod_mask);
	else if (row->flags & LB_CONFIG_DETECT_BY_DEVICE)
		origin.is_pod = !origin.is_node && lb_comes_in_from_pods(ctx);
	return origin;
}

/* The internal policy binds every client; the external one neither pods nor this node. */
static __always_inline bool lb_local_only(const struct lb_frontend *frontend, const struct lb_origin *origin)
{
	if (!(frontend->flags & LB_FRONTEND_LOCAL_POLICY))
		return false;
	return frontend->kind == LB_KIND_CLUSTER_IP || !(origin->is_pod || origin->is_node);
}

/* Without a detector nobody is told apart from a pod, and ClusterIPs are left as they are. */
static __always_inline bool lb_hides_client(const struct lb_frontend *frontend,
					    const struct lb_origin *origin)
{
	const u32 detects = LB_CONFIG_DETECT_BY_NETWORK | LB_CONFIG_DETECT_BY_DEVICE;
	u32 flags = lb_config_flags();

	if (frontend->kind == LB_KIND_CLUSTER_IP)
		return (flags & LB_CONFIG_MASQUERADE_ALL) || ((flags & detects) && !origin->is_pod);
	if (frontend->flags & LB_FRONTEND_LOCAL_POLICY)
		return origin->is_node && !origin->is_pod;
	return true;
}

/* Is this an address that only ClusterIPs can have? A comparison, no look-up: most packets end here. */
static __always_inline bool lb_is_guarded(const addr_t *address)
{
	u32 zero = 0;
	struct lb_config *row = config.lookup(&zero);

	return row && lb_addr_lies_in(address, &row->guard_network, &row->guard_mask);
}

/*
 * What no frontend has: the other ports of a ClusterIP are refused, and addresses that no Service has are
 * dropped, which would else go to the default router and come back until their TTL runs out. What the node
 * has itself goes nowhere.
 */
static __always_inline enum lb_verdict lb_unclaimed(const addr_t *address)
{
	struct lb_service_cidr_key cidr = {.prefix_length = 8 * sizeof(addr_t), .address = *address};
	struct lb_frontend_key key = {.address = *address};
	struct lb_frontend *row;

	if (!lb_is_guarded(address))
		return LB_PASS;
	row = frontends.lookup(&key);
	if (row)
		return row->flags & LB_FRONTEND_CLUSTER_ADDRESS ? LB_REJECT : LB_PASS;
	if (!service_cidrs.lookup(&cidr))
		return LB_PASS;
	return node_addrs.lookup(&key.address) ? LB_PASS : LB_DROP;
}

#endif
