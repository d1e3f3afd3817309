/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The flow tables: one lookup decides an established packet completely. A flow is two entries, the request
 * and the reply, created as a pair or not at all; each is enough for its own direction, and to make the other
 * again.
 *
 *	request  key: client -> frontend           value: client' -> backend
 *	reply    key: backend -> client'           value: frontend -> client
 *
 * client' is the client itself, or an address and port of this node (SNAT), or the hairpin address.
 *
 * A flow begins in `pending`, where the oldest give way, and moves to `flows`, where nothing does, when the
 * client goes on after an answer: whoever forges its source address never sees one. Its entries in `pending`
 * stay, marked as moved, until they give way: a packet that looked in `flows` a moment too early finds that
 * mark, and looks again.
 */
#ifndef LB_FLOW_H
#define LB_FLOW_H

#include "lb/base.h"
#include "lb/backend.h"
#include "lb/packet.h"

/* Both together: what lb_flow_remove() leaves behind. No peer says both. */
#define LB_SEEN_RESTS (LB_SEEN_FIN | LB_SEEN_RST)

struct lb_found {
	struct lb_flow *flow; /* points into a map, or NULL */
	bool is_pending;
};

/* The key of the entry that translates the other direction. */
static __always_inline struct lb_tuple lb_flow_partner_key(const struct lb_flow *flow, u8 protocol)
{
	struct lb_tuple key = {
		.saddr = flow->to_daddr,
		.daddr = flow->to_saddr,
		.sport = flow->to_dport,
		.dport = flow->to_sport,
		.protocol = protocol,
	};

	return key;
}

/* The entry itself: from one half of a flow, the other. It has seen nothing yet. */
static __always_inline struct lb_flow lb_flow_partner(const struct lb_tuple *key, const struct lb_flow *flow)
{
	struct lb_flow partner = {
		.to_saddr = key->daddr,
		.to_daddr = key->saddr,
		.to_sport = key->dport,
		.to_dport = key->sport,
		.backend_id = flow->backend_id,
		.generation = flow->generation,
		.service_id = flow->service_id,
		.last_seen = flow->last_seen,
		.flags = flow->partner_flags,
		.partner_flags = flow->flags,
	};

	return partner;
}

static __always_inline bool lb_flow_has_partner(const struct lb_flow *flow)
{
	return !(flow->flags & LB_FLOW_DSR) || (flow->flags & LB_FLOW_REPLY);
}

static __always_inline bool lb_flow_is_partner(const struct lb_tuple *key, const struct lb_flow *partner)
{
	return lb_addr_equal(&partner->to_daddr, &key->saddr) && partner->to_dport == key->sport &&
	       lb_addr_equal(&partner->to_saddr, &key->daddr) && partner->to_sport == key->dport;
}

/*
 * May an entry of `pending` be believed? A request only while its reply has an entry: that may have given
 * way, or its port have been taken over by another flow.
 */
static __always_inline bool lb_flow_is_whole(const struct lb_tuple *key, const struct lb_flow *flow)
{
	struct lb_tuple partner_key = lb_flow_partner_key(flow, key->protocol);
	struct lb_flow *partner;

	if ((flow->flags & LB_FLOW_REPLY) || !lb_flow_has_partner(flow))
		return true;
	partner = pending.lookup(&partner_key);
	return partner && lb_flow_is_partner(key, partner);
}

static __always_inline struct lb_found lb_flow_find(struct lb_tuple *key)
{
	struct lb_found found = {.flow = flows.lookup(key)};

	if (found.flow)
		return found;
	found.flow = pending.lookup(key);
	found.is_pending = true;
	if (found.flow && (found.flow->seen & LB_SEEN_MOVED)) {
		found.flow = flows.lookup(key);
		found.is_pending = false;
	} else if (found.flow && !lb_flow_is_whole(key, found.flow)) {
		found.flow = NULL;
	}
	return found;
}

/* Timeouts are right to a second: an established flow dirties its cache line no more often than that. */
static __always_inline void lb_flow_stamp(struct lb_flow *flow)
{
	u32 now = lb_now();

	if (now - flow->last_seen >= LB_HZ)
		flow->last_seen = now;
}

static __always_inline void lb_flow_touch(struct lb_flow *flow, const struct lb_packet *packet)
{
	if (packet->kind == LB_ICMP_ERROR)
		return;
	lb_flow_stamp(flow);
	if ((flow->seen & packet->seen) != packet->seen)
		flow->seen |= packet->seen;
}

/*
 * May a SYN that meets this request entry follow it? Yes while it repeats a handshake (the SYN was sent
 * again): the backend still takes new connections and neither side has closed. Otherwise the client has
 * reused its port.
 */
static __always_inline bool lb_flow_takes_syn(const struct lb_flow *flow, u8 protocol)
{
	struct lb_backend *backend = lb_backend_lookup(flow->backend_id, flow->generation);
	struct lb_tuple partner_key = lb_flow_partner_key(flow, protocol);
	u8 seen = flow->seen;

	if (!backend || backend->state != LB_BACKEND_ACTIVE)
		return false;
	if (lb_flow_has_partner(flow)) {
		struct lb_found partner = lb_flow_find(&partner_key);

		if (!partner.flow)
			return false;
		seen |= partner.flow->seen;
	}
	return !(seen & (LB_SEEN_FIN | LB_SEEN_RST));
}

/*
 * Does an established packet follow this entry? Replies always do. UDP moves to another backend when its own
 * is gone; TCP cannot move, and its backend may be gone from the Service while the connection still drains.
 */
static __always_inline bool lb_flow_takes_packet(const struct lb_flow *flow, const struct lb_packet *packet)
{
	if (packet->tuple.protocol != IPPROTO_UDP || (flow->flags & LB_FLOW_REPLY))
		return true;
	return lb_backend_lookup(flow->backend_id, flow->generation);
}

/* Moves a flow to `flows`. Its entries there are new: whoever has such a key already is not overwritten. */
static __always_inline void lb_flow_confirm(struct lb_tuple *key, struct lb_flow *flow)
{
	struct lb_tuple partner_key = lb_flow_partner_key(flow, key->protocol);
	struct lb_flow request = *flow;
	struct lb_flow reply = lb_flow_partner(key, flow);
	struct lb_flow *partner = NULL;

	if (lb_flow_has_partner(flow)) {
		partner = pending.lookup(&partner_key);
		if (!partner || !partner->seen || !lb_flow_is_partner(key, partner))
			return;
		if ((flow->seen | partner->seen) & LB_SEEN_RST)
			return; /* the answer was a refusal */
		reply.seen = partner->seen;
		if (flows.insert(&partner_key, &reply))
			return;
	}
	if (flows.insert(key, &request)) {
		if (partner)
			flows.delete(&partner_key);
		return;
	}
	flow->seen |= LB_SEEN_MOVED;
	if (partner)
		partner->seen |= LB_SEEN_MOVED;
	lb_count(LB_COUNTER_FLOW_CONFIRMED);
}

/*
 * A packet that follows an entry of `pending`, and is noted there. A first reply makes sure that the
 * request's entry is still there. The client's next packet after it confirms the flow: a SYN, or an answer to
 * one, proves nothing.
 */
static __always_inline void lb_flow_advance(struct lb_tuple *key, struct lb_flow *flow,
					    const struct lb_packet *packet, bool is_first)
{
	if (packet->kind == LB_ICMP_ERROR || packet->is_syn || packet->is_rst)
		return;
	if (!(flow->flags & LB_FLOW_REPLY)) {
		if (!is_first || lb_flow_has_partner(flow)) /* else tc may see what XDP has seen */
			lb_flow_confirm(key, flow);
		return;
	}
	if (is_first) {
		struct lb_tuple partner_key = lb_flow_partner_key(flow, key->protocol);
		struct lb_flow request = lb_flow_partner(key, flow);

		pending.insert(&partner_key, &request);
	}
}

/* An established packet: notes it, and copies the entry. */
static __always_inline void lb_flow_follow(struct lb_tuple *key, struct lb_found found,
					   const struct lb_packet *packet, struct lb_flow *copy)
{
	bool is_first = !found.flow->seen;

	lb_flow_touch(found.flow, packet);
	if (found.is_pending)
		lb_flow_advance(key, found.flow, packet, is_first);
	*copy = *found.flow;
}

/*
 * Ends a pair whose client reused its port or whose backend is gone; leaves a partner that is not its own. A
 * port of this node rests: its entry stays, closed, until the sweep takes it, so that no other client gets
 * the port while the backend still remembers the last one (TIME_WAIT).
 */
static __always_inline void lb_flow_remove(struct lb_tuple *key, const struct lb_flow *flow)
{
	struct lb_tuple partner_key = lb_flow_partner_key(flow, key->protocol);
	struct lb_found partner = lb_flow_find(&partner_key);

	if (partner.flow && lb_flow_is_partner(key, partner.flow)) {
		if ((flow->flags & LB_FLOW_SNAT) && key->protocol == IPPROTO_TCP) {
			partner.flow->seen |= LB_SEEN_RESTS;
			partner.flow->last_seen = lb_now();
		} else {
			flows.delete(&partner_key);
			pending.delete(&partner_key);
		}
	}
	flows.delete(key);
	pending.delete(key);
	lb_note_taken_back();
}

#endif
