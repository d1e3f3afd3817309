/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Compile-time constants: what this node is. All are set by ebpflb/datapath/build.py with -D, for every
 * build; a missing one is an error here, so that no default can hide in two places.
 */
#ifndef LB_CONFIG_H
#define LB_CONFIG_H

#if !defined(LB_PIN_DIR) || !defined(LB_HZ) || !defined(LB_HOST_NETNS_COOKIE) || !defined(LB_HAVE_SET_RETVAL)
#error "build.py sets LB_PIN_DIR, LB_HZ, LB_HOST_NETNS_COOKIE and LB_HAVE_SET_RETVAL"
#endif

#if !defined(LB_KERNEL)
#error "build.py sets LB_KERNEL, KERNEL_VERSION of the running kernel: for what no kernel can be asked"
#endif
#define LB_IS_BEFORE(major, minor) (LB_KERNEL < ((major) << 16) + ((minor) << 8))

#if !defined(LB_TC_INDEX)
#error "build.py sets LB_TC_INDEX, a number of 16 bits, not 0, by which instances of one machine differ"
#endif

#if !defined(LB_ANSWER_PING) || !defined(LB_PROTECT_NODE_PORTS) || !defined(LB_CSUM_IPV6)
#error "build.py sets LB_ANSWER_PING, LB_PROTECT_NODE_PORTS (0, 1) and LB_CSUM_IPV6 (a flag of bpf_l4_csum_replace)"
#endif

#if !defined(LB_KERN_SOCK_BYTE) || !defined(LB_KERN_SOCK_MASK) || !defined(LB_MPTCP_BYTE) ||                 \
	!defined(LB_MPTCP_MASK)
#error "build.py sets LB_KERN_SOCK_* and LB_MPTCP_*: bits of struct tcp_sock, by byte and mask; mask 0: unknown"
#endif

#if !defined(LB_HAIRPIN_ADDRESS)
#error "build.py sets LB_HAIRPIN_ADDRESS: 32-bit words in network order, comma-separated"
#endif

#if !defined(LB_MAX_FRONTENDS) || !defined(LB_MAX_BACKENDS) || !defined(LB_MAX_SERVICES) ||                  \
	!defined(LB_MAX_MEMBERS) || !defined(LB_MAX_SLOT_LINES) || !defined(LB_MAX_FLOWS) ||                 \
	!defined(LB_MAX_AFFINITY) || !defined(LB_MAX_SOCKETS) || !defined(LB_MAX_NODE_ADDRS) ||              \
	!defined(LB_MAX_DEVICES) || !defined(LB_MAX_PENDING) || !defined(LB_MAX_DATAGRAMS) ||                \
	!defined(LB_MAX_HELD_FRAGMENTS) || !defined(LB_MAX_LOCAL_BACKENDS) ||                                \
	!defined(LB_MAX_SOURCE_RANGES) || !defined(LB_MAX_OPT_OUTS) || !defined(LB_MAX_SERVICE_CIDRS)
#error "build.py sets the size of every map"
#endif

/* Source ports tried when the client's own is taken: the range that MASQUERADE and Cilium use above
 * NodePorts. */
#define LB_SNAT_PORT_MIN      32768
#define LB_SNAT_PORT_MAX      65535
#define LB_SNAT_ATTEMPTS      24
#define LB_SNAT_FREE_ATTEMPTS 8 /* from then on, ports of unconfirmed flows will do */

/* connect4 in the IPv4 build, connect6 in the IPv6 build: the names that `bpftool prog` shows. */
#define LB_PASTE(a, b)	a##b
#define LB_PASTE2(a, b) LB_PASTE(a, b)
#define LB_NAME(name)	LB_PASTE2(name, FAMILY)

#endif
