/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one place where a packet is rewritten: addresses, ports, TTL, checksums. Every function returns 0, or a
 * negative errno: the packet may then be half changed, and is fit for nothing.
 *
 * What differs by the kind of packet is what is rewritten beside the addresses of the network header:
 *
 *	whole, first fragment   ports, transport checksum
 *	later fragment          nothing
 *	ICMP error              the packet that it quotes, backwards
 */
#ifndef LB_NAT_H
#define LB_NAT_H

#include "lb/base.h"
#include "lb/bytes.h"
#include "lb/csum.h"
#include "lb/packet.h"

/* Where a field of the network header stands in the frame. */
#define LB_IP_FIELD(packet, field) (LB_L3_OFFSET(packet) + __builtin_offsetof(lb_iphdr, field))

#define LB_SCTP_CHECKSUM 8 /* offset in the header */

static __always_inline u32 lb_l4_csum_field(u8 protocol)
{
	return protocol == IPPROTO_TCP ? __builtin_offsetof(struct tcphdr, check)
				       : __builtin_offsetof(struct udphdr, check);
}

/* Zero means "no checksum" in UDP (RFC 768): it stays, and no sum may become it. In TCP it is a sum like any
 * other. */
static __always_inline u64 lb_l4_csum_flags(u8 protocol)
{
	return protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

/* The word of the network header that holds TTL and protocol: in IPv4 its checksum counts, too. */
static __always_inline int lb_rewrite_ttl(lb_ctx *ctx, const struct lb_packet *packet, u8 ttl)
{
#if FAMILY == 4
	u32 offset = LB_IP_FIELD(packet, ttl);
	u32 old = bpf_htonl((u32)packet->ttl << 24);
	u32 new = bpf_htonl((u32)ttl << 24);
	int error = lb_csum_l3(ctx, LB_IP_FIELD(packet, check), lb_csum_difference(&old, &new, 1));

	return error ? error : lb_store(ctx, offset, &ttl, sizeof(ttl));
#else
	return lb_store_summed(ctx, LB_IP_FIELD(packet, hop_limit), &ttl, sizeof(ttl));
#endif
}

/* `from`, `to`: source and destination. The transport checksum is the caller's business. */
static __always_inline int lb_rewrite_addresses(lb_ctx *ctx, const struct lb_packet *packet,
						const addr_t from[2], const addr_t to[2])
{
#if FAMILY == 4
	int error =
		lb_csum_l3(ctx, LB_IP_FIELD(packet, check), lb_csum_difference(from, to, 2 * LB_ADDR_WORDS));

	if (error)
		return error;
#else
	(void)from; /* no checksum of its own */
#endif
	return lb_store(ctx, LB_IP_FIELD(packet, saddr), to, 2 * sizeof(addr_t));
}

/* No pseudo header: only a change of ports is one of the CRC32c. A fragment does not have all that it covers.
 */
static __always_inline int lb_rewrite_sctp(lb_ctx *ctx, const struct lb_packet *packet, const __be16 to[2])
{
	u32 offset = LB_L4_OFFSET(packet) + LB_SCTP_CHECKSUM;
	u32 l4_length = packet->length - (packet->l4_offset - packet->l3_offset);
	u32 from_ports, to_ports, checksum;
	int error;

	__builtin_memcpy(&from_ports, &packet->tuple.sport, sizeof(from_ports));
	__builtin_memcpy(&to_ports, to, sizeof(to_ports));
	if (from_ports == to_ports)
		return 0;
	if (packet->kind != LB_WHOLE || l4_length > 0xffff)
		return -1;
	error = lb_load(ctx, offset, &checksum, sizeof(checksum));
	if (error)
		return error;
	checksum ^= lb_crc32c_difference(from_ports ^ to_ports, l4_length);
	error = lb_store(ctx, offset, &checksum, sizeof(checksum));
	return error ? error : lb_store(ctx, LB_L4_OFFSET(packet), to, 2 * sizeof(__be16));
}

/* Ports stand first in each transport header. */
static __always_inline int lb_rewrite_l4(lb_ctx *ctx, const struct lb_packet *packet, u64 addresses,
					 const __be16 to[2])
{
	u8 protocol = packet->tuple.protocol;
	u32 offset = LB_L4_OFFSET(packet) + lb_l4_csum_field(protocol);
	u64 flags = lb_l4_csum_flags(protocol);
	int error = lb_csum_l4(ctx, offset, addresses, BPF_F_PSEUDO_HDR | LB_CSUM_IPV6 | flags);

	if (!error)
		error = lb_csum_l4(ctx, offset, lb_csum_difference(&packet->tuple.sport, to, 1), flags);
	return error ? error : lb_store(ctx, LB_L4_OFFSET(packet), to, 2 * sizeof(__be16));
}

#include "lb/quote.h"

/* Makes `packet` what `flow` says. `plain`: it is a whole packet of TCP or UDP. */
static __always_inline int lb_rewrite(lb_ctx *ctx, const struct lb_packet *packet, const struct lb_flow *flow,
				      bool plain)
{
	const addr_t *from = &packet->tuple.saddr; /* saddr, daddr: adjacent */
	const addr_t to[2] = {flow->to_saddr, flow->to_daddr};
	const __be16 ports[2] = {flow->to_sport, flow->to_dport};
	int error = 0;

	if (!plain && packet->kind == LB_ICMP_ERROR)
		return lb_rewrite_icmp_error(ctx, packet, flow);
	if (!plain && packet->tuple.protocol == IPPROTO_SCTP)
		error = packet->kind == LB_LATER_FRAGMENT ? 0 : lb_rewrite_sctp(ctx, packet, ports);
	else if (plain || packet->kind != LB_LATER_FRAGMENT)
		error = lb_rewrite_l4(ctx, packet, lb_csum_difference(from, to, 2 * LB_ADDR_WORDS), ports);
	return error ? error : lb_rewrite_addresses(ctx, packet, from, to);
}

#endif
