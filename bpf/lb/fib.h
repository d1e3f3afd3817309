/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The next hop of a packet that this node forwards by itself. The kernel's FIB decides; a missing neighbour
 * is no error, since bpf_redirect_neigh resolves it and queues the packet meanwhile.
 */
#ifndef LB_FIB_H
#define LB_FIB_H

#include "lb/base.h"
#include "lb/packet.h"
#include "lb/verdict.h"

/* bpf_redirect_neigh: 5.10; bcc 0.26 declares it without its arguments. */
static long (*lb_redirect_neigh)(u32 ifindex, struct bpf_redir_neigh *params, int plen,
				 u64 flags) = (void *)152;

struct lb_next_hop {
	u32 ifindex;
	struct bpf_redir_neigh neighbour;
};

#if FAMILY == 4
#define LB_AF 2 /* AF_INET */
#else
#define LB_AF 10 /* AF_INET6 */
#endif

/* Returns LB_CONTINUE with `hop` filled, or LB_DROP (counted). A zero `saddr` leaves the source to the
 * routes. */
static __always_inline enum lb_verdict lb_fib_lookup(struct __sk_buff *skb, const addr_t *saddr,
						     const addr_t *daddr, struct lb_next_hop *hop)
{
	/* tot_len stays 0: the kernel then checks the skb itself against the MTU, GSO included. */
	struct bpf_fib_lookup fib = {.family = LB_AF, .ifindex = skb->ifindex};
	long result;

#if FAMILY == 4
	fib.ipv4_src = saddr->word[0];
	fib.ipv4_dst = daddr->word[0];
#else
	__builtin_memcpy(fib.ipv6_src, saddr, sizeof(addr_t));
	__builtin_memcpy(fib.ipv6_dst, daddr, sizeof(addr_t));
#endif
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return lb_drop(LB_COUNTER_DROP_TOO_BIG);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return lb_drop(LB_COUNTER_DROP_NO_ROUTE);
	hop->ifindex = fib.ifindex;
	hop->neighbour.nh_family = fib.family;
	/* The union holds a gateway of either family: an IPv4 route may point at an IPv6 gateway (RFC 5549).
	 */
	__builtin_memcpy(hop->neighbour.ipv6_nh, fib.ipv6_dst, sizeof(fib.ipv6_dst));
	return LB_CONTINUE;
}

#endif
