/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Answers in place of the packet that asked, sent back out of the device it came in by, from the address it
 * went to:
 *
 *	LB_REJECT   a TCP RST (RFC 9293, 3.10.7.1); for all else an ICMP port unreachable
 *	LB_TOO_BIG  ICMP fragmentation needed or packet too big, with the MTU (RFC 1191, RFC 8201)
 *	LB_EXPIRED  ICMP time exceeded
 *	LB_ECHO_ANSWER  an echo reply
 *
 * ICMP errors quote the packet's headers (RFC 792, RFC 4443). Packets with IP options or extension headers,
 * fragments, and ICMP errors are dropped without an answer: the first would make every length here a variable,
 * the last must never be answered. The first fragment of a datagram that is too big is an exception: else its
 * sender would never make smaller ones.
 */
#ifndef LB_ANSWER_H
#define LB_ANSWER_H

#include "lb/base.h"
#include "lb/bytes.h"
#include "lb/csum.h"
#include "lb/icmp.h"
#include "lb/nat.h"
#include "lb/packet.h"
#include "lb/verdict.h"

#define LB_REPLY_TTL 64

#if FAMILY == 4
#define LB_QUOTED_EXTENSION_BYTES 0
#else
#define LB_QUOTED_EXTENSION_BYTES 8 /* struct lb_fragment_header */
#endif

/* What an ICMP error quotes at the most: the network header, in IPv6 that of a fragment, a TCP header. */
struct lb_quote {
	lb_iphdr ip;
	u8 rest[LB_QUOTED_EXTENSION_BYTES + sizeof(struct tcphdr)];
};

/*
 * How much of the transport header is quoted: up to its checksum, and at least the 8 bytes that were always
 * asked for. The kernel cuts no packet before a checksum that a device has yet to complete.
 */
static __always_inline u32 lb_quoted_l4_bytes(u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return sizeof(struct tcphdr);
	case IPPROTO_SCTP:
		return LB_SCTP_CHECKSUM + sizeof(__le32);
	default:
		return sizeof(struct udphdr);
	}
}

/* The pseudo header adds up alike in both families and in both directions. */
static __always_inline u64 lb_pseudo_sum(const struct lb_packet *packet, u8 protocol, u16 length)
{
	u64 sum = bpf_htons(protocol) + (u64)bpf_htons(length);

	return lb_csum_add(sum, &packet->tuple.saddr, 2 * sizeof(addr_t));
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
	ip.check = ~lb_csum_fold(lb_csum_add(0, &ip, sizeof(ip)));
#else
	ip.payload_len = bpf_htons(payload);
	ip.hop_limit = LB_REPLY_TTL;
	ip.nexthdr = protocol;
	__builtin_memcpy(&ip.saddr, &packet->tuple.daddr, sizeof(addr_t));
	__builtin_memcpy(&ip.daddr, &packet->tuple.saddr, sizeof(addr_t));
#endif
	return ip;
}

/*
 * The header stays where it was, so a CHECKSUM_PARTIAL packet (from a local veth or VM) is still one: its
 * field keeps the pseudo header's sum, which is also how it is recognised here.
 */
static __always_inline int lb_answer_tcp(lb_ctx *ctx, const struct lb_packet *packet)
{
	const u16 l4_length = packet->length - sizeof(lb_iphdr);
	lb_iphdr reply_ip = lb_reply_header(packet, IPPROTO_TCP, sizeof(struct tcphdr));
	u64 pseudo = lb_pseudo_sum(packet, IPPROTO_TCP, sizeof(struct tcphdr));
	struct tcphdr tcp, reply = {};
	int error = lb_load(ctx, packet->l4_offset, &tcp, sizeof(tcp));

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
		reply.ack_seq = bpf_htonl(bpf_ntohl(tcp.seq) + l4_length - tcp.doff * 4 + tcp.syn + tcp.fin);
	}
	if (tcp.check == lb_csum_fold(lb_pseudo_sum(packet, IPPROTO_TCP, l4_length)))
		reply.check = lb_csum_fold(pseudo);
	else
		reply.check = ~lb_csum_fold(lb_csum_add(pseudo, &reply, sizeof(reply)));
	error = bpf_skb_change_tail(ctx, packet->l4_offset + sizeof(reply), 0);
	if (!error)
		error = lb_store(ctx, packet->l3_offset, &reply_ip, sizeof(reply_ip));
	return error ? error : lb_store(ctx, packet->l4_offset, &reply, sizeof(reply));
}

static __always_inline struct lb_icmphdr lb_icmp_header(enum lb_verdict verdict, u32 mtu)
{
	struct lb_icmphdr icmp = {.type = LB_ICMP_UNREACHABLE, .code = LB_ICMP_PORT_CODE};

	if (verdict == LB_TOO_BIG) {
		/* RFC 1191 has 16 bits for it, the low ones; RFC 4443 all 32. */
		icmp.type = LB_ICMP_TOO_BIG_TYPE;
		icmp.code = LB_ICMP_TOO_BIG_CODE;
		icmp.rest = bpf_htonl(FAMILY == 4 ? mtu & 0xffff : mtu);
	} else if (verdict == LB_EXPIRED) {
		icmp.type = LB_ICMP_EXPIRED;
		icmp.code = 0;
	}
	return icmp;
}

static __always_inline int lb_answer_icmp(lb_ctx *ctx, const struct lb_packet *packet,
					  enum lb_verdict verdict, u32 mtu)
{
	const u32 quoted = packet->l4_offset - packet->l3_offset + lb_quoted_l4_bytes(packet->tuple.protocol);
	const u16 payload = sizeof(struct lb_icmphdr) + quoted;
	struct lb_icmphdr icmp = lb_icmp_header(verdict, mtu);
	lb_iphdr reply_ip = lb_reply_header(packet, LB_IPPROTO_ICMP, payload);
	struct lb_quote quote = {};
	u64 sum = 0;
	int error = lb_load(ctx, packet->l3_offset, &quote, lb_bounded(quoted, sizeof(quote)));

	if (error)
		return error;
#if FAMILY == 6
	sum = lb_pseudo_sum(packet, LB_IPPROTO_ICMP, payload);
#endif
	sum = lb_csum_add(sum, &icmp, sizeof(icmp));
	icmp.checksum = ~lb_csum_fold(lb_csum_add(sum, &quote, sizeof(quote)));
	error = bpf_skb_change_tail(ctx, packet->l3_offset + quoted, 0);
	if (!error)
		error = bpf_skb_adjust_room(ctx, sizeof(reply_ip) + sizeof(icmp), BPF_ADJ_ROOM_MAC, 0);
	if (!error)
		error = lb_store(ctx, packet->l3_offset, &reply_ip, sizeof(reply_ip));
	if (!error)
		error = lb_store(ctx, packet->l3_offset + sizeof(reply_ip), &icmp, sizeof(icmp));
	return error;
}

/* The addresses change places: no checksum notices. */
static __always_inline int lb_answer_echo(lb_ctx *ctx, const struct lb_packet *packet)
{
	const struct lb_icmphdr from = {.type = LB_ICMP_ECHO}, to = {.type = LB_ICMP_ECHO_REPLY};
	const addr_t addresses[2] = {packet->tuple.daddr, packet->tuple.saddr};
	const u32 checksum = packet->l4_offset + __builtin_offsetof(struct lb_icmphdr, checksum);
	int error = lb_csum_l4(ctx, checksum, lb_csum_difference(&from, &to, 1), 0);

	if (!error)
		error = lb_store(ctx, packet->l4_offset, &to.type, sizeof(to.type));
	if (!error)
		error = lb_rewrite_ttl(ctx, packet, LB_REPLY_TTL);
	return error ? error : lb_store(ctx, LB_IP_FIELD(packet, saddr), addresses, sizeof(addresses));
}

static __always_inline bool lb_can_be_quoted(const struct lb_packet *packet, enum lb_verdict verdict)
{
	u32 headers = packet->l4_offset - packet->l3_offset;

	if (packet->outer_bytes)
		return false;
	if (packet->kind == LB_FIRST_FRAGMENT && verdict == LB_TOO_BIG)
		return headers == sizeof(lb_iphdr) + LB_QUOTED_EXTENSION_BYTES;
	return packet->kind == LB_WHOLE && headers == sizeof(lb_iphdr);
}

/* Turns the packet into its answer. Returns 0, or a negative errno: the packet is then fit for nothing. */
static __always_inline int lb_answer(lb_ctx *ctx, const struct lb_packet *packet, enum lb_verdict verdict,
				     u32 mtu)
{
	if (verdict == LB_ECHO_ANSWER)
		return lb_answer_echo(ctx, packet);
	if (!lb_can_be_quoted(packet, verdict))
		return -1;
	if (verdict == LB_REJECT && packet->tuple.protocol == IPPROTO_TCP)
		return lb_answer_tcp(ctx, packet);
	return lb_answer_icmp(ctx, packet, verdict, mtu);
}

#endif
