/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The next hop of a packet that this node forwards by itself. The kernel's FIB decides. At tc a missing
 * neighbour is no error, since bpf_redirect_neigh resolves it and queues the packet meanwhile; XDP leaves to
 * tc whatever is not plain.
 */
#ifndef LB_FIB_H
#define LB_FIB_H

#include "lb/base.h"
#include "lb/packet.h"
#include "lb/verdict.h"

struct lb_next_hop {
	u32 ifindex;
	u32 mtu;	       /* of LB_TOO_BIG; at XDP: what fits, or is known to fit */
	u8 macs[2 * ETH_ALEN]; /* destination, source; at tc: of `is_direct` */
#ifndef LB_XDP
	bool is_direct; /* a pod is at the other end: it can be handed the packet */
	struct bpf_redir_neigh neighbour;
#endif
};

#if FAMILY == 4
#define LB_AF 2 /* AF_INET */
#else
#define LB_AF 10 /* AF_INET6 */
#endif

#define LB_FIB_MAX_LENGTH 0xffff /* tot_len has 16 bits */

static __always_inline void lb_fib_fill(struct bpf_fib_lookup *fib, const addr_t *saddr, const addr_t *daddr)
{
	fib->family = LB_AF;
#if FAMILY == 4
	fib->ipv4_src = saddr->word[0];
	fib->ipv4_dst = daddr->word[0];
#else
	__builtin_memcpy(fib->ipv6_src, saddr, sizeof(addr_t));
	__builtin_memcpy(fib->ipv6_dst, daddr, sizeof(addr_t));
#endif
}

#ifdef LB_XDP

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

#else

/* bpf_redirect_neigh: 5.10; bcc 0.26 declares it without its arguments. */
static long (*lb_redirect_neigh)(u32 ifindex, struct bpf_redir_neigh *params, int plen,
				 u64 flags) = (void *)152;

/* Puts a packet where the other end of a veth receives, in its namespace: also 5.10. At ingress only. */
static long (*lb_redirect_peer)(u32 ifindex, u64 flags) = (void *)155;

#define LB_GSO_BY_FRAGS 0xffff /* each segment has its own length (SCTP): the sender has seen to it */

/* The length of the longest packet that this one becomes: itself, or a segment of a GSO packet. 0: any. */
static __always_inline u32 lb_longest_segment(lb_ctx *ctx, const struct lb_packet *packet)
{
	u32 headers = packet->l4_offset - packet->l3_offset + sizeof(struct udphdr);
	u8 tcp_words = 0;

	if (!ctx->gso_size)
		return packet->length;
	if (ctx->gso_size == LB_GSO_BY_FRAGS)
		return 0;
	if (packet->tuple.protocol == IPPROTO_TCP) {
		/* The data offset: the upper half of its byte. */
		lb_load(ctx, packet->l4_offset + packet->outer_bytes + 12, &tcp_words, sizeof(tcp_words));
		headers += (tcp_words >> 4) * 4 - sizeof(struct udphdr);
	}
	return headers + ctx->gso_size;
}

/* Linux 5.12 tells the route's MTU, in the field where it was told the length; before, the device's must do.
 */
static __always_inline u32 lb_hop_mtu(const struct bpf_fib_lookup *fib, u32 length)
{
	u32 ifindex = fib->ifindex;
	struct lb_device *device;

	if (fib->tot_len != (u16)length)
		return fib->tot_len;
	device = devices.lookup(&ifindex);
	return device ? device->mtu : length;
}

/* Is the neighbour a pod, with an address that is known, and nobody between it and us? */
static __always_inline bool lb_hop_is_direct(const struct bpf_fib_lookup *fib, long result)
{
	u32 ifindex = fib->ifindex;
	struct lb_device *device = devices.lookup(&ifindex);

	return result == BPF_FIB_LKUP_RET_SUCCESS && device && lb_is_set(device->flags & LB_DEVICE_DIRECT);
}

/*
 * Returns LB_CONTINUE with `hop` filled, LB_TOO_BIG with its MTU, or LB_DROP (counted). A zero `saddr` leaves
 * the source to the routes. `extra`: bytes that are put before the packet on the way out.
 */
static __always_inline enum lb_verdict lb_fib_lookup(lb_ctx *ctx, const struct lb_packet *packet, u32 extra,
						     const addr_t *saddr, const addr_t *daddr,
						     struct lb_next_hop *hop)
{
	u32 length = lb_longest_segment(ctx, packet) + extra;
	struct bpf_fib_lookup fib = {.ifindex = ctx->ifindex};
	long result;

	if (length > LB_FIB_MAX_LENGTH) /* so much fits no device */
		length = LB_FIB_MAX_LENGTH;
	fib.tot_len = length;
	lb_fib_fill(&fib, saddr, daddr);
	result = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH &&
	    result != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return lb_drop(LB_COUNTER_DROP_NO_ROUTE);
	hop->ifindex = fib.ifindex;
	hop->mtu = lb_hop_mtu(&fib, length) - extra;
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED || length - extra > hop->mtu)
		return LB_TOO_BIG;
	hop->neighbour.nh_family = fib.family;
	/* The union holds a gateway of either family: an IPv4 route may point at an IPv6 gateway (RFC 5549).
	 */
	__builtin_memcpy(hop->neighbour.ipv6_nh, fib.ipv6_dst, sizeof(fib.ipv6_dst));
	__builtin_memcpy(hop->macs, fib.dmac, ETH_ALEN);
	__builtin_memcpy(hop->macs + ETH_ALEN, fib.smac, ETH_ALEN);
	hop->is_direct = lb_hop_is_direct(&fib, result);
	return LB_CONTINUE;
}

/* By which device a packet would leave. */
static __always_inline enum lb_verdict lb_fib_route(lb_ctx *ctx, const struct lb_packet *packet,
						    const addr_t *saddr, const addr_t *daddr,
						    struct lb_next_hop *hop)
{
	return lb_fib_lookup(ctx, packet, 0, saddr, daddr, hop);
}

#endif

#endif
