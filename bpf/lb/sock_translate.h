/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The decision of the socket hooks: leave a call alone, give it a backend, or have it fail; and the way back.
 *
 *	connect, sendmsg:      destination -> frontend -> backend -> destination; remembered
 *	recvmsg, getpeername:  (socket, backend) -> frontend
 */
#ifndef LB_SOCK_TRANSLATE_H
#define LB_SOCK_TRANSLATE_H

#include "lb/backend.h"
#include "lb/frontend.h"
#include "lb/sock_address.h"
#include "lb/sock_call.h"
#include "lb/sock_memory.h"

/*
 * No backend. bpf_set_retval makes the call fail with ECONNREFUSED at once; older kernels could only answer
 * EPERM, which clients do not understand: there the address stays and the packet hooks reject.
 */
static __always_inline int lb_sock_reject(void)
{
#if LB_HAVE_SET_RETVAL
	lb_count(LB_COUNTER_SOCK_REJECTED);
	lb_set_retval(-LB_ECONNREFUSED);
	return LB_REFUSE;
#else
	return LB_ALLOW;
#endif
}

/* The external policy binds traffic from outside only; a socket on this node may use every backend. */
static __always_inline bool lb_sock_local_only(const struct lb_frontend *frontend)
{
	return frontend->kind == LB_KIND_CLUSTER_IP && (frontend->flags & LB_FRONTEND_LOCAL_POLICY);
}

/*
 * Does the node dial an address that it has itself, as load balancers want it that announce their IPs from a
 * node? Such packets would come from that very address, and stay on the loopback device, where no program is.
 */
static __always_inline bool lb_sock_dials_itself(const struct lb_sock_key *key, u64 netns_cookie)
{
	addr_t address = key->address;

	return lb_is_host_netns(netns_cookie) && node_addrs.lookup(&address);
}

/*
 * Whom the packet hooks serve instead: clients that are told apart by their address; namespaces where
 * something else handles the packets (a sidecar, a user-space network stack); the kernel's own sockets, since
 * some kernels keep the rewritten address as the one to dial for ever.
 */
static __always_inline bool lb_sock_is_left_to_packets(struct bpf_sock_addr *ctx, u64 netns_cookie,
						       const struct lb_frontend *frontend,
						       const struct lb_sock_key *key)
{
	if ((frontend->flags & LB_FRONTEND_SOURCE_RANGES) && !lb_sock_dials_itself(key, netns_cookie))
		return true;
	return opt_outs.lookup(&netns_cookie) || lb_is_kernel_socket(ctx);
}

/*
 * No frontend. The other ports of a ClusterIP fail at once; to an address that no Service has, packets go and
 * are dropped, as kube-proxy has it.
 */
static __always_inline int lb_sock_unclaimed(struct bpf_sock_addr *ctx, const addr_t *address,
					     u64 netns_cookie)
{
	if (lb_unclaimed(address) == LB_REJECT && !opt_outs.lookup(&netns_cookie) &&
	    !lb_is_kernel_socket(ctx))
		return lb_sock_reject();
	lb_count(LB_COUNTER_SOCK_PASSED);
	return LB_ALLOW;
}

/*
 * Another number every time: a counter of this CPU and the socket's cookie, mixed as splitmix64 does it. The
 * kernel's generator takes as long as a look-up; nobody gains by guessing a backend.
 */
static __always_inline u32 lb_sock_random(u64 cookie)
{
	u32 translated = LB_COUNTER_SOCK_TRANSLATED;
	u64 *count = counters.lookup(&translated);
	u64 mixed = (cookie << 32) + (count ? *count : 0);

	mixed = (mixed + 1) * 0x9e3779b97f4a7c15ULL;
	mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
	return mixed ^ (mixed >> 31);
}

static __always_inline int lb_sock_translate(struct bpf_sock_addr *ctx, int hook)
{
	u64 netns_cookie = lb_get_netns_cookie(ctx);
	struct lb_client client = {.affinity = {.netns_cookie = netns_cookie}};
	struct lb_choice choice = {};
	struct lb_frontend *frontend;
	bool is_kept = false;
	struct lb_sock_key key;

	if (!lb_sock_is_ours(ctx, hook) || (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP))
		return LB_ALLOW;
	key = lb_sock_key(ctx, hook);
	frontend = lb_frontend_lookup(&key.address, key.port, key.protocol, lb_is_host_netns(netns_cookie));
	if (!frontend)
		return lb_sock_unclaimed(ctx, &key.address, netns_cookie);
	if (lb_sock_is_left_to_packets(ctx, netns_cookie, frontend, &key)) {
		lb_count(LB_COUNTER_SOCK_OPTED_OUT);
		return LB_ALLOW;
	}
	if (!lb_frontend_admits(frontend, &key.address)) /* only who dials itself gets here */
		return lb_sock_reject();
	if (key.protocol == IPPROTO_UDP)
		choice = lb_sock_remembered(&key, frontend->service_id, &is_kept);
	if (!choice.backend) {
		client.local_only = lb_sock_local_only(frontend);
		struct lb_range range = client.local_only ? frontend->local : frontend->cluster;

		if (!range.length)
			return lb_sock_reject();
		client.hash = lb_sock_random(key.cookie);
		choice = lb_select(frontend, &range, &client, false);
		if (!choice.backend) {
			lb_count(LB_COUNTER_DROP_DEAD_SLOT);
			return lb_sock_reject();
		}
		is_kept = false;
	}
	if (!is_kept)
		lb_sock_remember(&key, frontend->service_id, &choice);
	lb_sock_set_address(ctx, hook, &choice.backend->address, choice.backend->port);
	lb_count(LB_COUNTER_SOCK_TRANSLATED);
	return LB_ALLOW;
}

/* Show the frontend instead of the backend. recvmsg and getpeername must return 1, always. */
static __always_inline int lb_sock_restore(struct bpf_sock_addr *ctx, int hook)
{
	struct lb_sock_key key;
	addr_t address;
	__be16 port;

	if (!lb_sock_is_ours(ctx, hook))
		return LB_ALLOW;
	key = lb_sock_key(ctx, hook);
	if (lb_sock_origin(&key, &address, &port)) {
		lb_sock_set_address(ctx, hook, &address, port);
		lb_count(LB_COUNTER_SOCK_RESTORED);
	}
	return LB_ALLOW;
}

#endif
