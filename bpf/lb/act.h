/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is decided is carried out, at tc: the packet is changed as its verdict asks, counted and sent on its way.
 */
#ifndef LB_ACT_H
#define LB_ACT_H

#include "lb/base.h"
#include "lb/answer.h"
#include "lb/dsr.h"
#include "lb/nat.h"
#include "lb/work.h"

/* Lets other software's filters on the same hook see the packet. */
#define LB_TC_NEXT TC_ACT_UNSPEC

/*
 * What the node sent to a Service's address passes the egress hook of its backend's device, too, and looks there as if
 * a socket had dialled the backend itself. LB_TC_INDEX, a number of this instance's, tells the two apart. It goes with
 * the packet, over a bridge as well; nothing of the kernel's asks for it on the way, but for classful GRED, and the hook
 * that it is meant for takes it off.
 */
static __always_inline bool lb_was_translated(lb_ctx *ctx, enum lb_side side)
{
	if (side != LB_FROM_NODE || ctx->tc_index != LB_TC_INDEX)
		return false;
	ctx->tc_index = 0;
	return true;
}

static __always_inline int lb_swap_macs(lb_ctx *ctx, const struct lb_packet *packet)
{
	u8 macs[2 * ETH_ALEN];
	int error;

	if (!packet->l3_offset)
		return 0;
	error = lb_load(ctx, 0, macs, sizeof(macs));
	if (!error)
		error = lb_store(ctx, 0, macs + ETH_ALEN, ETH_ALEN);
	if (!error)
		error = lb_store(ctx, ETH_ALEN, macs, ETH_ALEN);
	return error;
}

/* A packet from a device without Ethernet needs room for the header that the next hop's device puts there. */
static __always_inline int lb_make_link_header(lb_ctx *ctx, const struct lb_packet *packet)
{
	return packet->l3_offset ? 0 : bpf_skb_change_head(ctx, ETH_HLEN, 0);
}

static __always_inline bool lb_follows_flow(enum lb_verdict verdict)
{
	return verdict == LB_DELIVER || verdict == LB_FORWARD || verdict == LB_HAIRPIN;
}

/* A packet that its flow changes; then what its way out asks for. */
static __always_inline int lb_change_by_flow(lb_ctx *ctx, const struct lb_packet *packet,
					     const struct lb_flow *flow, enum lb_verdict verdict, bool plain)
{
	int error = lb_rewrite_by_flow(ctx, packet, flow, verdict == LB_FORWARD, plain);

	if (error || verdict == LB_HAIRPIN)
		return error;
	if (verdict == LB_FORWARD)
		return lb_make_link_header(ctx, packet);
	return flow->flags & LB_FLOW_DSR ? lb_clamp_mss(ctx, packet) : 0;
}

/* The drop that a question is, when it cannot be answered. */
static __always_inline u32 lb_failure(enum lb_verdict verdict)
{
	switch (verdict) {
	case LB_TOO_BIG:
		return LB_COUNTER_DROP_TOO_BIG;
	case LB_EXPIRED:
		return LB_COUNTER_DROP_TTL;
	default:
		return LB_COUNTER_DROP_REWRITE;
	}
}

/* Changes the packet as the verdict asks. One that the kernel refuses to change is dropped: it may be half
 * done. */
static __always_inline enum lb_verdict lb_change(lb_ctx *ctx, const struct lb_work *item,
						 enum lb_verdict verdict, bool plain)
{
	const struct lb_packet *packet = &item->packet;
	int error = 0;

	if (verdict == LB_PASS || verdict == LB_DROP)
		return verdict;
	if (!plain && packet->outer_bytes && lb_decapsulate(ctx, packet))
		return lb_drop(LB_COUNTER_DROP_REWRITE);
	if (lb_follows_flow(verdict))
		error = lb_change_by_flow(ctx, packet, &item->translation.flow, verdict, plain);
	else if (!plain)
		error = lb_answer(ctx, packet, verdict, item->translation.hop.mtu);
	if (!error && verdict != LB_DELIVER && verdict != LB_FORWARD)
		error = lb_swap_macs(ctx, packet);
	return error ? lb_drop(lb_failure(verdict)) : verdict;
}

static __always_inline void lb_count_delivered(const struct lb_flow *flow)
{
	const u8 restored = LB_FLOW_REPLY | LB_FLOW_AT_EGRESS;

	lb_count((flow->flags & restored) == restored ? LB_COUNTER_REPLY_RESTORED : LB_COUNTER_DELIVERED);
}

/* Nothing is changed, or all is lost. */
static __always_inline int lb_end(enum lb_verdict verdict)
{
	if (verdict == LB_DROP)
		return TC_ACT_SHOT;
	lb_count(LB_COUNTER_PASSED);
	return LB_TC_NEXT;
}

/*
 * To the next hop. A pod of this node is handed the packet where it receives it, past the queue and the egress
 * hook of its device; what leaves by an egress hook cannot be.
 */
static __always_inline int lb_forward(lb_ctx *ctx, const struct lb_packet *packet,
				      struct lb_translation *translation, enum lb_side side)
{
	struct lb_next_hop *hop = &translation->hop;

	if (side == LB_FROM_NODE)
		ctx->tc_index = LB_TC_INDEX;
	if (side == LB_FROM_NODE || !packet->l3_offset || !hop->is_direct)
		return lb_redirect_neigh(hop->ifindex, &hop->neighbour, sizeof(hop->neighbour), 0);
	if (lb_store(ctx, 0, hop->macs, sizeof(hop->macs))) {
		lb_count(LB_COUNTER_DROP_REWRITE);
		return TC_ACT_SHOT;
	}
	return lb_redirect_peer(hop->ifindex, 0);
}

static __always_inline int lb_act(lb_ctx *ctx, struct lb_work *item, enum lb_side side,
				  enum lb_verdict verdict, bool plain)
{
	const struct lb_packet *packet = &item->packet;
	struct lb_translation *translation = &item->translation;
	u64 back = side == LB_FROM_NODE ? BPF_F_INGRESS : 0; /* to where the packet came from */

	verdict = lb_change(ctx, item, verdict, plain);
	if (!plain && packet->kind == LB_ICMP_ERROR && verdict != LB_PASS && verdict != LB_DROP)
		lb_count(LB_COUNTER_ICMP_TRANSLATED);
	switch (verdict) {
	case LB_DELIVER:
		lb_count_delivered(&translation->flow);
		return LB_TC_NEXT;
	case LB_FORWARD:
		lb_count(LB_COUNTER_FORWARDED);
		return lb_forward(ctx, packet, translation, side);
	case LB_HAIRPIN:
		lb_count(LB_COUNTER_HAIRPINNED);
		return bpf_redirect(ctx->ifindex, back);
	case LB_REJECT:
		lb_count(LB_COUNTER_REJECTED);
		return bpf_redirect(ctx->ifindex, back);
	case LB_TOO_BIG:
		lb_count(LB_COUNTER_TOO_BIG_ANSWERED);
		return bpf_redirect(ctx->ifindex, back);
	case LB_EXPIRED:
		lb_count(LB_COUNTER_TTL_ANSWERED);
		return bpf_redirect(ctx->ifindex, back);
	case LB_ECHO_ANSWER:
		lb_count(LB_COUNTER_ECHO_ANSWERED);
		return bpf_redirect(ctx->ifindex, back);
	default:
		return lb_end(verdict);
	}
}

#endif
