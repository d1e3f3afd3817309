/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packet hooks at tc, direct action:
 *
 *	lb_uplink_in	ingress of uplinks: traffic from outside, replies to masqueraded flows
 *	lb_pod_in	ingress of pod devices (host side of the veth): pods that the socket hooks do not
 *cover, hairpin lb_out		egress of both: replies get the frontend's address back
 *
 * Three steps at each: flow lookup; on a miss frontend lookup; on a hit of that, choice of a backend and
 *creation of the flow's two entries. Decisions are made in lb/translate.h, carried out here, in one switch.
 */
#include "lb/base.h"
#include "lb/packet.h"
#include "lb/translate.h"
#include "lb/reject.h"

/* Lets other software's filters on the same hook see the packet. */
#define LB_TC_NEXT TC_ACT_UNSPEC

static __always_inline int lb_swap_macs(struct __sk_buff *skb)
{
	u8 macs[2 * ETH_ALEN];
	int error = bpf_skb_load_bytes(skb, 0, macs, sizeof(macs));

	if (!error)
		error = bpf_skb_store_bytes(skb, 0, macs + ETH_ALEN, ETH_ALEN, 0);
	if (!error)
		error = bpf_skb_store_bytes(skb, ETH_ALEN, macs, ETH_ALEN, 0);
	return error;
}

/* Changes the packet as the verdict asks. A packet that the kernel refuses to change is dropped: it may be
 * half done. */
static __always_inline enum lb_verdict lb_change(struct __sk_buff *skb, const struct lb_packet *packet,
						 const struct lb_flow *flow, enum lb_verdict verdict)
{
	bool changed = true;

	if (verdict == LB_DELIVER || verdict == LB_FORWARD || verdict == LB_HAIRPIN)
		changed = lb_rewrite(skb, packet, flow, verdict == LB_FORWARD);
	if (verdict == LB_REJECT)
		changed = !lb_reject(skb, packet);
	if (changed && (verdict == LB_HAIRPIN || verdict == LB_REJECT))
		changed = !lb_swap_macs(skb);
	return changed ? verdict : lb_drop(LB_COUNTER_DROP_REWRITE);
}

static __always_inline bool lb_is_restored_at_egress(const struct lb_flow *flow)
{
	return (flow->flags & LB_FLOW_REPLY) && (flow->flags & LB_FLOW_AT_EGRESS);
}

/* `back`: the flags of bpf_redirect() that send an answer to where the packet came from. */
static __always_inline int lb_act(struct __sk_buff *skb, const struct lb_packet *packet,
				  struct lb_translation *translation, enum lb_verdict verdict, u64 back)
{
	switch (lb_change(skb, packet, &translation->flow, verdict)) {
	case LB_DELIVER:
		lb_count(lb_is_restored_at_egress(&translation->flow) ? LB_COUNTER_REPLY_RESTORED
								      : LB_COUNTER_DELIVERED);
		return LB_TC_NEXT;
	case LB_FORWARD:
		lb_count(LB_COUNTER_FORWARDED);
		return lb_redirect_neigh(translation->hop.ifindex, &translation->hop.neighbour,
					 sizeof(translation->hop.neighbour), 0);
	case LB_HAIRPIN:
		lb_count(LB_COUNTER_HAIRPINNED);
		return bpf_redirect(skb->ifindex, 0);
	case LB_REJECT:
		lb_count(LB_COUNTER_REJECTED);
		return bpf_redirect(skb->ifindex, back);
	case LB_DROP:
		return TC_ACT_SHOT;
	default:
		lb_count(LB_COUNTER_PASSED);
		return LB_TC_NEXT;
	}
}

static __always_inline int lb_ingress(struct __sk_buff *skb, enum lb_side side)
{
	struct lb_translation translation = {};
	struct lb_packet packet = {};
	enum lb_verdict verdict = lb_parse(skb, &packet);

	if (verdict == LB_CONTINUE)
		verdict = lb_translate_ingress(skb, &packet, side, &translation);
	return lb_act(skb, &packet, &translation, verdict, 0);
}

int LB_NAME(lb_uplink_in)(struct __sk_buff *skb)
{
	return lb_ingress(skb, LB_FROM_UPLINK);
}

int LB_NAME(lb_pod_in)(struct __sk_buff *skb)
{
	return lb_ingress(skb, LB_FROM_POD);
}

int LB_NAME(lb_out)(struct __sk_buff *skb)
{
	struct lb_translation translation = {};
	struct lb_packet packet = {};
	enum lb_verdict verdict = lb_parse(skb, &packet);

	if (verdict == LB_CONTINUE)
		verdict = lb_translate_egress(skb, &packet, &translation);
	return lb_act(skb, &packet, &translation, verdict, BPF_F_INGRESS);
}
