/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Parsing: from an Ethernet frame to a tuple. Nothing is changed here.
 *
 * lb_parse() returns LB_CONTINUE when `packet` is filled, LB_PASS for what is none of our business (other
 * protocols, fragments), LB_DROP never: a packet that does not parse may belong to somebody else's service.
 * All pointers into the packet die with this function.
 */
#ifndef LB_PACKET_H
#define LB_PACKET_H

#include "lb/base.h"
#include "lb/verdict.h"

#if FAMILY == 4
typedef struct iphdr lb_iphdr;
#else
typedef struct ipv6hdr lb_iphdr;
#endif

#define LB_L3_OFFSET ETH_HLEN

/* The longest headers that are read: IPv4 with options, TCP without. */
#define LB_PULL_LENGTH (ETH_HLEN + 60 + sizeof(struct tcphdr))

#define LB_IP_FRAGMENT_MASK 0x3fff /* more-fragments and the offset; don't-fragment is no fragment */

struct lb_packet {
	struct lb_tuple tuple;
	u32 l4_offset; /* from the start of the frame */
	u8 ttl;
	u8 seen;     /* enum lb_flow_seen: what this packet shows of its direction */
	bool is_syn; /* TCP SYN without ACK: opens a connection */
	bool is_rst;
};

/* Reads the network header. Returns LB_CONTINUE, or LB_PASS. */
static __always_inline enum lb_verdict lb_parse_l3(void *data, void *data_end, struct lb_packet *packet)
{
#if FAMILY == 4
	lb_iphdr *ip = data + LB_L3_OFFSET;

	if ((void *)(ip + 1) > data_end || ip->version != 4 || ip->ihl < 5)
		return LB_PASS;
	if (ip->frag_off & bpf_htons(LB_IP_FRAGMENT_MASK)) {
		lb_count(LB_COUNTER_PASSED_FRAGMENT);
		return LB_PASS;
	}
	packet->tuple.saddr.word[0] = ip->saddr;
	packet->tuple.daddr.word[0] = ip->daddr;
	packet->tuple.protocol = ip->protocol;
	packet->ttl = ip->ttl;
	packet->l4_offset = LB_L3_OFFSET + ip->ihl * 4;
#else
	lb_iphdr *ip = data + LB_L3_OFFSET;

	if ((void *)(ip + 1) > data_end || ip->version != 6)
		return LB_PASS;
	__builtin_memcpy(&packet->tuple.saddr, &ip->saddr, sizeof(addr_t));
	__builtin_memcpy(&packet->tuple.daddr, &ip->daddr, sizeof(addr_t));
	packet->tuple.protocol = ip->nexthdr;
	packet->ttl = ip->hop_limit;
	packet->l4_offset = LB_L3_OFFSET + sizeof(*ip);
#endif
	return LB_CONTINUE;
}

static __always_inline enum lb_verdict lb_parse_tcp(void *l4, void *data_end, struct lb_packet *packet)
{
	struct tcphdr *tcp = l4;

	if ((void *)(tcp + 1) > data_end)
		return LB_PASS;
	packet->tuple.sport = tcp->source;
	packet->tuple.dport = tcp->dest;
	packet->is_syn = tcp->syn && !tcp->ack;
	packet->is_rst = tcp->rst;
	packet->seen = packet->is_syn ? LB_SEEN_SYN : LB_SEEN_DATA;
	if (tcp->fin)
		packet->seen |= LB_SEEN_FIN;
	if (tcp->rst)
		packet->seen |= LB_SEEN_RST;
	return LB_CONTINUE;
}

static __always_inline enum lb_verdict lb_parse_udp(void *l4, void *data_end, struct lb_packet *packet)
{
	struct udphdr *udp = l4;

	if ((void *)(udp + 1) > data_end)
		return LB_PASS;
	packet->tuple.sport = udp->source;
	packet->tuple.dport = udp->dest;
	packet->seen = LB_SEEN_DATA;
	return LB_CONTINUE;
}

static __always_inline enum lb_verdict lb_parse_frame(void *data, void *data_end, struct lb_packet *packet)
{
	enum lb_verdict verdict = lb_parse_l3(data, data_end, packet);

	if (verdict != LB_CONTINUE)
		return verdict;
	if (packet->tuple.protocol == IPPROTO_TCP)
		return lb_parse_tcp(data + packet->l4_offset, data_end, packet);
	if (packet->tuple.protocol == IPPROTO_UDP)
		return lb_parse_udp(data + packet->l4_offset, data_end, packet);
	return LB_PASS;
}

/* Headers may lie outside the linear part of an skb (GRO, drivers that split headers): pull them in first. */
static __always_inline enum lb_verdict lb_parse(struct __sk_buff *skb, struct lb_packet *packet)
{
	u32 wanted = skb->len < LB_PULL_LENGTH ? skb->len : LB_PULL_LENGTH;
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;

	if (data + wanted > data_end) {
		if (bpf_skb_pull_data(skb, wanted))
			return LB_PASS;
		data = (void *)(long)skb->data;
		data_end = (void *)(long)skb->data_end;
	}
	return lb_parse_frame(data, data_end, packet);
}

#endif
