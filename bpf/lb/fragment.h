/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fragments in any order. Only the first one of a datagram has the ports: it notes them, and the others are
 * translated by that note. One that comes before the first waits in `held_fragments`, if its destination
 * could be ours; each fragment that finds the note lets one waiting fragment go, by sending it in once more
 * where it had come in, and that one the next. Nothing is put together: overlaps and holes are the receiver's
 * business, who times them out.
 *
 * Both maps give way to the newest, so memory is bounded and nothing needs to be swept for traffic to go on.
 */
#ifndef LB_FRAGMENT_H
#define LB_FRAGMENT_H

#include "lb/base.h"
#include "lb/bytes.h"
#include "lb/packet.h"
#include "lb/verdict.h"

#define LB_FRAGMENT_SECONDS 30 /* net.ipv4.ipfrag_time */
#define LB_HOLD_ATTEMPTS    4  /* when other CPUs hold fragments of the same datagram in this moment */

static __always_inline struct lb_datagram_key lb_datagram_key(const struct lb_packet *packet)
{
	struct lb_datagram_key key = {
		.saddr = packet->tuple.saddr,
		.daddr = packet->tuple.daddr,
		.id = packet->fragment_id,
		.protocol = packet->tuple.protocol,
	};

	return key;
}

/* An entry that is old belongs to an earlier datagram of the same number. */
static __always_inline struct lb_datagram *lb_datagram_find(struct lb_datagram_key *key)
{
	struct lb_datagram *datagram = datagrams.lookup(key);

	if (!datagram || lb_age(datagram->last_seen) > LB_FRAGMENT_SECONDS * LB_HZ)
		return NULL;
	return datagram;
}

/* Lets one waiting fragment go: the frame at hand lends its skb to a copy of it. Returns false if that went
 * wrong. */
static __always_inline bool lb_fragment_release(lb_ctx *ctx, struct lb_held_key *key)
{
	struct lb_held_fragment *held = held_fragments.lookup(key);
	u32 zero = 0;
	struct lb_held_fragment *own = scratch.lookup(&zero);
	int error;

	if (!held || !own || ctx->len > LB_HELD_BYTES)
		return true;
	own->length = ctx->len;
	if (bpf_skb_load_bytes(ctx, 0, own->frame, lb_bounded(own->length, LB_HELD_BYTES)))
		return true;
	error = bpf_skb_change_tail(ctx, held->length, 0);
	if (!error)
		error = bpf_skb_store_bytes(ctx, 0, held->frame, lb_bounded(held->length, LB_HELD_BYTES),
					    BPF_F_RECOMPUTE_CSUM);
	if (!error)
		error = bpf_clone_redirect(ctx, ctx->ifindex, BPF_F_INGRESS);
	held_fragments.delete(key);
	error |= bpf_skb_change_tail(ctx, own->length, 0);
	error |= bpf_skb_store_bytes(ctx, 0, own->frame, lb_bounded(own->length, LB_HELD_BYTES),
				     BPF_F_RECOMPUTE_CSUM);
	if (!error)
		lb_count(LB_COUNTER_FRAGMENT_RELEASED);
	return !error;
}

/*
 * Plain stores, no atomics (those that return a value need 5.12): two CPUs in the same moment let the same
 * fragment go twice, which a receiver takes for the duplicate that it is, and skip none.
 *
 * Only where packets come in: what passes by on its way out (under DSR the same datagram once more, in its
 * outer header) is not where the waiting ones came from.
 */
static __always_inline enum lb_verdict lb_fragment_release_next(lb_ctx *ctx, struct lb_datagram_key *key,
								struct lb_datagram *datagram, bool is_ingress)
{
	struct lb_held_key held_key = {.datagram = *key};

	if (!is_ingress || datagram->released == datagram->held)
		return LB_CONTINUE;
	held_key.number = datagram->released;
	datagram->released = held_key.number + 1;
	return lb_fragment_release(ctx, &held_key) ? LB_CONTINUE : lb_drop(LB_COUNTER_DROP_REWRITE);
}

/* Could a datagram to this address be for a Service, or the reply to a masqueraded one? */
static __always_inline bool lb_fragment_concerns_us(const struct lb_packet *packet)
{
	struct lb_frontend_key key = {.address = packet->tuple.daddr};
	u8 protocol = packet->tuple.protocol;

	if (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP && protocol != IPPROTO_SCTP)
		return false;
	return packet->outer_bytes || frontends.lookup(&key) || node_addrs.lookup(&key.address);
}

/* Puts a fragment to wait. Returns LB_DROP: the packet is gone from here, whether it waits or found no room.
 */
static __always_inline enum lb_verdict lb_fragment_hold(lb_ctx *ctx, struct lb_datagram_key *key,
							struct lb_datagram *datagram)
{
	struct lb_held_key held_key = {.datagram = *key};
	u32 zero = 0;
	struct lb_held_fragment *copy = scratch.lookup(&zero);
	int error = -1;

	if (!copy || ctx->len > LB_HELD_BYTES) { /* the stack may have a use for it */
		lb_count(LB_COUNTER_PASSED_FRAGMENT);
		return LB_PASS;
	}
	copy->length = ctx->len;
	if (bpf_skb_load_bytes(ctx, 0, copy->frame, lb_bounded(copy->length, LB_HELD_BYTES)))
		return lb_drop(LB_COUNTER_DROP_FRAGMENT);
	for (int i = 0; i < LB_HOLD_ATTEMPTS && error; i++) {
		held_key.number = datagram->held + i;
		error = held_fragments.insert(&held_key, copy);
	}
	if (error)
		return lb_drop(LB_COUNTER_DROP_FRAGMENT);
	datagram->held = held_key.number + 1;
	datagram->last_seen = lb_now();
	return lb_drop(LB_COUNTER_FRAGMENT_HELD);
}

/* The first fragment: from now on the others know where to go. */
static __always_inline enum lb_verdict lb_fragment_first(lb_ctx *ctx, const struct lb_packet *packet,
							 bool is_ingress)
{
	struct lb_datagram_key key = lb_datagram_key(packet);
	struct lb_datagram *datagram = lb_datagram_find(&key);
	struct lb_datagram fresh = {
		.sport = packet->tuple.sport,
		.dport = packet->tuple.dport,
		.is_known = true,
		.last_seen = lb_now(),
	};

	if (!datagram) {
		datagrams.update(&key, &fresh);
		return LB_CONTINUE;
	}
	datagram->sport = fresh.sport;
	datagram->dport = fresh.dport;
	datagram->is_known = true;
	datagram->last_seen = fresh.last_seen;
	return lb_fragment_release_next(ctx, &key, datagram, is_ingress);
}

/*
 * A later fragment. It waits only where packets come in, since it comes in again. Whether the first one went
 * by on another CPU while this one was put to wait is looked up once more: then it lets itself go.
 */
static __always_inline enum lb_verdict lb_fragment_later(lb_ctx *ctx, struct lb_packet *packet,
							 bool is_ingress)
{
	struct lb_datagram_key key = lb_datagram_key(packet);
	struct lb_datagram *datagram = lb_datagram_find(&key);

	if (!datagram || !datagram->is_known) {
		struct lb_datagram fresh = {.last_seen = lb_now()};

		if (!is_ingress || !lb_fragment_concerns_us(packet)) {
			lb_count(LB_COUNTER_PASSED_FRAGMENT);
			return LB_PASS;
		}
		if (!datagram) {
			datagrams.update(&key, &fresh);
			datagram = datagrams.lookup(&key);
		}
		if (!datagram)
			return lb_drop(LB_COUNTER_DROP_FRAGMENT);
		enum lb_verdict verdict = lb_fragment_hold(ctx, &key, datagram);

		if (*(volatile u32 *)&datagram->is_known)
			lb_fragment_release_next(ctx, &key, datagram, is_ingress);
		return verdict;
	}
	packet->tuple.sport = datagram->sport;
	packet->tuple.dport = datagram->dport;
	packet->seen = LB_SEEN_DATA;
	return lb_fragment_release_next(ctx, &key, datagram, is_ingress);
}

static __always_inline enum lb_verdict lb_fragment(lb_ctx *ctx, struct lb_packet *packet, bool is_ingress)
{
	if (packet->kind == LB_FIRST_FRAGMENT)
		return lb_fragment_first(ctx, packet, is_ingress);
	if (packet->kind == LB_LATER_FRAGMENT)
		return lb_fragment_later(ctx, packet, is_ingress);
	return LB_CONTINUE;
}

#endif
