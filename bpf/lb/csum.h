/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Arithmetic of checksums: the Internet checksum of RFC 1071, updated as in RFC 1624, and the CRC32c of SCTP
 * (RFC 9260, appendix A). Pure.
 */
#ifndef LB_CSUM_H
#define LB_CSUM_H

#include "lb/base.h"

/* One's-complement difference that turns the sum of `from` into that of `to`, as bpf_l*_csum_replace wants
 * it. */
static __always_inline u64 lb_csum_difference(const void *from, const void *to, int words)
{
	const u32 *old = from;
	const u32 *new = to;
	u64 sum = 0;

#pragma unroll
	for (int i = 0; i < words; i++)
		sum += (u64)(u32)~old[i] + new[i];
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline u64 lb_csum_add(u64 sum, const void *data, int bytes)
{
	const u32 *word = data;

#pragma unroll
	for (int i = 0; i < bytes / 4; i++)
		sum += word[i];
	return sum;
}

/* Not complemented: what CHECKSUM_PARTIAL keeps in the checksum field when the sum is that of the pseudo
 * header. */
static __always_inline u16 lb_csum_fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)((sum & 0xffff) + (sum >> 16));
}

static __always_inline u16 lb_csum_update(u16 checksum, u64 difference)
{
	return (u16)~lb_csum_fold((u64)(u16)~checksum + difference);
}

#define LB_CRC32C_POLYNOMIAL  0x82f63b78 /* reflected: bit 31 is the coefficient of x^0 */
#define LB_CRC32C_LENGTH_BITS 16

/* x^(8 * 2^bit) modulo the polynomial, each the square of the one before. */
#define LB_CRC32C_POWERS                                                                                     \
	{                                                                                                    \
		0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955,          \
			0xb8fdb1e7, 0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564,  \
			0xbf455269, 0xe2ea32dc                                                               \
	}

/* a * b modulo the polynomial. Without branches, and in 64 bits: the verifier walks one path, and a short
 * one. */
static __always_inline u64 lb_crc32c_multiply(u64 a, u64 b)
{
	u64 product = 0;

#pragma clang loop unroll(disable)
	for (u64 bit = 0; bit < 32; bit++) {
		product ^= b & -((a >> 31) & 1);
		a <<= 1;
		b = (b >> 1) ^ (LB_CRC32C_POLYNOMIAL & -(b & 1));
	}
	return product;
}

/*
 * By what a CRC32c over `length` bytes changes when the message's first 4 bytes change by `difference`
 * (exclusive or, little-endian). A CRC is linear: the difference is carried over the bytes behind it by a
 * multiplication with x^(8 * length), whatever these bytes are. Some 5,000 simple instructions, for packets
 * whose ports change only.
 */
static __always_inline u32 lb_crc32c_difference(u64 difference, u64 length)
{
	const u32 powers[LB_CRC32C_LENGTH_BITS] = LB_CRC32C_POWERS;

#pragma unroll
	for (int bit = 0; bit < LB_CRC32C_LENGTH_BITS; bit++) {
		u64 product = lb_crc32c_multiply(difference, powers[bit]);
		u64 is_set = -((length >> bit) & 1);

		difference = (product & is_set) | (difference & ~is_set);
	}
	return difference;
}

#endif
