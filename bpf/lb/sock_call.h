/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the socket hooks ask of the kernel, and how they answer it. Knows no Service.
 */
#ifndef LB_SOCK_CALL_H
#define LB_SOCK_CALL_H

#include "lb/base.h"

#define LB_ALLOW	1
#define LB_REFUSE	0
#define LB_EADDRINUSE	98
#define LB_ECONNREFUSED 111

/* bpf_get_netns_cookie: sock_addr and sock since 5.7. NULL: the initial namespace. */
static u64 (*lb_get_netns_cookie)(void *ctx) = (void *)122;
/* bpf_skc_to_tcp_sock: 5.9. NULL unless the socket is one of TCP. Gives a pointer that follows the kernel's
 * BTF. */
static void *(*lb_skc_to_tcp_sock)(void *sock) = (void *)137;
#if LB_HAVE_SET_RETVAL
/* bpf_set_retval: 6.1 for sockets. */
static int (*lb_set_retval)(int retval) = (void *)187;
#endif

static __always_inline bool lb_is_host_netns(u64 netns_cookie)
{
	return netns_cookie == (u64)LB_HOST_NETNS_COOKIE;
}

static __always_inline bool lb_bit(const u8 *tcp_sock, int byte, u8 mask)
{
	return mask && (*(volatile const u8 *)(tcp_sock + byte) & mask);
}

/*
 * Whether the kernel itself owns the socket (NFS, SMB), by the bits sk_kern_sock and is_mptcp. Python takes
 * their place from the kernel's BTF, and the verifier checks it; where a kernel does not tell, the answer is
 * no. A process's MPTCP connection is made of sockets that look like the kernel's. TCP only: for IPv4's UDP
 * the kernel gives no pointer.
 */
static __always_inline bool lb_is_kernel_socket(struct bpf_sock_addr *ctx)
{
	void *sock = LB_KERN_SOCK_MASK ? ctx->sk : NULL;
	const u8 *tcp = sock ? lb_skc_to_tcp_sock(sock) : NULL;

	return tcp && lb_bit(tcp, LB_KERN_SOCK_BYTE, LB_KERN_SOCK_MASK) &&
	       !lb_bit(tcp, LB_MPTCP_BYTE, LB_MPTCP_MASK);
}

#endif
