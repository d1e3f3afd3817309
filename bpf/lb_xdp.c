/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The packet hook at XDP, on uplinks: what lb_uplink_in does, before there is an skb, for plain TCP and UDP.
 * Decisions are the same code; a flow that begins here is known at tc, and the other way round.
 *
 *	lb_xdp_in	remote backends and their replies: sent to the next hop from here
 *			local backends: rewritten and passed up
 *			all that is unusual (no neighbour, answers, fragments, ICMP, SCTP, options): tc sees
 * it as it came
 *
 * Reached by a tail call from lb_xdp_dispatch.c, by family.
 */
#define LB_XDP

#include "lb/base.h"
#include "lb/parse.h"
#include "lb/translate.h"
#include "lb/nat.h"
#include "lb/dsr.h"
#include "lb/shortcut.h"
#include "lb/shortcut_make.h"
#include "lb/work.h"

#define LB_XDP_GO_ON (-1) /* not an action: the long way decides */

static __always_inline int lb_send(lb_ctx *ctx, const struct lb_next_hop *hop)
{
	if (lb_store(ctx, 0, hop->macs, sizeof(hop->macs))) {
		lb_count(LB_COUNTER_DROP_REWRITE);
		return XDP_DROP;
	}
	lb_count(LB_COUNTER_FORWARDED);
	return hop->ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(hop->ifindex, 0);
}

static __always_inline int lb_act(lb_ctx *ctx, const struct lb_packet *packet,
				  struct lb_translation *translation, enum lb_verdict verdict)
{
	switch (verdict) {
	case LB_PASS:
		return XDP_PASS;
	case LB_DROP:
		return XDP_DROP;
	case LB_DELIVER:
	case LB_FORWARD:
		break;
	default:
		lb_leave_to_tc();
		return XDP_PASS;
	}
	/* One that cannot be changed is dropped: it may be half done. */
	if (lb_rewrite_by_flow(ctx, packet, &translation->flow, verdict == LB_FORWARD, true)) {
		lb_count(LB_COUNTER_DROP_REWRITE);
		return XDP_DROP;
	}
	if (verdict == LB_FORWARD)
		return lb_send(ctx, &translation->hop);
	lb_count(LB_COUNTER_DELIVERED);
	return XDP_PASS;
}

/* The way of most packets: of strangers, and of flows that have been here a moment ago. */
static __always_inline int lb_take_shortcut(lb_ctx *ctx)
{
	const struct lb_shortcut *shortcut;
	struct lb_glance at;
	u32 *macs;

	if (!lb_glance_at_network(ctx, &at))
		return LB_XDP_GO_ON;
	if (lb_is_a_strangers(&at))
		return XDP_PASS;
	if (!lb_glance_at_transport(ctx, &at))
		return LB_XDP_GO_ON;
	shortcut = lb_shortcut_find(&at);
	if (!shortcut)
		shortcut = lb_shortcut_make(ctx, &at);
	if (!shortcut)
		return LB_XDP_GO_ON;
	lb_shortcut_rewrite(&at, shortcut);
	if (!shortcut->ifindex) {
		lb_count(LB_COUNTER_DELIVERED);
		return XDP_PASS;
	}
	macs = (u32 *)((void *)at.ip - ETH_HLEN);
	macs[0] = shortcut->macs[0];
	macs[1] = shortcut->macs[1];
	macs[2] = shortcut->macs[2];
	lb_count(LB_COUNTER_FORWARDED);
	return shortcut->ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(shortcut->ifindex, 0);
}

/* Does the flow's next packet need nothing that this one needed? In `pending` each packet is noted. */
static __always_inline bool lb_is_worth_a_shortcut(const struct lb_work *item, const struct lb_found *found)
{
	return !found->is_pending && item->packet.seen == LB_SEEN_DATA &&
	       !(item->translation.flow.flags & LB_FLOW_DSR);
}

static __always_inline int lb_take_long_way(lb_ctx *ctx)
{
	struct lb_work *item = lb_work_begin();
	u32 changes = lb_changes(); /* before anything is asked that may change */
	struct lb_found found = {};
	enum lb_verdict verdict;
	bool is_recalled;

	if (!item)
		return XDP_PASS;
	verdict = lb_parse(ctx, ETH_HLEN, &item->packet, true);
	if (verdict == LB_CONTINUE)
		verdict = lb_recall(&item->packet, LB_FROM_UPLINK, false, &found, &item->translation.flow);
	is_recalled = verdict == LB_CONTINUE;
	if (verdict == LB_UNKNOWN)
		verdict = lb_claim(ctx, &item->packet, LB_FROM_UPLINK, found, &item->translation);
	if (verdict == LB_CONTINUE)
		verdict = lb_follow(ctx, &item->packet, &item->translation);
	if (is_recalled && (verdict == LB_FORWARD || verdict == LB_DELIVER) &&
	    lb_is_worth_a_shortcut(item, &found))
		lb_shortcut_draw(&item->packet, &item->translation, verdict == LB_FORWARD, changes);
	return lb_act(ctx, &item->packet, &item->translation, verdict);
}

int LB_NAME(lb_xdp_in)(lb_ctx *ctx)
{
	int action = lb_take_shortcut(ctx);

	return action == LB_XDP_GO_ON ? lb_take_long_way(ctx) : action;
}
