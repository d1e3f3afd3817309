/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A glance at a frame: what the shortest way needs to know of a plain packet of TCP or UDP, read where it lies.
 */
#ifndef LB_GLANCE_H
#define LB_GLANCE_H

#include "lb/base.h"
#include "lb/header.h"
#include "lb/marks.h"
#include "lb/packet.h"
#include "lb/policy.h"

/* What the shortest way reads of a frame. Its pointers are good until a helper changes the frame. */
struct lb_glance {
	lb_iphdr *ip;
	u32 *ports; /* both as one word, as they lie in header and tuple */
	__be16 *checksum;
	u8 protocol;
};

#if FAMILY == 4

#define LB_IP_PLAIN	 0x45 /* version 4, no options */
#define LB_IP_FRAGMENTED bpf_htons(LB_IP_MORE_FRAGMENTS | LB_IP_FRAGMENT_OFFSET)
#define LB_IP_TTL(ip)	 ((ip)->ttl)

static __always_inline bool lb_is_plain(const lb_iphdr *ip)
{
	return *(const u8 *)ip == LB_IP_PLAIN && !(ip->frag_off & LB_IP_FRAGMENTED);
}

static __always_inline u8 lb_protocol_of(const lb_iphdr *ip)
{
	return ip->protocol;
}

static __always_inline u32 lb_length_of(const lb_iphdr *ip)
{
	return bpf_ntohs(ip->tot_len);
}

#else

#define LB_IP_TTL(ip) ((ip)->hop_limit)

static __always_inline bool lb_is_plain(const lb_iphdr *ip)
{
	return *(const u8 *)ip >> 4 == 6;
}

static __always_inline u8 lb_protocol_of(const lb_iphdr *ip)
{
	return ip->nexthdr;
}

static __always_inline u32 lb_length_of(const lb_iphdr *ip)
{
	return bpf_ntohs(ip->payload_len) + sizeof(*ip);
}

#endif

#define LB_TCP_FLAGS	   13 /* offset in the header */
#define LB_TCP_FIN_SYN_RST 0x07

/* Returns false for what has options, is a fragment, or is too short for ports. */
static __always_inline bool lb_glance_at_network(lb_ctx *ctx, struct lb_glance *at)
{
	void *data_end = (void *)(long)ctx->data_end;
	lb_iphdr *ip = (void *)(long)ctx->data + ETH_HLEN;

	at->ip = ip;
	return (void *)(ip + 1) + sizeof(struct udphdr) <= data_end && lb_is_plain(ip);
}

/* Returns false for what is not TCP or UDP, and for what begins or ends a connection: the long way looks closer. */
static __always_inline bool lb_glance_at_transport(lb_ctx *ctx, struct lb_glance *at)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct udphdr *udp = (void *)(at->ip + 1);
	struct tcphdr *tcp = (void *)(at->ip + 1);

	at->ports = (u32 *)udp;
	at->protocol = lb_protocol_of(at->ip);
	at->checksum = &udp->check;
	if (at->protocol == IPPROTO_UDP)
		return true;
	at->checksum = &tcp->check;
	return at->protocol == IPPROTO_TCP && (void *)(tcp + 1) <= data_end &&
	       !(((u8 *)tcp)[LB_TCP_FLAGS] & LB_TCP_FIN_SYN_RST);
}

/* Where the packet goes is of no concern to us, on no account. */
static __always_inline bool lb_is_a_strangers(const struct lb_glance *at)
{
	const addr_t *daddr = (const addr_t *)&at->ip->daddr;

	return !lb_is_marked(daddr) && !lb_is_guarded(daddr);
}

#endif
