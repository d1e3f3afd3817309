/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What becomes of a packet at a packet hook: the flow table first, the service tables on a miss. Fills a
 * translation and returns a verdict; changes no packet.
 */
#ifndef LB_TRANSLATE_H
#define LB_TRANSLATE_H

#include "lb/base.h"
#include "lb/backend.h"
#include "lb/fib.h"
#include "lb/flow.h"
#include "lb/frontend.h"
#include "lb/nat.h"
#include "lb/packet.h"
#include "lb/verdict.h"

/* Where the packet entered this node. */
enum lb_side {
	LB_FROM_UPLINK,
	LB_FROM_POD,
};

struct lb_translation {
	struct lb_flow flow;
	struct lb_next_hop hop; /* of LB_FORWARD */
};

/* The flow is known: how does its packet leave this hook? */
static __always_inline enum lb_verdict lb_follow(struct __sk_buff *skb, const struct lb_packet *packet,
						 struct lb_translation *translation)
{
	const struct lb_flow *flow = &translation->flow;

	if (flow->flags & LB_FLOW_HAIRPIN)
		return LB_HAIRPIN;
	if (!(flow->flags & LB_FLOW_FORWARD))
		return LB_DELIVER;
	if (packet->ttl <= 1)
		return lb_drop(LB_COUNTER_DROP_TTL);
	if (lb_fib_lookup(skb, &flow->to_saddr, &flow->to_daddr, &translation->hop) == LB_DROP)
		return LB_DROP;
	return LB_FORWARD;
}

/* Traffic from outside with a remote backend must come back through this node: its source becomes ours. */
static __always_inline enum lb_verdict lb_choose_source(struct __sk_buff *skb, const struct lb_packet *packet,
							enum lb_side side, bool backend_is_local,
							struct lb_translation *translation)
{
	const addr_t hairpin = {.word = {LB_HAIRPIN_ADDRESS}};
	const addr_t any = {};
	struct lb_flow *flow = &translation->flow;
	struct lb_device *device;

	flow->to_saddr = packet->tuple.saddr;
	flow->to_sport = packet->tuple.sport;
	if (side == LB_FROM_POD) {
		if (lb_addr_equal(&flow->to_daddr, &packet->tuple.saddr)) {
			flow->to_saddr = hairpin;
			flow->flags = LB_FLOW_HAIRPIN | LB_FLOW_SNAT;
		}
		return LB_CONTINUE;
	}
	if (backend_is_local)
		return LB_CONTINUE;
	if (lb_fib_lookup(skb, &any, &flow->to_daddr, &translation->hop) == LB_DROP)
		return LB_DROP;
	device = devices.lookup(&translation->hop.ifindex);
	if (!device || lb_addr_is_zero(&device->snat_address))
		return lb_drop(LB_COUNTER_DROP_NO_SNAT_ADDRESS);
	flow->to_saddr = device->snat_address;
	flow->flags = LB_FLOW_FORWARD | LB_FLOW_SNAT;
	return LB_CONTINUE;
}

/* The internal policy binds every client; the external one binds clients outside, a pod may use every
 * backend. */
static __always_inline bool lb_local_only(const struct lb_frontend *frontend, enum lb_side side)
{
	if (!(frontend->flags & LB_FRONTEND_LOCAL_POLICY))
		return false;
	return frontend->kind == LB_KIND_CLUSTER_IP || side == LB_FROM_UPLINK;
}

/* Any node picks the same backend for the same client: nothing of this node goes into the hash. */
static __always_inline u32 lb_client_hash(const struct lb_frontend *frontend, const struct lb_tuple *tuple)
{
	u32 hash = lb_hash_word(tuple->protocol, tuple->dport);

#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		hash = lb_hash_word(hash, tuple->saddr.word[i]);
	if (!frontend->affinity_timeout)
		hash = lb_hash_word(hash, tuple->sport);
	return lb_hash_final(hash);
}

/* The first packet of a flow. */
static __always_inline enum lb_verdict lb_open(struct __sk_buff *skb, struct lb_packet *packet,
					       enum lb_side side, const struct lb_frontend *frontend,
					       struct lb_translation *translation)
{
	struct lb_client client = {.affinity = {.client = packet->tuple.saddr},
				   .hash = lb_client_hash(frontend, &packet->tuple),
				   .local_only = lb_local_only(frontend, side)};
	struct lb_range range = client.local_only ? frontend->local : frontend->cluster;
	struct lb_flow *flow = &translation->flow;
	struct lb_choice choice;
	enum lb_verdict verdict;

	if (!range.length) {
		if (frontend->flags & LB_FRONTEND_HAS_BACKENDS)
			return lb_drop(LB_COUNTER_DROP_NO_LOCAL_BACKEND);
		return LB_REJECT;
	}
	choice = lb_select(frontend, &range, &client, frontend->algorithm == LB_ALGORITHM_RANDOM);
	if (!choice.backend)
		return lb_drop(LB_COUNTER_DROP_DEAD_SLOT);
	*flow = (struct lb_flow){
		.to_daddr = choice.backend->address,
		.to_dport = choice.backend->port,
		.backend_id = choice.backend_id,
		.generation = choice.backend->generation,
		.service_id = frontend->service_id,
	};
	verdict = lb_choose_source(skb, packet, side, choice.backend->flags & LB_BACKEND_LOCAL, translation);
	if (verdict == LB_CONTINUE)
		verdict = lb_flow_create(skb, packet, flow);
	return verdict == LB_CONTINUE ? lb_follow(skb, packet, translation) : verdict;
}

static __always_inline enum lb_verdict lb_translate_ingress(struct __sk_buff *skb, struct lb_packet *packet,
							    enum lb_side side,
							    struct lb_translation *translation)
{
	struct lb_flow *flow = flows.lookup(&packet->tuple);
	struct lb_frontend *frontend;

	if (flow && (flow->flags & LB_FLOW_AT_EGRESS))
		return LB_PASS;
	if (flow && !packet->is_syn && lb_flow_takes_packet(flow, packet)) {
		lb_flow_touch(flow, packet);
		translation->flow = *flow;
		return lb_follow(skb, packet, translation);
	}
	frontend =
		lb_frontend_lookup(&packet->tuple.daddr, packet->tuple.dport, packet->tuple.protocol, false);
	if (!frontend)
		return LB_PASS;
	if (flow && packet->is_syn && flow->service_id == frontend->service_id &&
	    lb_flow_takes_syn(flow, packet->tuple.protocol)) {
		lb_flow_touch(flow, packet);
		translation->flow = *flow;
		return lb_follow(skb, packet, translation);
	}
	if (flow) {
		translation->flow = *flow;
		lb_flow_remove(&packet->tuple, &translation->flow);
		lb_count(LB_COUNTER_FLOW_RESELECTED);
	} else if (packet->is_rst) {
		return LB_PASS; /* the end of a flow that nobody knows begins none */
	}
	return lb_open(skb, packet, side, frontend, translation);
}

/*
 * Before 5.18 the socket hooks cannot answer ECONNREFUSED: a node's own packet to a Service without backends
 * gets here as it was dialled, and is refused here. Later kernels do not compile the look-up.
 */
static __always_inline enum lb_verdict lb_refuse_at_egress(const struct lb_packet *packet)
{
	struct lb_frontend *frontend;

	if (LB_HAVE_SET_RETVAL)
		return LB_PASS;
	frontend =
		lb_frontend_lookup(&packet->tuple.daddr, packet->tuple.dport, packet->tuple.protocol, false);
	if (frontend && !(frontend->flags & LB_FRONTEND_HAS_BACKENDS) && !packet->is_rst)
		return LB_REJECT;
	return LB_PASS;
}

/*
 * A packet of the node's own, whose replies would go to the client of a masqueraded flow, since that flow has
 * its port: the packet takes another port from here on. A connection that stands is never in the way: no flow
 * is given the port of a socket.
 */
static __always_inline enum lb_verdict lb_step_aside(struct __sk_buff *skb, struct lb_packet *packet,
						     struct lb_translation *translation)
{
	struct lb_flow *flow = &translation->flow;
	enum lb_verdict verdict;
	struct lb_flow *other;

	*flow = (struct lb_flow){
		.to_saddr = packet->tuple.saddr,
		.to_daddr = packet->tuple.daddr,
		.to_sport = packet->tuple.sport,
		.to_dport = packet->tuple.dport,
		.flags = LB_FLOW_AT_EGRESS | LB_FLOW_SNAT,
	};
	struct lb_tuple reply_key = lb_flow_partner_key(flow, packet->tuple.protocol);

	other = flows.lookup(&reply_key);
	if (!other || !(other->flags & LB_FLOW_FORWARD))
		return LB_PASS;
	flow->backend_id = other->backend_id;
	flow->generation = other->generation;
	flow->service_id = other->service_id;
	verdict = lb_flow_create(skb, packet, flow);
	return verdict == LB_CONTINUE ? LB_DELIVER : verdict;
}

/*
 * Replies of flows that kept their client's address: the stack has routed them, only the source is wrong. And
 * what the node itself sends, which never came in by a device: a masqueraded packet can look the same.
 */
static __always_inline enum lb_verdict lb_translate_egress(struct __sk_buff *skb, struct lb_packet *packet,
							   struct lb_translation *translation)
{
	struct lb_flow *flow = flows.lookup(&packet->tuple);
	bool is_own = !skb->ingress_ifindex;
	enum lb_verdict verdict = LB_PASS;

	if (flow && (flow->flags & LB_FLOW_AT_EGRESS) && (is_own || (flow->flags & LB_FLOW_REPLY))) {
		lb_flow_touch(flow, packet);
		translation->flow = *flow;
		return LB_DELIVER;
	}
	if (is_own && (packet->is_syn || packet->tuple.protocol == IPPROTO_UDP))
		verdict = lb_step_aside(skb, packet, translation);
	return verdict == LB_PASS ? lb_refuse_at_egress(packet) : verdict;
}

#endif
