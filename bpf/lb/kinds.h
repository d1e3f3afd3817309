/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The enums and flags of what the maps hold: a part of the ABI, see abi.h.
 */
#ifndef LB_KINDS_H
#define LB_KINDS_H

/* What a frontend is; decides which traffic policy applies and at which hooks it is served. */
enum lb_frontend_kind {
	LB_KIND_CLUSTER_IP = 1,
	LB_KIND_NODE_PORT = 2, /* its key has the unspecified address: any in node_addrs that has NodePorts */
	LB_KIND_LOAD_BALANCER = 3,
	LB_KIND_EXTERNAL_IP = 4,
	LB_KIND_ADDRESS = 5, /* its key has port 0 and protocol 0: a Service's address as such, for ping and
				fragments */
};

enum lb_algorithm {
	LB_ALGORITHM_RANDOM = 1,
	LB_ALGORITHM_MAGLEV = 2,
};

/* Bits of lb_frontend.flags */
enum lb_frontend_flag {
	LB_FRONTEND_LOCAL_POLICY = 1, /* the policy of this frontend's scope is Local */
	LB_FRONTEND_HAS_BACKENDS =
		2,	     /* some usable backend exists somewhere: an empty set means DROP, else REJECT */
	LB_FRONTEND_DSR = 4, /* clients outside: a remote backend's node answers them directly */
	LB_FRONTEND_SOURCE_RANGES = 8,	  /* only clients in source_ranges; decided at packet hooks alone */
	LB_FRONTEND_CLUSTER_ADDRESS = 16, /* of LB_KIND_ADDRESS: a ClusterIP, where other ports are refused */
};

enum lb_backend_state {
	LB_BACKEND_NONE = 0,	 /* deleted, or never there: then `generation` is 0. The other fields stay */
	LB_BACKEND_ACTIVE = 1,	 /* named by some range: takes new flows */
	LB_BACKEND_DRAINING = 2, /* serves the flows it has, takes no new ones */
};

/* Bits of lb_backend.flags */
enum lb_backend_flag {
	LB_BACKEND_LOCAL = 1, /* on this node: the stack delivers, unless its client is masqueraded */
};

/*
 * Bits of lb_member.sets. The first two are the sets that name the backend: affinity is honoured within the
 * policy's. The third is in every row: a UDP socket or flow stays with a backend that still serves its
 * Service.
 */
enum lb_member_set {
	LB_MEMBER_CLUSTER = 1,
	LB_MEMBER_LOCAL = 2,
	LB_MEMBER_SERVING = 4, /* takes new flows, or may finish those it has (draining, left out by hints) */
};

/* Bits of lb_flow.flags */
enum lb_flow_flag {
	LB_FLOW_REPLY = 1,     /* this entry restores the reply; without it, it translates the request */
	LB_FLOW_AT_EGRESS = 2, /* acts where packets leave a device; without it, where they enter */
	LB_FLOW_FORWARD =
		4, /* after the rewrite: route here and redirect (the stack would drop it as martian) */
	LB_FLOW_HAIRPIN = 8, /* after the rewrite: back out of the device it came in by */
	LB_FLOW_SNAT = 16,   /* the source was rewritten to an address of this node */
	LB_FLOW_DSR = 32, /* request: sent whole, in an outer header with to_saddr, to_daddr; has no partner
			     here. Reply: goes to the client directly, past the node that sent it here */
};

/* Bits of lb_flow.seen: what this direction has carried. Python derives the state of the pair from both
 * entries. */
enum lb_flow_seen {
	LB_SEEN_SYN = 1,
	LB_SEEN_DATA = 2, /* any TCP packet but a SYN without ACK; any UDP packet */
	LB_SEEN_FIN = 4,
	LB_SEEN_RST = 8,
	LB_SEEN_MOVED = 16, /* in `pending` only: the flow is confirmed and lives in `flows` */
};

/* Bits of lb_node_addr.flags */
enum lb_node_addr_flag {
	LB_NODE_ADDR_NODE_PORTS = 1, /* NodePorts hold on this address */
};

/* Bits of lb_config.flags */
enum lb_config_flag {
	LB_CONFIG_MASQUERADE_ALL = 1,	   /* also what pods send to ClusterIPs */
	LB_CONFIG_DETECT_BY_NETWORK = 2,   /* a source in pod_network is a pod */
	LB_CONFIG_DETECT_BY_DEVICE = 4,	   /* a pod is what came in by a device with LB_DEVICE_POD_SOURCE */
	LB_CONFIG_LOOPBACK_NODE_PORTS = 8, /* NodePorts hold on loopback, for the node's own sockets */
	LB_CONFIG_WRITTEN = 16,		   /* Python has been here */
};

/* Bits of lb_device.flags */
enum lb_device_flag {
	LB_DEVICE_XDP =
		1, /* an XDP program here can redirect frames to this device, or transmit them from it */
	LB_DEVICE_PODS = 2,	  /* pods are behind it, and what they answer meets our programs */
	LB_DEVICE_POD_SOURCE = 4, /* what comes in by it comes from a pod */
	LB_DEVICE_DIRECT = 8, /* its other end is a pod's, and nobody is on the way who would be passed by */
};

#endif
