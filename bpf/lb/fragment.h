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
#include "lb/policy.h"
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

static __always_inline bool lb_is_over(u32 stamp)
{
	return lb_age(stamp) > LB_FRAGMENT_SECONDS * LB_HZ;
}

/* A row that is old belongs to an earlier datagram of the same number. */
static __always_inline struct lb_datagram *lb_datagram_find(struct lb_datagram_key *key)
{
	struct lb_datagram *datagram = datagrams.lookup(key);

	return datagram && !lb_is_over(datagram->last_seen) ? datagram : NULL;
}

/*
 * The row of a datagram, made if there is none; NULL: that cannot be. Rows are written in place, never replaced: the
 * first fragment and a later one may be here at the same time, on two CPUs, and neither's word be lost. Whoever waited
 * for an earlier datagram of the same number is passed over.
 */
static __always_inline struct lb_datagram *lb_datagram_obtain(struct lb_datagram_key *key)
{
	struct lb_datagram fresh = {.last_seen = lb_now()};
	struct lb_datagram *datagram = datagrams.lookup(key);

	if (!datagram) {
		datagrams.insert(key, &fresh);
		return datagrams.lookup(key);
	}
	if (lb_is_over(datagram->last_seen)) {
		datagram->is_known = false;
		datagram->released = datagram->held;
		datagram->last_seen = fresh.last_seen;
	}
	return datagram;
}

/* Lets one waiting fragment go: the frame at hand lends its skb to a copy of it. Returns false if that went
 * wrong. */
static __always_inline bool lb_fragment_release(lb_ctx *ctx, struct lb_held_key *key,
						struct lb_held_fragment *held)
{
	u32 zero = 0;
	struct lb_held_fragment *own = scratch.lookup(&zero);
	int error;

	if (!own)
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
 * A plain store (atomics that return a value need 5.12): two CPUs in the same moment let the same fragment go twice,
 * which a receiver takes for the duplicate that it is, and skip none. Numbers that nobody has are passed over: who had
 * them gave way to others.
 *
 * Only where packets come in: what passes by on its way out (under DSR the same datagram once more, in its
 * outer header) is not where the waiting ones came from.
 */
static __always_inline enum lb_verdict lb_fragment_release_next(lb_ctx *ctx, struct lb_datagram_key *key,
								struct lb_datagram *datagram, bool is_ingress)
{
	struct lb_held_key held_key = {.datagram = *key};
	struct lb_held_fragment *held = NULL;

	if (!is_ingress || ctx->len > LB_HELD_BYTES) /* too long a frame lends itself to nobody */
		return LB_CONTINUE;
	for (int i = 0; i < LB_HOLD_ATTEMPTS && !held; i++) {
		if (datagram->released == datagram->held)
			break;
		held_key.number = datagram->released;
		datagram->released = held_key.number + 1;
		held = held_fragments.lookup(&held_key);
	}
	if (!held)
		return LB_CONTINUE;
	return lb_fragment_release(ctx, &held_key, held) ? LB_CONTINUE : lb_drop(LB_COUNTER_DROP_REWRITE);
}

/*
 * Could a datagram to this address be for a Service, or the reply to one that was? Replies come to the node's own
 * addresses if its clients were hidden, else to pods whose sockets nobody covers: known by their network, if at all.
 */
static __always_inline bool lb_fragment_concerns_us(const struct lb_packet *packet)
{
	struct lb_frontend_key key = {.address = packet->tuple.daddr};
	u8 protocol = packet->tuple.protocol;

	if (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP && protocol != IPPROTO_SCTP)
		return false;
	return packet->outer_bytes || frontends.lookup(&key) || node_addrs.lookup(&key.address) ||
	       lb_is_in_pod_network(&key.address);
}

/*
 * Takes the next free number for a fragment that waits. One that is taken is another CPU's, of this moment, or from
 * before the datagram's row gave way; what an earlier datagram of the same number has left is overwritten. Returns 0, or
 * a negative errno.
 */
static __always_inline int lb_fragment_keep(struct lb_held_key *key, struct lb_held_fragment *copy)
{
	u32 next = key->number;
	int error = -1;

	for (int i = 0; i < LB_HOLD_ATTEMPTS && error; i++) {
		struct lb_held_fragment *other;

		key->number = next + i;
		error = held_fragments.insert(key, copy);
		if (!error)
			break;
		other = held_fragments.lookup(key);
		if (other && lb_is_over(other->held_at))
			error = held_fragments.update(key, copy);
	}
	return error;
}

/* Puts a fragment to wait. Returns LB_DROP: the packet is gone from here, whether it waits or found no room.
 */
static __always_inline enum lb_verdict lb_fragment_hold(lb_ctx *ctx, struct lb_datagram_key *key,
							struct lb_datagram *datagram)
{
	struct lb_held_key held_key = {.datagram = *key};
	u32 zero = 0;
	struct lb_held_fragment *copy = scratch.lookup(&zero);
	u32 next;

	if (!copy || ctx->len > LB_HELD_BYTES) { /* the stack may have a use for it */
		lb_count(LB_COUNTER_PASSED_FRAGMENT);
		return LB_PASS;
	}
	copy->length = ctx->len;
	copy->held_at = lb_now();
	if (bpf_skb_load_bytes(ctx, 0, copy->frame, lb_bounded(copy->length, LB_HELD_BYTES)))
		return lb_drop(LB_COUNTER_DROP_FRAGMENT);
	next = held_key.number = datagram->held;
	if (lb_fragment_keep(&held_key, copy))
		return lb_drop(LB_COUNTER_DROP_FRAGMENT);
	/* Atomic: another CPU counts its own. Numbers are rather passed over than left out. And nothing that follows
	 * is read before. */
	__sync_fetch_and_add(&datagram->held, held_key.number + 1 - next);
	datagram->last_seen = copy->held_at;
	return lb_drop(LB_COUNTER_FRAGMENT_HELD);
}

/* The first fragment: from now on the others know where to go. */
static __always_inline enum lb_verdict lb_fragment_first(lb_ctx *ctx, const struct lb_packet *packet,
							 bool is_ingress)
{
	struct lb_datagram_key key = lb_datagram_key(packet);
	struct lb_datagram *datagram = lb_datagram_obtain(&key);

	if (!datagram)
		return LB_CONTINUE;
	datagram->sport = packet->tuple.sport;
	datagram->dport = packet->tuple.dport;
	datagram->last_seen = lb_now();
	if (!datagram->is_known) /* atomic: what waits is counted before it is asked for this, or seen here */
		__sync_fetch_and_add(&datagram->is_known, 1);
	return lb_fragment_release_next(ctx, &key, datagram, is_ingress);
}

/*
 * A later fragment without a note. It waits only where packets come in, since it comes in again. Whether the first one
 * went by on another CPU meanwhile is looked up once more: then it lets itself go. What goes to no Service's address
 * goes nowhere, in pieces or whole: the claim sees to that.
 */
static __always_inline enum lb_verdict lb_fragment_early(lb_ctx *ctx, struct lb_packet *packet,
							 struct lb_datagram_key *key, bool is_ingress)
{
	struct lb_datagram *datagram;
	enum lb_verdict verdict;

	if (!is_ingress || !lb_fragment_concerns_us(packet)) {
		if (lb_is_guarded(&packet->tuple.daddr))
			return LB_CONTINUE;
		lb_count(LB_COUNTER_PASSED_FRAGMENT);
		return LB_PASS;
	}
	datagram = lb_datagram_obtain(key);
	if (!datagram)
		return lb_drop(LB_COUNTER_DROP_FRAGMENT);
	verdict = lb_fragment_hold(ctx, key, datagram);
	if (*(volatile u32 *)&datagram->is_known)
		lb_fragment_release_next(ctx, key, datagram, is_ingress);
	return verdict;
}

static __always_inline enum lb_verdict lb_fragment_later(lb_ctx *ctx, struct lb_packet *packet,
							 bool is_ingress)
{
	struct lb_datagram_key key = lb_datagram_key(packet);
	struct lb_datagram *datagram = lb_datagram_find(&key);

	if (!datagram || !datagram->is_known)
		return lb_fragment_early(ctx, packet, &key, is_ingress);
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
