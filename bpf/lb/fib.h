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
#include "lb/fib_xdp.h"
#else
#include "lb/fib_tc.h"
#endif

#endif
