/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Socket hooks: the destination of connect() and sendmsg() becomes a backend's before the first packet
 * exists, so established traffic costs nothing and keeps its true source. getpeername() and recvmsg() show
 * the Service again; close() forgets; bind() does not take a NodePort's port.
 */
#include "lb/sock_memory.h"
#include "lb/sock_port.h"
#include "lb/sock_translate.h"

int LB_NAME(lb_connect)(struct bpf_sock_addr *ctx)
{
	return lb_sock_translate(ctx, FAMILY);
}

int LB_NAME(lb_sendmsg)(struct bpf_sock_addr *ctx)
{
	return lb_sock_translate(ctx, FAMILY);
}

int LB_NAME(lb_recvmsg)(struct bpf_sock_addr *ctx)
{
	return lb_sock_restore(ctx, FAMILY);
}

int LB_NAME(lb_getpeername)(struct bpf_sock_addr *ctx)
{
	return lb_sock_restore(ctx, FAMILY);
}

int LB_NAME(lb_post_bind)(struct bpf_sock *sock)
{
	return lb_sock_guard_port(sock, FAMILY);
}

int LB_NAME(lb_release)(struct bpf_sock *sock)
{
	lb_sock_forget(sock);
	return LB_ALLOW;
}

#if FAMILY == 4
/*
 * At the IPv6 hooks, for IPv6 sockets that speak IPv4. There is none for sendmsg: the kernel turns a mapped
 * destination into an IPv4 one before it asks the programs.
 */
int LB_NAME(lb_v6_connect)(struct bpf_sock_addr *ctx)
{
	return lb_sock_translate(ctx, 6);
}

int LB_NAME(lb_v6_recvmsg)(struct bpf_sock_addr *ctx)
{
	return lb_sock_restore(ctx, 6);
}

int LB_NAME(lb_v6_peername)(struct bpf_sock_addr *ctx)
{
	return lb_sock_restore(ctx, 6);
}

int LB_NAME(lb_v6_bind)(struct bpf_sock *sock)
{
	return lb_sock_guard_port(sock, 6);
}
#endif
