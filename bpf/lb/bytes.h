/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The bytes of a packet: read, written, and its checksums updated. The one file that knows how tc and XDP
 * differ in that. tc goes through helpers: they reach data that is not linear, and keep CHECKSUM_PARTIAL and
 * CHECKSUM_COMPLETE right. XDP touches the bytes; its offsets are constants.
 *
 * All return 0, or a negative errno. Pointers into the packet never leave this file.
 */
#ifndef LB_BYTES_H
#define LB_BYTES_H

#include "lb/base.h"
#include "lb/csum.h"

#ifdef LB_XDP

/* Network headers stand four bytes aligned, as the kernel lays frames: they are copied by words. */
#define LB_ALIGNMENT 4

static __always_inline void *lb_at(lb_ctx *ctx, u32 offset, u32 length)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	return data + offset + length > data_end ? NULL : data + offset;
}

static __always_inline int lb_load(lb_ctx *ctx, u32 offset, void *to, u32 length)
{
	void *at = lb_at(ctx, offset, length);

	if (!at)
		return -1;
	__builtin_memcpy(to, __builtin_assume_aligned(at, LB_ALIGNMENT), length);
	return 0;
}

static __always_inline int lb_store(lb_ctx *ctx, u32 offset, const void *from, u32 length)
{
	void *at = lb_at(ctx, offset, length);

	if (!at)
		return -1;
	__builtin_memcpy(__builtin_assume_aligned(at, LB_ALIGNMENT), from, length);
	return 0;
}

#define lb_store_summed lb_store /* a frame that has no skb yet has no sum either */

/* `difference`: lb_csum_difference() of what the sum covers. */
static __always_inline int lb_csum_l3(lb_ctx *ctx, u32 offset, u64 difference)
{
	__be16 *sum = lb_at(ctx, offset, sizeof(*sum));

	if (!sum)
		return -1;
	*sum = lb_csum_update(*sum, difference);
	return 0;
}

static __always_inline int lb_csum_l4(lb_ctx *ctx, u32 offset, u64 difference, u64 flags)
{
	__be16 *sum = lb_at(ctx, offset, sizeof(*sum));

	if (!sum)
		return -1;
	if ((flags & BPF_F_MARK_MANGLED_0) && !*sum)
		return 0;
	*sum = lb_csum_update(*sum, difference);
	if ((flags & BPF_F_MARK_MANGLED_0) && !*sum)
		*sum = 0xffff;
	return 0;
}

#else

static __always_inline int lb_load(lb_ctx *ctx, u32 offset, void *to, u32 length)
{
	return bpf_skb_load_bytes(ctx, offset, to, length);
}

static __always_inline int lb_store(lb_ctx *ctx, u32 offset, const void *from, u32 length)
{
	return bpf_skb_store_bytes(ctx, offset, (void *)from, length, 0);
}

/* Of what no checksum in the packet makes up for: a card's sum of the whole frame (CHECKSUM_COMPLETE) is kept right. */
static __always_inline int lb_store_summed(lb_ctx *ctx, u32 offset, const void *from, u32 length)
{
	return bpf_skb_store_bytes(ctx, offset, (void *)from, length, BPF_F_RECOMPUTE_CSUM);
}

/*
 * A length as helpers want it: 1 to `limit`, a constant, proven right where it is used. Old verifiers forget
 * what they knew of a number that was on the stack meanwhile, and compilers remove a test that they have seen
 * before.
 */
#define lb_bounded(length, limit)                                                                            \
	({                                                                                                   \
		u64 _length = (length);                                                                      \
		asm volatile("if %0 > 0 goto +1\n"                                                           \
			     "%0 = 1\n"                                                                      \
			     "if %0 <= %1 goto +1\n"                                                         \
			     "%0 = %1\n"                                                                     \
			     : "+r"(_length)                                                                 \
			     : "i"(limit));                                                                  \
		_length;                                                                                     \
	})

static __always_inline int lb_csum_l3(lb_ctx *ctx, u32 offset, u64 difference)
{
	return bpf_l3_csum_replace(ctx, offset, 0, difference, 0);
}

static __always_inline int lb_csum_l4(lb_ctx *ctx, u32 offset, u64 difference, u64 flags)
{
	return bpf_l4_csum_replace(ctx, offset, 0, difference, flags);
}

#endif

#endif
