/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A shortcut made without the long way, at XDP: drawn from the flow's entry and a next hop that is known. Many
 * flows come that way, since there are more of them than shortcuts.
 */
#ifndef LB_SHORTCUT_MAKE_H
#define LB_SHORTCUT_MAKE_H

#include "lb/base.h"
#include "lb/backend.h"
#include "lb/fib.h"
#include "lb/flow.h"
#include "lb/glance.h"
#include "lb/shortcut.h"

/* The hop of a flow's packets, if the kernel was asked for it a moment ago. */
static __always_inline struct lb_next_hop *lb_known_hop_of(lb_ctx *ctx, const struct lb_glance *at,
							   const struct lb_flow *flow)
{
	struct lb_known_hop *known = lb_known_hop_slot(&flow->to_saddr, &flow->to_daddr);

	if (LB_IP_TTL(at->ip) <= 1 ||
	    !lb_hop_is_known(ctx, known, &flow->to_saddr, &flow->to_daddr, lb_length_of(at->ip)))
		return NULL;
	return &known->hop;
}

/* Has the entry been through all that the long way does with it, but for its stamp? */
static __always_inline bool lb_flow_is_settled(const struct lb_flow *flow, u8 protocol)
{
	const u8 plain = LB_FLOW_REPLY | LB_FLOW_FORWARD | LB_FLOW_SNAT;

	if ((flow->flags & ~plain) || !(flow->seen & LB_SEEN_DATA))
		return false;
	return protocol != IPPROTO_UDP || (flow->flags & LB_FLOW_REPLY) ||
	       lb_backend_lookup(flow->backend_id, flow->generation);
}

/*
 * The shortcut of a packet that has none, drawn from its entry in `flows` by one look-up; NULL when it takes more
 * than that. Where the slot is another flow's it is drawn beside, for this packet alone.
 */
static __always_inline struct lb_shortcut *lb_shortcut_make(lb_ctx *ctx, const struct lb_glance *at)
{
	struct lb_tuple tuple = {.saddr = *(const addr_t *)&at->ip->saddr,
				 .daddr = *(const addr_t *)&at->ip->daddr,
				 .protocol = at->protocol};
	u32 beside = 1 << LB_SHORTCUT_BITS;
	u32 changes = lb_changes();
	struct lb_shortcut *slot;
	struct lb_next_hop *hop;
	struct lb_flow *flow;

	*(u32 *)&tuple.sport = *at->ports;
	flow = flows.lookup(&tuple);
	if (!flow || !lb_flow_is_settled(flow, at->protocol))
		return NULL;
	slot = lb_shortcut_slot(&tuple.saddr, &tuple.daddr, *at->ports);
	if (slot && lb_shortcut_holds(slot))
		slot = shortcuts.lookup(&beside);
	if (!slot)
		return NULL;
	hop = flow->flags & LB_FLOW_FORWARD ? lb_known_hop_of(ctx, at, flow) : NULL;
	if (hop)
		lb_shortcut_fill(slot, &tuple, flow, hop, changes);
	else if (flow->flags & LB_FLOW_FORWARD)
		return NULL;
	else
		lb_shortcut_fill(slot, &tuple, flow, NULL, changes);
	lb_flow_stamp(flow);
	return slot;
}

#endif
