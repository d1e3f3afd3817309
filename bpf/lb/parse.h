/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Parsing: from a frame to a tuple. Nothing is changed here.
 *
 * lb_parse() returns LB_CONTINUE when `packet` is filled, LB_PASS for what is none of our business, LB_DROP
 * never: a packet that does not parse may belong to somebody else's service.
 */
#ifndef LB_PARSE_H
#define LB_PARSE_H

#include "lb/base.h"
#include "lb/bytes.h"
#include "lb/header.h"
#include "lb/icmp.h"
#include "lb/packet.h"
#include "lb/policy.h"
#include "lb/verdict.h"

static __always_inline enum lb_verdict lb_parse_tcp(lb_ctx *ctx, u32 offset, struct lb_packet *packet)
{
	struct tcphdr tcp;

	if (lb_load(ctx, offset, &tcp, sizeof(tcp)))
		return LB_PASS;
	packet->tuple.sport = tcp.source;
	packet->tuple.dport = tcp.dest;
	packet->is_syn = tcp.syn && !tcp.ack && !tcp.rst;
	packet->offers_mss = tcp.syn && tcp.ack && tcp.doff * 4 > sizeof(tcp);
	packet->is_rst = tcp.rst;
	packet->seen = packet->is_syn ? LB_SEEN_SYN : LB_SEEN_DATA;
	if (tcp.fin)
		packet->seen |= LB_SEEN_FIN;
	if (tcp.rst)
		packet->seen |= LB_SEEN_RST;
	return LB_CONTINUE;
}

static __always_inline enum lb_verdict lb_parse_udp(lb_ctx *ctx, u32 offset, struct lb_packet *packet)
{
	struct udphdr udp;

	if (lb_load(ctx, offset, &udp, sizeof(udp)))
		return LB_PASS;
	packet->tuple.sport = udp.source;
	packet->tuple.dport = udp.dest;
	packet->seen = LB_SEEN_DATA;
	return LB_CONTINUE;
}

/* RFC 9260, 3.1 and 3.3: the first chunk tells what the packet is. */
struct lb_sctphdr {
	__be16 source;
	__be16 dest;
	__be32 tag;
	__le32 checksum;
	u8 chunk;
	u8 chunk_flags;
	__be16 chunk_length;
};

#define LB_SCTP_INIT		  1
#define LB_SCTP_ABORT		  6
#define LB_SCTP_SHUTDOWN_COMPLETE 14

static __always_inline enum lb_verdict lb_parse_sctp(lb_ctx *ctx, u32 offset, struct lb_packet *packet)
{
	struct lb_sctphdr sctp;

	if (lb_load(ctx, offset, &sctp, sizeof(sctp)))
		return LB_PASS;
	packet->tuple.sport = sctp.source;
	packet->tuple.dport = sctp.dest;
	packet->is_syn = sctp.chunk == LB_SCTP_INIT;
	packet->is_rst = sctp.chunk == LB_SCTP_ABORT || sctp.chunk == LB_SCTP_SHUTDOWN_COMPLETE;
	packet->seen = packet->is_syn ? LB_SEEN_SYN : LB_SEEN_DATA;
	if (packet->is_rst)
		packet->seen |= LB_SEEN_RST;
	return LB_CONTINUE;
}

/* TCP and UDP are all that is plain; what nobody translates is nobody's, unless it goes to no Service's address.
 */
static __always_inline enum lb_verdict lb_parse_l4(lb_ctx *ctx, u32 offset, struct lb_packet *packet,
						   bool plain)
{
	u8 protocol = packet->tuple.protocol;
	enum lb_verdict verdict = LB_PASS;

	if (protocol == IPPROTO_TCP)
		return lb_parse_tcp(ctx, offset, packet);
	if (protocol == IPPROTO_UDP)
		return lb_parse_udp(ctx, offset, packet);
	if (plain)
		return lb_may_be_translated(protocol) || lb_is_guarded(&packet->tuple.daddr) ? LB_UNUSUAL
											     : LB_PASS;
	if (protocol == IPPROTO_SCTP)
		return lb_parse_sctp(ctx, offset, packet);
	if (protocol == LB_IPPROTO_ICMP && packet->kind == LB_WHOLE)
		verdict = lb_parse_icmp(ctx, offset, packet);
	if (verdict != LB_PASS || !lb_is_guarded(&packet->tuple.daddr))
		return verdict;
	packet->kind = LB_OTHER;
	return LB_CONTINUE;
}

/* `l3_offset`: length of the device's link header. `plain`: tell what is unusual, in place of looking
 * closely. */
static __always_inline enum lb_verdict lb_parse(lb_ctx *ctx, u32 l3_offset, struct lb_packet *packet,
						bool plain)
{
	enum lb_verdict verdict;

	packet->l3_offset = l3_offset;
	verdict = lb_parse_l3(ctx, packet, plain);
	if (verdict != LB_CONTINUE || packet->kind == LB_LATER_FRAGMENT)
		return verdict;
	return lb_parse_l4(ctx, LB_L4_OFFSET(packet) + LB_OUTER_LENGTH(packet), packet, plain);
}

#endif
