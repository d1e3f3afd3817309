/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How the socket hooks read and write addresses: the one place that knows in which words of the context they
 * stand. All values are in network byte order.
 *
 * An IPv6 socket that speaks IPv4 meets the IPv6 hooks with ::ffff:a.b.c.d. The IPv4 build has programs
 * there, too, which see a.b.c.d; the IPv6 build passes over such calls. `hook` is the family that a program's
 * hook is named after, 4 or 6, known to the compiler: a context has the words of one family only.
 */
#ifndef LB_SOCK_ADDRESS_H
#define LB_SOCK_ADDRESS_H

#include "lb/base.h"

#define LB_AF_INET6    10
#define LB_FIRST_WORD  (4 - LB_ADDR_WORDS) /* of this build's address among four */
#define LB_MAPPED_WORD bpf_htonl(0xffff)   /* the third word of ::ffff:0:0/96 */

static __always_inline bool lb_is_mapped(__be32 first, __be32 second, __be32 third)
{
	return !(first | second) && third == LB_MAPPED_WORD;
}

/* Whether this build serves the call: it is the one build's business or the other's, never both's. */
static __always_inline bool lb_sock_is_ours(const struct bpf_sock_addr *ctx, int hook)
{
	return hook == 4 ||
	       lb_is_mapped(ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2]) == (FAMILY == 4);
}

/* The address that the call names: the peer's. */
static __always_inline addr_t lb_sock_address(const struct bpf_sock_addr *ctx, int hook)
{
	addr_t address;

	if (hook == 4) {
		address.word[0] = ctx->user_ip4;
		return address;
	}
#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		address.word[i] = ctx->user_ip6[LB_FIRST_WORD + i];
	return address;
}

static __always_inline void lb_sock_set_address(struct bpf_sock_addr *ctx, int hook, const addr_t *address,
						__be16 port)
{
	ctx->user_port = port;
	if (hook == 4) {
		ctx->user_ip4 = address->word[0];
		return;
	}
#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		ctx->user_ip6[LB_FIRST_WORD + i] = address->word[i];
}

/* The address that a socket was bound to. False: it is the other build's. */
static __always_inline bool lb_sock_bound_address(const struct bpf_sock *sock, int hook, addr_t *address)
{
	if (hook == 4) {
		address->word[0] = sock->src_ip4;
		return true;
	}
#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		address->word[i] = sock->src_ip6[LB_FIRST_WORD + i];
	/* [::] hears IPv4, too, unless the socket is for IPv6 only: no program can see that here. */
	if (FAMILY == 4 && !(sock->src_ip6[0] | sock->src_ip6[1] | sock->src_ip6[2] | sock->src_ip6[3]))
		return true;
	return lb_is_mapped(sock->src_ip6[0], sock->src_ip6[1], sock->src_ip6[2]) == (FAMILY == 4);
}

/* The address that a socket is connected to: the kernel keeps a mapped one as IPv4, too. False: none of ours.
 */
static __always_inline bool lb_sock_peer_address(const struct bpf_sock *sock, addr_t *address)
{
	if (FAMILY == 4) {
		address->word[0] = sock->dst_ip4;
		return true;
	}
#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		address->word[i] = sock->dst_ip6[LB_FIRST_WORD + i];
	return sock->family == LB_AF_INET6;
}

#endif
