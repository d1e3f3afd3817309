/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Direct server return: the packet goes to the backend's node whole, in an outer header of its own family
 * (RFC 2003, RFC 2473) whose destination is the backend. That tells the other node all that it needs, on any
 * underlay that routes pod addresses; it takes the outer header off and answers the client by itself. Every
 * packet carries it, so no node depends on having seen the first.
 *
 * The bytes for the outer header are reserved: the client is told the smaller MTU, and the MSS of the
 * backend's SYN-ACK is lowered by them. What the backend offers fits the way between the nodes, since no
 * network gives its pods a greater MTU.
 */
#ifndef LB_DSR_H
#define LB_DSR_H

#include "lb/base.h"
#include "lb/bytes.h"
#include "lb/csum.h"
#include "lb/nat.h"
#include "lb/packet.h"

#define LB_OUTER_BYTES ((u32)sizeof(lb_iphdr))
#define LB_OUTER_TTL   64

static __always_inline lb_iphdr lb_outer_header(const struct lb_packet *packet, const struct lb_flow *flow)
{
	lb_iphdr ip = {};

	ip.version = FAMILY;
#if FAMILY == 4
	ip.ihl = sizeof(ip) / 4;
	ip.tot_len = bpf_htons(packet->length + sizeof(ip));
	ip.frag_off = bpf_htons(0x4000); /* don't fragment */
	ip.ttl = LB_OUTER_TTL;
	ip.protocol = LB_IPPROTO_OUTER;
	ip.saddr = flow->to_saddr.word[0];
	ip.daddr = flow->to_daddr.word[0];
	ip.check = ~lb_csum_fold(lb_csum_add(0, &ip, sizeof(ip)));
#else
	ip.payload_len = bpf_htons(packet->length);
	ip.hop_limit = LB_OUTER_TTL;
	ip.nexthdr = LB_IPPROTO_OUTER;
	__builtin_memcpy(&ip.saddr, &flow->to_saddr, sizeof(addr_t));
	__builtin_memcpy(&ip.daddr, &flow->to_daddr, sizeof(addr_t));
#endif
	return ip;
}

#ifdef LB_XDP

static __always_inline int lb_make_room(lb_ctx *ctx)
{
	u8 link[ETH_HLEN];
	int error = lb_load(ctx, 0, link, sizeof(link));

	if (!error)
		error = bpf_xdp_adjust_head(ctx, -(int)LB_OUTER_BYTES);
	return error ? error : lb_store(ctx, 0, link, sizeof(link));
}

#else

#if FAMILY == 4
#define LB_ENCAP_FLAG BPF_F_ADJ_ROOM_ENCAP_L3_IPV4
#else
#define LB_ENCAP_FLAG BPF_F_ADJ_ROOM_ENCAP_L3_IPV6
#endif

/* The segments of a GSO packet stay as long as they are: that they fit with the outer header was looked up.
 */
static __always_inline int lb_make_room(lb_ctx *ctx)
{
	return bpf_skb_adjust_room(ctx, LB_OUTER_BYTES, BPF_ADJ_ROOM_MAC,
				   LB_ENCAP_FLAG | BPF_F_ADJ_ROOM_FIXED_GSO);
}

#endif

/* Puts the packet, whose TTL is decremented already, into its outer header. */
static __always_inline int lb_encapsulate(lb_ctx *ctx, const struct lb_packet *packet,
					  const struct lb_flow *flow)
{
	lb_iphdr ip = lb_outer_header(packet, flow);
	int error = lb_make_room(ctx);

	lb_count(LB_COUNTER_ENCAPSULATED);
	return error ? error : lb_store(ctx, LB_L3_OFFSET(packet), &ip, sizeof(ip));
}

/*
 * Makes the packet what its flow says, or puts it whole into an outer header. What is forwarded was routed
 * here and has one hop less to go; the node's own was not.
 */
static __always_inline int lb_rewrite_by_flow(lb_ctx *ctx, const struct lb_packet *packet,
					      const struct lb_flow *flow, bool is_forwarded, bool plain)
{
	bool is_encapsulated = (flow->flags & LB_FLOW_DSR) && !(flow->flags & LB_FLOW_REPLY);
	int error = 0;

	if (is_forwarded && !(flow->flags & LB_FLOW_AT_EGRESS))
		error = lb_rewrite_ttl(ctx, packet, packet->ttl - 1);
	if (error)
		return error;
	return is_encapsulated ? lb_encapsulate(ctx, packet, flow) : lb_rewrite(ctx, packet, flow, plain);
}

#ifndef LB_XDP

/* Takes the outer header off: from here on all offsets of `packet` are right. */
static __always_inline int lb_decapsulate(lb_ctx *ctx, const struct lb_packet *packet)
{
	lb_count(LB_COUNTER_DECAPSULATED);
	return bpf_skb_adjust_room(ctx, -(int)packet->outer_bytes, BPF_ADJ_ROOM_MAC,
				   BPF_F_ADJ_ROOM_FIXED_GSO);
}

#define LB_TCP_OPTION_MSS 2

/* RFC 9293, 3.7.1; first of the options wherever we looked. */
struct lb_mss_option {
	u8 kind;
	u8 length;
	__be16 mss;
};

#define LB_TCP_LEAST_MSS 536 /* RFC 9293, 3.7.1 */

/* What the client sends must fit the way to the backend's node, outer header included. */
static __always_inline int lb_clamp_mss(lb_ctx *ctx, const struct lb_packet *packet)
{
	u32 offset = packet->l4_offset + sizeof(struct tcphdr);
	struct lb_mss_option from, to;
	int error;

	if (!packet->offers_mss || lb_load(ctx, offset, &from, sizeof(from)) ||
	    from.kind != LB_TCP_OPTION_MSS || from.length != sizeof(from) ||
	    bpf_ntohs(from.mss) < LB_TCP_LEAST_MSS + LB_OUTER_BYTES)
		return 0;
	to = from;
	to.mss = bpf_htons(bpf_ntohs(from.mss) - LB_OUTER_BYTES);
	error = lb_csum_l4(ctx, packet->l4_offset + __builtin_offsetof(struct tcphdr, check),
			   lb_csum_difference(&from, &to, 1), 0);
	return error ? error : lb_store(ctx, offset, &to, sizeof(to));
}

#endif

#endif
