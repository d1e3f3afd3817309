/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The packet hooks of lb_tc.c for devices without an Ethernet header: tun, WireGuard, IPIP, GRE, PPP.
 *
 *	lb_uplink_l3_, lb_pod_l3_, lb_out_l3_
 *
 * A source of their own: most nodes have no such device, and build them when the first one appears. What they hand on
 * by tail calls, the programs of lb_tc.c finish.
 */
#include "lb/base.h"
#include "lb/fast.h"

/*
 * Before 5.14 a packet that came through IPIP, SIT, GRE or ip6tnl still begins, for tc, with headers that have been
 * taken off it, the cable's or the tunnel's.
 */
static __always_inline bool lb_begins_with_old_headers(lb_ctx *ctx)
{
	u32 first[sizeof(lb_iphdr) / sizeof(u32)], network[sizeof(lb_iphdr) / sizeof(u32)], difference = 0;

	if (!LB_IS_BEFORE(5, 14) || lb_load(ctx, 0, first, sizeof(first)) ||
	    bpf_skb_load_bytes_relative(ctx, 0, network, sizeof(network), BPF_HDR_START_NET))
		return false;
#pragma unroll
	for (int i = 0; i < (int)(sizeof(first) / sizeof(u32)); i++)
		difference |= first[i] ^ network[i];
	return difference;
}

int LB_NAME(lb_uplink_l3_)(lb_ctx *ctx)
{
	if (lb_begins_with_old_headers(ctx)) /* received anew, it begins with its own; then it is the same */
		return bpf_redirect(ctx->ifindex, BPF_F_INGRESS);
	return lb_fast(ctx, 0, LB_FROM_UPLINK);
}

int LB_NAME(lb_pod_l3_)(lb_ctx *ctx)
{
	return lb_fast(ctx, 0, LB_FROM_POD);
}

int LB_NAME(lb_out_l3_)(lb_ctx *ctx)
{
	return lb_fast(ctx, 0, LB_FROM_NODE);
}
