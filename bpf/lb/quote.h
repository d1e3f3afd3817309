/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Rewriting of an ICMP error: itself as a packet of its flow, and what it quotes, backwards. The source
 * changes only where the flow changes it: else it is that of a router on the way, which the receiver may see.
 */
#ifndef LB_QUOTE_H
#define LB_QUOTE_H

#include "lb/icmp.h"

/* Replaces `words` 32-bit words at `offset` of what an ICMP checksum covers. */
static __always_inline int lb_quote_store(lb_ctx *ctx, const struct lb_packet *packet, u32 offset,
					  const void *from, const void *to, int words)
{
	u32 checksum = LB_L4_OFFSET(packet) + __builtin_offsetof(struct lb_icmphdr, checksum);
	int error = lb_csum_l4(ctx, checksum, lb_csum_difference(from, to, words), 0);

	return error ? error : lb_store(ctx, offset, to, words * sizeof(u32));
}

/* Updates a 16-bit checksum of the quoted packet, at an even offset. `mangled`: zero is none. */
static __always_inline int lb_quote_csum(lb_ctx *ctx, const struct lb_packet *packet, u32 offset,
					 u64 difference, bool mangled)
{
	u32 icmp_checksum = LB_L4_OFFSET(packet) + __builtin_offsetof(struct lb_icmphdr, checksum);
	u32 from = 0, to = 0;
	u16 sum;
	int error;

	if (lb_load(ctx, offset, &sum, sizeof(sum)))
		return 0; /* not quoted */
	if (mangled && !sum)
		return 0;
	from = sum;
	sum = lb_csum_update(sum, difference);
	if (mangled && !sum)
		sum = 0xffff;
	to = sum;
	error = lb_csum_l4(ctx, icmp_checksum, lb_csum_difference(&from, &to, 1), 0);
	return error ? error : lb_store(ctx, offset, &sum, sizeof(sum));
}

/* The quoted transport header: ports, and the checksum if it is in the quote. */
static __always_inline int lb_quote_rewrite_l4(lb_ctx *ctx, const struct lb_packet *packet, u64 addresses,
					       const __be16 from[2], const __be16 to[2])
{
	u8 protocol = packet->tuple.protocol;
	u64 difference = addresses + lb_csum_difference(from, to, 1);
	int error = lb_quote_store(ctx, packet, packet->quoted_l4_offset, from, to, 1);

	if (error || protocol == IPPROTO_SCTP)
		return error;
	return lb_quote_csum(ctx, packet, packet->quoted_l4_offset + lb_l4_csum_field(protocol), difference,
			     protocol == IPPROTO_UDP);
}

static __always_inline int lb_rewrite_quote(lb_ctx *ctx, const struct lb_packet *packet,
					    const struct lb_flow *flow)
{
	const struct lb_tuple *tuple = &packet->tuple;
	const u32 ip = LB_L4_OFFSET(packet) + sizeof(struct lb_icmphdr);
	const addr_t from[2] = {tuple->daddr, tuple->saddr};
	const addr_t to[2] = {flow->to_daddr, flow->to_saddr};
	const __be16 from_ports[2] = {tuple->dport, tuple->sport};
	const __be16 to_ports[2] = {flow->to_dport, flow->to_sport};
	u64 difference = lb_csum_difference(from, to, 2 * LB_ADDR_WORDS);
	int error = lb_quote_store(ctx, packet, ip + __builtin_offsetof(lb_iphdr, saddr), from, to,
				   2 * LB_ADDR_WORDS);

#if FAMILY == 4
	if (!error)
		error = lb_quote_csum(ctx, packet, ip + __builtin_offsetof(lb_iphdr, check), difference,
				      false);
#endif
	return error ? error : lb_quote_rewrite_l4(ctx, packet, difference, from_ports, to_ports);
}

static __always_inline int lb_rewrite_icmp_error(lb_ctx *ctx, const struct lb_packet *packet,
						 const struct lb_flow *flow)
{
	bool is_source_changed = !lb_addr_equal(&flow->to_saddr, &packet->tuple.saddr);
	addr_t from[2], to[2];
	int error = lb_load(ctx, LB_IP_FIELD(packet, saddr), from, sizeof(from));

	if (!error)
		error = lb_rewrite_quote(ctx, packet, flow);
	if (error)
		return error;
	to[0] = is_source_changed ? flow->to_saddr : from[0];
	to[1] = flow->to_daddr;
#if FAMILY == 6
	/* ICMPv6 has a pseudo header. */
	error = lb_csum_l4(ctx, LB_L4_OFFSET(packet) + __builtin_offsetof(struct lb_icmphdr, checksum),
			   lb_csum_difference(from, to, 2 * LB_ADDR_WORDS), BPF_F_PSEUDO_HDR | LB_CSUM_IPV6);
	if (error)
		return error;
#endif
	return lb_rewrite_addresses(ctx, packet, from, to);
}

#endif
