/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The creation of flows, and with it the one rule by which source ports of this node are given out, at every
 * hook: a port is free towards a backend when no flow has it, confirmed or pending or resting, and no socket
 * of this node. Claiming it is the insertion of the reply's entry, which is atomic: two CPUs never give one
 * port to two flows.
 */
#ifndef LB_CREATE_H
#define LB_CREATE_H

#include "lb/base.h"
#include "lb/flow.h"
#include "lb/verdict.h"

#define LB_EEXIST 17

/*
 * Would replies with this key go to a socket of this node? Only such flows ask whose source is an address of
 * this node: the stack knows nothing of the ports that flows have. The start of lb_tuple is a bpf_sock_tuple.
 * Sockets of SCTP cannot be looked up.
 */
static __always_inline bool lb_port_has_socket(lb_ctx *ctx, const struct lb_flow *request,
					       struct lb_tuple *reply_key)
{
	const int length = __builtin_offsetof(struct lb_tuple, protocol);
	struct bpf_sock_tuple *tuple = (struct bpf_sock_tuple *)reply_key;
	struct bpf_sock *sock;

	if (!(request->flags & (LB_FLOW_FORWARD | LB_FLOW_AT_EGRESS)))
		return false;
	if (reply_key->protocol == IPPROTO_TCP)
		sock = bpf_skc_lookup_tcp(ctx, tuple, length, BPF_F_CURRENT_NETNS, 0);
	else if (reply_key->protocol == IPPROTO_UDP)
		sock = bpf_sk_lookup_udp(ctx, tuple, length, BPF_F_CURRENT_NETNS, 0);
	else
		return false;
	if (!sock)
		return false;
	bpf_sk_release(sock);
	return true;
}

/*
 * Has a confirmed flow this reply's key, or a socket? Asked before it is claimed; the claim itself asks about flows
 * once more. `pending` is looked up for nothing but its bucket, which the claim is to lock: what is read before a
 * lock is fetched side by side, what is read behind it one after the other. That is 6 to 8 % of a first packet.
 */
static __always_inline bool lb_port_is_taken(lb_ctx *ctx, const struct lb_flow *request,
					     struct lb_tuple *reply_key)
{
	pending.lookup(reply_key);
	return flows.lookup(reply_key) || lb_port_has_socket(ctx, request, reply_key);
}

/*
 * Puts one entry into `pending`. Returns 0, -EEXIST when another flow has the key, or another negative
 * errno. What is over does not count: a flow that was confirmed meanwhile and is gone from `flows`, or half
 * of one.
 */
static __always_inline int lb_flow_insert(struct lb_tuple *key, const struct lb_flow *flow)
{
	int error = pending.insert(key, (struct lb_flow *)flow);
	struct lb_flow *other;

	if (error == -LB_EEXIST) {
		other = pending.lookup(key);
		if (!other || (lb_flow_is_whole(key, other) && !(other->seen & LB_SEEN_MOVED)) ||
		    flows.lookup(key))
			return -LB_EEXIST;
		return pending.update(key, (struct lb_flow *)flow);
	}
	if (!error && flows.lookup(key)) {
		pending.delete(key);
		return -LB_EEXIST;
	}
	return error;
}

/*
 * Takes a port from a flow that nobody has confirmed, if that one holds it. A flood of forged senders would
 * else hold them all. Not from one that rests: its backend still remembers it.
 */
static __always_inline int lb_flow_take_over(struct lb_tuple *key, const struct lb_flow *flow)
{
	struct lb_flow *holder = pending.lookup(key);
	int error;

	if (holder && ((holder->seen & LB_SEEN_MOVED) || (holder->seen & LB_SEEN_RESTS) == LB_SEEN_RESTS))
		return -LB_EEXIST;
	error = pending.update(key, (struct lb_flow *)flow);
	if (!error && flows.lookup(key)) { /* confirmed, before or in this moment */
		pending.delete(key);
		return -LB_EEXIST;
	}
	return error;
}

/*
 * Claims a source port: the client's own if it is free, else another, or one of an unconfirmed flow. Updates
 * request->to_sport. The loop's one way out is at its end: clang would else lay it out so that its last
 * instruction runs on into its first, and before 6.7 the verifier knows a loop only by a jump.
 */
static __always_inline int lb_flow_claim_port(lb_ctx *ctx, const struct lb_packet *packet,
					      struct lb_flow *request)
{
	struct lb_flow reply = lb_flow_partner(&packet->tuple, request);
	u32 candidate = 0, attempt = 0;
	int error;

	asm volatile("" : "+r"(attempt)); /* or the compiler begins the loop in its middle */
#pragma clang loop unroll(disable)
	do {
		struct lb_tuple key;

		if (attempt == 1) /* most clients keep their port: nobody else pays for chance */
			candidate = bpf_get_prandom_u32();
		if (attempt)
			request->to_sport = bpf_htons(LB_SNAT_PORT_MIN +
						      (candidate + attempt * 7919) %
							      (LB_SNAT_PORT_MAX - LB_SNAT_PORT_MIN + 1));
		key = lb_flow_partner_key(request, packet->tuple.protocol);
		if (lb_port_is_taken(ctx, request, &key))
			error = -LB_EEXIST;
		else
			error = attempt < LB_SNAT_FREE_ATTEMPTS ? lb_flow_insert(&key, &reply)
								: lb_flow_take_over(&key, &reply);
		attempt++;
	} while (error == -LB_EEXIST && attempt < LB_SNAT_ATTEMPTS);
	return error;
}

/* The reply's flags follow from the request's: it is restored where the packet comes back to. */
static __always_inline u8 lb_flow_reply_flags(u8 request_flags)
{
	if (request_flags & LB_FLOW_HAIRPIN)
		return LB_FLOW_REPLY | LB_FLOW_HAIRPIN | (request_flags & LB_FLOW_AT_EGRESS);
	if (request_flags & LB_FLOW_AT_EGRESS)
		return LB_FLOW_REPLY;
	if (request_flags & LB_FLOW_FORWARD)
		return LB_FLOW_REPLY | LB_FLOW_FORWARD;
	return LB_FLOW_REPLY | LB_FLOW_AT_EGRESS;
}

static __always_inline bool lb_flow_is_same(const struct lb_flow *a, const struct lb_flow *b)
{
	return lb_addr_equal(&a->to_saddr, &b->to_saddr) && lb_addr_equal(&a->to_daddr, &b->to_daddr) &&
	       a->to_sport == b->to_sport && a->to_dport == b->to_dport;
}

/*
 * What the first packet leaves in the request's entry. At XDP nothing, if nobody will see the answers: tc may get the
 * packet after it, and would take it for the client's second one, by which such a flow is confirmed.
 */
#ifdef LB_XDP
#define LB_FIRST_SEEN(packet, request) (lb_flow_has_partner(request) ? (packet)->seen : 0)
#else
#define LB_FIRST_SEEN(packet, request) ((packet)->seen)
#endif

/*
 * Creates the flow of `packet`, whose translation `request` describes (all but seen, last_seen, the partner
 * and a changed port). When another CPU was faster, its translation is taken over into `request`.
 */
static __always_inline enum lb_verdict lb_flow_create(lb_ctx *ctx, struct lb_packet *packet,
						      struct lb_flow *request)
{
	struct lb_found winner;
	int error;

	request->last_seen = lb_now();
	request->seen = LB_FIRST_SEEN(packet, request);
	if (lb_flow_has_partner(request)) {
		request->partner_flags =
			lb_flow_reply_flags(request->flags) | (packet->outer_bytes ? LB_FLOW_DSR : 0);
		error = lb_flow_claim_port(ctx, packet, request);
		if (error)
			return lb_drop(error == -LB_EEXIST ? LB_COUNTER_DROP_NO_SNAT_PORT
							   : LB_COUNTER_DROP_FLOW_TABLE_FULL);
	}
	error = lb_flow_insert(&packet->tuple, request);
	if (!error) {
		lb_count(LB_COUNTER_FLOW_CREATED);
		return LB_CONTINUE;
	}
	winner = lb_flow_find(&packet->tuple);
	if (winner.flow && lb_flow_is_same(winner.flow, request)) {
		/* No rival: the half of an earlier flow, which our reply has made whole. */
		pending.update(&packet->tuple, request);
		lb_count(LB_COUNTER_FLOW_CREATED);
		return LB_CONTINUE;
	}
	if (lb_flow_has_partner(request)) {
		struct lb_tuple reply_key = lb_flow_partner_key(request, packet->tuple.protocol);

		pending.delete(&reply_key);
	}
	if (!winner.flow)
		return lb_drop(LB_COUNTER_DROP_FLOW_TABLE_FULL);
	*request = *winner.flow;
	return LB_CONTINUE;
}

#endif
