/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Can a packet to this address be ours at all? One bit of an array tells, in place of look-ups in four hashes.
 *
 * Python sets the bit of each address before it writes a row with it: of frontends, of the node, and those that
 * it lends as sources. Bits are never taken back, and addresses share them: a set bit proves nothing. A bit that
 * is not set is proof enough for XDP, since tc sees the packet after it and asks the tables.
 */
#ifndef LB_MARKS_H
#define LB_MARKS_H

#include "lb/base.h"

#define LB_MARK_WORD_BITS 6 /* bits of a u64, as a power of two */

/* Mirrored in ebpflb/datapath/marks.py. */
static __always_inline u32 lb_mark_of(const addr_t *address)
{
	u32 hash = 0;

#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		hash = (hash + address->word[i]) * LB_MARK_FACTOR;
	return hash >> (32 - LB_MARK_BITS);
}

static __always_inline bool lb_is_marked(const addr_t *address)
{
	u32 mark = lb_mark_of(address);
	u32 index = mark >> LB_MARK_WORD_BITS;
	u64 *word = marks.lookup(&index);

	return word && (*word >> (mark & ((1 << LB_MARK_WORD_BITS) - 1)) & 1);
}

#endif
