/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The next hop at tc, for fib.h: every packet asks the FIB, and is told what is wrong.
 */
#ifndef LB_FIB_TC_H
#define LB_FIB_TC_H

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

/*
 * Linux 5.12 tells the route's MTU, in the field where it was told the length, if it knows the neighbour as well; else
 * the device's must do.
 */
static __always_inline u32 lb_hop_mtu(const struct bpf_fib_lookup *fib, long result, u32 length)
{
	bool is_told = result == BPF_FIB_LKUP_RET_SUCCESS && !LB_IS_BEFORE(5, 12);
	u32 ifindex = fib->ifindex;
	struct lb_device *device;

	if (is_told || fib->tot_len != (u16)length)
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
	hop->mtu = lb_hop_mtu(&fib, result, length) - extra;
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
