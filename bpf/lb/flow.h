/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The flow table: one lookup decides an established packet completely. A flow is two entries, the request and
 *the reply, created as a pair or not at all; each is enough for its own direction.
 *
 *	request  key: client -> frontend           value: client' -> backend
 *	reply    key: backend -> client'           value: frontend -> client
 *
 * client' is the client itself, or an address and port of this node (SNAT), or the hairpin address.
 */
#ifndef LB_FLOW_H
#define LB_FLOW_H

#include "lb/base.h"
#include "lb/backend.h"
#include "lb/packet.h"

#define LB_EEXIST 17

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

/* Writes only what changed: an established flow dirties its cache line once per jiffy at the most. */
static __always_inline void lb_flow_touch(struct lb_flow *flow, const struct lb_packet *packet)
{
	u32 now = lb_now();

	if (flow->last_seen != now)
		flow->last_seen = now;
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
	struct lb_flow *partner = flows.lookup(&partner_key);

	if (!backend || backend->state != LB_BACKEND_ACTIVE || !partner)
		return false;
	return !((flow->seen | partner->seen) & (LB_SEEN_FIN | LB_SEEN_RST));
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

/* Removes a pair whose client reused its port or whose backend is gone; leaves a partner that is not its own.
 */
static __always_inline void lb_flow_remove(struct lb_tuple *key, const struct lb_flow *flow)
{
	struct lb_tuple partner_key = lb_flow_partner_key(flow, key->protocol);
	struct lb_flow *partner = flows.lookup(&partner_key);

	if (partner && lb_addr_equal(&partner->to_daddr, &key->saddr) && partner->to_dport == key->sport &&
	    lb_addr_equal(&partner->to_saddr, &key->daddr) && partner->to_sport == key->dport)
		flows.delete(&partner_key);
	flows.delete(key);
}

/*
 * Would replies with this key go to a socket of this node? Only such flows ask whose source is an address of
 * this node: the stack knows nothing of the ports that flows have. The start of lb_tuple is a bpf_sock_tuple.
 */
static __always_inline bool lb_port_has_socket(struct __sk_buff *skb, const struct lb_flow *request,
					       struct lb_tuple *reply_key)
{
	const int length = __builtin_offsetof(struct lb_tuple, protocol);
	struct bpf_sock_tuple *tuple = (struct bpf_sock_tuple *)reply_key;
	struct bpf_sock *sock;

	if (!(request->flags & (LB_FLOW_FORWARD | LB_FLOW_AT_EGRESS)))
		return false;
	if (reply_key->protocol == IPPROTO_TCP)
		sock = bpf_skc_lookup_tcp(skb, tuple, length, BPF_F_CURRENT_NETNS, 0);
	else
		sock = bpf_sk_lookup_udp(skb, tuple, length, BPF_F_CURRENT_NETNS, 0);
	if (!sock)
		return false;
	bpf_sk_release(sock);
	return true;
}

/*
 * Claims a source port towards the backend by inserting the reply entry: the client's own if nobody has it,
 * else others. The insertion is atomic, so two CPUs never give one port to two flows. Updates
 * request->to_sport. Returns 0, -EEXIST when every tried port is taken, or another negative errno when the
 * table takes no entry.
 */
static __always_inline int lb_flow_reserve_reply(struct __sk_buff *skb, struct lb_flow *request,
						 const struct lb_flow *reply, u8 protocol)
{
	u32 candidate = bpf_get_prandom_u32();
	int error = 0;

	for (int i = 0; i < LB_SNAT_ATTEMPTS; i++) {
		struct lb_tuple key = lb_flow_partner_key(request, protocol);

		error = lb_port_has_socket(skb, request, &key) ? -LB_EEXIST
							       : flows.insert(&key, (struct lb_flow *)reply);
		if (error != -LB_EEXIST)
			break;
		request->to_sport =
			bpf_htons(LB_SNAT_PORT_MIN +
				  (candidate + i * 7919) % (LB_SNAT_PORT_MAX - LB_SNAT_PORT_MIN + 1));
	}
	return error;
}

/* The reply's flags follow from the request's: it is restored where the packet comes back to. */
static __always_inline u8 lb_flow_reply_flags(u8 request_flags)
{
	if (request_flags & LB_FLOW_HAIRPIN)
		return LB_FLOW_REPLY | LB_FLOW_HAIRPIN;
	if (request_flags & LB_FLOW_FORWARD)
		return LB_FLOW_REPLY | LB_FLOW_FORWARD;
	if (request_flags & LB_FLOW_AT_EGRESS)
		return LB_FLOW_REPLY;
	return LB_FLOW_REPLY | LB_FLOW_AT_EGRESS;
}

/*
 * Creates the pair for `packet`, whose translation `request` describes (all but seen, last_seen and a changed
 * port). When another CPU was faster, its translation is taken over into `request`.
 */
static __always_inline enum lb_verdict lb_flow_create(struct __sk_buff *skb, struct lb_packet *packet,
						      struct lb_flow *request)
{
	struct lb_flow reply = {
		.to_saddr = packet->tuple.daddr,
		.to_daddr = packet->tuple.saddr,
		.to_sport = packet->tuple.dport,
		.to_dport = packet->tuple.sport,
		.backend_id = request->backend_id,
		.generation = request->generation,
		.service_id = request->service_id,
		.last_seen = lb_now(),
		.flags = lb_flow_reply_flags(request->flags),
	};
	struct lb_tuple reply_key;
	struct lb_flow *winner;
	int error;

	request->last_seen = reply.last_seen;
	request->seen = packet->seen;
	error = lb_flow_reserve_reply(skb, request, &reply, packet->tuple.protocol);
	if (error)
		return lb_drop(error == -LB_EEXIST ? LB_COUNTER_DROP_NO_SNAT_PORT
						   : LB_COUNTER_DROP_FLOW_TABLE_FULL);
	if (!flows.insert(&packet->tuple, request)) {
		lb_count(LB_COUNTER_FLOW_CREATED);
		return LB_CONTINUE;
	}
	reply_key = lb_flow_partner_key(request, packet->tuple.protocol);
	flows.delete(&reply_key);
	winner = flows.lookup(&packet->tuple);
	if (!winner)
		return lb_drop(LB_COUNTER_DROP_FLOW_TABLE_FULL);
	*request = *winner;
	return LB_CONTINUE;
}

#endif
