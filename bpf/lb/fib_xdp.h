/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The next hop at XDP, for fib.h: what the FIB said a moment ago, or says now. What is not plain is left to tc.
 */
#ifndef LB_FIB_XDP_H
#define LB_FIB_XDP_H

static __always_inline enum lb_verdict lb_leave_to_tc(void)
{
	lb_count(LB_COUNTER_XDP_TO_TC);
	return LB_PASS;
}

#define LB_KNOWN_HOP_BITS 10

/*
 * What the FIB said a moment ago: an answer costs it as much as three look-ups in a hash, and packets to one backend
 * come in thousands. Only what succeeded is kept, by each CPU for itself.
 */
struct lb_known_hop {
	addr_t saddr; /* zero: any, and `macs` mean nothing */
	addr_t daddr;
	u32 ingress_ifindex;
	u32 asked;   /* jiffies, low 32 bits */
	u32 changes; /* lb_changes() before it was asked */
	struct lb_next_hop hop;
};

BPF_PERCPU_ARRAY(known_hops, struct lb_known_hop, 1 << LB_KNOWN_HOP_BITS);

static __always_inline struct lb_known_hop *lb_known_hop_slot(const addr_t *saddr, const addr_t *daddr)
{
	u32 hash = 0;
	u32 index;

#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		hash = (hash ^ saddr->word[i]) * LB_MARK_FACTOR + daddr->word[i];
	index = hash * LB_MARK_FACTOR >> (32 - LB_KNOWN_HOP_BITS);
	return known_hops.lookup(&index);
}

/* `length`: what the FIB would be asked to let through. A longer packet than the last one asks anew. */
static __always_inline bool lb_hop_is_known(lb_ctx *ctx, const struct lb_known_hop *slot, const addr_t *saddr,
					    const addr_t *daddr, u32 length)
{
	return slot && lb_addr_equal(&slot->daddr, daddr) && lb_addr_equal(&slot->saddr, saddr) &&
	       slot->ingress_ifindex == ctx->ingress_ifindex && length <= slot->hop.mtu &&
	       lb_is_kept(slot->asked, slot->changes);
}

static __always_inline void lb_hop_keep(lb_ctx *ctx, struct lb_known_hop *slot, const addr_t *saddr,
					const addr_t *daddr, u32 changes, const struct lb_next_hop *hop)
{
	if (!slot)
		return;
	slot->saddr = *saddr;
	slot->daddr = *daddr;
	slot->ingress_ifindex = ctx->ingress_ifindex;
	slot->hop = *hop;
	slot->changes = changes;
	slot->asked = lb_now();
}

/* Fills a hop but for its addresses; `fib` has those. Since 5.12 `tot_len` is answered with the route's MTU; before,
 * it stays the packet's length: so much is known to fit. */
static __always_inline long lb_fib_ask(lb_ctx *ctx, struct bpf_fib_lookup *fib, u32 length,
				       const addr_t *saddr, const addr_t *daddr, struct lb_next_hop *hop)
{
	long result;

	fib->ifindex = ctx->ingress_ifindex;
	fib->tot_len = length;
	lb_fib_fill(fib, saddr, daddr);
	result = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	hop->ifindex = fib->ifindex;
	hop->mtu = fib->tot_len;
	return result;
}

/*
 * By which device a packet would leave, whether or not XDP can send it there: a flow that begins here may go on
 * at tc. Who drew its backend once shall not draw again.
 */
static __always_inline enum lb_verdict lb_fib_route(lb_ctx *ctx, const struct lb_packet *packet,
						    const addr_t *saddr, const addr_t *daddr,
						    struct lb_next_hop *hop)
{
	struct lb_known_hop *slot = lb_known_hop_slot(saddr, daddr);
	u32 changes = lb_changes();
	struct bpf_fib_lookup fib = {};
	long result;

	if (lb_hop_is_known(ctx, slot, saddr, daddr, packet->length)) {
		hop->ifindex = slot->hop.ifindex;
		return LB_CONTINUE;
	}
	if (packet->length > LB_FIB_MAX_LENGTH)
		return lb_leave_to_tc();
	result = lb_fib_ask(ctx, &fib, packet->length, saddr, daddr, hop);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return lb_leave_to_tc();
	lb_hop_keep(ctx, slot, saddr, daddr, changes, hop);
	return LB_CONTINUE;
}

/* Frames go out where an XDP program can send them (Python knows), and nowhere else. */
static __always_inline enum lb_verdict lb_fib_lookup(lb_ctx *ctx, const struct lb_packet *packet, u32 extra,
						     const addr_t *saddr, const addr_t *daddr,
						     struct lb_next_hop *hop)
{
	struct lb_known_hop *slot = lb_known_hop_slot(saddr, daddr);
	u32 length = packet->length + extra;
	u32 changes = lb_changes();
	struct bpf_fib_lookup fib = {};
	struct lb_device *device;

	if (lb_hop_is_known(ctx, slot, saddr, daddr, length)) {
		*hop = slot->hop;
		return LB_CONTINUE;
	}
	if (length > LB_FIB_MAX_LENGTH ||
	    lb_fib_ask(ctx, &fib, length, saddr, daddr, hop) != BPF_FIB_LKUP_RET_SUCCESS)
		return lb_leave_to_tc();
	device = devices.lookup(&hop->ifindex);
	if (!device || !(device->flags & LB_DEVICE_XDP))
		return lb_leave_to_tc();
	__builtin_memcpy(hop->macs, fib.dmac, ETH_ALEN);
	__builtin_memcpy(hop->macs + ETH_ALEN, fib.smac, ETH_ALEN);
	lb_hop_keep(ctx, slot, saddr, daddr, changes, hop);
	return LB_CONTINUE;
}

#endif
