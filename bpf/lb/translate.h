/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What becomes of a packet at a packet hook: the flow tables first, the service tables on a miss. Fills a
 * translation and returns a verdict; changes no packet.
 */
#ifndef LB_TRANSLATE_H
#define LB_TRANSLATE_H

#include "lb/base.h"
#include "lb/create.h"
#include "lb/fib.h"
#include "lb/flow.h"
#include "lb/frontend.h"
#include "lb/open.h"
#include "lb/packet.h"
#include "lb/verdict.h"

/* The flow is known: how does its packet leave this hook? What the node itself sends was not routed here: no
 * TTL. */
static __always_inline enum lb_verdict lb_follow(lb_ctx *ctx, const struct lb_packet *packet,
						 struct lb_translation *translation)
{
	const struct lb_flow *flow = &translation->flow;
	u32 extra = flow->flags & LB_FLOW_DSR ? sizeof(lb_iphdr) : 0;
	enum lb_verdict verdict;

	if (flow->flags & LB_FLOW_HAIRPIN)
		return LB_HAIRPIN;
	if (!(flow->flags & LB_FLOW_FORWARD))
		return LB_DELIVER;
	if (packet->ttl <= 1 && !(flow->flags & LB_FLOW_AT_EGRESS))
		return LB_EXPIRED;
	verdict = lb_fib_lookup(ctx, packet, extra, &flow->to_saddr, &flow->to_daddr, &translation->hop);
	return verdict == LB_CONTINUE ? LB_FORWARD : verdict;
}

/*
 * Would the replies of a packet from `side` be taken for those of `other`, a reply's entry? They are if both are
 * restored at the same place: the node's where packets come in, others' where they leave. An uplink may see what XDP,
 * or a bridge's port, has just translated: only a flow that has ended is certainly another one.
 */
static __always_inline bool lb_is_in_the_way(const struct lb_flow *other, enum lb_side side)
{
	if (!(other->flags & LB_FLOW_REPLY) || !(other->flags & LB_FLOW_AT_EGRESS) != (side == LB_FROM_NODE))
		return false;
	return side != LB_FROM_UPLINK || (other->seen & (LB_SEEN_FIN | LB_SEEN_RST));
}

/*
 * A packet that no Service claims, whose replies would go to a client of a flow, since that flow has its
 * port: the packet takes another port from here on. A connection that stands is never in the way: no flow is
 * given the port of a socket. Fills the flow that is to be created.
 */
static __always_inline enum lb_verdict lb_step_aside(struct lb_packet *packet, enum lb_side side,
						     struct lb_flow *flow)
{
	u8 flags = side == LB_FROM_NODE ? LB_FLOW_AT_EGRESS | LB_FLOW_SNAT : LB_FLOW_SNAT;
	struct lb_tuple reply_key;
	struct lb_found other;

	if (!packet->is_syn && (side != LB_FROM_NODE || packet->tuple.protocol != IPPROTO_UDP))
		return LB_PASS;
	*flow = (struct lb_flow){
		.to_saddr = packet->tuple.saddr,
		.to_daddr = packet->tuple.daddr,
		.to_sport = packet->tuple.sport,
		.to_dport = packet->tuple.dport,
		.flags = flags,
	};
	reply_key = lb_flow_partner_key(flow, packet->tuple.protocol);
	other = lb_flow_find(&reply_key);
	if (!other.flow || !lb_is_in_the_way(other.flow, side))
		return LB_PASS;
	flow->backend_id = other.flow->backend_id;
	flow->generation = other.flow->generation;
	flow->service_id = other.flow->service_id;
	return LB_CONTINUE;
}

/* Did the packets of this entry step aside? They still go where they went. */
static __always_inline bool lb_flow_steps_aside(const struct lb_flow *flow, const struct lb_packet *packet)
{
	return !(flow->flags & LB_FLOW_REPLY) && lb_addr_equal(&flow->to_daddr, &packet->tuple.daddr);
}

/* A packet that no frontend takes. What is no question gets no answer. XDP gives none, and tc asks again. */
static __always_inline enum lb_verdict lb_refuse(const struct lb_packet *packet)
{
	enum lb_verdict verdict = lb_unclaimed(&packet->tuple.daddr);

	if (verdict == LB_DROP)
		return lb_drop(LB_COUNTER_DROP_UNUSED_ADDRESS);
	if (verdict == LB_PASS || (packet->kind != LB_WHOLE && packet->kind != LB_FIRST_FRAGMENT) ||
	    packet->is_rst)
		return LB_PASS;
#ifndef LB_XDP
	lb_count(LB_COUNTER_REJECTED_PORT);
#endif
	return verdict;
}

/* A ping that another node sent here in an outer header is nobody's: no node of ours would. */
static __always_inline enum lb_verdict lb_claim_ping(const struct lb_packet *packet)
{
	if (packet->outer_bytes)
		return LB_PASS;
	if (LB_ANSWER_PING && lb_address_is_served(&packet->tuple.daddr))
		return LB_ECHO_ANSWER;
	return lb_refuse(packet);
}

/* The flow in `found` is over for this packet: what follows begins anew. */
static __always_inline void lb_leave(struct lb_packet *packet, struct lb_found found,
				     struct lb_translation *translation)
{
	translation->flow = *found.flow;
	lb_flow_remove(&packet->tuple, &translation->flow);
	lb_count(LB_COUNTER_FLOW_RESELECTED);
}

/*
 * A packet that follows no entry, or a SYN: whose is it, and does it open a flow? Neither an error nor a
 * later fragment does, nor the end of a flow that nobody knows.
 */
static __always_inline enum lb_verdict lb_claim(lb_ctx *ctx, struct lb_packet *packet, enum lb_side side,
						struct lb_found found, struct lb_translation *translation)
{
	struct lb_frontend *frontend;
	enum lb_verdict verdict;
	bool is_ours;

	if (packet->kind == LB_ICMP_ERROR)
		return LB_PASS;
	if (packet->kind == LB_LATER_FRAGMENT || packet->kind == LB_OTHER)
		return lb_refuse(packet);
	if (packet->kind == LB_ECHO)
		return lb_claim_ping(packet);
	frontend = lb_frontend_lookup(&packet->tuple.daddr, packet->tuple.dport, packet->tuple.protocol,
				      packet->outer_bytes ? LB_NODE_ANY : LB_NODE_ADDRESSES);
	if (!frontend && packet->outer_bytes)
		return LB_PASS;
	is_ours = found.flow && (frontend || lb_flow_steps_aside(found.flow, packet));
	if (is_ours && packet->is_syn && (!frontend || found.flow->service_id == frontend->service_id) &&
	    lb_flow_takes_syn(found.flow, packet->tuple.protocol)) {
		lb_flow_follow(&packet->tuple, found, packet, &translation->flow);
		return LB_CONTINUE;
	}
	if (is_ours)
		lb_leave(packet, found, translation);
	else if (packet->is_rst)
		return frontend ? LB_PASS : lb_refuse(packet);
	if (frontend) {
		verdict = lb_open(ctx, packet, side, frontend, translation);
	} else {
		verdict = lb_refuse(packet);
#ifndef LB_XDP /* tc gets it next */
		if (verdict == LB_PASS)
			verdict = lb_step_aside(packet, side, &translation->flow);
#endif
	}
	return verdict == LB_CONTINUE ? lb_flow_create(ctx, packet, &translation->flow) : verdict;
}

/* Does the packet follow the entry that was found for it? A SYN has to be asked about first. */
static __always_inline bool lb_is_taken(const struct lb_packet *packet, const struct lb_found *found)
{
	return found->flow && !packet->is_syn && lb_flow_takes_packet(found->flow, packet);
}

/*
 * Where packets leave: replies of flows that kept their client's address, which the stack has routed, only
 * the source is wrong. And what the node itself sends, which never came in by a device (a masqueraded packet
 * can look the same): the socket hooks have translated most of it; what they left alone is claimed here.
 */
static __always_inline bool lb_leaves_unseen(const struct lb_packet *packet, const struct lb_found *found,
					     bool is_own)
{
	if (found->flow && !(found->flow->flags & LB_FLOW_AT_EGRESS))
		return true;
	if (found->flow && (found->flow->flags & LB_FLOW_REPLY))
		return false;
	if (!is_own)
		return true;
	return !lb_is_taken(packet, found) && packet->tuple.protocol == IPPROTO_TCP && !packet->is_syn;
}

/*
 * The flow tables: one look-up decides an established packet. Returns LB_CONTINUE with the flow that it
 * follows, LB_PASS, or LB_UNKNOWN with what was found, if anything. LB_FROM_NODE: it is leaving.
 */
static __always_inline enum lb_verdict lb_recall(struct lb_packet *packet, enum lb_side side, bool is_own,
						 struct lb_found *found, struct lb_flow *flow)
{
	bool is_taken;

	*found = lb_flow_find(&packet->tuple);
	if (packet->outer_bytes && found->flow && !lb_named_backend(packet, found->flow->service_id))
		return LB_PASS;
	if (side == LB_FROM_NODE ? lb_leaves_unseen(packet, found, is_own)
				 : found->flow && (found->flow->flags & LB_FLOW_AT_EGRESS))
		return LB_PASS;
	is_taken = lb_is_taken(packet, found) ||
		   (side == LB_FROM_NODE && found->flow && (found->flow->flags & LB_FLOW_REPLY));
	if (!is_taken)
		return LB_UNKNOWN;
	lb_flow_follow(&packet->tuple, *found, packet, flow);
	return LB_CONTINUE;
}

#endif
