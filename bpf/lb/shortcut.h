/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The shortest way through XDP and tc's ingress, for plain packets that open and end nothing: what became of a
 * flow's last packet becomes of its next one, without a look-up in a hash and without a question to the kernel's routes.
 *
 * A shortcut holds for a few hundredths of a second, then the flow's next packet goes the long way and draws it
 * anew: by that the flow is seen to live, and follows its route and its neighbour. It holds no longer at all when
 * something that it rests on has changed (lb_change()). Each CPU has its own: nobody writes what another reads.
 */
#ifndef LB_SHORTCUT_H
#define LB_SHORTCUT_H

#include "lb/base.h"
#include "lb/csum.h"
#include "lb/fib.h"
#include "lb/flow.h"
#include "lb/glance.h"
#include "lb/nat.h"
#include "lb/open.h"
#include "lb/packet.h"

#define LB_SHORTCUT_BITS 10
#define LB_HOP_LESS	 bpf_htons(1) /* what a hop takes off the word that has IPv6's hop limit */

struct lb_shortcut {
	addr_t saddr;
	addr_t daddr;
	u32 ports;
	u32 protocol;
	addr_t to_saddr;
	addr_t to_daddr;
	u32 to_ports;
	u16 l3_difference; /* of the network header's checksum, TTL included */
#ifdef LB_XDP
	u16 l4_difference;
#else
	u16 address_difference; /* of the transport checksum, by the pseudo header's addresses */
	u16 port_difference;	/* and by its ports, which CHECKSUM_PARTIAL leaves out */
	u16 is_direct;
	struct bpf_redir_neigh neighbour;
#endif
	u32 ifindex; /* 0: the stack delivers */
	u32 macs[3]; /* destination, source */
	u32 mtu;     /* of the way to the next hop */
	u32 drawn;   /* jiffies, low 32 bits */
	u32 changes; /* lb_changes() when it was drawn */
};

/* One more than there are slots: see shortcut_make.h. */
BPF_PERCPU_ARRAY(shortcuts, struct lb_shortcut, (1 << LB_SHORTCUT_BITS) + 1);

static __always_inline struct lb_shortcut *lb_shortcut_slot(const addr_t *saddr, const addr_t *daddr,
							    u32 ports)
{
	u32 hash = ports;
	u32 index;

#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		hash = (hash ^ saddr->word[i]) * LB_MARK_FACTOR + daddr->word[i];
	index = hash * LB_MARK_FACTOR >> (32 - LB_SHORTCUT_BITS);
	return shortcuts.lookup(&index);
}

static __always_inline bool lb_shortcut_holds(const struct lb_shortcut *shortcut)
{
	return lb_is_kept(shortcut->drawn, shortcut->changes);
}

/* The shortcut of the packet's flow, or NULL. */
static __always_inline struct lb_shortcut *lb_shortcut_find(const struct lb_glance *at)
{
	const addr_t *saddr = (const addr_t *)&at->ip->saddr;
	const addr_t *daddr = (const addr_t *)&at->ip->daddr;
	struct lb_shortcut *shortcut = lb_shortcut_slot(saddr, daddr, *at->ports);

	if (!shortcut || !lb_addr_equal(&shortcut->saddr, saddr) || !lb_addr_equal(&shortcut->daddr, daddr) ||
	    shortcut->ports != *at->ports || shortcut->protocol != at->protocol)
		return NULL;
	if (shortcut->ifindex && (LB_IP_TTL(at->ip) <= 1 || lb_length_of(at->ip) > shortcut->mtu))
		return NULL;
	return lb_shortcut_holds(shortcut) ? shortcut : NULL;
}

/* RFC 1624, with the difference folded already: two words have one carry. */
static __always_inline u16 lb_csum_carry(u16 checksum, u16 difference)
{
	u32 sum = (u16)~checksum + difference;

	return ~(sum + (sum >> 16));
}

#ifdef LB_XDP

/* Zero means "no checksum" in UDP, and stays; no sum may become it. */
static __always_inline void lb_shortcut_checksum(const struct lb_glance *at, u16 difference)
{
	u16 checksum = *at->checksum;

	if (at->protocol == IPPROTO_UDP && !checksum)
		return;
	checksum = lb_csum_carry(checksum, difference);
	*at->checksum = at->protocol == IPPROTO_UDP && !checksum ? 0xffff : checksum;
}

#else

/* By helpers, which know what a card has summed up or is to sum up. Afterwards no pointer into the packet is good. */
static __always_inline int lb_shortcut_checksum(lb_ctx *ctx, u8 protocol, const struct lb_shortcut *shortcut)
{
	u32 offset = ETH_HLEN + sizeof(lb_iphdr) + lb_l4_csum_field(protocol);
	u64 flags = lb_l4_csum_flags(protocol);
	int error = lb_csum_l4(ctx, offset, shortcut->address_difference,
			       BPF_F_PSEUDO_HDR | LB_CSUM_IPV6 | flags);

#if FAMILY == 6
	if (shortcut->ifindex) /* the hop limit has no checksum in the packet that would make up for it */
		bpf_csum_update(ctx, (u16)~LB_HOP_LESS);
#endif

	return error ? error : lb_csum_l4(ctx, offset, shortcut->port_difference, flags);
}

#endif

/* Makes the frame what the flow's last one became, but for the next hop's addresses, and at tc the transport's
 * checksum. */
static __always_inline void lb_shortcut_rewrite(const struct lb_glance *at,
						const struct lb_shortcut *shortcut)
{
#ifdef LB_XDP
	lb_shortcut_checksum(at, shortcut->l4_difference);
#endif
	*at->ports = shortcut->to_ports;
#if FAMILY == 4
	at->ip->check = lb_csum_carry(at->ip->check, shortcut->l3_difference);
#endif
	*(addr_t *)&at->ip->saddr = shortcut->to_saddr;
	*(addr_t *)&at->ip->daddr = shortcut->to_daddr;
	if (shortcut->ifindex)
		LB_IP_TTL(at->ip)--;
}

/* Fills a shortcut: what a packet becomes by its flow, and where it then goes, if not to the stack. */
static __always_inline void lb_shortcut_fill(struct lb_shortcut *slot, const struct lb_tuple *tuple,
					     const struct lb_flow *flow, const struct lb_next_hop *hop,
					     u32 changes)
{
	const addr_t to[2] = {flow->to_saddr, flow->to_daddr};
	const __be16 to_ports[2] = {flow->to_sport, flow->to_dport};
	const u32 hop_less[2] = {bpf_htonl(1 << 24), 0}; /* what a TTL of one less does to its word */
	u64 addresses = lb_csum_difference(&tuple->saddr, to, 2 * LB_ADDR_WORDS);
	u64 ports = lb_csum_difference(&tuple->sport, to_ports, 1);
	u64 ttl = hop ? lb_csum_difference(&hop_less[0], &hop_less[1], 1) : 0;

	slot->saddr = tuple->saddr;
	slot->daddr = tuple->daddr;
	slot->ports = *(const u32 *)&tuple->sport;
	slot->protocol = tuple->protocol;
	slot->to_saddr = flow->to_saddr;
	slot->to_daddr = flow->to_daddr;
	slot->to_ports = *(const u32 *)&flow->to_sport;
	slot->l3_difference = lb_csum_fold(addresses + ttl);
#ifdef LB_XDP
	slot->l4_difference = lb_csum_fold(addresses + ports);
#else
	slot->address_difference = lb_csum_fold(addresses);
	slot->port_difference = lb_csum_fold(ports);
#endif
	slot->ifindex = 0;
	slot->changes = changes;
	slot->drawn = lb_now();
	if (!hop)
		return;
	slot->ifindex = hop->ifindex;
	slot->mtu = hop->mtu;
	__builtin_memcpy(slot->macs, hop->macs, sizeof(slot->macs));
#ifndef LB_XDP
	slot->is_direct = hop->is_direct;
	slot->neighbour = hop->neighbour;
#endif
}

/*
 * Draws the shortcut of a packet that is about to be changed by its flow. `changes`: as they were before the flow
 * was looked up. A slot that another flow holds stays with that one until its time is up: many flows that come in
 * turns would else do nothing but draw.
 */
static __always_inline void lb_shortcut_draw(const struct lb_packet *packet,
					     const struct lb_translation *translation, bool is_forwarded,
					     u32 changes)
{
	const struct lb_tuple *tuple = &packet->tuple;
	struct lb_shortcut *slot =
		lb_shortcut_slot(&tuple->saddr, &tuple->daddr, *(const u32 *)&tuple->sport);

	if (!slot || lb_shortcut_holds(slot))
		return;
	if (is_forwarded)
		lb_shortcut_fill(slot, tuple, &translation->flow, &translation->hop, changes);
	else
		lb_shortcut_fill(slot, tuple, &translation->flow, NULL, changes);
}

#endif
