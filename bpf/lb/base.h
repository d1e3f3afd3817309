/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ground every other header stands on: kernel types, address operations, time, and the counters. Pure but
 * for lb_count(). A file for XDP defines LB_XDP first.
 */
#ifndef LB_BASE_H
#define LB_BASE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include "lb/config.h"
#include "lb/abi.h"
#include "lb/maps.h"

#define LB_ADDR_WORDS ((int)(sizeof(addr_t) / sizeof(__be32)))

#ifdef LB_XDP
typedef struct xdp_md lb_ctx;
#else
typedef struct __sk_buff lb_ctx;
#endif

static __always_inline void lb_count(u32 counter)
{
	u64 *value = counters.lookup(&counter);

	if (value)
		*value += 1;
}

/* Free, unlike bpf_ktime_get_ns(). 32 bits wrap after 49 days at 1000 Hz: compare by lb_age() only. */
static __always_inline u32 lb_now(void)
{
	return (u32)bpf_jiffies64();
}

/* Jiffies since a stamp; another CPU's may be younger than our now, by less than a second. */
static __always_inline u32 lb_age(u32 stamp)
{
	u32 age = lb_now() - stamp;

	return age > (u32)-LB_HZ ? 0 : age;
}

/* How often something has changed that translations rest on: whoever has kept one must ask again. */
static __always_inline u32 lb_changes(void)
{
	u32 zero = 0;
	volatile struct lb_changes *row = changes.lookup(&zero);

	return row ? row->taken_back + row->written + row->swept : 0;
}

#define LB_KEPT_JIFFIES (LB_HZ / 50 + 1) /* some 20 ms: as long as an answer of the kernel's is believed */

/* May what was kept at `since`, when there had been so many changes, still be used? */
static __always_inline bool lb_is_kept(u32 since, u32 changed)
{
	return lb_age(since) < LB_KEPT_JIFFIES && changed == lb_changes();
}

static __always_inline void lb_note_taken_back(void)
{
	u32 zero = 0;
	struct lb_changes *row = changes.lookup(&zero);

	if (row)
		__sync_fetch_and_add(&row->taken_back, 1);
}

/* clang would make a mask of a bit that decides about a pointer, and the verifier forbids that. */
static __always_inline bool lb_is_set(u32 bits)
{
	asm volatile("" : "+r"(bits));
	return bits;
}

static __always_inline bool lb_addr_equal(const addr_t *a, const addr_t *b)
{
	__be32 difference = 0;

#pragma unroll
	for (int i = 0; i < LB_ADDR_WORDS; i++)
		difference |= a->word[i] ^ b->word[i];
	return !difference;
}

static __always_inline bool lb_addr_is_zero(const addr_t *a)
{
	const addr_t zero = {};

	return lb_addr_equal(a, &zero);
}

/* 127.0.0.0/8 or ::1 */
static __always_inline bool lb_addr_is_loopback(const addr_t *a)
{
#if FAMILY == 4
	return (a->word[0] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
#else
	return !(a->word[0] | a->word[1] | a->word[2]) && a->word[3] == bpf_htonl(1);
#endif
}

/* Jenkins' one-at-a-time finish over 32-bit words: enough to spread clients over a Maglev table. */
static __always_inline u32 lb_hash_word(u32 hash, u32 word)
{
	hash += word;
	hash += hash << 10;
	return hash ^ (hash >> 6);
}

static __always_inline u32 lb_hash_final(u32 hash)
{
	hash += hash << 3;
	hash ^= hash >> 11;
	return hash + (hash << 15);
}

#endif
