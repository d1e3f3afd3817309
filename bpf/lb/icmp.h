/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ICMP as far as flows are concerned (RFC 792, RFC 4443): errors, which quote the packet that they are about,
 * and pings.
 *
 * An error about a packet travels against it. Its tuple is therefore the quoted one read backwards: that of
 * the packets which come the way the error comes, so that one look-up finds the entry that translates both.
 */
#ifndef LB_ICMP_H
#define LB_ICMP_H

#include "lb/base.h"
#include "lb/bytes.h"
#include "lb/header.h"
#include "lb/packet.h"
#include "lb/verdict.h"

struct lb_icmphdr {
	u8 type;
	u8 code;
	__be16 checksum;
	__be32 rest;
};

#if FAMILY == 4
#define LB_ICMP_UNREACHABLE  3
#define LB_ICMP_TOO_BIG_TYPE LB_ICMP_UNREACHABLE
#define LB_ICMP_TOO_BIG_CODE 4
#define LB_ICMP_EXPIRED	     11
#define LB_ICMP_PROBLEM	     12
#define LB_ICMP_PORT_CODE    3
#define LB_ICMP_ECHO	     8
#define LB_ICMP_ECHO_REPLY   0
#else
#define LB_ICMP_UNREACHABLE  1
#define LB_ICMP_TOO_BIG_TYPE 2
#define LB_ICMP_TOO_BIG_CODE 0
#define LB_ICMP_EXPIRED	     3
#define LB_ICMP_PROBLEM	     4
#define LB_ICMP_PORT_CODE    4
#define LB_ICMP_ECHO	     128
#define LB_ICMP_ECHO_REPLY   129
#endif

static __always_inline bool lb_icmp_is_error(u8 type)
{
	return type == LB_ICMP_UNREACHABLE || type == LB_ICMP_TOO_BIG_TYPE || type == LB_ICMP_EXPIRED ||
	       type == LB_ICMP_PROBLEM;
}

/* Fills `packet` with the flow of the quoted packet at `offset`. Quoted later fragments have no ports: not
 * ours. */
static __always_inline enum lb_verdict lb_parse_quote(lb_ctx *ctx, u32 offset, struct lb_packet *packet)
{
	struct lb_packet quoted = {};
	u32 length = lb_parse_header(ctx, offset, &quoted, false);
	u8 protocol = quoted.tuple.protocol;
	__be16 ports[2];

	if (!length || quoted.kind == LB_LATER_FRAGMENT)
		return LB_PASS;
	if (!lb_addr_equal(&packet->tuple.daddr, &quoted.tuple.saddr))
		return LB_PASS;
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP)
		return LB_PASS;
	if (lb_load(ctx, offset + length, ports, sizeof(ports)))
		return LB_PASS;
	packet->kind = LB_ICMP_ERROR;
	packet->tuple = (struct lb_tuple){
		.saddr = quoted.tuple.daddr,
		.daddr = quoted.tuple.saddr,
		.sport = ports[1],
		.dport = ports[0],
		.protocol = protocol,
	};
	packet->quoted_l4_offset = packet->l4_offset + sizeof(struct lb_icmphdr) + length;
	return LB_CONTINUE;
}

static __always_inline enum lb_verdict lb_parse_icmp(lb_ctx *ctx, u32 offset, struct lb_packet *packet)
{
	struct lb_icmphdr icmp;

	if (lb_load(ctx, offset, &icmp, sizeof(icmp)))
		return LB_PASS;
	if (lb_icmp_is_error(icmp.type))
		return lb_parse_quote(ctx, offset + sizeof(icmp), packet);
	if (icmp.type != LB_ICMP_ECHO || icmp.code)
		return LB_PASS;
	packet->kind = LB_ECHO;
	return LB_CONTINUE;
}

#endif
