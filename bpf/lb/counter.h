/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is counted: a part of the ABI, see abi.h.
 */
#ifndef LB_COUNTERS_H
#define LB_COUNTERS_H

/* Index of the per-CPU array `counters`. One for every verdict and every drop reason. Numbers are never
 * reused. */
enum lb_counter {
	LB_COUNTER_SOCK_TRANSLATED = 0,	 /* socket hooks: the destination was rewritten */
	LB_COUNTER_SOCK_PASSED = 1,	 /* socket hooks: no Service claims the destination */
	LB_COUNTER_SOCK_REJECTED = 2,	 /* socket hooks: no backend, ECONNREFUSED */
	LB_COUNTER_SOCK_RESTORED = 3,	 /* recvmsg, getpeername: the Service's address was shown */
	LB_COUNTER_PASSED = 4,		 /* packet hooks: not ours */
	LB_COUNTER_DELIVERED = 5,	 /* rewritten, the stack delivers */
	LB_COUNTER_FORWARDED = 6,	 /* rewritten and redirected to the next hop */
	LB_COUNTER_HAIRPINNED = 7,	 /* rewritten and sent back out of its device */
	LB_COUNTER_REPLY_RESTORED = 8,	 /* a reply got the frontend's address back at egress */
	LB_COUNTER_FLOW_CREATED = 9,	 /* a pair of flow entries was made */
	LB_COUNTER_FLOW_RESELECTED = 10, /* a flow's backend was gone or closed: a new backend was chosen */
	LB_COUNTER_REJECTED = 11,	 /* packet hooks: no backend anywhere, RST or port unreachable sent */
	LB_COUNTER_AFFINITY_HIT = 12,	 /* the client's remembered backend was used */
	LB_COUNTER_DROP_NO_LOCAL_BACKEND = 13, /* policy Local and no backend on this node */
	LB_COUNTER_DROP_NO_SNAT_ADDRESS = 14,  /* the device towards the backend has no address */
	LB_COUNTER_DROP_NO_SNAT_PORT = 15,     /* every tried source port was taken */
	LB_COUNTER_DROP_FLOW_TABLE_FULL = 16,  /* the pair could not be stored */
	LB_COUNTER_DROP_NO_ROUTE = 17,	       /* the FIB has no usable route to the next hop */
	LB_COUNTER_DROP_TOO_BIG = 18,	       /* larger than the MTU towards the next hop */
	LB_COUNTER_DROP_TTL = 19,	       /* the TTL would reach zero here */
	LB_COUNTER_DROP_REWRITE = 20,	       /* the kernel refused to change the packet */
	LB_COUNTER_DROP_DEAD_SLOT = 21,	       /* a slot names no live backend: the tables are inconsistent */
	LB_COUNTER_PASSED_FRAGMENT = 22,     /* a later fragment of an unknown datagram, left to the stack */
	LB_COUNTER_FLOW_CONFIRMED = 23,	     /* a flow moved from `pending` to `flows` */
	LB_COUNTER_ICMP_TRANSLATED = 24,     /* an ICMP error followed the flow that it is about */
	LB_COUNTER_ECHO_ANSWERED = 25,	     /* a ping to a Service's address was answered */
	LB_COUNTER_TOO_BIG_ANSWERED = 26,    /* the sender was told the MTU */
	LB_COUNTER_TTL_ANSWERED = 27,	     /* the sender was told that the TTL ran out here */
	LB_COUNTER_FRAGMENT_HELD = 28,	     /* a fragment waits for the first one of its datagram */
	LB_COUNTER_FRAGMENT_RELEASED = 29,   /* a waiting fragment went on */
	LB_COUNTER_DROP_FRAGMENT = 30,	     /* no room to let a fragment wait */
	LB_COUNTER_DROP_SOURCE_RANGE = 31,   /* the client is outside the Service's source ranges */
	LB_COUNTER_ENCAPSULATED = 32,	     /* DSR: sent to the backend's node in an outer header */
	LB_COUNTER_DECAPSULATED = 33,	     /* DSR: taken out of it */
	LB_COUNTER_XDP_TO_TC = 34,	     /* XDP met what tc decides: nothing was changed */
	LB_COUNTER_SOCK_OPTED_OUT = 35,	     /* socket hooks: left to the packet hooks */
	LB_COUNTER_BIND_REFUSED = 36,	     /* a host process asked for the port of a NodePort */
	LB_COUNTER_DROP_UNUSED_ADDRESS = 37, /* in a ServiceCIDR, and no Service has it */
	LB_COUNTER_REJECTED_PORT = 38,	     /* a ClusterIP, but no Service has that port there */
	LB_COUNTER_MAX = 39,
};

#endif
