/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one place where a packet is rewritten: addresses, ports, TTL, checksums. All pointers into the packet
 * are dead afterwards. The l4 helper keeps CHECKSUM_PARTIAL right (only the pseudo header counts there).
 */
#ifndef LB_NAT_H
#define LB_NAT_H

#include "lb/base.h"
#include "lb/packet.h"

/* Where a field of the network header stands in the frame. */
#define LB_IP_FIELD(field) (LB_L3_OFFSET + __builtin_offsetof(lb_iphdr, field))

#if FAMILY == 4
#define LB_TTL ttl
#else
#define LB_TTL hop_limit
#endif

/* One's-complement difference that turns the sum of `from` into that of `to`, as bpf_l*_csum_replace wants
 * it. */
static __always_inline u64 lb_csum_difference(const void *from, const void *to, int words)
{
	const u32 *old = from;
	const u32 *new = to;
	u64 sum = 0;

#pragma unroll
	for (int i = 0; i < words; i++)
		sum += (u64)(u32)~old[i] + new[i];
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline u32 lb_l4_csum_offset(const struct lb_packet *packet)
{
	return packet->l4_offset + (packet->tuple.protocol == IPPROTO_TCP
					    ? __builtin_offsetof(struct tcphdr, check)
					    : __builtin_offsetof(struct udphdr, check));
}

/* Zero means "no checksum" in UDP (RFC 768): it stays, and no sum may become it. In TCP it is a sum like any
 * other. */
static __always_inline u64 lb_l4_csum_flags(const struct lb_packet *packet)
{
	return packet->tuple.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

#if FAMILY == 4
static __always_inline int lb_rewrite_ip_csum(struct __sk_buff *skb, u64 difference, u8 ttl, u8 new_ttl)
{
	int error = bpf_l3_csum_replace(skb, LB_IP_FIELD(check), 0, difference, 0);

	if (error || ttl == new_ttl)
		return error;
	return bpf_l3_csum_replace(skb, LB_IP_FIELD(check), bpf_htons(ttl << 8), bpf_htons(new_ttl << 8), 2);
}
#else
#define lb_rewrite_ip_csum(skb, difference, ttl, new_ttl) 0 /* IPv6 has no checksum of its own */
#endif

/* Addresses and TTL: the network header, and its part in the transport checksum. Returns 0 or a negative
 * errno. */
static __always_inline int lb_rewrite_l3(struct __sk_buff *skb, const struct lb_packet *packet,
					 const addr_t to[2], bool decrement_ttl)
{
	const addr_t *from = &packet->tuple.saddr; /* saddr, daddr: adjacent, as on the wire */
	u64 difference = lb_csum_difference(from, to, 2 * LB_ADDR_WORDS);
	u8 ttl = packet->ttl - decrement_ttl;
	int error;

	error = bpf_l4_csum_replace(skb, lb_l4_csum_offset(packet), 0, difference,
				    BPF_F_PSEUDO_HDR | lb_l4_csum_flags(packet));
	if (!error)
		error = lb_rewrite_ip_csum(skb, difference, packet->ttl, ttl);
	if (!error && decrement_ttl)
		error = bpf_skb_store_bytes(skb, LB_IP_FIELD(LB_TTL), &ttl, 1, 0);
	if (!error)
		error = bpf_skb_store_bytes(skb, LB_IP_FIELD(saddr), (void *)to, 2 * sizeof(addr_t), 0);
	return error;
}

/* Ports: adjacent at the start of TCP and UDP alike. */
static __always_inline int lb_rewrite_ports(struct __sk_buff *skb, const struct lb_packet *packet,
					    const __be16 to[2])
{
	u64 difference = lb_csum_difference(&packet->tuple.sport, to, 1);
	int error =
		bpf_l4_csum_replace(skb, lb_l4_csum_offset(packet), 0, difference, lb_l4_csum_flags(packet));

	return error ? error : bpf_skb_store_bytes(skb, packet->l4_offset, (void *)to, 2 * sizeof(__be16), 0);
}

/* Makes `packet` what `flow` says. Returns false when the kernel refused: the packet may be half changed,
 * drop it. */
static __always_inline bool lb_rewrite(struct __sk_buff *skb, const struct lb_packet *packet,
				       const struct lb_flow *flow, bool decrement_ttl)
{
	const addr_t addresses[2] = {flow->to_saddr, flow->to_daddr};
	const __be16 ports[2] = {flow->to_sport, flow->to_dport};

	return !lb_rewrite_l3(skb, packet, addresses, decrement_ttl) && !lb_rewrite_ports(skb, packet, ports);
}

#endif
