/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Answers "nobody listens" for a Service without backends, in place of the packet that asked: a TCP RST (RFC
 * 9293, 3.10.7.1), for all else an ICMP port unreachable (RFC 792, RFC 4443) that quotes the packet's
 * headers. The answer carries the Service's address as its source and leaves by the device the packet came in
 * by.
 *
 * Packets with IP options are dropped without an answer: quoting them would make every length here a
 * variable.
 */
#ifndef LB_REJECT_H
#define LB_REJECT_H

#include "lb/base.h"
#include "lb/packet.h"
#include "lb/verdict.h"

#if FAMILY == 4
#define LB_ICMP_PROTOCOL	 IPPROTO_ICMP
#define LB_ICMP_PORT_UNREACHABLE bpf_htons(0x0303)
#else
#define LB_ICMP_PROTOCOL	 IPPROTO_ICMPV6
#define LB_ICMP_PORT_UNREACHABLE bpf_htons(0x0104)
#endif

#define LB_REPLY_TTL 64

struct lb_icmp_error {
	__be16 type_and_code;
	__be16 checksum;
	__be32 unused;
};

/* What an ICMP error quotes: the network header and the first 8 bytes behind it, enough for both ports. */
struct lb_quote {
	lb_iphdr ip;
	__be32 l4[2];
};

static __always_inline u64 lb_sum(u64 sum, const void *data, int bytes)
{
	const u32 *word = data;

#pragma unroll
	for (int i = 0; i < bytes / 4; i++)
		sum += word[i];
	return sum;
}

/* Not complemented: what CHECKSUM_PARTIAL keeps in the checksum field when the sum is that of the pseudo
 * header. */
static __always_inline u16 lb_fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)((sum & 0xffff) + (sum >> 16));
}

/* The pseudo header adds up alike in both families and in both directions. */
static __always_inline u64 lb_pseudo_sum(const struct lb_packet *packet, u8 protocol, u16 length)
{
	u64 sum = bpf_htons(protocol) + (u64)bpf_htons(length);

	return lb_sum(sum, &packet->tuple.saddr, 2 * sizeof(addr_t));
}

static __always_inline lb_iphdr lb_reply_header(const struct lb_packet *packet, u8 protocol, u16 payload)
{
	lb_iphdr ip = {};

	ip.version = FAMILY;
#if FAMILY == 4
	ip.ihl = sizeof(ip) / 4;
	ip.tot_len = bpf_htons(sizeof(ip) + payload);
	ip.ttl = LB_REPLY_TTL;
	ip.protocol = protocol;
	ip.saddr = packet->tuple.daddr.word[0];
	ip.daddr = packet->tuple.saddr.word[0];
	ip.check = ~lb_fold(lb_sum(0, &ip, sizeof(ip)));
#else
	ip.payload_len = bpf_htons(payload);
	ip.hop_limit = LB_REPLY_TTL;
	ip.nexthdr = protocol;
	__builtin_memcpy(&ip.saddr, &packet->tuple.daddr, sizeof(addr_t));
	__builtin_memcpy(&ip.daddr, &packet->tuple.saddr, sizeof(addr_t));
#endif
	return ip;
}

static __always_inline u16 lb_l4_length(const lb_iphdr *ip)
{
#if FAMILY == 4
	return bpf_ntohs(ip->tot_len) - sizeof(*ip);
#else
	return bpf_ntohs(ip->payload_len);
#endif
}

/*
 * The header stays where it was, so a CHECKSUM_PARTIAL packet (from a local veth or VM) is still one: its
 * field keeps the pseudo header's sum, which is also how it is recognised here.
 */
static __always_inline int lb_reject_tcp(struct __sk_buff *skb, const struct lb_packet *packet,
					 const lb_iphdr *ip)
{
	lb_iphdr reply_ip = lb_reply_header(packet, IPPROTO_TCP, sizeof(struct tcphdr));
	u64 pseudo = lb_pseudo_sum(packet, IPPROTO_TCP, sizeof(struct tcphdr));
	struct tcphdr tcp, reply = {};
	int error = bpf_skb_load_bytes(skb, packet->l4_offset, &tcp, sizeof(tcp));

	if (error)
		return error;
	reply.source = tcp.dest;
	reply.dest = tcp.source;
	reply.doff = sizeof(reply) / 4;
	reply.rst = 1;
	if (tcp.ack) {
		reply.seq = tcp.ack_seq;
	} else {
		reply.ack = 1;
		reply.ack_seq =
			bpf_htonl(bpf_ntohl(tcp.seq) + lb_l4_length(ip) - tcp.doff * 4 + tcp.syn + tcp.fin);
	}
	if (tcp.check == lb_fold(lb_pseudo_sum(packet, IPPROTO_TCP, lb_l4_length(ip))))
		reply.check = lb_fold(pseudo);
	else
		reply.check = ~lb_fold(lb_sum(pseudo, &reply, sizeof(reply)));
	error = bpf_skb_change_tail(skb, packet->l4_offset + sizeof(reply), 0);
	if (!error)
		error = bpf_skb_store_bytes(skb, LB_L3_OFFSET, &reply_ip, sizeof(reply_ip), 0);
	return error ? error : bpf_skb_store_bytes(skb, packet->l4_offset, &reply, sizeof(reply), 0);
}

static __always_inline int lb_reject_icmp(struct __sk_buff *skb, const struct lb_packet *packet)
{
	const u16 payload = sizeof(struct lb_icmp_error) + sizeof(struct lb_quote);
	struct lb_icmp_error icmp = {.type_and_code = LB_ICMP_PORT_UNREACHABLE};
	lb_iphdr reply_ip = lb_reply_header(packet, LB_ICMP_PROTOCOL, payload);
	struct lb_quote quote;
	u64 sum = 0;
	int error = bpf_skb_load_bytes(skb, LB_L3_OFFSET, &quote, sizeof(quote));

	if (error)
		return error;
#if FAMILY == 6
	sum = lb_pseudo_sum(packet, LB_ICMP_PROTOCOL, payload);
#endif
	sum = lb_sum(sum, &icmp, sizeof(icmp));
	icmp.checksum = ~lb_fold(lb_sum(sum, &quote, sizeof(quote)));
	error = bpf_skb_change_tail(skb, LB_L3_OFFSET + sizeof(quote), 0);
	if (!error)
		error = bpf_skb_adjust_room(skb, sizeof(reply_ip) + sizeof(icmp), BPF_ADJ_ROOM_MAC, 0);
	if (!error)
		error = bpf_skb_store_bytes(skb, LB_L3_OFFSET, &reply_ip, sizeof(reply_ip), 0);
	if (!error)
		error = bpf_skb_store_bytes(skb, LB_L3_OFFSET + sizeof(reply_ip), &icmp, sizeof(icmp), 0);
	return error;
}

/* Turns the packet into its refusal. Returns 0, or a negative errno: the packet is then fit for nothing. */
static __always_inline int lb_reject(struct __sk_buff *skb, const struct lb_packet *packet)
{
	lb_iphdr ip;
	int error = bpf_skb_load_bytes(skb, LB_L3_OFFSET, &ip, sizeof(ip));

	if (error || packet->l4_offset != LB_L3_OFFSET + sizeof(ip))
		return -1;
	if (packet->tuple.protocol == IPPROTO_TCP)
		return lb_reject_tcp(skb, packet, &ip);
	return lb_reject_icmp(skb, packet);
}

#endif
