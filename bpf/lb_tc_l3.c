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

int LB_NAME(lb_uplink_l3_)(lb_ctx *ctx)
{
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
