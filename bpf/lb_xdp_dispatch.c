/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one XDP program that a device takes: gives each frame to the program of its family (lb_xdp.c), found in
 * `xdp_families`. Belongs to neither family, hence includes nothing of lb/.
 *
 * A family that has no program there, and whatever is neither IPv4 nor IPv6 (ARP, VLAN tags), goes to the
 * stack. Python puts other programs into the array while this one runs: a frame meets the old or the new.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#define LB_XDP_IPV4 0
#define LB_XDP_IPV6 1

BPF_TABLE_PINNED("prog", u32, u32, xdp_families, 2, LB_PIN_DIR "/xdp_families");

int lb_xdp(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	__be16 type;

	if (data + ETH_HLEN > end)
		return XDP_PASS;
	type = *(__be16 *)(data + 2 * ETH_ALEN); /* struct ethhdr is packed: its fields are read by bytes */
	if (type == bpf_htons(ETH_P_IP)) {
		xdp_families.call(ctx, LB_XDP_IPV4);
		return XDP_PASS;
	}
	/* A constant index makes a jump of the call: clang must not make one call with a variable of two. */
	asm volatile("" ::: "memory");
	if (type == bpf_htons(ETH_P_IPV6))
		xdp_families.call(ctx, LB_XDP_IPV6);
	return XDP_PASS;
}
