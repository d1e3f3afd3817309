/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The way of a plain packet of an established flow through a hook at tc, and who goes on with any other.
 */
#ifndef LB_FAST_H
#define LB_FAST_H

#include "lb/base.h"
#include "lb/parse.h"
#include "lb/translate.h"
#include "lb/act.h"
#include "lb/shortcut.h"
#include "lb/work.h"

/* The rest of the way, shared by all hooks. Pinned with the programs: the kernel empties one that is not. */
BPF_TABLE_PINNED("prog", u32, u32, tails, 3, LB_BUILD_PIN_DIR "/tails");

#define LB_PACKET_OTHERHOST 3 /* PACKET_OTHERHOST of linux/if_packet.h */

enum lb_tail {
	LB_TAIL_INSPECT = 0,
	LB_TAIL_CLAIM = 1,
	LB_TAIL_FINISH = 2,
};

static __always_inline bool lb_is_answer(enum lb_verdict verdict)
{
	return verdict == LB_REJECT || verdict == LB_TOO_BIG || verdict == LB_EXPIRED ||
	       verdict == LB_ECHO_ANSWER;
}

/* Carries out what is decided, or hands on what is not. A call that returns found nobody: the build is being
 * removed. */
static __always_inline int lb_go_on(lb_ctx *ctx, struct lb_work *item, enum lb_verdict verdict)
{
	item->verdict = verdict;
	if (verdict == LB_UNUSUAL)
		tails.call(ctx, LB_TAIL_INSPECT);
	else if (verdict == LB_UNKNOWN)
		tails.call(ctx, LB_TAIL_CLAIM);
	else
		tails.call(ctx, LB_TAIL_FINISH);
	return verdict == LB_DROP || lb_is_answer(verdict) ? TC_ACT_SHOT : LB_TC_NEXT;
}

/*
 * A promiscuous device shows what is addressed to other machines, which have load balancers of their own, with
 * the same frontends. Only uplinks are asked: pods' devices are bridged, and see what is the bridge's.
 */
static __always_inline bool lb_is_another_hosts(lb_ctx *ctx, enum lb_side side)
{
	return side == LB_FROM_UPLINK && ctx->pkt_type == LB_PACKET_OTHERHOST;
}

#define LB_TC_GO_ON (-2) /* not an action: the long way decides */

/* Hands a packet that has been rewritten by a shortcut to its next hop, or to the stack. */
static __always_inline int lb_leave_by(const struct lb_shortcut *shortcut)
{
	struct bpf_redir_neigh neighbour;

	if (!shortcut->ifindex) {
		lb_count(LB_COUNTER_DELIVERED);
		return LB_TC_NEXT;
	}
	lb_count(LB_COUNTER_FORWARDED);
	if (shortcut->is_direct)
		return lb_redirect_peer(shortcut->ifindex, 0);
	neighbour = shortcut->neighbour;
	return lb_redirect_neigh(shortcut->ifindex, &neighbour, sizeof(neighbour), 0);
}

/* The way of packets of flows that have been here a moment ago. A GSO packet's length says nothing: its segments' do. */
static __always_inline int lb_take_shortcut(lb_ctx *ctx)
{
	const struct lb_shortcut *shortcut;
	struct lb_glance at;
	u8 protocol;
	u32 *macs;

	if (ctx->gso_size || !lb_glance_at_network(ctx, &at) || !lb_glance_at_transport(ctx, &at))
		return LB_TC_GO_ON;
	shortcut = lb_shortcut_find(&at);
	if (!shortcut)
		return LB_TC_GO_ON;
	protocol = at.protocol;
	lb_shortcut_rewrite(&at, shortcut);
	if (shortcut->is_direct) {
		macs = (u32 *)((void *)at.ip - ETH_HLEN);
		macs[0] = shortcut->macs[0];
		macs[1] = shortcut->macs[1];
		macs[2] = shortcut->macs[2];
	}
	if (lb_shortcut_checksum(ctx, protocol, shortcut)) {
		lb_count(LB_COUNTER_DROP_REWRITE);
		return TC_ACT_SHOT;
	}
	return lb_leave_by(shortcut);
}

/* Does the flow's next packet need nothing that this one needed? In `pending` each packet is noted. */
static __always_inline bool lb_is_worth_a_shortcut(const struct lb_work *item, const struct lb_found *found)
{
	return found->flow && !found->is_pending && item->packet.seen == LB_SEEN_DATA &&
	       !(item->translation.flow.flags & LB_FLOW_DSR);
}

/* A plain packet of an established flow goes all the way here. */
static __always_inline int lb_fast(lb_ctx *ctx, u32 l3_offset, enum lb_side side)
{
	bool has_shortcuts = l3_offset && side != LB_FROM_NODE;
	struct lb_found found = {};
	enum lb_verdict verdict;
	struct lb_work *item;
	u32 changes;
	int action;

	if (lb_is_another_hosts(ctx, side) || lb_was_translated(ctx, side))
		return lb_end(LB_PASS);
	action = has_shortcuts ? lb_take_shortcut(ctx) : LB_TC_GO_ON;
	if (action != LB_TC_GO_ON)
		return action;
	changes = lb_changes(); /* before anything is asked that may change */
	item = lb_work_begin();
	if (!item)
		return LB_TC_NEXT;
	item->side = side;
	verdict = lb_parse(ctx, l3_offset, &item->packet, true);
	if (verdict == LB_CONTINUE)
		verdict = lb_recall(&item->packet, side, !ctx->ingress_ifindex, &found,
				    &item->translation.flow);
	if (verdict == LB_CONTINUE)
		verdict = lb_follow(ctx, &item->packet, &item->translation);
	if (has_shortcuts && (verdict == LB_FORWARD || verdict == LB_DELIVER) &&
	    lb_is_worth_a_shortcut(item, &found))
		lb_shortcut_draw(&item->packet, &item->translation, verdict == LB_FORWARD, changes);
	if (verdict != LB_UNUSUAL && verdict != LB_UNKNOWN && !lb_is_answer(verdict))
		return lb_act(ctx, item, side, verdict, true);
	item->is_missed = !found.flow;
	return lb_go_on(ctx, item, verdict);
}

#endif
