/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything that C and Python share: keys and values; the enums are in kinds.h and counter.h.
 *
 * Python derives its numpy dtypes from the BTF of the loaded maps: a field whose type is __be16 or __be32
 * becomes big-endian, all others are in host order. The enums are mirrored in ebpflb/core/abi.py; a unit test
 * parses this file and compares. Change a struct here and SCHEMA_VERSION in ebpflb/datapath/layout.py moves
 * on.
 *
 * FAMILY (4 or 6) is set by the build. One source, two programs, two sets of maps.
 */
#ifndef LB_ABI_H
#define LB_ABI_H

#include "lb/counter.h"
#include "lb/kinds.h"

#if FAMILY == 4
typedef struct {
	__be32 word[1];
} addr_t;
#elif FAMILY == 6
typedef struct {
	__be32 word[4];
} addr_t;
#else
#error "FAMILY must be 4 or 6"
#endif

struct lb_frontend_key {
	addr_t address;
	__be16 port;
	u8 protocol; /* IPPROTO_* */
	u8 pad;
};

/* Positions [offset, offset + length) of `slots`, counted in u32 slots. */
struct lb_range {
	u32 offset;
	u32 length;
};

struct lb_frontend {
	u32 service_id; /* one per service port: names the owner of affinity and of flows */
	u8 kind;	/* enum lb_frontend_kind */
	u8 algorithm;	/* enum lb_algorithm */
	u8 flags;	/* enum lb_frontend_flag */
	u8 pad;
	u32 affinity_timeout; /* seconds; 0: none */
	struct lb_range cluster;
	struct lb_range local;
};

struct lb_slot_line {
	u32 backend_id[16]; /* array values are padded to 8 bytes: lines of 64 waste nothing */
};

struct lb_backend {
	addr_t address;
	__be16 port;
	u8 protocol;
	u8 state; /* enum lb_backend_state */
	u8 flags; /* enum lb_backend_flag */
	u8 pad[3];
	u32 generation; /* distinguishes successive users of one id; flows and affinity carry it */
};

struct lb_service {
	char name[200]; /* namespace/name:port/PROTOCOL, at most 196 bytes, NUL-padded: for people, and to
			   restore ids */
};

struct lb_member_key {
	u32 service_id;
	u32 backend_id;
};

struct lb_member {
	u32 sets; /* enum lb_member_set */
};

struct lb_affinity_key {
	u64 netns_cookie; /* socket hooks: the client's network namespace; 0 at packet hooks */
	addr_t client;	  /* packet hooks: the source address; zero at socket hooks */
	u32 service_id;
#if FAMILY == 6
	u32 pad;
#endif
};

struct lb_affinity {
	u32 backend_id;
	u32 generation;
	u32 last_used; /* jiffies, low 32 bits */
};

/* The 5-tuple as seen on the wire at this hook. */
struct lb_tuple {
	addr_t saddr;
	addr_t daddr;
	__be16 sport;
	__be16 dport;
	u8 protocol;
	u8 pad[3];
};

/*
 * One direction of a translated flow: what the tuple becomes, completely. Two entries make a flow; each is
 * enough to carry its direction alone. The other entry's key is the reverse of (this key's protocol, to_*).
 */
struct lb_flow {
	addr_t to_saddr;
	addr_t to_daddr;
	__be16 to_sport;
	__be16 to_dport;
	u32 backend_id;
	u32 generation; /* of the backend */
	u32 service_id;
	u32 last_seen;	  /* jiffies, low 32 bits */
	u8 flags;	  /* enum lb_flow_flag */
	u8 seen;	  /* enum lb_flow_seen */
	u8 partner_flags; /* `flags` of the other entry: from one half the other can be made again */
	u8 pad;
};

/* An IP datagram in fragments, as seen on the wire. */
struct lb_datagram_key {
	addr_t saddr;
	addr_t daddr;
	__be32 id; /* IPv4: 16 bits */
	u8 protocol;
	u8 pad[3];
};

struct lb_datagram {
	__be16 sport;
	__be16 dport;
	u32 is_known;  /* the first fragment was seen: the ports are right */
	u32 held;      /* fragments that were put to wait, ever: the number of the next one */
	u32 released;  /* fragments that were let go, ever */
	u32 last_seen; /* jiffies, low 32 bits */
};

struct lb_held_key {
	struct lb_datagram_key datagram;
	u32 number;
};

#define LB_HELD_BYTES 2040

struct lb_held_fragment {
	u32 length;
	u32 held_at; /* jiffies, low 32 bits */
	u8 frame[LB_HELD_BYTES];
};

/* A socket and an address: of the backend it talks to (sock_origins), of the frontend it dialled
 * (sock_choices). */
struct lb_sock_key {
	u64 cookie;
	addr_t address;
	__be16 port;
	u8 protocol;
	u8 pad;
#if FAMILY == 6
	u32 pad2;
#endif
};

struct lb_sock_origin {
	addr_t address; /* the frontend as dialled */
	__be16 port;
	u16 pad;
	u32 backend_id;
	u32 generation;
	u32 service_id; /* of the frontend */
};

struct lb_sock_choice {
	u32 backend_id;
	u32 generation;
	u32 service_id;
};

/*
 * Both in one, in the row of an array that the cookie names: of most sockets. A row belongs to whom its cookie
 * is; the maps above have what finds its row taken. Whoever has seen that the cookie is its own, or zero, takes
 * the lock and looks again.
 */
struct lb_sock_pair {
	struct bpf_spin_lock lock;
	u8 protocol;
	u8 is_crowded; /* a socket of this row has been sent to the maps: whoever finds nothing here looks there */
	u8 pad[2];
	u64 cookie;	/* 0: the row is free */
	addr_t address; /* of the backend */
	addr_t dialled; /* of the frontend */
	__be16 port;
	__be16 dialled_port;
	u32 backend_id;
	u32 generation;
	u32 service_id; /* of the frontend */
};

struct lb_node_addr {
	u32 flags; /* enum lb_node_addr_flag */
};

/* What holds for every Service of this node. */
struct lb_config {
	addr_t pod_network;
	addr_t pod_mask;
	addr_t guard_network; /* covers every ClusterIP and every ServiceCIDR */
	addr_t guard_mask;
	u32 flags; /* enum lb_config_flag */
};

/* The bits of `marks`: lb/marks.h says which one is an address's. */
#define LB_MARK_BITS   20
#define LB_MARK_WORDS  (1 << (LB_MARK_BITS - 6))
#define LB_MARK_FACTOR 0x9e3779b1u

/* How often something has changed that established flows rest on. Each number has one writer, and wraps. */
struct lb_changes {
	u32 taken_back; /* flows, by programs */
	u32 written;	/* rows of backends and devices, by Python */
	u32 swept;	/* flows, by Python */
};

/* A range that ClusterIPs are taken from. */
struct lb_service_cidr_key {
	u32 prefix_length;
	addr_t address;
};

struct lb_device {
	addr_t snat_address; /* source of packets masqueraded out of this device; zero: none */
	u32 mtu;	     /* bytes, network header included */
	u32 flags;	     /* enum lb_device_flag */
};

/* Which local backend an address is, for a service port: who unwraps a DSR packet knows its pod only. */
struct lb_local_backend_key {
	u32 service_id;
	addr_t address;
};

/* A longest-prefix-match key: prefix_length counts the bits of service_id, too. */
struct lb_source_range_key {
	u32 prefix_length;
	u32 service_id;
	addr_t address;
};

#endif
