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
#define LB_CRC32C_X8	      0x00800000 /* x^8 */
#define LB_CRC32C_LENGTH_BITS 16

/* a * b modulo the polynomial. Without branches: the verifier walks one path. */
static __always_inline u32 lb_crc32c_multiply(u32 a, u32 b)
{
	u32 product = 0;

	for (int i = 31; i >= 0; i--) {
		product ^= b & -((a >> i) & 1);
		b = (b >> 1) ^ (LB_CRC32C_POLYNOMIAL & -(b & 1));
	}
	return product;
}

/*
 * By what a CRC32c over `length` bytes changes when the message's first 4 bytes change by `difference`
 * (exclusive or, little-endian). A CRC is linear: the difference is carried over the bytes behind it by a
 * multiplication with x^(8 * length), whatever these bytes are. Some 10,000 simple instructions, for packets
 * whose ports change only.
 */
static __always_inline u32 lb_crc32c_difference(u32 difference, u32 length)
{
	u32 power = LB_CRC32C_X8;

	for (int bit = 0; bit < LB_CRC32C_LENGTH_BITS; bit++) {
		u32 product = lb_crc32c_multiply(difference, power);
		u32 is_set = -((length >> bit) & 1);

		difference = (product & is_set) | (difference & ~is_set);
		power = lb_crc32c_multiply(power, power);
	}
	return difference;
}

#endif
