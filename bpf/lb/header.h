/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The network header, of either family: addresses, protocol, TTL, where the transport header begins, whether
 * it is a fragment, and whether it is the outer header of a packet sent to us by DSR.
 */
#ifndef LB_HEADER_H
#define LB_HEADER_H

#include "lb/base.h"
#include "lb/bytes.h"
#include "lb/packet.h"
#include "lb/verdict.h"

static __always_inline void lb_set_addresses(struct lb_tuple *tuple, const lb_iphdr *ip)
{
	/* saddr, daddr: adjacent on the wire and in the tuple. */
	__builtin_memcpy(&tuple->saddr, &ip->saddr, 2 * sizeof(addr_t));
}

#if FAMILY == 4

#define LB_IP_MORE_FRAGMENTS  0x2000
#define LB_IP_FRAGMENT_OFFSET 0x1fff

/* Reads the header at `offset` into `packet`; returns the header's length, or 0 when it is not one. */
static __always_inline u32 lb_parse_header(lb_ctx *ctx, u32 offset, struct lb_packet *packet, bool plain)
{
	lb_iphdr ip;
	u16 fragment;

	(void)plain; /* no extension headers to be spared */
	if (lb_load(ctx, offset, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return 0;
	lb_set_addresses(&packet->tuple, &ip);
	packet->tuple.protocol = ip.protocol;
	packet->ttl = ip.ttl;
	packet->length = bpf_ntohs(ip.tot_len);
	fragment = bpf_ntohs(ip.frag_off);
	packet->fragment_id = ip.id;
	if (fragment & LB_IP_FRAGMENT_OFFSET)
		packet->kind = LB_LATER_FRAGMENT;
	else if (fragment & LB_IP_MORE_FRAGMENTS)
		packet->kind = LB_FIRST_FRAGMENT;
	return ip.ihl * 4;
}

#else

#define LB_MAX_EXTENSIONS     6
#define LB_IP_FRAGMENT_OFFSET 0xfff8
#define LB_IP_MORE_FRAGMENTS  1

/* RFC 8200, 4.5 */
struct lb_fragment_header {
	u8 next;
	u8 reserved;
	__be16 offset;
	__be32 id;
};

/* Returns the length of an extension header, 0 when `protocol` is none. It starts with `extension`. */
static __always_inline u32 lb_extension_length(u8 protocol, const struct lb_fragment_header *extension)
{
	const u8 *bytes = (const u8 *)extension;

	switch (protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return (bytes[1] + 1) * 8;
	case IPPROTO_AH:
		return (bytes[1] + 2) * 4;
	case IPPROTO_FRAGMENT:
		return sizeof(*extension);
	default:
		return 0;
	}
}

/* Walks extension headers, a handful at the most, and adds up their lengths. Returns false when there are
 * more. */
static __always_inline bool lb_walk_extensions(lb_ctx *ctx, u32 offset, struct lb_packet *packet, u32 *length)
{
	for (int i = 0; i < LB_MAX_EXTENSIONS; i++) {
		u8 protocol = packet->tuple.protocol;
		struct lb_fragment_header extension;

		if (!lb_extension_length(protocol, &(struct lb_fragment_header){}))
			return true;
		if (lb_load(ctx, offset + *length, &extension, sizeof(extension)))
			return false;
		*length += lb_extension_length(protocol, &extension);
		packet->tuple.protocol = extension.next;
		if (protocol != IPPROTO_FRAGMENT)
			continue;
		packet->fragment_id = extension.id;
		if (extension.offset & bpf_htons(LB_IP_FRAGMENT_OFFSET)) {
			packet->kind = LB_LATER_FRAGMENT;
			return true;
		}
		if (extension.offset & bpf_htons(LB_IP_MORE_FRAGMENTS))
			packet->kind = LB_FIRST_FRAGMENT;
	}
	return !lb_extension_length(packet->tuple.protocol, &(struct lb_fragment_header){});
}

static __always_inline u32 lb_parse_header(lb_ctx *ctx, u32 offset, struct lb_packet *packet, bool plain)
{
	u32 length = sizeof(lb_iphdr);
	lb_iphdr ip;

	if (lb_load(ctx, offset, &ip, sizeof(ip)) || ip.version != 6)
		return 0;
	lb_set_addresses(&packet->tuple, &ip);
	packet->tuple.protocol = ip.nexthdr;
	packet->ttl = ip.hop_limit;
	packet->length = bpf_ntohs(ip.payload_len) + sizeof(ip);
	if (plain) /* an extension header is no transport protocol: found unusual by that */
		return length;
	return lb_walk_extensions(ctx, offset, packet, &length) ? length : 0;
}

#endif

/* Is there something behind this header that the long way translates? */
static __always_inline bool lb_may_be_translated(u8 protocol)
{
#if FAMILY == 6
	if (lb_extension_length(protocol, &(struct lb_fragment_header){}))
		return true;
#endif
	return protocol == IPPROTO_SCTP || protocol == LB_IPPROTO_ICMP || protocol == LB_IPPROTO_OUTER;
}

/*
 * Reads the network header, and the one within when the first is an outer header. `plain`: whatever is not a
 * whole packet with its transport header right behind the network header is unusual.
 */
static __always_inline enum lb_verdict lb_parse_l3(lb_ctx *ctx, struct lb_packet *packet, bool plain)
{
	u32 length = lb_parse_header(ctx, LB_L3_OFFSET(packet), packet, plain);

	if (!length)
		return LB_PASS;
	if (plain && packet->kind != LB_WHOLE)
		return LB_UNUSUAL;
#ifdef LB_XDP
	if (length != sizeof(lb_iphdr))
		return LB_UNUSUAL;
#endif
	if (!plain && packet->tuple.protocol == LB_IPPROTO_OUTER && packet->kind == LB_WHOLE &&
	    length == sizeof(lb_iphdr)) {
		packet->outer_bytes = length;
		packet->outer_daddr = packet->tuple.daddr;
		length = lb_parse_header(ctx, packet->l3_offset + packet->outer_bytes, packet, false);
		if (!length)
			return LB_PASS;
	}
	packet->l4_offset = LB_L3_OFFSET(packet) + length;
	return LB_CONTINUE;
}

#endif
