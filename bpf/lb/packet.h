/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is known of a packet. parse.h fills it, all others read it: no pointer into the packet is ever kept.
 *
 * Some packets stand for another one, and have its tuple: an ICMP error that of the flow it is about, a
 * packet in an outer header (DSR) that of the inner one.
 */
#ifndef LB_PACKET_H
#define LB_PACKET_H

#include "lb/base.h"

#if FAMILY == 4
typedef struct iphdr lb_iphdr;
#define LB_IPPROTO_ICMP	 IPPROTO_ICMP
#define LB_IPPROTO_OUTER IPPROTO_IPIP /* the protocol of an outer header: RFC 2003 */
#else
typedef struct ipv6hdr lb_iphdr;
#define LB_IPPROTO_ICMP	 IPPROTO_ICMPV6
#define LB_IPPROTO_OUTER IPPROTO_IPV6 /* RFC 2473 */
#endif

#ifdef LB_XDP
/* XDP leaves all that is unusual to tc: offsets are constants there. */
#define LB_L3_OFFSET(packet)	((void)(packet), (u32)ETH_HLEN)
#define LB_L4_OFFSET(packet)	((void)(packet), (u32)(ETH_HLEN + sizeof(lb_iphdr)))
#define LB_OUTER_LENGTH(packet) ((void)(packet), 0u)
#else
#define LB_L3_OFFSET(packet)	((packet)->l3_offset)
#define LB_L4_OFFSET(packet)	((packet)->l4_offset)
#define LB_OUTER_LENGTH(packet) ((packet)->outer_bytes)
#endif

enum lb_packet_kind {
	LB_WHOLE = 0,
	LB_FIRST_FRAGMENT,
	LB_LATER_FRAGMENT, /* has no ports of its own: fragment.h finds them */
	LB_ICMP_ERROR,	   /* the tuple is that of the packets that it answers, as they come here */
	LB_ECHO,	   /* a ping, with no ports */
	LB_OTHER,	   /* nothing that is translated, on its way to where only ClusterIPs are */
};

/* Offsets are those of the frame without its outer header. */
struct lb_packet {
	struct lb_tuple tuple;
	u32 l3_offset;	      /* 0 on devices without Ethernet */
	u32 l4_offset;	      /* from the start of the frame */
	u32 length;	      /* of the packet, network header included */
	u32 outer_bytes;      /* length of the outer header, or 0 */
	addr_t outer_daddr;   /* its destination: the backend */
	u32 quoted_l4_offset; /* LB_ICMP_ERROR: of the transport header that it quotes */
	__be32 fragment_id;
	u8 kind; /* enum lb_packet_kind */
	u8 ttl;
	u8 seen;     /* enum lb_flow_seen: what this packet shows of its direction */
	bool is_syn; /* opens a connection: TCP SYN without ACK, SCTP INIT */
	bool is_rst;
	bool offers_mss; /* TCP SYN with ACK, and options: the MSS may be among them */
};

#endif
