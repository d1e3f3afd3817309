/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packet hooks at tc, direct action:
 *
 *	lb_uplink_in	ingress of uplinks: traffic from outside, replies to masqueraded flows
 *	lb_pod_in	ingress of pod devices (host side of the veth): pods that the socket
 *			hooks do not cover, hairpin
 *	lb_out		egress of both: replies get the frontend's address back; the node's own
 *
 * and each once more, for devices without an Ethernet header.
 *
 * An established packet of TCP or UDP is dealt with there, by one look-up. The rest of the way, by
 * tail calls:
 *
 *	lb_inspect	ICMP, fragments, SCTP, extension headers, outer headers (DSR)
 *	lb_claim	frontend look-up; on a hit, choice of a backend, creation of the flow's pair
 *	lb_finish	carries out what these decided: rewrites, forwards, answers
 *
 * Decisions are made in lb/translate.h, carried out here, in one switch.
 */
#include "lb/base.h"
#include "lb/parse.h"
#include "lb/fragment.h"
#include "lb/translate.h"
#include "lb/nat.h"
#include "lb/dsr.h"
#include "lb/answer.h"
#include "lb/work.h"

/* Lets other software's filters on the same hook see the packet. */
#define LB_TC_NEXT TC_ACT_UNSPEC

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

static __always_inline void lb_count_delivered(const struct lb_packet *packet, const struct lb_flow *flow)
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
		lb_count_delivered(packet, &translation->flow);
		return LB_TC_NEXT;
	case LB_FORWARD:
		lb_count(LB_COUNTER_FORWARDED);
		return lb_redirect_neigh(translation->hop.ifindex, &translation->hop.neighbour,
					 sizeof(translation->hop.neighbour), 0);
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

/* The rest of the way, shared by all hooks. */
BPF_TABLE_PINNED("prog", u32, u32, tails, 3, LB_TAILS_PIN);

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
	return lb_is_answer(verdict) ? TC_ACT_SHOT : LB_TC_NEXT;
}

/* A plain packet of an established flow goes all the way here. */
static __always_inline int lb_fast(lb_ctx *ctx, u32 l3_offset, enum lb_side side)
{
	struct lb_work *item = lb_work_begin();
	struct lb_found found = {};
	enum lb_verdict verdict;

	if (!item)
		return LB_TC_NEXT;
	item->side = side;
	verdict = lb_parse(ctx, l3_offset, &item->packet, true);
	if (verdict == LB_CONTINUE)
		verdict = lb_recall(&item->packet, side, !ctx->ingress_ifindex, &found,
				    &item->translation.flow);
	if (verdict == LB_CONTINUE)
		verdict = lb_follow(ctx, &item->packet, &item->translation);
	if (verdict != LB_UNUSUAL && verdict != LB_UNKNOWN && !lb_is_answer(verdict))
		return lb_act(ctx, item, side, verdict, true);
	item->is_missed = !found.flow;
	return lb_go_on(ctx, item, verdict);
}

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

int LB_NAME(lb_uplink_l3_)(lb_ctx *ctx)
{
	return lb_fast(ctx, 0, LB_FROM_UPLINK);
}

int LB_NAME(lb_pod_l3_)(lb_ctx *ctx)
{
	return lb_fast(ctx, 0, LB_FROM_POD);
}

int LB_NAME(lb_out_l3_)(lb_ctx *ctx)
{
	return lb_fast(ctx, 0, LB_FROM_NODE);
}
