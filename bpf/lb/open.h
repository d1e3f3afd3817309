/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The first packet of a flow: may the client come in, which backend answers it, and under which source
 * address does the packet go there. The result is the request's entry.
 */
#ifndef LB_OPEN_H
#define LB_OPEN_H

#include "lb/base.h"
#include "lb/backend.h"
#include "lb/fib.h"
#include "lb/flow.h"
#include "lb/frontend.h"
#include "lb/packet.h"
#include "lb/policy.h"
#include "lb/verdict.h"

struct lb_translation {
	struct lb_flow flow;
	struct lb_next_hop hop; /* of LB_FORWARD, and the MTU of LB_TOO_BIG */
};

/* The pod is its own backend. */
static __always_inline enum lb_verdict lb_choose_hairpin_source(struct lb_flow *flow)
{
	const addr_t hairpin = {.word = {LB_HAIRPIN_ADDRESS}};

	flow->to_saddr = hairpin;
	flow->flags = LB_FLOW_HAIRPIN | LB_FLOW_SNAT;
	return LB_CONTINUE;
}

/* The node itself: the packet leaves by a device that is not the backend's. A backend of its own is a
 * hairpin. */
static __always_inline enum lb_verdict lb_choose_own_source(struct lb_flow *flow)
{
	const addr_t hairpin = {.word = {LB_HAIRPIN_ADDRESS}};
	addr_t backend = flow->to_daddr;

	flow->flags = LB_FLOW_AT_EGRESS | LB_FLOW_FORWARD;
	if (node_addrs.lookup(&backend)) {
		flow->to_saddr = hairpin;
		flow->flags = LB_FLOW_AT_EGRESS | LB_FLOW_HAIRPIN | LB_FLOW_SNAT;
	}
	return LB_CONTINUE;
}

/*
 * The backend shall see this node as its client, so that it answers through this node: the source becomes the
 * address of the device that the packet leaves by. Under DSR it is the outer header's.
 *
 * Two keep the client's address. A process of this node: what comes in with a source of its own is a martian.
 * And a pod whose answers would pass our programs by.
 */
static __always_inline enum lb_verdict lb_choose_node_source(lb_ctx *ctx, const struct lb_packet *packet,
							     bool is_local, bool is_dsr,
							     struct lb_translation *translation)
{
	const addr_t any = {};
	struct lb_flow *flow = &translation->flow;
	addr_t backend = flow->to_daddr;
	struct lb_device *device;
	enum lb_verdict verdict;
	u32 ifindex;

	if (is_local && node_addrs.lookup(&backend))
		return LB_CONTINUE;
	verdict = lb_fib_route(ctx, packet, &any, &flow->to_daddr, &translation->hop);
	if (verdict != LB_CONTINUE)
		return verdict;
	ifindex = translation->hop.ifindex;
	device = devices.lookup(&ifindex);
	if (is_local && !(device && (device->flags & LB_DEVICE_PODS)))
		return LB_CONTINUE;
	if (!device || lb_addr_is_zero(&device->snat_address))
		return lb_drop(LB_COUNTER_DROP_NO_SNAT_ADDRESS);
	flow->to_saddr = device->snat_address;
	flow->flags = LB_FLOW_FORWARD | (is_dsr ? LB_FLOW_DSR : LB_FLOW_SNAT);
	return LB_CONTINUE;
}

/* Under which source address the packet goes to its backend; `flow` has the client's. */
static __always_inline enum lb_verdict lb_choose_source(lb_ctx *ctx, const struct lb_packet *packet,
							enum lb_side side, const struct lb_frontend *frontend,
							const struct lb_origin *origin, bool is_local,
							struct lb_translation *translation)
{
	struct lb_flow *flow = &translation->flow;
	bool is_direct = side == LB_FROM_UPLINK && (frontend->flags & LB_FRONTEND_DSR);
	bool is_itself = lb_addr_equal(&flow->to_daddr, &packet->tuple.saddr);

	if (side == LB_FROM_NODE)
		return lb_choose_own_source(flow);
	if (is_itself && side == LB_FROM_POD)
		return lb_choose_hairpin_source(flow);
	if (packet->outer_bytes || (is_direct && is_local))
		return LB_CONTINUE;
	if (!is_direct && !is_itself && !lb_hides_client(frontend, origin))
		return LB_CONTINUE;
	return lb_choose_node_source(ctx, packet, is_local, is_direct, translation);
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

/* The backend by whose address another node sent the packet here, if it is one of this service port's. */
static __always_inline u32 *lb_named_backend(const struct lb_packet *packet, u32 service_id)
{
	struct lb_local_backend_key key = {.service_id = service_id, .address = packet->outer_daddr};

	return local_backends.lookup(&key);
}

/* Another node chose, and named the backend by the outer header. Not one of this Service here: not sent by
 * us. */
static __always_inline enum lb_verdict
lb_adopt_choice(const struct lb_frontend *frontend, const struct lb_packet *packet, struct lb_choice *choice)
{
	u32 *backend_id = lb_named_backend(packet, frontend->service_id);

	if (!backend_id)
		return LB_PASS;
	choice->backend_id = *backend_id;
	choice->backend = backends.lookup(&choice->backend_id);
	if (choice->backend && choice->backend->state == LB_BACKEND_NONE)
		return LB_PASS;
	return LB_CONTINUE;
}

static __always_inline enum lb_verdict lb_choose_backend(const struct lb_frontend *frontend,
							 const struct lb_packet *packet,
							 const struct lb_origin *origin,
							 struct lb_choice *choice)
{
	struct lb_client client = {.affinity = {.client = packet->tuple.saddr},
				   .hash = lb_client_hash(frontend, &packet->tuple),
				   .local_only = lb_local_only(frontend, origin)};
	struct lb_range range = client.local_only ? frontend->local : frontend->cluster;

	if (!range.length) {
		if (frontend->flags & LB_FRONTEND_HAS_BACKENDS)
			return lb_drop(LB_COUNTER_DROP_NO_LOCAL_BACKEND);
		return LB_REJECT;
	}
	*choice = lb_select(frontend, &range, &client, frontend->algorithm == LB_ALGORITHM_RANDOM);
	return LB_CONTINUE;
}

static __always_inline enum lb_verdict lb_open(lb_ctx *ctx, struct lb_packet *packet, enum lb_side side,
					       const struct lb_frontend *frontend,
					       struct lb_translation *translation)
{
	struct lb_origin origin = lb_origin(ctx, packet, side);
	struct lb_flow *flow = &translation->flow;
	struct lb_choice choice = {};
	enum lb_verdict verdict;

	verdict = packet->outer_bytes ? lb_adopt_choice(frontend, packet, &choice) : LB_CONTINUE;
	if (verdict == LB_CONTINUE && !lb_frontend_admits(frontend, &packet->tuple.saddr))
		return lb_drop(LB_COUNTER_DROP_SOURCE_RANGE);
	if (verdict == LB_CONTINUE && !packet->outer_bytes)
		verdict = lb_choose_backend(frontend, packet, &origin, &choice);
	if (verdict != LB_CONTINUE)
		return verdict;
	if (!choice.backend)
		return lb_drop(LB_COUNTER_DROP_DEAD_SLOT);
	*flow = (struct lb_flow){
		.to_saddr = packet->tuple.saddr,
		.to_daddr = choice.backend->address,
		.to_sport = packet->tuple.sport,
		.to_dport = choice.backend->port,
		.backend_id = choice.backend_id,
		.generation = choice.backend->generation,
		.service_id = frontend->service_id,
	};
	return lb_choose_source(ctx, packet, side, frontend, &origin,
				choice.backend->flags & LB_BACKEND_LOCAL, translation);
}

#endif
