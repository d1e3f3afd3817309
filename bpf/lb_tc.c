/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packet hooks at tc, direct action:
 *
 *	lb_uplink_in	ingress of uplinks: traffic from outside, replies to masqueraded flows
 *	lb_pod_in	ingress of pod devices (host side of the veth): pods that the socket
 *			hooks do not cover, hairpin
 *	lb_out		egress of both: replies get the frontend's address back; the node's own
 *
 * and each once more in lb_tc_l3.c, for devices without an Ethernet header.
 *
 * An established packet of TCP or UDP is dealt with there, by one look-up. The rest of the way, by
 * tail calls:
 *
 *	lb_inspect	ICMP, fragments, SCTP, extension headers, outer headers (DSR)
 *	lb_claim	frontend look-up; on a hit, choice of a backend, creation of the flow's pair
 *	lb_finish	carries out what these decided: rewrites, forwards, answers
 *
 * The first part is in lb/fast.h. Decisions are made in lb/translate.h, carried out in lb/act.h, in one switch.
 */
#include "lb/base.h"
#include "lb/parse.h"
#include "lb/fragment.h"
#include "lb/translate.h"
#include "lb/act.h"
#include "lb/fast.h"
#include "lb/work.h"

/* Fragments, ICMP, SCTP, extension headers, outer headers: parsed again, and closely. */
int LB_NAME(lb_inspect)(lb_ctx *ctx)
{
	struct lb_work *item = lb_work_current();
	enum lb_verdict verdict;
	u32 l3_offset;

	if (!item)
		return LB_TC_NEXT;
	l3_offset = item->packet.l3_offset;
	__builtin_memset(&item->packet, 0, sizeof(item->packet));
	verdict = lb_parse(ctx, l3_offset, &item->packet, false);
	if (item->packet.outer_bytes && item->side != LB_FROM_UPLINK)
		verdict = LB_PASS; /* nodes send them, nobody else */
	if (verdict == LB_CONTINUE)
		verdict = lb_fragment(ctx, &item->packet, item->side != LB_FROM_NODE);
	item->is_missed = false;
	return lb_go_on(ctx, item, verdict == LB_CONTINUE ? LB_UNKNOWN : verdict);
}

/* Packets that follow no flow, or that lb_inspect has understood. */
int LB_NAME(lb_claim)(lb_ctx *ctx)
{
	struct lb_work *item = lb_work_current();
	enum lb_verdict verdict = LB_UNKNOWN;
	struct lb_found found = {};

	if (!item)
		return LB_TC_NEXT;
	if (!item->is_missed)
		verdict = lb_recall(&item->packet, item->side, !ctx->ingress_ifindex, &found,
				    &item->translation.flow);
	if (verdict == LB_UNKNOWN)
		verdict = lb_claim(ctx, &item->packet, item->side, found, &item->translation);
	if (verdict == LB_CONTINUE)
		verdict = lb_follow(ctx, &item->packet, &item->translation);
	if (verdict == LB_PASS || verdict == LB_DROP)
		return lb_end(verdict);
	return lb_go_on(ctx, item, verdict);
}

int LB_NAME(lb_finish)(lb_ctx *ctx)
{
	struct lb_work *item = lb_work_current();

	return item ? lb_act(ctx, item, item->side, item->verdict, false) : LB_TC_NEXT;
}

int LB_NAME(lb_uplink_in)(lb_ctx *ctx)
{
	return lb_fast(ctx, ETH_HLEN, LB_FROM_UPLINK);
}

int LB_NAME(lb_pod_in)(lb_ctx *ctx)
{
	return lb_fast(ctx, ETH_HLEN, LB_FROM_POD);
}

int LB_NAME(lb_out)(lb_ctx *ctx)
{
	return lb_fast(ctx, ETH_HLEN, LB_FROM_NODE);
}
